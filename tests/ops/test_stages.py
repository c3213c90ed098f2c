"""The research loop: `dvc repro` on tiny data, without a server."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests import tiny
from tests.patience import HANG
from tests.workspaces import change
from tru import randomness
from tru.data.interactions import TRAIN
from tru.data.prepare import pair_keys
from tru.errors import TruError
from tru.models.params import TrainParams
from tru.ops import stages
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox
from tru.ops.tracking.settings import flat
from tru.training import fit
from tru.unlearning.closed_form.calibration import REHEARSAL, calibrated
from tru.unlearning.params import UnlearnParams

MODELS = {"original", "unlearned", "retrained"}


def test_the_loop_measures_three_models_and_then_has_nothing_to_do(trained):
    versions = DataVersions(trained)

    assert versions.reproduce() == ["forget", "retrain", "unlearn", "evaluate"]  # `tru train` has run the others

    found = json.loads((trained.metrics / "evaluate.json").read_text())
    assert MODELS | {"seconds", "verdict", "seeds"} <= set(found)
    for name in MODELS:
        assert {"test", "forget", "membership_auc"} <= set(found[name])
        assert set(found[name]["test"]) == {"recall@10", "recall@20", "ndcg@10", "ndcg@20"}
        assert set(found[name]["forget"]) == {"recall@20"}
        numbers = [*found[name]["test"].values(), found[name]["forget"]["recall@20"], found[name]["membership_auc"]]
        assert all(0 <= number <= 1 for number in numbers)
    assert set(found["seconds"]) == {"train", "unlearn", "retrain"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["verdict"] in ("pass", "fail") and found["seeds"] == [0, 1]
    assert found["original"]["forget"]["recall@20"] > found["retrained"]["forget"]["recall@20"]
    assert (trained.metrics / "models.csv").read_text().splitlines()[0] == "model,value"
    assert (trained.metrics / "training.csv").read_text().splitlines()[0] == "epoch,validation_ndcg"
    pictures = [trained.artifacts / "training.png", *(trained.artifacts / "plots").iterdir()]
    assert {file.name for file in pictures} == {"training.png", "quality.png", "forgetting.png", "membership.png"}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in pictures)
    forgotten = json.loads((trained.artifacts / "forget.json").read_text())
    assert len(forgotten["users"]) == round(0.05 * 150) or len(forgotten["users"]) == 8
    said = "".join(file.read_text() for file in trained.metrics.iterdir())
    assert not any(user in said for user in forgotten["users"])

    for name in MODELS:
        headline = json.loads((trained.metrics / f"{name}.json").read_text())
        assert headline["ndcg@20"] == found[name]["test"]["ndcg@20"]
        assert ("verdict" in headline) == (name == "unlearned")
    shown = subprocess.run(
        [Path(sys.executable).with_name("dvc"), "metrics", "show"],
        cwd=trained.root,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
    )
    table = [line for line in shown.stdout.splitlines() if line.strip()]
    assert len(table) == 1 + len(MODELS)
    assert max(len(line.rstrip()) for line in table) <= 80  # a terminal's width

    assert versions.reproduce() == []
    assert versions.status() == {}
    assert not open_inbox(trained).list()  # a simulated batch is nobody's request

    change(trained, "gate", utility_margin=-1.0)
    assert versions.reproduce() == ["evaluate"]
    assert json.loads((trained.metrics / "evaluate.json").read_text())["verdict"] == "fail"


@pytest.mark.parametrize("regime", ["item", "interaction", "modality"])
def test_every_regime_goes_through_the_stages(trained, regime):
    change(trained, "forget", regime=regime)
    for name in ("forget", "retrain", "unlearn", "evaluate"):
        stages.run(trained, name)
    found = json.loads((trained.metrics / "evaluate.json").read_text())
    assert set(found) >= MODELS
    assert all(row["passed"] for row in found["gate"]["table"] if row["high"] == 0)  # the exact checks
    json.dumps(found, allow_nan=False)  # what other programs can read


def test_the_first_stages_count_and_check(trained):
    assert json.loads((trained.metrics / "data.json").read_text())["users"] == 150
    assert json.loads((trained.metrics / "check.json").read_text())["passed"] is True
    assert not list((trained.state / "checkpoints").glob("*.npz"))


@pytest.mark.parametrize("rows", [5, 15, 30, 60])
def test_data_too_small_to_practise_on_give_a_model_without_a_strength(rows):
    """Canaries and practice pairs are each a twentieth of the train rows, so of few there may be none of either."""
    ds = tiny.dataset()
    few = ds.interactions[ds.interactions["split"] == TRAIN].head(rows).reset_index(drop=True)
    model = fit(replace(ds, interactions=few), tiny.MODEL, TrainParams(epochs=1, canaries=600))
    found = calibrated(model, UnlearnParams())
    assert found.facts["method"] == "train"
    keys = pair_keys(model.data.users, model.data.items, model.data.train, randomness.of_word("rehearsal"))
    can_practise = model.data.canary.any() and ((randomness.uniform(keys) < REHEARSAL) & ~model.data.canary).any()
    assert ("gamma" in found.facts) == can_practise


def test_an_unknown_stage_is_refused(trained):
    with pytest.raises(TruError, match=r"no stage is called 'polish'. There are: prepare, check"):
        stages.run(trained, "polish")


def test_nested_settings_become_flat_params():
    assert flat({"train": {"seed": 0, "deep": {"er": 1}}, "x": None}) == {
        "train.seed": 0,
        "train.deep.er": 1,
        "x": None,
    }
