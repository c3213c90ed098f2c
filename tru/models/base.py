"""What every backbone offers, and the register of those there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from tru.errors import ModelError
from tru.models.propagation import Inputs
from tru.params import Params


class ModelParams(Params):
    """The backbone: block ``model`` of ``params.yaml``."""

    name: str = "mgcn"
    """Which backbone; see ``tru/models``."""
    width: PositiveInt = 64
    """Length of every embedding."""
    layers: NonNegativeInt = 2
    """Hops of the user-item graph."""
    item_layers: NonNegativeInt = 1
    """Hops of each modality's item-item graph."""
    temperature: PositiveFloat = 0.2
    """Of the contrastive loss."""
    contrast: NonNegativeFloat = 0.02
    """Weight of the contrastive loss against the ranking loss."""
    regularisation: NonNegativeFloat = 1e-4
    """Weight of the squared length of a batch's vectors: final ones, or LightGCN's rows (MIG-GT: 1e-2)."""
    hops: dict[str, NonNegativeInt] = Field(default={"id": 4})
    """MIG-GT: receptive field of each branch, ``id`` or a modality; ``layers`` for those not named."""
    restart: float = Field(default=0.3, gt=0, le=1)
    """MIG-GT: share of its own start in each hop of a node (alpha of MGDCF)."""
    hidden: PositiveInt = 64
    """MIG-GT: width between the two layers of a modality's encoder."""
    features: PositiveFloat = 0.1
    """MIG-GT: factor with which encoders' outputs enter beside the rows; more where features say much about taste."""
    samples: NonNegativeInt = 10
    """MIG-GT: nodes that the global transformer draws for each node."""
    attention: float = Field(default=0.1, ge=0, le=1)
    """MIG-GT: share of what is attended to in a final vector; the rest is the node's own."""
    unsmooth: NonNegativeFloat = 1.0
    """MIG-GT: weight of telling an item from those it attends to."""
    negatives: PositiveInt = 4
    """MIG-GT: items that each pair has to beat."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """MIG-GT: share of the inputs left out in training."""

    @model_validator(mode="before")
    @classmethod
    def _with_own_defaults(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
        """What is not set takes the backbone's own default, where it has one."""
        name = given.get("name", "mgcn") if isinstance(given, dict) else None
        return {**_registered()[name].defaults, **given} if isinstance(name, str) and name in _registered() else given


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


@dataclass(frozen=True)
class _Registered:
    """A backbone of the register: how it is built, and which settings it wants where nothing is said."""

    build: Builder
    defaults: dict[str, Any]


_BACKBONES: dict[str, _Registered] = {}


def backbone(name: str, **defaults: Any) -> Callable[[B], B]:  # noqa: ANN401 - values of ModelParams
    """Register a builder ``(params, feature widths, initial rows, seed) -> module`` under a name.

    Args:
        name: what ``model.name`` says.
        defaults: settings of :class:`ModelParams` for which this backbone has a default of its own.
    """

    def keep(builder: B) -> B:
        _BACKBONES[name] = _Registered(builder, defaults)
        return builder

    return keep


def builder(name: str) -> Builder:
    """The builder of a backbone.

    Raises:
        ModelError: there is none of that name; the message lists those there are.
    """
    known = _registered()
    if name not in known:
        raise ModelError(f"model.name: no backbone is called {name!r}. There are: {', '.join(sorted(known))}.")
    return known[name].build


def _registered() -> dict[str, _Registered]:
    from tru.models import concatenation, lightgcn, mgcn, miggt  # noqa: F401 - register themselves

    return _BACKBONES
