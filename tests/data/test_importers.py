from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tru.data.importers import import_dataset
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import DataError

ROWS = pd.DataFrame(
    {
        "user_id": np.array([0, 0, 0, 1, 1, 3], dtype=np.int32),
        "item_id": np.array([4, 0, 2, 0, 3, 2], dtype=np.int32),
        "timestamp": pd.array([None] * 6, dtype="Int64"),
        "split": np.array([0, 0, 1, 0, 2, 0], dtype=np.int8),
    }
)
GRAPH = pd.DataFrame(
    {
        "item_id": np.array([0, 0, 1], dtype=np.int32),
        "neighbour_id": np.array([0, 1, 5], dtype=np.int32),
        "cosine": np.array([1, 0.5, 0.25], dtype=np.float32),
    }
)
N_ITEMS = 6


def _matrix(width):
    return (np.arange(N_ITEMS * width).reshape(N_ITEMS, width) + 1).astype(np.float16) / 64


@pytest.fixture
def shared(tmp_path):
    """The Parquet form: numbered users and items, two modalities of other names, one published graph."""
    root = tmp_path / "tiktak"
    root.mkdir()
    ROWS.to_parquet(root / "interactions.parquet")
    GRAPH.to_parquet(root / "audio_knn.parquet")
    np.save(root / "audio.npy", _matrix(3))
    np.save(root / "image.npy", _matrix(2))
    return root


@pytest.fixture
def mmrec(tmp_path):
    """The MMRec form."""
    root = tmp_path / "baby"
    root.mkdir()
    frame = pd.DataFrame({"userID": ROWS["user_id"], "itemID": ROWS["item_id"], "rating": 5.0})
    frame = frame.assign(timestamp=range(100, 106), x_label=ROWS["split"])
    frame.to_csv(root / "baby.inter", sep="\t", index=False)
    np.save(root / "image_feat.npy", _matrix(4).astype(np.float32))
    np.save(root / "text_feat.npy", _matrix(2).astype(np.float64))
    return root


def test_the_parquet_form(shared):
    ds = import_dataset(shared)
    assert (ds.name, ds.split, ds.modalities) == ("tiktak", "published", ("audio", "image"))
    assert ds.items.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert ds.users.tolist() == ["0", "1", "3"]
    assert ds.interactions["item_id"].tolist() == ["4", "0", "2", "0", "3", "2"], "the published order"
    assert ds.interactions["split"].tolist() == ROWS["split"].tolist()
    assert list(ds.interactions.columns) == ["user_id", "item_id", "split"], "no timestamps, no column for them"
    assert ds.neighbours["audio"].to_numpy().tolist() == [["0", "0", 1.0], ["0", "1", 0.5], ["1", "5", 0.25]]
    assert np.array_equal(ds.features["audio"], _matrix(3)) and ds.features["audio"].dtype == np.float16


def test_titles_and_other_columns_are_left_behind(shared, tmp_path):
    pd.DataFrame({"item_id": range(6), "title": ["a secret title"] * 6}).to_parquet(shared / "items.parquet")
    save_dataset(import_dataset(shared), tmp_path / "data")
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "data").iterdir())


def test_items_parquet_gives_the_row_order_of_string_ids(shared):
    names = np.array(list("fedcba"))
    ROWS.assign(item_id=names[ROWS["item_id"]]).to_parquet(shared / "interactions.parquet")
    GRAPH.assign(item_id=names[GRAPH["item_id"]], neighbour_id=names[GRAPH["neighbour_id"]]).to_parquet(
        shared / "audio_knn.parquet"
    )
    pd.DataFrame({"item_id": names}).to_parquet(shared / "items.parquet")
    ds = import_dataset(shared)
    assert ds.items.tolist() == list("fedcba") and ds.interactions["item_id"].tolist() == list("bfdfcd")


def test_a_zero_row_says_the_item_lacks_the_modality_and_has_no_relations(shared):
    matrix = _matrix(3)
    matrix[1] = 0
    np.save(shared / "audio.npy", matrix)
    ds = import_dataset(shared)
    assert ds.present["audio"].tolist() == [True, False, True, True, True, True]
    assert ds.neighbours["audio"].to_numpy().tolist() == [["0", "0", 1.0]]


def test_a_missing_split_is_assigned_once_and_stored(shared, tmp_path):
    ROWS.drop(columns="split").to_parquet(shared / "interactions.parquet")
    ds = import_dataset(shared, seed=3)
    assert ds.split == "assigned" and set(ds.interactions.groupby("user_id")["split"].min()) == {0}
    save_dataset(ds, tmp_path / "data")
    again = import_dataset(tmp_path / "data", seed=4)
    pd.testing.assert_frame_equal(again.interactions, ds.interactions)


def test_the_mmrec_form(mmrec):
    ds = import_dataset(mmrec)
    assert (ds.name, ds.split, ds.modalities) == ("baby", "published", ("image", "text"))
    assert ds.items.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert ds.interactions["split"].tolist() == ROWS["split"].tolist()
    assert ds.interactions["timestamp"].tolist() == list(range(100, 106))
    assert ds.features["text"].dtype == np.float32
    assert import_dataset(mmrec / "baby.inter").summary() == ds.summary()


def test_a_header_with_types_and_no_split(mmrec):
    text = (mmrec / "baby.inter").read_text().splitlines()
    rows = ["\t".join(line.split("\t")[:3]) for line in text[1:]]
    (mmrec / "baby.inter").write_text("\n".join(["user_id:token\titem_id:token\trating:float", *rows]) + "\n")
    ds = import_dataset(mmrec)
    assert ds.split == "assigned" and ds.interactions["item_id"].tolist() == ["4", "0", "2", "0", "3", "2"]


def test_our_own_form(folder, tiny):
    assert import_dataset(folder).summary() == tiny.summary()


@pytest.mark.parametrize("form", ["shared", "mmrec"])
def test_what_is_imported_can_be_stored_and_loaded(form, request, tmp_path, fingerprint):
    ds = import_dataset(request.getfixturevalue(form))
    save_dataset(ds, tmp_path / "data")
    before = fingerprint(tmp_path / "data")
    loaded = load_dataset(tmp_path / "data")
    assert loaded.summary() == ds.summary()
    save_dataset(loaded, tmp_path / "data")
    assert fingerprint(tmp_path / "data") == before


def _edit(name, change):
    return lambda root: change(pd.read_parquet(root / name)).to_parquet(root / name)


def _set(name, column, row, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame.convert_dtypes()

    return _edit(name, change)


def _save(name, value):
    return lambda root: np.save(root / name, value, allow_pickle=True)


def _nan_at(row):
    matrix = _matrix(3)
    matrix[row] = np.nan
    return matrix


INTER, KNN = "interactions.parquet", "audio_knn.parquet"
BAD_PARQUET = [
    (_edit(INTER, lambda f: f.drop(columns="user_id")), r"interactions\.parquet has no column user_id"),
    (_edit(INTER, lambda f: pd.concat([f, f.iloc[[1]]])), r"interactions\.parquet, row 7: this user and item"),
    (_edit(INTER, lambda f: f.iloc[:0]), r"interactions\.parquet is empty"),
    (_edit(INTER, lambda f: f.assign(split=2)), "no train rows"),
    (_edit(INTER, lambda f: f.assign(split=[0, 0, 7, 0, 0, 0])), r"interactions\.parquet, row 3: unknown split code"),
    (_edit(INTER, lambda f: f.assign(item_id=[0, 1, 6, 0, 1, 2])), r"row 3: item_id has no feature row \(there are 6"),
    (_edit(INTER, lambda f: f.assign(item_id=list("abcdef"))), "row 1: item_id is not a row number"),
    (_set(INTER, "user_id", 4, None), r"interactions\.parquet, row 5: user_id is empty"),
    (_set(INTER, "item_id", 4, None), r"interactions\.parquet, row 5: item_id is empty"),
    (lambda root: (root / INTER).write_bytes(b"PAR1damaged"), r"interactions\.parquet cannot be read as Parquet"),
    (_edit(KNN, lambda f: f.drop(columns="cosine")), r"audio_knn\.parquet has no column cosine"),
    (_edit(KNN, lambda f: f.assign(neighbour_id=[0, 9, 5])), r"audio_knn\.parquet, row 2: neighbour_id is not an item"),
    (lambda root: (root / "audio.npy").unlink(), r"audio_knn\.parquet has no audio\.npy"),
    (_save("audio.npy", _nan_at(3)), r"audio\.npy, row 4: a value is NaN or infinite"),
    (_save("audio.npy", _matrix(3) * np.inf), r"audio\.npy, row 1: a value is NaN or infinite"),
    (_save("image.npy", _matrix(3)[:5]), r"image\.npy has 5 rows but there are 6 items"),
    (_save("image.npy", np.zeros((6, 2))), r"image\.npy is zero in all its rows"),
    (_save("image.npy", np.zeros((0, 2))), r"image\.npy is empty"),
    (_save("image.npy", np.array([{"a": 1}], dtype=object)), r"image\.npy cannot be read as a plain \.npy array"),
    (lambda root: (root / "image.npy").write_bytes(b""), r"image\.npy cannot be read"),
    (lambda root: [path.unlink() for path in root.glob("*.npy")], "has no feature matrix"),
    (
        lambda root: pd.DataFrame({"item_id": [1, 0, 2, 3, 4, 5]}).to_parquet(root / "items.parquet"),
        "row 1: items are",
    ),
    (lambda root: pd.DataFrame({"item_id": range(5)}).to_parquet(root / "items.parquet"), r"has 6 rows .* 5 items"),
    (lambda root: pd.DataFrame({"id": range(6)}).to_parquet(root / "items.parquet"), "has no column item_id"),
    (
        lambda root: pd.DataFrame({"item_id": [0, 1, 2, 3, 4, 4]}).to_parquet(root / "items.parquet"),
        "row 6: the item",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BAD_PARQUET)
def test_bad_parquet_input_is_named(shared, damage, message):
    damage(shared)
    with pytest.raises(DataError, match=message):
        import_dataset(shared)


def _lines(change):
    def damage(root):
        lines = (root / "baby.inter").read_text().splitlines()
        change(lines)
        (root / "baby.inter").write_text("\n".join(lines) + "\n")

    return damage


def _line(number, text):
    return _lines(lambda lines: lines.__setitem__(number - 1, text))


BAD_MMREC = [
    (_line(1, "userID\trating\titem\ttimestamp\tx_label"), r"baby\.inter has no column item_id"),
    (_line(1, "userID\titemID\tuser_id\ttimestamp\tx_label"), "two columns of the header mean the same"),
    (_line(3, "0\t4\t5.0\t101\t0"), r"baby\.inter, line 3: this user and item are in an earlier line"),
    (_line(3, "0\t0\t5.0\t101\t4"), r"baby\.inter, line 3: unknown split code"),
    (_line(3, "0\t0\t5.0\t101\t"), r"baby\.inter, line 3: unknown split code"),
    (_line(3, "\t0\t5.0\t101\t0"), r"baby\.inter, line 3: user_id is empty"),
    (_line(3, "0\tshoe\t5.0\t101\t0"), r"baby\.inter, line 3: item_id is not a row number"),
    (_line(3, "0\t-1\t5.0\t101\t0"), r"baby\.inter, line 3: item_id has no feature row"),
    (_line(3, "0\t0\t5.0\tsoon\t0"), r"baby\.inter, line 3: timestamp"),
    (_line(3, "0\t0\t5.0\t101\t0\textra"), r"baby\.inter, line 3: cannot be read"),
    (_line(2, "0\t4\t5.0\t101\t0\textra"), r"baby\.inter.*: cannot be read"),
    (_lines(lambda lines: lines.__delitem__(slice(1, None))), r"baby\.inter is empty"),
    (lambda root: (root / "baby.inter").write_bytes(b""), r"baby\.inter: cannot be read"),
    (lambda root: (root / "baby.inter").write_bytes(b"userID\titemID\n\xff\xfe\t1\n"), r"baby\.inter: cannot be read"),
    (lambda root: (root / "more.inter").write_text("x"), r"holds 2 \.inter files"),
    (_save("text_feat.npy", _matrix(2)[:4]), r"text_feat\.npy has 4 rows but there are 6 items"),
    (_save("text_feat.npy", _nan_at(2)), r"text_feat\.npy, row 3: a value is NaN"),
    (lambda root: [path.unlink() for path in root.glob("*.npy")], "has no feature matrix"),
]


@pytest.mark.parametrize(("damage", "message"), BAD_MMREC)
def test_bad_mmrec_input_is_named(mmrec, damage, message):
    damage(mmrec)
    with pytest.raises(DataError, match=message):
        import_dataset(mmrec)


def test_what_is_no_data_set_says_what_would_be(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        import_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no data set"):
        import_dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        import_dataset(tmp_path / "notes.txt")


def test_messages_name_no_identifier(shared):
    frame = ROWS.assign(user_id=[f"person-{k}" for k in ROWS["user_id"]])
    pd.concat([frame, frame.iloc[[1]]]).to_parquet(shared / "interactions.parquet")
    with pytest.raises(DataError) as caught:
        import_dataset(shared)
    assert "person" not in str(caught.value)
