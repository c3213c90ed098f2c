"""Interactions without features: every form in which they come, stored, checked and cut like any other data."""

import pandas as pd
import pytest

from tests import tiny
from tru.data.forget import ForgetSet, cut
from tru.data.importers import from_frame, import_dataset
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import DataError, ModelError
from tru.models.params import MULTIMODAL, ModelParams, TrainParams
from tru.ops.checks import check_cut, check_raw
from tru.training import fit

ROWS = pd.DataFrame({"user_id": ["b", "a", "a", "c"], "item_id": [10, 9, 10, 7], "split": [0, 0, 1, 0], "rating": 4.5})


def _folder(root):
    (root / "plain").mkdir()
    ROWS.to_parquet(root / "plain" / "interactions.parquet")
    return root / "plain"


def _parquet(root):
    ROWS.rename(columns={"user_id": "userID"}).to_parquet(root / "plain.parquet")
    return root / "plain.parquet"


def _parts(root):
    (root / "plain.parquet").mkdir()
    ROWS.head(2).to_parquet(root / "plain.parquet" / "part-0.parquet")
    ROWS.tail(2).to_parquet(root / "plain.parquet" / "part-1.parquet")
    return root / "plain.parquet"


def _text(ending, mark):
    def write(root):
        ROWS.to_csv(root / f"plain{ending}", sep=mark, index=False)
        return root / f"plain{ending}"

    return write


def _inter(root):
    ROWS.rename(columns={"split": "x_label"}).to_csv(root / "plain.inter", sep="\t", index=False)
    return root / "plain.inter"


FORMS = {
    "a folder": _folder,
    "a Parquet file": _parquet,
    "a folder of parts": _parts,
    "a CSV file": _text(".csv", ","),
    "a TSV file": _text(".tsv", "\t"),
    "an .inter file": _inter,
}


@pytest.mark.parametrize("form", FORMS)
def test_interactions_alone_are_a_data_set_in_every_form(form, tmp_path):
    ds = import_dataset(FORMS[form](tmp_path))
    assert (ds.name, ds.modalities, ds.split, ds.notes) == ("plain", (), "published", ())
    assert ds.items.tolist() == ["10", "7", "9"], "all that somebody took, sorted as text"
    assert list(ds.interactions.columns) == ["user_id", "item_id", "split"]
    assert ds.interactions["item_id"].tolist() == ["10", "9", "10", "7"]
    save_dataset(ds, tmp_path / "data")
    assert load_dataset(tmp_path / "data").summary() == import_dataset(tmp_path / "data").summary() == ds.summary()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "dataset.json",
        "interactions.parquet",
        "items.parquet",
    ]


def test_a_frame_is_read_like_a_file_and_stays_as_it_is(tmp_path):
    frame = ROWS.assign(userID=ROWS["user_id"]).drop(columns="user_id").set_index(pd.Index([7, 7, 8, 9]))
    before = frame.copy()
    ds = from_frame(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(ds.interactions, import_dataset(_parquet(tmp_path)).interactions)
    assert from_frame(ROWS.drop(columns="split")).split == "assigned"


def test_items_that_nobody_took_are_there_where_a_table_lists_them(tmp_path):
    folder = _folder(tmp_path)
    pd.DataFrame({"item_id": [7, 8, 9, 10]}).to_parquet(folder / "items.parquet")
    assert import_dataset(folder).items.tolist() == ["7", "8", "9", "10"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="user_id"), "the frame has no column user_id"),
        (lambda f: f.assign(userID="x"), "the frame: two columns of the header mean the same"),
        (lambda f: f.set_axis(["user_id", "item_id", "item_id", "rating"], axis=1), "two columns of the header"),
        (lambda f: pd.concat([f, f.head(1)]), "the frame, row 5: this user and item are in an earlier row"),
        (lambda f: f.assign(user_id=["a", None, "b", "c"]), "the frame, row 2: user_id is empty"),
        (lambda f: f.assign(split=["train"] * 4), "the frame, row 1: unknown split code"),
        (lambda f: f.head(0), "the frame is empty"),
    ],
)
def test_a_bad_frame_is_named(change, message):
    with pytest.raises(DataError, match=message):
        from_frame(change(ROWS))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"features": {"image": [[1.0]] * 3}}, "features came without items"),
        ({"features": {"image": [[1.0]] * 2}, "items": [7, 9, 10]}, "has 2 rows but there are 3 items"),
        ({"features": {"image": [1.0]}, "items": [7, 9, 10]}, "image holds 1-d float64"),
        ({"features": {"an image": [[1.0]] * 3}, "items": [7, 9, 10]}, "names no modality"),
        ({"features": {"image": [[1.0]] * 2}, "items": [7, 9]}, "the item has no feature row"),
        ({"items": [7, 9, 10, 9]}, "items, row 4: the item is in an earlier row"),
    ],
)
def test_bad_features_beside_a_frame_are_named(given, message):
    with pytest.raises(DataError, match=message):
        from_frame(ROWS, **given)


def test_a_bad_text_file_is_named_by_its_line(tmp_path):
    (tmp_path / "plain.csv").write_text('user_id,item_id\n"a, b",1\n,2\n')
    with pytest.raises(DataError, match=r"plain\.csv, line 3: user_id is empty"):
        import_dataset(tmp_path / "plain.csv")
    (tmp_path / "plain.csv").write_text("user_id,item_id\na,1\nb,2,3\n")
    with pytest.raises(DataError, match=r"plain\.csv, line 3: cannot be read as comma-separated text"):
        import_dataset(tmp_path / "plain.csv")
    (tmp_path / "plain.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match=r"plain\.parquet cannot be read as Parquet"):
        import_dataset(tmp_path / "plain.parquet")


def test_features_beside_a_single_table_are_not_dropped_in_silence(tmp_path):
    (tmp_path / "image.npy").write_bytes(b"features")
    (note,) = import_dataset(_parquet(tmp_path)).notes
    assert "is read alone, without image.npy beside it" in note


def test_it_is_checked_and_cut_like_any_other():
    ds = from_frame(tiny.dataset().interactions)
    assert check_raw(ds).passed
    forget = ForgetSet(users=frozenset(ds.users[:2].tolist()), items=frozenset(ds.items[:1].tolist()))
    assert check_cut(ds, cut(ds, forget), forget).passed


@pytest.mark.parametrize("name", MULTIMODAL)
def test_a_backbone_that_reads_features_refuses_to_be_trained_on_it(name):
    with pytest.raises(ModelError, match=f"{name} reads features of items and the data has none: train lightgcn"):
        fit(from_frame(tiny.dataset().interactions), ModelParams(name=name), TrainParams(epochs=1))
