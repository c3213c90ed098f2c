from __future__ import annotations

import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tru.data.parquet import read_table, write_table
from tru.errors import DataError


def test_a_table_survives_and_its_bytes_depend_on_its_values_alone(tmp_path):
    columns = {"name": (pa.string(), ["a", "b"]), "time": (pa.int64(), pd.array([1, None], dtype="Int64"))}
    write_table(columns, tmp_path / "one.parquet")
    write_table(columns, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    frame, _ = read_table(tmp_path / "one.parquet", ["name"], ["time"])
    assert frame["name"].tolist() == ["a", "b"]
    assert frame["time"].dtype == "Int64" and frame["time"].isna().tolist() == [False, True]


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path):
    (tmp_path / "user_id=7").mkdir()
    write_table({"name": (pa.string(), ["a"])}, tmp_path / "user_id=7" / "x.parquet")
    assert list(read_table(tmp_path / "user_id=7" / "x.parquet", ["name"], ["user_id"])[0].columns) == ["name"]


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 cut off"])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
        read_table(tmp_path / "x.parquet")


def test_a_missing_column_is_named(tmp_path):
    write_table({"name": (pa.string(), ["a"])}, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet has no column split"):
        read_table(tmp_path / "x.parquet", ["name", "split"])


def test_only_the_wanted_columns_are_read(tmp_path):
    """Whatever type the others are of."""
    strange = pa.array([{"a": 1}, {"a": 2}])
    pq.write_table(pa.table({"title": strange, "item_id": ["x", "y"], "price": [1, 2]}), tmp_path / "x.parquet")
    assert list(read_table(tmp_path / "x.parquet", ["item_id"], ["split"])[0].columns) == ["item_id"]


@pytest.mark.parametrize("index", [["user_id"], ["user_id", "item_id"]])
def test_a_column_that_was_an_index_is_found(tmp_path, index):
    pd.DataFrame({"user_id": [7, 8], "item_id": [1, 2]}).set_index(index).to_parquet(tmp_path / "x.parquet")
    frame, _ = read_table(tmp_path / "x.parquet", ["user_id", "item_id"])
    assert frame["user_id"].tolist() == [7, 8] and frame["item_id"].tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "uint64"])
def test_integers_stay_integers_where_some_are_missing(tmp_path, kind):
    top = int(np.iinfo(kind).max)
    pq.write_table(pa.table({"x": pa.array([top, None, top - 1], kind)}), tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet", ["x"])[0]["x"].tolist() == [top, pd.NA, top - 1]


def test_uuids_are_text(tmp_path):
    ids = [uuid.UUID(int=k) for k in (1, 2)]
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([i.bytes for i in ids] + [None], pa.binary(16)))
    pq.write_table(pa.table({"user_id": column}), tmp_path / "x.parquet", store_schema=False)
    assert read_table(tmp_path / "x.parquet", ["user_id"])[0]["user_id"].tolist()[:2] == [str(i) for i in ids]


def test_text_that_is_no_utf_8_is_named(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"user_id": broken}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
        read_table(tmp_path / "x.parquet", ["user_id"])


# folders of parts


def _folder(root, **parts):
    """A folder of parts as Spark leaves it."""
    folder = root / "x.parquet"
    folder.mkdir()
    for name, table in parts.items():
        pq.write_table(pa.table(table), folder / f"{name.replace('_', '.')}.parquet")
        (folder / f".{name}.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    return folder


def test_parts_are_joined_in_the_order_of_their_names_and_numbers(tmp_path):
    folder = _folder(tmp_path, part_10={"x": [5]}, part_2={"x": [3, 4]}, part_0={"x": [1, 2]})
    frame, where = read_table(folder, ["x"])
    assert frame["x"].tolist() == [1, 2, 3, 4, 5]
    assert where.at(frame["x"] == 4) == f"{folder / 'part.2.parquet'}, row 2"
    assert where.at(frame["x"] == 5) == f"{folder / 'part.10.parquet'}, row 1"


def test_parts_without_rows_are_passed_over_whatever_their_types(tmp_path):
    none = pa.array([], pa.null())
    folder = _folder(tmp_path, part_0={"x": none}, part_1={"x": [1]}, part_2={"x": pa.array([], pa.string())})
    assert read_table(folder, ["x"])[0]["x"].tolist() == [1]
    (tmp_path / "empty").mkdir()
    folder = _folder(tmp_path / "empty", part_0={"x": none}, part_1={"x": none})
    assert len(read_table(folder, ["x"])[0]) == 0


@pytest.mark.parametrize("other", [{"x": ["1"]}, {"x": [1.0]}, {"x": [1], "split": [0]}])
def test_parts_that_differ_are_refused(tmp_path, other):
    folder = _folder(tmp_path, part_0={"x": [1]}, part_1=other)
    with pytest.raises(DataError, match=r"part\.1\.parquet: its (x|split) is not of the type"):
        read_table(folder, ["x"], ["split"])


def test_columns_that_nobody_reads_may_differ_and_any_order_does(tmp_path):
    folder = _folder(tmp_path, part_0={"x": [1], "y": [1], "z": [1]}, part_1={"y": [2], "x": [2], "z": ["2"]})
    frame, _ = read_table(folder, ["x", "y"])
    assert frame[["x", "y"]].to_numpy().tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: (f / "_delta_log").mkdir(), "is a Delta table, whose files also hold deleted rows"),
        (lambda f: (f / ".hoodie").mkdir(), "is a Hudi table"),
        (lambda f: (f / "metadata").mkdir(), "is an Iceberg table"),
        (lambda f: (f / "_temporary").mkdir(), "is unfinished"),
        (lambda f: (f / "split=0").mkdir(), "is a folder in a folder of Parquet parts"),
        (lambda f: (f / "part-1.csv").touch(), "is not a Parquet part"),
        (lambda f: (f / "part-1.parquet").write_bytes(b"PAR1 cut"), r"part-1\.parquet cannot be read as Parquet"),
        (lambda f: [path.unlink() for path in f.glob("part*")], "is a folder without Parquet files"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path, make, message):
    folder = _folder(tmp_path, part_0={"x": [1]})
    make(folder)
    with pytest.raises(DataError, match=message):
        read_table(folder, ["x"])
