"""What every backbone is and does, and how one is found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tru.models.graph import Inputs
from tru.models.params import BACKBONES, BackboneParams


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


class Backbone(nn.Module, ABC):
    """A recommender with one row per user and per item, shared layers, and a deterministic embedding.

    A subclass calls ``super().__init__``, adds its shared layers and draws their initial values with
    :meth:`draw_layers`. Whatever it draws besides must be a function of nodes' keys, the epoch and the seed
    (:mod:`tru.randomness`), never of a shared generator; no parameter but ``users`` and ``items`` may have a shape that
    depends on how many there are. :class:`tru.testing.BackboneContract` tests all of this.

    Args:
        params: settings, an instance of ``params_class``.
        widths: modality -> length of its feature vectors.
        rows: initial user and item rows; become the parameters ``users`` and ``items``.
        seed: of the shared layers' initial values and of all draws.

    Attributes:
        params: the settings.
        users: (n_users, d) parameter, one row per user.
        items: (n_items, d) parameter, one row per item.
        modalities: names of the modalities, sorted.
        seed: of all draws.
    """

    params_class: ClassVar[type[BackboneParams]] = BackboneParams
    """The class of its settings."""
    item_graph: bool = False
    """Whether an item's vector is made from the rows of items that it resembles (``Prepared.knn``) as well."""

    def __init__(self, params: BackboneParams, widths: dict[str, int], rows: Rows, seed: int) -> None:
        super().__init__()
        self.params, self.seed = params, seed
        self.modalities = tuple(sorted(widths))
        self.users = nn.Parameter(torch.from_numpy(rows.users.copy()))
        self.items = nn.Parameter(torch.from_numpy(rows.items.copy()))

    def draw_layers(self) -> None:
        """Draw all linear layers (Xavier; biases zero) from a generator of their own, which nothing else can shift."""
        generator = torch.Generator().manual_seed(self.seed)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @abstractmethod
    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody on the given graph; same inputs, same vectors."""

    @abstractmethod
    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """Training objective on one batch of pairs, a scalar."""

    @abstractmethod
    def item_bases(self) -> tuple[str, ...]:
        """Bases in whose directions the memory of an item row is attributed to its users.

        ``final`` is the users' final vectors, ``start`` their initial rows, any other name one of the branches.
        """


Builder = Callable[..., Backbone]
"""Called with ``params``, ``widths``, ``rows`` and ``seed``, by keyword, as :class:`Backbone` is."""


def builder(name: str) -> Builder:
    """The class of a backbone.

    Args:
        name: one of :data:`tru.models.params.BACKBONES`, or a dotted path ``package.module:Name``: of a class, or of a
            function that builds a model that was trained elsewhere.

    Raises:
        ModelError: there is none of that name, and the message lists those there are; or it cannot be loaded.
    """
    found: Builder = BACKBONES.load(name)
    return found
