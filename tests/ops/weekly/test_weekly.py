"""`baseline-weekly` on tiny data, without Prefect; the flow is in tests/flows/test_baseline_weekly.py."""

import json
import os
import shutil
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tests.patience import HANG
from tests.workspaces import change, file_requests, grow, make, whole_night
from tru.data.interactions import load_dataset
from tru.errors import ModelError, ReleaseError, RequestError
from tru.models.trained import TrainedModel
from tru.ops.judging import baseline
from tru.ops.judging.baseline import exclusive, latest, licence
from tru.ops.pipeline import snapshot as under_way
from tru.ops.pipeline import weekly
from tru.ops.pipeline.snapshot import Weekly, snapshot
from tru.ops.pipeline.weekly import run_baseline
from tru.ops.release.champion import crown
from tru.ops.release.registry import Registry
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace

STEPS = ["snapshot", "train", "measure", "promote", "rehearse", "finish"]
MOMENTS = [(step, "after") for step in STEPS] + [(step, "before its record") for step in STEPS[1:-1]]


@pytest.fixture
def ws(trained):
    change(trained, "gate", min_subjects=5)
    return trained


@pytest.fixture(scope="module")
def processes():
    context = get_context("forkserver")
    context.set_forkserver_preload(["tru.ops.pipeline.weekly", "tru.cli.init"])
    return context


def champion(ws):
    return Registry(ws).champion().version


def until(ws, last):
    """The steps up to and with ``last``; what names the run."""
    id = snapshot(ws)
    for step in STEPS[1 : STEPS.index(last) + 1]:
        getattr(weekly, step)(ws, id)
    return id


def crowned(ws, model, folder):
    """Let a model of our own serve."""
    model.save(folder)
    registry = Registry(ws)
    tags = {**registry.champion().tags, "tru.ledger": None}
    run = registry.log_run(
        "ours", key=f"ours/{folder.name}", data_md5="x", metrics={}, params={}, tags=tags, model_dir=folder
    )
    version = registry.register(run, tags).version
    crown(ws, version, "trained")
    return version


def serving(ws):
    return TrainedModel.load(Registry(ws).model_dir(champion(ws)))


# -- the whole run ----------------------------------------------------------------------------------------------------


def test_a_baseline_and_its_licences(ws):
    found = run_baseline(ws)

    assert not found["crowned"] and champion(ws) == "1"
    registry, kept = Registry(ws), latest(ws)
    version = registry.by_alias("baseline")
    assert version.version == found["version"] == kept.version == "2"
    assert {name: version.tags[f"tru.{name}"] for name in ("method", "verdict", "deleted_through", "data_md5")} == {
        "method": "baseline",
        "verdict": "none",
        "deleted_through": "0",
        "data_md5": found["data_md5"],
    }
    assert kept.seeds == found["seeds"] and len(set(kept.seeds)) == 2 and 0 not in kept.seeds
    assert kept.seconds == found["seconds"] > 0
    assert kept.data_md5 == found["data_md5"] and kept.deleted_through == 0
    assert abs(kept.age_days(datetime.now(UTC))) < 0.1

    for row, ndcg in zip(kept.metrics, kept.ndcg, strict=True):
        assert row["test/ndcg@20"] == pytest.approx(ndcg.mean())
        assert {"test/recall@10", "test/recall@20", "test/ndcg@10", "canary_auc"} <= set(row)
    assert kept.noise["test/ndcg@20"] == pytest.approx(np.std([n.mean() for n in kept.ndcg], ddof=1))
    assert set(kept.users) <= set(load_dataset(ws.data).users) and kept.ndcg.shape == (2, len(kept.users))

    assert [(row["regime"], row["passed"]) for row in found["licences"]] == [
        (regime, True) for regime in ("user", "item", "interaction", "modality")
    ]
    settings = load_settings(ws)
    for row in found["licences"]:
        held, words = licence(ws, row["regime"], row["size"], settings, datetime.now(UTC))
        assert held is not None and words == row["words"]
        assert licence(ws, row["regime"], row["size"] + 1, settings, datetime.now(UTC))[0] is None

    ledger = open_ledger(ws)
    entry = ledger.last("baseline")
    assert (entry.key, entry.facts["version"]) == (found["id"], "2")
    assert len(ledger.entries("licence")) == 4 and ledger.verify() == []
    assert not baseline.work(ws).exists()


def test_every_seed_is_a_run_with_the_same_metric_names(ws):
    found = run_baseline(ws)
    registry = Registry(ws)
    client, names = registry._client, []
    for k in range(2):
        run = client.get_run(registry.find_run(f"{found['id']}/seed-{k}"))
        names.append(set(run.data.metrics))
        assert run.info.run_name == ("baseline" if k == 0 else "baseline-1")
        assert run.data.params["train.seed"] == str(found["seeds"][k])
    assert names[0] == names[1] and {"test/ndcg_at_20", "test/recall_at_20", "seconds"} <= names[0]


def test_the_ledger_and_the_result_name_nobody(ws):
    ds = load_dataset(ws.data)
    found = run_baseline(ws)
    said = json.dumps([found, [entry.public() for entry in open_ledger(ws).entries()]])
    assert not any(name in said for name in [*ds.users.tolist(), *ds.items.tolist()])


def test_the_next_one_is_another(ws):
    first, second = run_baseline(ws), run_baseline(ws)
    assert first["id"] != second["id"] and not set(first["seeds"]) & set(second["seeds"])
    assert latest(ws).version == second["version"] == "3"
    assert len(open_ledger(ws).entries("licence")) == 8


# -- what a baseline needs --------------------------------------------------------------------------------------------


def test_it_waits_for_the_night(ws):
    file_requests(ws, [Subject.of(user=str(load_dataset(ws.data).users[3]))])
    from tru.ops import pipeline as night

    batch = night.claim(ws)
    with pytest.raises(RequestError, match=f"{batch} is open.*`tru run`"):
        run_baseline(ws)
    assert not baseline.work(ws).exists() and latest(ws) is None


def test_it_needs_a_champion(tmp_path):
    with pytest.raises(ModelError, match="`tru train`"):
        run_baseline(make(tmp_path / "untrained"))


def test_one_at_a_time(ws):
    with exclusive(ws), pytest.raises(ReleaseError, match="another run"):
        run_baseline(ws)


def test_a_step_belongs_to_the_run_under_way(ws):
    with pytest.raises(ReleaseError, match="is not under way"):
        weekly.train(ws, "baseline-20000101-000000")
    id = snapshot(ws)
    with pytest.raises(ReleaseError, match="is not under way"):
        weekly.train(ws, f"{id}9")


# -- who serves -------------------------------------------------------------------------------------------------------


def test_a_better_baseline_becomes_champion(ws, tmp_path):
    model = serving(ws)
    poor = replace(
        model, arrays={**model.arrays, "users": -model.arrays["users"], "items": model.arrays["items"][::-1]}
    )
    crowned(ws, poor, tmp_path / "poor")

    found = run_baseline(ws)

    assert found["crowned"] and champion(ws) == found["version"]
    assert "better by more than the margin" in found["words"]
    entry = open_ledger(ws).last("champion")
    assert (entry.facts["why"], entry.facts["version"]) == ("baseline", found["version"])
    assert entry.facts["contest"]["difference"] > 0
    model = serving(ws)
    assert model.facts["gamma"]["items"] > 0  # it can be made to forget at once
    assert Registry(ws).champion().aliases == ("champion",) and Registry(ws).by_alias("baseline") is None


def test_a_champion_that_has_drifted_makes_room_for_an_equal(ws, tmp_path):
    drifted = serving(ws).with_facts(nights=load_settings(ws).gate.max_nights)
    crowned(ws, drifted, tmp_path / "drifted")
    found = run_baseline(ws)
    assert found["crowned"] and champion(ws) == found["version"]
    assert "gate.max_nights" in found["words"]


def test_a_champion_with_nights_to_go_stays(ws, tmp_path):
    version = crowned(ws, serving(ws).with_facts(nights=load_settings(ws).gate.max_nights - 1), tmp_path / "young")
    assert not run_baseline(ws)["crowned"] and champion(ws) == version


def test_drift_alone_crowns_nobody_who_is_worse(ws, tmp_path, monkeypatch):
    crowned(ws, serving(ws).with_facts(nights=99), tmp_path / "drifted")
    id = until(ws, "measure")
    place = Weekly(ws, id).place(0)
    model = TrainedModel.load(place)
    replace(model, arrays={**model.arrays, "users": -model.arrays["users"]}).save(place)
    change(ws, "gate", utility_margin=0.0)
    found = weekly.promote(ws, id)
    assert not found["crowned"] and "worse" in found["words"] and champion(ws) == "2"


def test_data_that_changed_meanwhile_keeps_the_champion(ws):
    id = until(ws, "measure")
    grow(ws)
    found = weekly.promote(ws, id)
    assert not found["crowned"] and "the data changed while the baseline was made" in found["words"]
    assert champion(ws) == "1"


def test_a_night_in_between(ws):
    """It is kept to compare with, without those who were forgotten, and rehearsed on its own model."""
    with exclusive(ws):
        id = until(ws, "train")
        data = Weekly(ws, id).models[0].data
        leaver = str(data.users[data.test[0, 0]])
        file_requests(ws, [Subject.of(user=leaver)])
        assert whole_night(ws) is not None
        night = champion(ws)

        weekly.measure(ws, id)
        assert len(latest(ws).users) and leaver not in latest(ws).users
        found = weekly.promote(ws, id)
        assert not found["crowned"] and "deletions were completed" in found["words"] and champion(ws) == night
        weekly.rehearse(ws, id)
        assert open_ledger(ws).last("licence").facts["version"] == latest(ws).version
        weekly.finish(ws, id)
    assert not baseline.work(ws).exists()


def test_a_night_clears_up_after_a_killed_run(ws):
    until(ws, "train")
    file_requests(ws, [Subject.of(user=str(load_dataset(ws.data).users[5]))])
    assert whole_night(ws) is not None
    assert not baseline.work(ws).exists()


def test_the_champion_rehearses_where_it_stands_on_the_data(ws):
    id = until(ws, "rehearse")
    assert open_ledger(ws).last("licence").facts["version"] == "1"
    assert weekly.finish(ws, id)["id"] == id


# -- a killed run -----------------------------------------------------------------------------------------------------


def run_that_dies(root: str, step: str, moment: str) -> None:
    """Die by SIGKILL after ``step``, or when its work is done and not yet recorded."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ws = Workspace(Path(root))
    record = Weekly.finish

    def finish(run: Weekly, name: str, found: dict[str, object]) -> object:
        return die() if name == step and moment != "after" else record(run, name, found)

    Weekly.finish = finish  # type: ignore[assignment, method-assign]
    with exclusive(ws):
        id = snapshot(ws)
        for name in STEPS:
            if name != "snapshot":
                getattr(weekly, name)(ws, id)
            if name == step and moment == "after":
                die()


@pytest.mark.parametrize(("step", "moment"), MOMENTS, ids=lambda value: value.replace(" ", "-"))
def test_a_killed_run_is_finished_by_the_next(ws, processes, step, moment):
    killed = processes.Process(target=run_that_dies, args=(str(ws.root), step, moment))
    killed.start()
    killed.join(HANG)
    assert killed.exitcode == -signal.SIGKILL

    found = run_baseline(ws)

    runs = 2 if step == "finish" else 1  # a run that came to its end is not repeated
    ledger = open_ledger(ws)
    assert len(ledger.entries("baseline")) == runs and len(ledger.entries("licence")) == 4 * runs
    assert ledger.verify() == []
    made = [v for v in Registry(ws).list_versions() if v.tags["tru.method"] == "baseline"]
    assert len(made) == runs and found["version"] == latest(ws).version == made[0].version
    assert all(Registry(ws).find_run(f"{found['id']}/seed-{k}") for k in range(2))
    assert not baseline.work(ws).exists()


def test_a_killed_training_goes_on_from_its_checkpoint(ws, monkeypatch):
    id = snapshot(ws)
    change(ws, "train", epochs=4)
    from tru.training import _Loop

    epochs, epoch = [], _Loop._epoch
    with monkeypatch.context() as patched:

        def counted(loop):
            if len(epochs) == 3:
                raise KeyboardInterrupt
            epochs.append(loop.progress.epoch)
            return epoch(loop)

        patched.setattr(_Loop, "_epoch", counted)
        with pytest.raises(KeyboardInterrupt):
            weekly.train(ws, id)
    assert epochs == [0, 1, 2]
    with monkeypatch.context() as patched:

        def watched(loop):
            epochs.append(loop.progress.epoch)
            return epoch(loop)

        patched.setattr(_Loop, "_epoch", watched)
        assert snapshot(ws) == id
        weekly.train(ws, id)
    assert epochs[3] == 3 and epochs[4] == 0  # the first seed's last epoch, then the second seed
    assert not list(baseline.work(ws).glob("*.npz"))


@pytest.mark.parametrize("reason", ["data", "settings", "age"])
def test_what_a_killed_run_left_is_of_no_use_any_more(ws, reason):
    id = snapshot(ws)
    (baseline.work(ws) / "mark").touch()
    if reason == "data":
        grow(ws)
    elif reason == "settings":
        change(ws, "train", learning_rate=0.02)
    else:
        notes = json.loads((baseline.work(ws) / "notes.json").read_text())
        notes["made"] = (datetime.now(UTC) - under_way.RESUMABLE - timedelta(hours=1)).isoformat()
        (baseline.work(ws) / "notes.json").write_text(json.dumps(notes))
    snapshot(ws)
    assert not (baseline.work(ws) / "mark").exists()
    assert (baseline.work(ws) / "data" / "interactions.parquet").exists()
    assert id  # and begun anew, even within the same second


def test_a_half_made_copy_is_made_again(ws):
    snapshot(ws)
    (baseline.work(ws) / "notes.json").unlink()
    shutil.rmtree(baseline.work(ws) / "data")
    (baseline.work(ws) / "data").mkdir()
    id = snapshot(ws)
    assert Weekly(ws, id).dataset.users.tolist() == load_dataset(ws.data).users.tolist()


def test_subjects_too_few_for_one_rehearsal_are_pooled_over_several(ws):
    change(ws, "gate", min_subjects=12)
    first, second = run_baseline(ws), run_baseline(ws)
    by_regime = [{row["regime"]: row["passed"] for row in found["licences"]} for found in (first, second)]
    assert by_regime[0]["item"] is False and by_regime[1]["item"] is True  # 8 items, then 16
    assert open_inbox(ws).open_batch() is None
