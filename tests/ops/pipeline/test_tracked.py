"""What a night leaves on MLflow's pages, before and after an erasure, and after another night."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.workspaces import change, file_requests, subjects, whole_night
from tru.data.interactions import load_dataset
from tru.ops import pipeline
from tru.ops.erasure import eraser
from tru.ops.release.registry import MODEL_NAME, Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Subject

NAMES = {"original", "unlearned", "retrained", "retrained-1"}
PLOTS = {"plots/quality.png", "plots/forgetting.png", "plots/membership.png"}


@pytest.fixture
def client(trained):
    return MlflowClient(trained.tracking_uri, registry_uri=trained.tracking_uri)


def runs(client):
    """All active runs, by name."""
    found = client.search_runs([client.get_experiment_by_name("tru").experiment_id])
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def files(client, run):
    found = {file.path for file in client.list_artifacts(run.info.run_id)}
    return found - {"plots"} | {f.path for f in client.list_artifacts(run.info.run_id, "plots") if "plots" in found}


def blocks(run):
    return {name.partition(".")[0] for name in run.data.params}


def parent_of(run):
    return run.data.tags.get("mlflow.parentRunId")


def said(ws):
    """All bytes of MLflow's store."""
    places = [ws.root / "mlflow.db", *ws.model_store.rglob("*")]
    return b"".join(file.read_bytes() for file in places if file.is_file() and file.suffix != ".npz")


def test_a_night_is_one_parent_with_its_models_below(trained, client):
    wanted = subjects(trained)
    file_requests(trained, wanted)
    began = datetime.now(UTC)
    batch = whole_night(trained)

    found = runs(client)
    parent, candidate = found[batch], found[f"candidate {batch}"]
    assert parent_of(parent) is None
    for name in (*NAMES, f"candidate {batch}"):
        assert parent_of(found[name]) == parent.info.run_id
        assert found[name].data.tags["tru.batch"] == batch
        assert found[name].data.tags["tru.regime"] == "user+item+interaction+modality"
        assert 0 < float(found[name].data.tags["tru.fraction"]) < 1
        assert set(found[name].data.metrics) == set(parent.data.metrics)
        assert found[name].data.metrics["seconds"] > 0

    assert {name: found[name].data.tags["tru.method"] for name in NAMES} == {
        "original": "train",
        "unlearned": "tru",
        "retrained": "retrain",
        "retrained-1": "retrain",
    }
    assert blocks(parent) == {"data", "gate"} and blocks(found["original"]) == {"model", "recipe"}
    assert blocks(found["unlearned"]) == blocks(candidate) == {"model", "recipe", "unlearn"}
    assert blocks(found["retrained"]) == {"model", "recipe", "train"}
    assert [found[name].data.params["train.seed"] for name in ("retrained", "retrained-1")] == ["0", "1"]

    for name in NAMES:  # real times: as long as it took, and not when it was logged
        info, took = found[name].info, found[name].data.metrics["seconds"]
        assert (info.end_time - info.start_time) / 1000 == pytest.approx(took, abs=0.002)
    assert found["original"].info.end_time / 1000 < began.timestamp() < parent.info.end_time / 1000
    assert found["retrained"].info.end_time <= found["retrained-1"].info.end_time <= parent.info.end_time

    assert parent.data.metrics == candidate.data.metrics == found["unlearned"].data.metrics
    tags = parent.data.tags
    assert (tags["tru.verdict"], tags["tru.version"], tags["tru.outcome"]) == ("pass", "2", "unlearned")
    assert tags["tru.ops.report"] == f".tru/reports/{batch}.html"
    assert files(client, parent) == {"report.html", *PLOTS} and files(client, candidate) == {"report.html"}
    assert "**pass**" in tags["mlflow.note.content"]

    version = client.get_model_version(MODEL_NAME, "2")
    assert f"Unlearned by `tru` from version 1 in {batch}" in version.description
    assert DataVersions(trained).md5() in version.description and "**pass**" in version.description
    assert "5 completed deletion requests in 1 batch" not in version.description  # six were answered, one not found
    assert version.aliases == ["champion"]
    model = client.get_logged_model(client.search_logged_models([parent.info.experiment_id])[0].model_id)
    assert {metric.key: metric.value for metric in model.metrics} == pytest.approx(candidate.data.metrics, abs=1e-5)

    everything = said(trained)
    names = {name for s in wanted for name in (s.user, s.item) if name}
    assert not [name for name in names if name.encode() in everything.replace(b'"a-user-id"', b"")]


def test_a_repeated_step_logs_nothing_twice(trained, client):
    file_requests(trained, subjects(trained))
    batch = pipeline.claim(trained)
    for step in ("cut", "check", "unlearn", "evaluate", "gate", "promote"):
        getattr(pipeline, step)(trained, batch)
    before = runs(client)

    def again(*steps):
        from tru.ops.pipeline.record import Run

        for step in steps:  # as if it had been killed before its record was written
            Run(trained, batch).finish({"evaluate": "unlearn", "gate": "evaluate", "promote": "gate"}[step], None)
            getattr(pipeline, step)(trained, batch)

    again("evaluate", "gate", "promote")
    after = runs(client)
    assert {name: run.info.run_id for name, run in after.items()} == {n: r.info.run_id for n, r in before.items()}
    parent = after[batch]
    for name, value in before[batch].data.metrics.items():
        points = client.get_metric_history(parent.info.run_id, name)
        assert {point.value for point in points} == {value} or name == "seconds"
    assert [v.version for v in Registry(trained).list_versions()] == ["2", "1"]


def test_a_batch_that_went_to_retraining_shows_what_serves(trained, client):
    change(trained, "unlearn", method="tru", strength=1e9)  # no gate accepts that
    change(trained, "gate", membership_margin=0.0001, widest_margin=0.0001)
    file_requests(trained, [Subject.of(user=str(u)) for u in load_dataset(trained.data).users[:40]])
    batch = pipeline.claim(trained)
    for step in ("cut", "check", "unlearn", "evaluate"):
        getattr(pipeline, step)(trained, batch)
    if pipeline.gate(trained, batch)["verdict"] == "pass":
        pytest.fail("the gate let pass what it was to refuse")
    assert runs(client)[batch].data.tags["tru.verdict"] == "fail"
    if pipeline.retrain(trained, batch)["verdict"] != "pass":
        pipeline.hold(trained, batch)
        pipeline.release(trained, "for the test")
    else:
        pipeline.promote(trained, batch)
    found = runs(client)
    candidate = found[f"candidate {batch}"]
    assert blocks(candidate) == {"model", "recipe", "train"} and candidate.data.tags["tru.method"] == "retrain"
    assert found[batch].data.metrics == candidate.data.metrics
    assert "Trained from scratch in" in client.get_model_version(MODEL_NAME, "2").description


def test_an_erasure_treats_parents_as_their_children_and_the_next_night_takes_their_place(trained, client, tmp_path):
    file_requests(trained, subjects(trained))
    first = whole_night(trained)
    eraser.erase(trained)
    found = runs(client)
    assert set(found) == {*NAMES, first, f"candidate {first}"}  # the training of version 1 is gone
    assert files(client, found[first]) == {"report.html", *PLOTS}
    for run in (found[first], found[f"candidate {first}"]):  # the report's last word
        page = Path(client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))).read_text()
        assert "of older data and models were destroyed" in page and run.data.tags["tru.outcome"] == "unlearned"

    file_requests(trained, [Subject.of(user=str(load_dataset(trained.data).users[7]))])
    second = whole_night(trained)
    assert eraser.erase(trained)["batches"] == [second]
    found = runs(client)
    assert set(found) == {*NAMES, second, f"candidate {second}"}
    assert {run.data.tags["tru.batch"] for run in found.values()} == {second}
    kept = {found[second].info.run_id, found[f"candidate {second}"].info.run_id}
    stored = {file.name for file in (trained.model_store / "tru").iterdir() if file.name != "models"}
    assert kept <= stored and not {
        name for name in stored - kept if any((trained.model_store / "tru" / name).rglob("*.*"))
    }


def test_an_experiment_keeps_its_numbers_through_a_night(trained, client):
    DataVersions(trained).reproduce()
    name = "5 % of users, seed 7, tru"
    before = runs(client)
    assert {*NAMES, name} < set(before)
    assert {parent_of(before[child]) for child in NAMES} == {before[name].info.run_id}
    assert files(client, before[name]) == PLOTS and blocks(before[name]) == {"data", "forget", "gate"}
    assert blocks(before["original"]) == {"model", "recipe", "train"}
    assert before[name].data.tags["tru.verdict"] in ("pass", "fail")
    assert before[name].data.tags["tru.deleted_through"] == "0"  # it knows nobody of those who were forgotten so far

    file_requests(trained, subjects(trained))
    batch = whole_night(trained)
    eraser.erase(trained)

    experiment = client.get_experiment_by_name("tru").experiment_id
    for child in (*NAMES, name):
        after = client.get_run(before[child].info.run_id)
        assert after.info.lifecycle_stage == "active"
        assert (after.data.metrics, after.data.params) == (before[child].data.metrics, before[child].data.params)
        assert files(client, after) == set()
    assert len(client.search_runs([experiment])) == 5 + 6  # and the night's own
    assert any(run.info.run_name == batch for run in client.search_runs([experiment]))


def test_an_experiment_on_the_present_data_keeps_its_pictures(trained, client):
    file_requests(trained, [Subject.of(user=str(load_dataset(trained.data).users[7]))])
    whole_night(trained)
    DataVersions(trained).reproduce()
    eraser.erase(trained)
    found = runs_of_experiments(client)
    assert len(found) == 5
    parent = next(run for run in found if parent_of(run) is None)
    assert files(client, parent) == PLOTS and parent.data.tags["tru.deleted_through"] == "1"


def runs_of_experiments(client):
    experiment = client.get_experiment_by_name("tru").experiment_id
    return client.search_runs([experiment], "tags.`tru.key` LIKE 'research/%'")
