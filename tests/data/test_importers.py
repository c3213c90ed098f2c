from __future__ import annotations

import itertools
import re
from dataclasses import replace

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
    (lambda root: [path.unlink() for path in root.glob("*.npy")], r"audio_knn\.parquet has no audio\.npy"),
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
]


@pytest.mark.parametrize(("damage", "message"), BAD_MMREC)
def test_bad_mmrec_input_is_named(mmrec, damage, message):
    damage(mmrec)
    with pytest.raises(DataError, match=message):
        import_dataset(mmrec)


# what real exports look like


def _inter(root, change):
    """Rewrite the columns of the .inter file as text."""
    frame = pd.read_csv(root / "baby.inter", sep="\t", dtype="str")
    change(frame).to_csv(root / "baby.inter", sep="\t", index=False)


@pytest.mark.parametrize("column", ["userID", "itemID"])
def test_ids_that_became_floats_in_a_merge_are_those_people_know(mmrec, column):
    before = import_dataset(mmrec)
    _inter(mmrec, lambda frame: frame.assign(**{column: frame[column] + ".0"}))
    ds = import_dataset(mmrec)
    pd.testing.assert_frame_equal(ds.interactions, before.interactions)
    assert len(ds.notes) == 1 and "stored as floats" in ds.notes[0] and before.notes == ()


def test_nanoseconds_stay_exact_where_one_is_missing(mmrec):
    times = [str(1_700_000_000_123_456_789 + k) for k in range(6)]
    _inter(mmrec, lambda frame: frame.assign(timestamp=[*times[:4], None, times[5]]))
    found = import_dataset(mmrec).interactions["timestamp"]
    assert found.isna().tolist() == [False] * 4 + [True, False]
    assert [str(time) for time in found.dropna()] == [*times[:4], times[5]]


@pytest.mark.parametrize("far", ["100000000000000000000", "18446744073709551615", "1e20", "99999999999999999999.0"])
def test_a_time_that_no_integer_holds_is_refused_by_its_line(mmrec, far):
    _inter(mmrec, lambda frame: frame.assign(timestamp=["1", "2", "3", far, "5", "6"]))
    with pytest.raises(DataError, match=r"baby\.inter, line 5: timestamp"):
        import_dataset(mmrec)


def test_a_split_published_as_three_files(mmrec):
    whole = import_dataset(mmrec)
    frame = pd.read_csv(mmrec / "baby.inter", sep="\t", dtype="str")
    (mmrec / "baby.inter").unlink()
    for code, word in enumerate(("train", "valid", "test")):
        part = frame[frame["x_label"] == str(code)].drop(columns="x_label")
        part.to_csv(mmrec / f"baby.{word}.inter", sep="\t", index=False)
    ds = import_dataset(mmrec)
    assert ds.summary() == whole.summary() and ds.name == "baby" and ds.split == "published"
    part = import_dataset(mmrec / "baby.train.inter")
    assert len(part.interactions) == 4 and len(part.notes) == 1
    assert "baby.test.inter, baby.valid.inter of the same split is left out" in part.notes[0]
    line = "1\t3\t5.0\t104\n"  # it is in the test part as well
    with (mmrec / "baby.train.inter").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=r"baby\.test\.inter, line 2: this user and item are in an earlier line"):
        import_dataset(mmrec)


@pytest.mark.parametrize("form", ["shared", "mmrec", "folder"])
def test_hidden_files_are_passed_over_whatever_their_ending(form, request):
    root = request.getfixturevalue(form)
    before = import_dataset(root).summary()
    for path in list(root.iterdir()):
        (root / f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert import_dataset(root).summary() == before


def _as_parts(root, name, cuts):
    """Replace a Parquet file by a folder of parts, cut at these rows, and an empty one."""
    frame = pd.read_parquet(root / name)
    (root / name).unlink()
    (root / name).mkdir()
    bounds = [0, *cuts, len(frame), len(frame)]
    for k, (start, end) in enumerate(itertools.pairwise(bounds)):
        frame.iloc[start:end].to_parquet(root / name / f"part-{k:05}-8a1c-c000.snappy.parquet")
        (root / name / f".part-{k:05}-8a1c-c000.snappy.parquet.crc").write_bytes(b"crc")
    (root / name / "_SUCCESS").touch()


def test_every_table_may_be_a_folder_of_parts(shared):
    pd.DataFrame({"item_id": range(N_ITEMS)}).to_parquet(shared / "items.parquet")
    before = import_dataset(shared)
    for name in ("interactions.parquet", "items.parquet", "audio_knn.parquet"):
        _as_parts(shared, name, [1, 2])
    ds = import_dataset(shared)
    assert ds.summary() == before.summary()
    pd.testing.assert_frame_equal(ds.interactions, before.interactions)
    pd.testing.assert_frame_equal(ds.neighbours["audio"], before.neighbours["audio"])


def test_a_fault_in_a_part_is_named_by_the_part(shared):
    _as_parts(shared, "interactions.parquet", [2, 4])
    part = next((shared / "interactions.parquet").glob("part-00001*"))
    pd.read_parquet(part).assign(split=[0, 7]).astype({"split": "int8"}).to_parquet(part)
    with pytest.raises(DataError, match=r"part-00001-8a1c-c000\.snappy\.parquet, row 2: unknown split code"):
        import_dataset(shared)


@pytest.mark.parametrize("index", [["user_id"], ["user_id", "item_id"], ["split"]])
def test_columns_that_were_an_index_are_in_the_file(shared, index):
    before = import_dataset(shared)
    ROWS.set_index(index).to_parquet(shared / "interactions.parquet")
    pd.testing.assert_frame_equal(import_dataset(shared).interactions, before.interactions)


def test_items_that_were_a_counted_index_are_in_the_file(shared):
    frame = pd.DataFrame({"title": list("abcdef")}, index=pd.RangeIndex(N_ITEMS, name="item_id"))
    frame.to_parquet(shared / "items.parquet")
    assert import_dataset(shared).items.tolist() == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("kind", ["float32", "float64", "uint64", "str", "category"])
def test_ids_of_any_type_are_the_same_ids_for_users_items_and_graphs(shared, kind):
    before = import_dataset(shared)
    pd.DataFrame({"item_id": np.arange(N_ITEMS)}).astype(kind).to_parquet(shared / "items.parquet")
    ROWS.astype({"user_id": kind, "item_id": kind}).to_parquet(shared / "interactions.parquet")
    GRAPH.astype({"item_id": kind, "neighbour_id": kind}).to_parquet(shared / "audio_knn.parquet")
    ds = import_dataset(shared)
    assert ds.items.tolist() == before.items.tolist()
    pd.testing.assert_frame_equal(ds.interactions, before.interactions)
    pd.testing.assert_frame_equal(ds.neighbours["audio"], before.neighbours["audio"])


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("bad", ["a\nb", " a", "x" * 513])
def test_ids_that_no_request_can_name_are_refused_in_every_form(shared, folder, column, bad):
    names = np.array([*"abcde", bad])
    frame = ROWS.assign(item_id=names[ROWS["item_id"]], user_id=names[ROWS["user_id"] + 2])
    pd.DataFrame({"item_id": names}).to_parquet(shared / "items.parquet")
    other = "user_id" if column == "item_id" else "item_id"
    frame = frame.assign(**{other: ROWS[other].to_numpy() if other == "item_id" else ROWS[other].astype(str)})
    if other == "item_id":
        (shared / "items.parquet").unlink()
    frame.to_parquet(shared / "interactions.parquet")
    (shared / "audio_knn.parquet").unlink()
    with pytest.raises(DataError, match=f"{column} (has|holds).*No request could name it"):
        import_dataset(shared)
    own = load_dataset(folder)
    spoiled = own.interactions[column].iloc[0]
    rows = own.interactions.replace({column: {spoiled: bad}})
    items = np.where(own.items == spoiled, bad, own.items) if column == "item_id" else own.items
    save_dataset(replace(own, interactions=rows, items=items), folder)
    assert len(load_dataset(folder).interactions) == len(rows), "what is in a workspace is read as before"
    with pytest.raises(DataError, match=f"{column} (has|holds).*No request could name it"):
        import_dataset(folder)


def test_what_was_stored_with_floats_for_ids_stays(folder):
    own = load_dataset(folder)
    users = {user: f"{k}.0" for k, user in enumerate(own.users.tolist())}
    save_dataset(replace(own, interactions=own.interactions.replace({"user_id": users})), folder)
    ds = import_dataset(folder)
    assert set(ds.users) == set(users.values())
    assert ds.notes == ()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([True, True, False, True, False, True], "split holds true and false"),
        ([True, True, None, True, False, True], "split holds true and false"),
        (["train", "train", "valid", "train", "test", "train"], "row 1: unknown split code"),
        (["true"] * 6, "row 1: unknown split code"),
        ([0, 0, 3, 0, 2, 0], "row 3: unknown split code"),
        ([0, 0, -1, 0, 2, 0], "row 3: unknown split code"),
        ([0, 0, None, 0, 2, 0], "row 3: unknown split code, or none"),
        ([0.0, 0.0, 0.5, 0.0, 2.0, 0.0], "row 3: unknown split code"),
        ([None] * 6, "row 1: unknown split code"),
    ],
)
def test_a_split_column_of_another_meaning_is_refused(shared, split, message):
    ROWS.assign(split=pd.Series(split)).to_parquet(shared / "interactions.parquet")
    with pytest.raises(DataError, match=message):
        import_dataset(shared)


@pytest.mark.parametrize("kind", ["float64", "str", "uint8", "Int64"])
def test_split_codes_of_other_types_are_the_same_codes(shared, kind):
    before = import_dataset(shared)
    ROWS.astype({"split": kind}).to_parquet(shared / "interactions.parquet")
    pd.testing.assert_frame_equal(import_dataset(shared).interactions, before.interactions)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("mmrec", "audio_feat.npz"),
        ("mmrec", "audio_feat.npy.gz"),
        ("mmrec", "audio_feat.pt"),
        ("mmrec", "audio_feat.NPY"),
        ("mmrec", "audio_features.npy"),
        ("mmrec", "Audio_Feat.npy"),
        ("mmrec", "audio_feat.npy.part"),
        ("shared", "text.npz"),
        ("shared", "text.npy.gz"),
        ("shared", "text.pt"),
        ("shared", "text.NPY"),
        ("shared", "text.h5"),
        ("shared", "text_feat.safetensors"),
    ],
)
def test_features_in_a_form_that_is_not_read_are_not_dropped_in_silence(form, name, request):
    root = request.getfixturevalue(form)
    (root / name).write_bytes(b"features")
    with pytest.raises(DataError, match=f"{re.escape(name)} would not be read"):
        import_dataset(root)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("mmrec", "image_feat.npz"),
        ("mmrec", "user_graph_dict.npy"),
        ("mmrec", "mm_adj_freedomdsp_10_1.pt"),
        ("shared", "image.npz"),
        ("shared", "users.parquet"),
        ("shared", "image_feat.parquet"),
    ],
)
def test_other_files_that_could_be_features_are_named(form, name, request):
    root = request.getfixturevalue(form)
    before = import_dataset(root)
    (root / name).write_bytes(b"something")
    (root / "README.md").write_text("nothing of the kind")
    ds = import_dataset(root)
    assert ds.summary() == before.summary()
    (note,) = ds.notes
    assert f"not read: {name}." in note


@pytest.mark.parametrize("kind", ["parquet", "folder of parts"])
def test_the_table_itself_is_not_the_data_set(shared, kind):
    if kind != "parquet":
        _as_parts(shared, "interactions.parquet", [2])
    with pytest.raises(DataError, match=r"is a table of the data set\. Name the folder that holds it"):
        import_dataset(shared / "interactions.parquet")


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
