"""What `import tru` offers: the names, what they load, and what a program can do with them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tru
from tests import tiny
from tests.patience import HANG
from tru.data.interactions import TEST
from tru.data.prepare import prepare
from tru.models.params import BACKBONES
from tru.unlearning.params import UNLEARNERS

ROOT = Path(__file__).parents[1]
SMALL = {"width": 16, "epochs": 16, "min_epochs": 4, "patience": 4, "batch": 256, "learning_rate": 1e-2, "canaries": 60}
NAMES = [
    "Comparison",
    "DataError",
    "Dataset",
    "ForgetSet",
    "GateParams",
    "Model",
    "ModelError",
    "Prepared",
    "TruError",
    "UnlearningError",
    "Verdict",
    "__version__",
    "backbones",
    "compare",
    "fit",
    "forget",
    "load",
    "open_model",
    "prepare",
    "retrain",
    "unlearners",
    "wrap",
]
OPERATIONS = ("prefect", "mlflow", "dvc", "great_expectations", "sqlalchemy")


@pytest.fixture(scope="module")
def data():
    """Interactions alone, as somebody may have them in a frame."""
    return tru.load(tiny.dataset().interactions)


@pytest.fixture(scope="module")
def model(data):
    return tru.fit(data, "lightgcn", seed=3, **SMALL)


@pytest.fixture(scope="module")
def gone(data):
    return [str(user) for user in data.users[:6]]


@pytest.fixture(scope="module")
def forgot(model, gone):
    return tru.forget(model, users=gone)


@pytest.fixture(scope="module")
def retrained(model, forgot):
    return tru.retrain(model, forgot.data, seeds=2)


def in_a_process(program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_exactly_these_names_are_exported():
    assert tru.__all__ == NAMES
    assert all(getattr(tru, name).__doc__ or name == "__version__" for name in NAMES)
    assert set(NAMES) <= set(dir(tru))
    with pytest.raises(AttributeError, match="no attribute 'forgive'"):
        tru.forgive  # noqa: B018 - the asking is the test
    assert (tru.backbones(), tru.unlearners()) == (tuple(sorted(BACKBONES)), tuple(sorted(UNLEARNERS)))


def test_importing_it_loads_neither_torch_nor_pandas():
    said = in_a_process("import sys, tru; tru.__version__; print([n for n in ('torch', 'pandas') if n in sys.modules])")
    assert said == ["[]"]


def test_no_name_loads_the_tools_of_the_operations(tmp_path):
    tiny.dataset().interactions.to_parquet(tmp_path / "ratings.parquet")
    said = in_a_process(f"""
import sys, tru
for name in tru.__all__:
    getattr(tru, name)
data = tru.load({str(tmp_path / "ratings.parquet")!r})
model = tru.fit(data, "lightgcn", **{SMALL!r})
forgot = tru.forget(model, users=[data.users[0]])
str(tru.compare(model, forgot, tru.retrain(model, forgot.data, seeds=1)))
model.save({str(tmp_path / "model")!r})
tru.open_model({str(tmp_path / "model")!r}).evaluate()
print([name for name in {OPERATIONS!r} if name in sys.modules])
""")
    assert said == ["[]"]


def test_a_model_is_fitted_with_its_settings_and_its_strength(data, model):
    assert (model.backbone, model.data) == ("lightgcn", data)
    assert (model.trained.params.width, model.train_params.batch, model.trained.recipe.seed) == (16, 256, 3)
    assert model.trained.facts["gamma"]["gone"]
    assert "120 users, 80 items" in repr(model) and not any(user in repr(model) for user in data.users)


def test_what_is_printed_by_accident_names_nobody(model, data, gone):
    shown = [repr(data), repr(model.trained.data), repr(tru.ForgetSet(users=frozenset(gone)))]
    assert shown[0] == f"<Dataset data: 120 users, 80 items, {len(data.interactions)} interactions>"
    assert not any(name in words for name in (*data.users, *data.items) for words in shown)


def test_its_quality_is_that_of_the_test_rows(model):
    found = model.evaluate()
    assert list(found) == ["test/recall@10", "test/recall@20", "test/ndcg@10", "test/ndcg@20"]
    assert all(0.05 < value < 1 for value in found.values())
    without = replace(model.data, interactions=model.data.interactions.query(f"split != {TEST}"))
    bare = tru.Model(replace(model.trained, data=prepare(without, model.trained.recipe.canary_rate)), without)
    assert all(np.isnan(value) for value in bare.evaluate().values())


def test_recommendations_are_ids_without_what_the_user_has(model, data):
    user = str(data.users[0])
    rows = data.interactions
    has = set(rows[(rows["user_id"] == user) & (rows["split"] == 0)]["item_id"])
    assert len(model.recommend(user)) == 20 and not has & set(model.recommend(user))
    assert model.recommend(user, k=3) == model.recommend(user)[:3]
    everything = model.recommend(user, k=1000)
    assert set(everything) == set(data.items.tolist()) - has
    popular = model.recommend("a stranger", k=2)
    counts = model.trained.data.popularity
    assert counts[np.flatnonzero(data.items == popular[0])[0]] == counts.max()
    with pytest.raises(tru.ModelError, match="k is 0"):
        model.recommend(user, k=0)


def test_forgetting_gives_another_model_on_what_is_left(model, forgot, gone):
    assert set(gone) <= set(model.data.users) and not set(gone) & set(forgot.data.users)
    assert forgot.trained.facts["method"] == "tru" and forgot.trained.data.users.tolist() == forgot.data.users.tolist()
    assert forgot.train_params == model.train_params
    assert forgot.recommend(gone[0]) == forgot.recommend("a stranger")
    again = tru.forget(forgot, users=[forgot.data.users[0]])
    assert len(again.data.users) == len(forgot.data.users) - 1


def test_a_comparison_is_a_table_with_the_gates_word(model, forgot, retrained, gone):
    found = tru.compare(model, forgot, retrained)
    assert isinstance(found, tru.Comparison) and isinstance(found.verdict(), tru.Verdict)
    said = str(found)
    assert said.splitlines()[0].split() == ["original", "unlearned", "retrained"]
    for name in ("test recall@10", "test ndcg@20", "forget recall@20", "membership AUC", "time", "left behind"):
        assert name in said
    assert f"The gate: {found.verdict().word}, compared with 2 retrained models." in said
    assert found.rows()["original"]["membership_auc"] > found.rows()["retrained"]["membership_auc"]
    html = found._repr_html_()
    assert html.count("<table>") == 2 and f"The gate: {found.verdict().word}" in html
    assert not any(user in text for user in gone for text in (said, html, repr(found)))
    one = tru.compare(model, forgot, retrained[0])
    assert "compared with 1 retrained model." in str(one)
    strict = found.verdict(tru.GateParams(utility_margin=-0.5))
    assert not strict.passed and strict.faults == {"utility"}


def test_what_cannot_be_compared_is_refused(model, forgot, retrained):
    with pytest.raises(tru.TruError, match="no retrained model"):
        tru.compare(model, forgot, [])
    with pytest.raises(tru.TruError, match="retrained model 1 stands on other data"):
        tru.compare(model, forgot, model)
    with pytest.raises(tru.TruError, match="are the same model"):
        tru.compare(model, forgot, [retrained[0], retrained[0]])
    with pytest.raises(tru.ModelError, match="nothing would be trained"):
        tru.retrain(model, forgot.data, seeds=0)


@pytest.mark.parametrize(
    "what", [{"items": 1}, {"interactions": 1}, {"users": 1, "items": 1}, {"users": 2, "method": "retrain"}]
)
def test_everything_that_a_request_can_name_can_be_forgotten(model, data, what):
    first = data.interactions[data.interactions["split"] == 0].head(9)
    named = {
        "users": data.users[: what.get("users", 0)].tolist(),
        "items": first["item_id"].head(what.get("items", 0)).tolist(),
        "interactions": first[["user_id", "item_id"]].tail(what.get("interactions", 0)).to_numpy().tolist(),
    }
    found = tru.forget(model, **named, method=what.get("method", "tru"))
    left = found.data.interactions
    assert not left["user_id"].isin(named["users"]).any() and not left["item_id"].isin(named["items"]).any()
    assert len(left) < len(data.interactions)
    assert len(found.trained.data.items) == len(data.items) - len(named["items"])


def test_modalities_are_forgotten_where_there_are_features():
    ds = tiny.dataset()
    ids = ds.items.tolist()
    data = tru.load(ds.interactions, features={m: ds.features[m] for m in ds.modalities}, items=ids)
    assert data.modalities == ds.modalities and data.items.tolist() == ids
    model = tru.fit(data, "mgcn", **{**SMALL, "epochs": 4})
    item = ids[int(np.flatnonzero(data.present["image"])[0])]
    found = tru.forget(model, modalities=[(item, "image")], strength=1.25)
    assert not found.data.present["image"][found.data.items == item].any()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({}, "nothing to forget is named"),
        ({"users": ["nobody", "no one", "none", "noman"]}, r"not in the data: 'no one', .* … \(4 of the 4 to forget\)"),
        ({"users": "nobody"}, r"not in the data: 'nobody' \(1 of the 1 to forget\)"),
        ({"interactions": ["ab"]}, "not in the data: 'a b'"),
        ({"interactions": ["abc"]}, "are pairs"),
        ({"interactions": [7]}, "are pairs"),
        ({"modalities": [("nothing", "image")]}, "not in the data: 'nothing image'"),
    ],
)
def test_what_cannot_be_forgotten_is_an_error(model, what, says):
    with pytest.raises(tru.DataError, match=says):
        tru.forget(model, **what)


def test_settings_that_nobody_knows_are_refused(model, data, gone):
    with pytest.raises(tru.ModelError, match=r"no setting widht \(did you mean width\?\)"):
        tru.fit(data, "lightgcn", widht=8)
    with pytest.raises(tru.ModelError, match="epochs: "):
        tru.fit(data, "lightgcn", epochs=0)
    with pytest.raises(tru.ModelError, match="no backbone is called"):
        tru.fit(data, "lightgnc")
    with pytest.raises(tru.UnlearningError, match=r"did you mean strength\?"):
        tru.forget(model, users=gone, strenght=2)
    with pytest.raises(tru.UnlearningError, match="no unlearner is called"):
        tru.forget(model, users=gone, method="magic")
    with pytest.raises(tru.DataError, match=r"Make it one: tru\.load"):
        tru.fit(data.interactions)


def test_data_too_small_to_calibrate_says_what_can_be_done(data):
    few = data.interactions[data.interactions["split"] == 0].iloc[::90]
    model = tru.fit(tru.load(few), epochs=1, canaries=0, width=8)
    user = model.data.users[0]
    with pytest.raises(tru.UnlearningError, match=r"strength=1\.25.*method='retrain'"):
        tru.forget(model, users=[user])
    for way in ({"strength": 1.25}, {"method": "retrain"}):
        assert user not in tru.forget(model, users=[user], **way).data.users


def test_a_backbone_that_reads_features_refuses_data_without(data):
    with pytest.raises(tru.ModelError, match=r"mgcn reads features of items and the data has none: train lightgcn"):
        tru.fit(data, "mgcn")


def test_a_model_is_saved_with_its_data_and_opened_again(forgot, data, tmp_path):
    forgot.save(tmp_path / "model")
    found = tru.open_model(tmp_path / "model")
    assert found.evaluate() == forgot.evaluate() and found.train_params == forgot.train_params
    pd.testing.assert_frame_equal(found.data.interactions, forgot.data.interactions)
    user = str(found.data.users[0])
    assert found.recommend(user) == forgot.recommend(user)
    assert user not in tru.forget(found, users=[user]).data.users
    assert "facts" in json.loads((tmp_path / "model" / "model.json").read_text())


def test_a_model_directory_without_data_needs_its_own(forgot, data, tmp_path):
    forgot.trained.save(tmp_path / "model")
    with pytest.raises(tru.ModelError, match="without its data"):
        tru.open_model(tmp_path / "model")
    with pytest.raises(tru.ModelError, match="stands on other data"):
        tru.open_model(tmp_path / "model", data)
    assert tru.open_model(tmp_path / "model", forgot.data).evaluate() == forgot.evaluate()
    with pytest.raises(tru.ModelError, match="not a model directory"):
        tru.open_model(tmp_path)
