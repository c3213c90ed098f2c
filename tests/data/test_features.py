from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tru.data.features import check_matrices, clean_neighbours, load_matrix, presence
from tru.data.tables import Where
from tru.errors import DataError

ITEMS = np.array(["a", "b", "c"])


def _graph(**changes):
    columns = {"item_id": ["a", "a", "b"], "neighbour_id": ["a", "b", "a"], "cosine": [1.0, 0.5, 0.5]}
    return pd.DataFrame(columns | changes)


@pytest.mark.parametrize(("stored", "loaded"), [("float16", "float16"), ("float64", "float32"), ("int64", "float32")])
def test_matrices_are_half_or_single_precision(tmp_path, stored, loaded):
    np.save(tmp_path / "x.npy", np.ones((3, 2), dtype=stored))
    assert load_matrix(tmp_path / "x.npy").dtype == loaded


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1.0], [np.nan]]), "row 2: a value is NaN or infinite"),
        (np.array([[np.inf], [1.0]]), "row 1: a value is NaN or infinite"),
        (np.array([[1.0], [1e300]]), "row 2: a value is NaN or infinite"),
        (np.ones(3), "holds 1-d float64"),
        (np.ones((3, 1, 4)), "holds 3-d float64"),
        (np.ones((3, 4)).astype("V2"), "holds bfloat16 or another type that numpy does not know"),
        (np.ones((3, 4), dtype=[("x", "f4")]), "holds bfloat16 or another type"),
        (np.ones((3, 4), dtype=bool), "holds bool; need a matrix of numbers"),
        (np.ones((3, 4), dtype=complex), "holds complex128; need a matrix of numbers"),
        (np.array([["a"]]), "need a matrix of numbers"),
        (np.ones((0, 4)), "is empty"),
        (np.ones((4, 0)), "is empty"),
    ],
)
def test_what_is_no_matrix_of_finite_numbers_is_refused(tmp_path, value, message):
    np.save(tmp_path / "x.npy", value)
    with pytest.raises(DataError, match=message):
        load_matrix(tmp_path / "x.npy")


def test_a_row_of_zeros_says_that_the_item_lacks_the_modality():
    assert presence(np.array([[0, 0], [0, -1], [-0.0, 0]])).tolist() == [False, True, False]


def test_a_modality_that_no_item_has_is_refused(tmp_path):
    with pytest.raises(DataError, match="no item has this modality"):
        check_matrices({"image": np.zeros((3, 2))}, {"image": np.zeros(3, dtype=bool)}, 3, tmp_path)


def test_a_graph_keeps_its_order():
    clean = clean_neighbours(_graph(extra=[1, 2, 3]), ITEMS, Where("x"))
    assert list(clean.columns) == ["item_id", "neighbour_id", "cosine"]
    assert clean["neighbour_id"].tolist() == ["a", "b", "a"] and clean["cosine"].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_id": ["a", "a", "z"]}, "x, row 3: item_id is not an item"),
        ({"neighbour_id": ["a", "z", "a"]}, "x, row 2: neighbour_id is not an item"),
        ({"neighbour_id": ["a", "a", "a"]}, "x, row 2: this pair of items is in an earlier row"),
        ({"cosine": [1.0, 0.5, 1.5]}, "x, row 3: cosine"),
        ({"cosine": [1.0, np.nan, 0.5]}, "x, row 2: cosine"),
    ],
)
def test_a_broken_graph_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        clean_neighbours(_graph(**changes), ITEMS, Where("x"))
