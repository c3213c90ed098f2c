from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tru.data.interactions import clean_interactions, load_dataset, save_dataset
from tru.data.tables import Where
from tru.errors import DataError


def _rewrite(path, change):
    """Read a Parquet file, change the frame, write it back."""
    frame = pd.read_parquet(path)
    pq.write_table(pa.Table.from_pandas(change(frame), preserve_index=False), path)


def _twice(frame):
    return pd.concat([frame, frame.iloc[[3]]])


def _with(column, row, value):
    def change(frame):
        values = frame[column].astype(object)
        values.iloc[row] = value
        return frame.assign(**{column: values})

    return change


def test_what_is_saved_is_loaded(tiny, folder):
    loaded = load_dataset(folder)
    assert (loaded.name, loaded.split, loaded.source) == (tiny.name, tiny.split, tiny.source)
    pd.testing.assert_frame_equal(loaded.interactions, tiny.interactions)
    assert np.array_equal(loaded.items, tiny.items) and loaded.modalities == ("image", "text")
    for m in tiny.modalities:
        assert loaded.features[m].dtype == np.float16 and np.array_equal(loaded.features[m], tiny.features[m])
        assert np.array_equal(loaded.present[m], tiny.present[m])


def test_neighbours_and_timestamps_survive(tiny, tmp_path):
    graph = pd.DataFrame({"item_id": tiny.items[:2], "neighbour_id": tiny.items[2:4], "cosine": np.float32([0.5, 1])})
    graph = graph.astype({"item_id": "str", "neighbour_id": "str"})
    times = pd.array([None, *range(1, len(tiny.interactions))], dtype="Int64")
    ds = replace(tiny, interactions=tiny.interactions.assign(timestamp=times), neighbours={"image": graph})
    save_dataset(ds, tmp_path / "data")
    loaded = load_dataset(tmp_path / "data")
    pd.testing.assert_frame_equal(loaded.interactions, ds.interactions)
    pd.testing.assert_frame_equal(loaded.neighbours["image"], graph)


def test_saving_what_was_loaded_gives_the_same_bytes(folder, fingerprint):
    before = fingerprint(folder)
    save_dataset(load_dataset(folder), folder)
    assert fingerprint(folder) == before


def test_users_are_sorted_and_the_summary_counts(tiny):
    assert tiny.users.tolist() == sorted(set(tiny.interactions["user_id"]))
    facts = tiny.summary()
    assert facts["train"] + facts["val"] + facts["test"] == facts["interactions"] == len(tiny.interactions)
    assert facts["modalities"] == {"image": [80, 64], "text": [80, 32]}


BROKEN_TABLES = [
    ("interactions", lambda f: f.drop(columns="split"), r"interactions\.parquet has no column split"),
    ("interactions", _twice, r"interactions\.parquet, row \d+: this user and item are in an earlier row"),
    ("interactions", _with("user_id", 4, None), r"interactions\.parquet, row 5: user_id is empty"),
    ("interactions", _with("item_id", 4, " "), r"interactions\.parquet, row 5: item_id is blank"),
    ("interactions", _with("item_id", 4, "no-such"), r"interactions\.parquet, row 5: the item has no feature row"),
    ("interactions", _with("split", 6, 3), r"interactions\.parquet, row 7: unknown split code"),
    ("interactions", _with("split", 6, None), r"interactions\.parquet, row 7: unknown split code"),
    ("interactions", lambda f: f.assign(split=1), "no train rows"),
    ("interactions", lambda f: f.iloc[:0], r"interactions\.parquet is empty"),
    ("items", lambda f: f.drop(columns="has_image"), r"items\.parquet has no column has_image"),
    ("items", lambda f: f.iloc[:-1], r"image\.npy has 80 rows but there are 79 items"),
    ("items", lambda f: f.iloc[:0], r"items\.parquet is empty"),
    ("items", _with("item_id", 2, None), r"items\.parquet, row 3: item_id is empty"),
    (
        "items",
        lambda f: f.assign(item_id=f["item_id"].iloc[[0, *range(79)]].tolist()),
        "row 2: the item is in an",
    ),
    ("items", lambda f: f.assign(has_text=[False] + [True] * 79), r"text\.npy, row 1: the row contradicts has_text"),
    ("items", lambda f: f.assign(has_text=1), "has_text must be true or false"),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN_TABLES)
def test_a_broken_table_is_refused(folder, name, change, message):
    _rewrite(folder / f"{name}.parquet", change)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(folder)
    assert "u-" not in str(caught.value) and "B0" not in str(caught.value).replace(str(folder), "")


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet", "image.npy", "dataset.json"])
def test_a_missing_or_damaged_file_is_named(folder, name):
    (folder / name).write_bytes(b"damaged")
    with pytest.raises(DataError, match=name):
        load_dataset(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        load_dataset(folder)


@pytest.mark.parametrize(
    "meta",
    [[], {"name": "x"}, {"modalities": ["../x"]}, {"split": "other"}, {"modalities": "image"}],
)
def test_a_wrong_description_is_refused(folder, meta):
    good = json.loads((folder / "dataset.json").read_text())
    bad = meta if isinstance(meta, list) or meta == {"name": "x"} else good | meta
    (folder / "dataset.json").write_text(json.dumps(bad))
    with pytest.raises(DataError, match=r"dataset\.json"):
        load_dataset(folder)


def test_a_file_that_belongs_to_nothing_is_refused(folder):
    (folder / "backup.parquet").write_bytes(b"rows of people who asked to be forgotten")
    with pytest.raises(DataError, match="no deletion would reach it"):
        load_dataset(folder)


def test_a_folder_that_is_not_there_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="tru data generate"):
        load_dataset(tmp_path / "data")


def test_loading_puts_back_what_a_killed_process_moved_aside(folder, tiny):
    folder.rename(folder.with_name(f"data.old-{os.getpid()}.swap"))
    assert len(load_dataset(folder).interactions) == len(tiny.interactions)


@pytest.mark.parametrize("times", [[1.5, 2.0], pd.to_datetime(["2020-01-01", "2020-01-02"]), ["1", "soon"]])
def test_timestamps_are_whole_numbers(times):
    frame = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "split": [0, 0], "timestamp": times})
    with pytest.raises(DataError, match="timestamp"):
        clean_interactions(frame, Where("x.parquet"))
