"""Blocks ``model`` and ``train`` of ``params.yaml``; apart from what reads them, so that nobody loads torch to ask."""

from __future__ import annotations

from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tru.params import Params

BACKBONES: dict[str, dict[str, Any]] = {
    "concatenation": {},
    "lightgcn": {},
    "mgcn": {},
    "miggt": {"regularisation": 1e-2},
}
"""The backbones, each in the module of its name, and the settings of :class:`ModelParams` for which it has defaults of
its own."""


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
        return {**BACKBONES[name], **given} if isinstance(name, str) and name in BACKBONES else given


class TrainParams(Params):
    """Training: block ``train`` of ``params.yaml``."""

    seed: NonNegativeInt = 0
    """Of every random choice; each is a hash of (pair, epoch, seed)."""
    epochs: PositiveInt = 60
    """At most so many."""
    min_epochs: NonNegativeInt = 20
    """Early stopping may not end it before (dense data sits on a popularity plateau for a while)."""
    patience: PositiveInt = 8
    """Epochs without a better validation NDCG@20 after which training stops."""
    batch: PositiveInt | None = None
    """Pairs per batch; empty: chosen from the number of users (4096 at most)."""
    learning_rate: PositiveFloat = 2e-3
    """Of Adam."""
    canaries: NonNegativeInt = 600
    """About so many train pairs are withheld (at most 5 %); they calibrate unlearning and audit it."""
    threads: PositiveInt = 1
    """CPU threads; more than one is slower as soon as the machine has other work."""
