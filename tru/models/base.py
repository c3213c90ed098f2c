"""What every backbone offers, and the register of those there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from tru.errors import ModelError
from tru.models.params import BACKBONES, ModelParams
from tru.models.propagation import Inputs


@dataclass(frozen=True)
class Embedding:
    """Vectors of all users and items.

    Attributes:
        users: (n_users, d).
        items: (n_items, d); the score of a pair is the dot product of its two rows.
        branches: name -> the part of (users, items) that this branch contributes.
    """

    users: Tensor
    items: Tensor
    branches: dict[str, tuple[Tensor, Tensor]]


class Backbone(Protocol):
    """A recommender with one row per user and per item, shared layers, and a deterministic embedding."""

    users: nn.Parameter
    items: nn.Parameter
    item_graph: bool
    """Whether an item's vector is made from the rows of items that it resembles (``Prepared.knn``) as well."""

    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody on the given graph; same inputs, same vectors."""
        ...

    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """Training objective on one batch of pairs, a scalar."""
        ...

    def item_bases(self) -> tuple[str, ...]:
        """Bases in whose directions the memory of an item row is attributed to its users.

        ``final`` is the users' final vectors, ``start`` their initial rows, any other name one of the branches.
        """
        ...


@dataclass(frozen=True)
class Batch:
    """Pairs to learn from.

    Attributes:
        users: (b,) int64.
        positives: (b,) int64.
        negatives: (b,) int64 items drawn for each pair.
        chunks: lengths of the consecutive groups within which contrastive negatives are taken; they sum to b.
        epoch: of the training; with ``number`` and a node's key it decides whatever else a loss draws.
        number: of the batch within its epoch.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    chunks: list[int]
    epoch: int = 0
    number: int = 0


@dataclass(frozen=True)
class Rows:
    """The initial tables: (n_users, d) and (n_items, d) float32."""

    users: np.ndarray
    items: np.ndarray


Builder = Callable[[ModelParams, dict[str, int], Rows, int], nn.Module]
B = TypeVar("B", bound=Builder)


_BACKBONES: dict[str, Builder] = {}


def backbone(name: str) -> Callable[[B], B]:
    """Register a builder ``(params, feature widths, initial rows, seed) -> module`` under what ``model.name`` says."""

    def keep(builder: B) -> B:
        _BACKBONES[name] = builder
        return builder

    return keep


def builder(name: str) -> Builder:
    """The builder of a backbone.

    Raises:
        ModelError: there is none of that name; the message lists those there are.
    """
    for known in BACKBONES:
        importlib.import_module(f"tru.models.{known}")  # it registers itself
    if name not in _BACKBONES:
        raise ModelError(f"model.name: no backbone is called {name!r}. There are: {', '.join(sorted(_BACKBONES))}.")
    return _BACKBONES[name]
