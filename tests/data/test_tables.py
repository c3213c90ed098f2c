from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tru.data.tables import Where, check_modality_name, read_matrix, read_table, to_ids, write_matrix, write_table
from tru.errors import DataError


def test_where_counts_from_one_and_lines_from_two():
    bad = np.array([False, True, True])
    assert Where("a.parquet").at(bad) == "a.parquet, row 2"
    assert Where("a.inter", first=2, unit="line").at(bad) == "a.inter, line 3"


def test_a_table_survives_and_its_bytes_depend_on_its_values_alone(tmp_path):
    columns = {"name": (pa.string(), ["a", "b"]), "time": (pa.int64(), pd.array([1, None], dtype="Int64"))}
    write_table(columns, tmp_path / "one.parquet")
    write_table(columns, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    frame = read_table(tmp_path / "one.parquet", ["name"])
    assert frame["name"].tolist() == ["a", "b"]
    assert frame["time"].dtype == "Int64" and frame["time"].isna().tolist() == [False, True]


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path):
    (tmp_path / "user_id=7").mkdir()
    write_table({"name": (pa.string(), ["a"])}, tmp_path / "user_id=7" / "x.parquet")
    assert list(read_table(tmp_path / "user_id=7" / "x.parquet").columns) == ["name"]


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 cut off"])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
        read_table(tmp_path / "x.parquet")


def test_a_missing_column_is_named(tmp_path):
    write_table({"name": (pa.string(), ["a"])}, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet has no column split"):
        read_table(tmp_path / "x.parquet", ["name", "split"])


def test_matrices_are_read_without_pickle(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled"):
        read_matrix(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not numpy at all", b"\x80\x04K\x01."])
def test_a_damaged_matrix_is_named(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npy cannot be read"):
        read_matrix(tmp_path / "x.npy")


def test_a_matrix_cut_off_is_named(tmp_path):
    write_matrix(np.ones((10, 10), dtype=np.float32), tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match=r"x\.npy cannot be read"):
        read_matrix(tmp_path / "x.npy")


def test_a_matrix_is_stored_row_by_row_little_endian(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_matrix(matrix, tmp_path / "a.npy")
    write_matrix(np.asfortranarray(matrix.astype(">f4")), tmp_path / "b.npy")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert np.array_equal(np.load(tmp_path / "a.npy"), matrix)


@pytest.mark.parametrize("values", [[3, 7], pd.array([3, 7], dtype="Int64"), pd.Categorical(["3", "7"]), ["3", "7"]])
def test_ids_become_strings(values):
    assert to_ids(pd.Series(values), Where("x"), "user_id").tolist() == ["3", "7"]


@pytest.mark.parametrize(
    "values", [["a", None], ["a", " "], ["a", ""], ["a", "b\x00"], pd.array([1, None], dtype="Int64")]
)
def test_an_empty_id_is_named_by_its_row(values):
    with pytest.raises(DataError, match="x, row 2: user_id is"):
        to_ids(pd.Series(values), Where("x"), "user_id")


def test_ids_are_strings_or_whole_numbers():
    with pytest.raises(DataError, match="whole numbers"):
        to_ids(pd.Series([1.5, 2.5]), Where("x"), "user_id")


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden"])
def test_a_modality_name_must_be_able_to_name_a_file(name):
    with pytest.raises(DataError, match="names no modality"):
        check_modality_name(name, "x.npy")
