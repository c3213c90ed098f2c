"""Sparse products on PyG's ``EdgeIndex``, and the normalised graphs that backbones propagate over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own habit
from torch_geometric import EdgeIndex

from tru.data.prepare import Prepared
from tru.models.sampling import Crowd


class SparseProduct:
    """A fixed sparse matrix that multiplies dense ones, with gradients for the dense side.

    PyG's ``EdgeIndex`` holds the matrix by rows and by columns. The product itself is torch's ``embedding_bag``, which
    prefetches the rows that it gathers: the same numbers as ``EdgeIndex.matmul`` in a third to a quarter of the time.
    """

    def __init__(self, row: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> None:
        """The matrix with the entries (row, column, weight), each (e,)."""
        self._entries, self._shape = (row, column, weight), shape

    @cached_property
    def _compressed(self) -> tuple[Compressed, Compressed]:
        """The matrix and its transpose. Made when first needed: not every backbone multiplies by every matrix."""
        row, column, weight = self._entries
        order = np.lexsort((column, row))
        ends = torch.from_numpy(np.stack([row[order], column[order]]).astype(np.int64))
        index = EdgeIndex(ends, sparse_size=self._shape, sort_order="row")
        values = torch.from_numpy(weight[order].astype(np.float32))
        (start, neighbour), _ = index.get_csr()
        (start_back, neighbour_back), places = index.get_csc()
        back = Compressed(start_back, neighbour_back, values if places is None else values[places])
        return Compressed(start, neighbour, values), back

    @property
    def edge_index(self) -> Tensor:
        """(2, e) int64 rows and columns of the entries, for layers that multiply by themselves, such as PyG's."""
        return torch.from_numpy(np.stack(self._entries[:2]).astype(np.int64))

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, d) = matrix @ x, for x of shape (columns, d)."""
        if not len(self._entries[0]):
            return x.new_zeros(self._shape[0], x.shape[1])
        product: Tensor = _Product.apply(x, *self._compressed)  # type: ignore[no-untyped-call]
        return product


class Compressed(NamedTuple):
    """A sparse matrix by rows: row r has ``weight[start[r] : start[r + 1]]`` in the columns ``column[...]``."""

    start: Tensor
    column: Tensor
    weight: Tensor


class _Product(torch.autograd.Function):
    """matrix @ x; its gradient is a product with the transposed matrix, which has a gradient of its own in turn."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Compressed, transposed: Compressed) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.matrices = matrix, transposed
        return F.embedding_bag(
            matrix.column,
            x.contiguous(),
            matrix.start,
            mode="sum",
            per_sample_weights=matrix.weight,
            include_last_offset=True,
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - torch's own
        matrix, transposed = ctx.matrices
        return _Product.apply(gradient, transposed, matrix), None, None  # type: ignore[no-untyped-call]


Product = Callable[[Tensor], Tensor]
"""A fixed matrix, as the function x -> matrix @ x."""


@dataclass(frozen=True)
class Inputs:
    """What a backbone propagates over, derived from a prepared data set.

    Attributes:
        n_users: rows of the user side.
        n_items: rows of the item side.
        edges: (e, 2) int64 pairs of user and item, by position; canaries are not among them.
        bipartite: (n_users + n_items) squared, symmetrically normalised, users first.
        user_from_items: (n_users, n_items), the upper right block of the same matrix.
        item_from_items: modality -> (n_items, n_items), the normalised kNN graph.
        features: modality -> (n_items, d_m).
        present: modality -> (n_items, 1), one where the item has the modality.
        crowds: users and items as nodes to draw for and to draw from.
    """

    n_users: int
    n_items: int
    edges: np.ndarray
    bipartite: Product
    user_from_items: Product
    item_from_items: dict[str, Product]
    features: dict[str, Tensor]
    present: dict[str, Tensor]
    crowds: tuple[Crowd, Crowd]

    @classmethod
    def of(cls, data: Prepared) -> Inputs:
        """The graphs of a prepared data set; canaries are in none of them."""
        n_users, n_items = len(data.users), len(data.items)
        user, item = data.edges[:, 0], data.edges[:, 1]
        weight = _weights(data.edges, n_users, n_items)
        return cls(
            n_users=n_users,
            n_items=n_items,
            edges=data.edges,
            bipartite=bipartite_product(data.edges, n_users, n_items),
            user_from_items=SparseProduct(user, item, weight, (n_users, n_items)),
            item_from_items={m: _neighbour_product(data, m) for m in data.modalities},
            features={m: torch.from_numpy(data.features[m]) for m in data.modalities},
            present={m: torch.from_numpy(data.present[m].astype(np.float32))[:, None] for m in data.modalities},
            crowds=(
                Crowd(data.users, np.bincount(user, minlength=n_users) > 0),
                Crowd(data.items, np.bincount(item, minlength=n_items) > 0),
            ),
        )

    def part(self, data: Prepared, users: np.ndarray, items: np.ndarray) -> Inputs:
        """:meth:`of` data that are a part of these: the same numbers, sooner.

        Args:
            data: of which no edge is new.
            users: (n_users,) positions here of the users there.
            items: (n_items,) the same for items.
        """
        found = Inputs.of(data)
        user_crowd = self.crowds[0].part(users, found.crowds[0].connected)
        item_crowd = self.crowds[1].part(items, found.crowds[1].connected)
        return replace(found, crowds=(user_crowd, item_crowd))


def bipartite_product(edges: np.ndarray, n_users: int, n_items: int) -> SparseProduct:
    """The symmetrically normalised graph of some edges (e, 2), as ``Inputs.bipartite`` is that of all of them.

    An edge weighs 1 / sqrt(degree of its user * degree of its item), degrees in this graph.
    """
    user, item = edges[:, 0], edges[:, 1] + n_users
    ends = np.concatenate([user, item]), np.concatenate([item, user])
    return SparseProduct(*ends, np.tile(_weights(edges, n_users, n_items), 2), (n_users + n_items,) * 2)


def _weights(edges: np.ndarray, n_users: int, n_items: int) -> np.ndarray:
    """(e,) symmetric normalisation."""
    user, item = edges[:, 0], edges[:, 1]
    product = np.bincount(user, minlength=n_users)[user] * np.bincount(item, minlength=n_items)[item]
    weights: np.ndarray = 1.0 / np.sqrt(product)
    return weights


def _neighbour_product(data: Prepared, modality: str) -> SparseProduct:
    """Neighbour graph weighted by similarity and normalised symmetrically by row sums (MGCN, section 3.2)."""
    n = len(data.items)
    row, column = data.knn[modality].T
    weight = np.maximum(data.similarity[modality], 0.0).astype(np.float64)
    total = np.bincount(row, weights=weight, minlength=n)
    # An item that is near nobody (its neighbours deleted, or all cosines negative) neither receives nor gives.
    scale = np.where(total > 0, 1.0 / np.sqrt(np.maximum(total, 1e-7)), 0.0)
    return SparseProduct(row, column, weight * scale[row] * scale[column], (n, n))
