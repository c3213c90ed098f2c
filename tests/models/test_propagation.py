from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tru.models.graph import Inputs, SparseProduct


def entries(rows, columns, count, seed):
    rng = np.random.default_rng(seed)
    at = rng.choice(rows * columns, size=count, replace=False)
    return at // columns, at % columns, rng.normal(size=count).astype(np.float32)


@pytest.mark.parametrize(("shape", "count"), [((7, 7), 20), ((5, 9), 12), ((9, 5), 45), ((30, 2), 1)])
def test_products_and_gradients_equal_dense_ones(shape, count):
    row, column, weight = entries(*shape, count, seed=count)
    dense = torch.zeros(shape)
    dense[torch.from_numpy(row), torch.from_numpy(column)] = torch.from_numpy(weight)
    x = torch.randn(shape[1], 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    along = torch.randn(shape[0], 4, generator=torch.Generator().manual_seed(1))
    product = SparseProduct(row, column, weight, shape)
    torch.testing.assert_close(product(x), dense @ x)
    for power in (1, 3):  # a gradient that itself depends on x, too
        (found,) = torch.autograd.grad((product(x) ** power * along).sum(), x)
        (expected,) = torch.autograd.grad(((dense @ x) ** power * along).sum(), x)
        torch.testing.assert_close(found, expected)


def test_the_order_of_the_entries_is_no_matter():
    row, column, weight = entries(6, 6, 15, seed=0)
    x, order = torch.eye(6), np.random.default_rng(1).permutation(15)
    one = SparseProduct(row, column, weight, (6, 6))(x)
    assert torch.equal(one, SparseProduct(row[order], column[order], weight[order], (6, 6))(x))


def test_an_empty_matrix_gives_zeros():
    nothing = np.zeros(0, dtype=np.int64)
    assert torch.equal(SparseProduct(nothing, nothing, np.zeros(0), (3, 2))(torch.ones(2, 5)), torch.zeros(3, 5))


# the graphs


def test_the_bipartite_graph_is_normalised_by_the_roots_of_both_degrees():
    data = tiny.prepared()
    n, m = len(data.users), len(data.items)
    plain = torch.zeros(n + m, n + m)
    plain[data.edges[:, 0], data.edges[:, 1] + n] = 1.0
    plain = plain + plain.T
    scale = plain.sum(1).clamp_min(1e-9).rsqrt() * (plain.sum(1) > 0)
    expected = scale[:, None] * plain * scale
    inputs = Inputs.of(data)
    torch.testing.assert_close(inputs.bipartite(torch.eye(n + m)), expected)
    torch.testing.assert_close(inputs.user_from_items(torch.eye(m)), expected[:n, n:])


def test_canaries_and_held_out_rows_are_in_no_graph():
    data = tiny.by_hand("ab", "xyz", "ax by", canaries="ay", val="bx", test="az")
    inputs = Inputs.of(data)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert torch.equal(inputs.user_from_items(torch.eye(3)), expected)
    assert torch.equal(inputs.bipartite(torch.eye(5))[:2, 2:], expected)


def test_neighbours_count_by_similarity_and_by_the_row_sums_of_both_ends():
    data = replace(
        tiny.by_hand("a", "xyz", "ax"),
        knn={"image": np.array([[0, 0], [0, 1], [1, 1], [2, 2], [2, 0]])},
        similarity={"image": np.array([1.0, 0.44, 1.0, 1.0, -0.5], dtype=np.float32)},
    )
    found = Inputs.of(data).item_from_items["image"](torch.eye(3))
    torch.testing.assert_close(found, torch.tensor([[1 / 1.44, 0.44 / 1.2, 0], [0, 1.0, 0], [0, 0, 1.0]]))


def test_an_item_whose_own_neighbours_are_gone_is_not_blown_up():
    data = replace(
        tiny.by_hand("a", "xyz", "ax"),
        knn={"image": np.array([[0, 0], [0, 1], [2, 2], [2, 1]])},  # 1 names nobody, others name it
        similarity={"image": np.array([1.0, 0.5, 1.0, 0.0], dtype=np.float32)},
    )
    found = Inputs.of(data).item_from_items["image"](torch.eye(3))
    assert found.abs().max() <= 1.0
    assert (found[:, 1] == 0).all()


def test_presence_and_features_are_those_of_the_data():
    data = tiny.by_hand("a", "xyz", "ax", present="xz")
    inputs = Inputs.of(data)
    assert inputs.present["image"].tolist() == [[1.0], [0.0], [1.0]]
    assert torch.equal(inputs.features["image"], torch.diag(torch.tensor([1.0, 0.0, 1.0])))
    assert (inputs.n_users, inputs.n_items) == (1, 3)
