from __future__ import annotations

import numpy as np
import pytest

from tru.data.tables import Where, check_modality_name, read_matrix, require_columns, visible, write_matrix
from tru.errors import DataError


def test_where_counts_from_one_and_lines_from_two():
    bad = np.array([False, True, True])
    assert Where("a.parquet").at(bad) == "a.parquet, row 2"
    assert Where("a.inter", first=2, unit="line").at(bad) == "a.inter, line 3"


def test_where_finds_the_file_among_several():
    parts = (("a.inter", 2), ("b.inter", 0), ("c.inter", 3))
    where = Where("folder", first=2, unit="line", parts=parts)
    assert where.at(np.array([False, True, True, False, False])) == "a.inter, line 3"
    assert where.at(np.array([False, False, True, False, False])) == "c.inter, line 2"
    assert where.at(np.array([False, False, False, False, True])) == "c.inter, line 4"


def test_hidden_files_are_not_visible(tmp_path):
    for name in ("b.npy", "a.npy", "._a.npy", ".hidden", ".DS_Store"):
        (tmp_path / name).touch()
    assert [path.name for path in visible(tmp_path)] == ["a.npy", "b.npy"]
    assert [path.name for path in visible(tmp_path, "*.npy")] == ["a.npy", "b.npy"]


def test_columns_are_there_once_and_case_counts():
    require_columns(["user_id", "x", "x"], ["user_id"], "f")
    with pytest.raises(DataError, match=r"f has no column user_id \(there is USER_ID; case counts\)"):
        require_columns(["USER_ID"], ["user_id"], "f")
    with pytest.raises(DataError, match="f has several columns user_id"):
        require_columns(["user_id", "user_id"], ["user_id"], "f")


def test_a_pointer_to_a_large_file_is_named(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match=r"x\.npy is a Git LFS pointer"):
        read_matrix(tmp_path / "x.npy")


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


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden"])
def test_a_modality_name_must_be_able_to_name_a_file(name):
    with pytest.raises(DataError, match="names no modality"):
        check_modality_name(name, "x.npy")
