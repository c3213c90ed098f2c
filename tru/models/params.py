"""Blocks ``model`` and ``train`` of ``params.yaml``; apart from what reads them, so that nobody loads torch to ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tru.errors import ModelError
from tru.params import Params
from tru.plugins import PluginRegistry

BACKBONES = PluginRegistry(
    what="backbone",
    key="model.name",
    group="tru.backbones",
    builtin={
        "concatenation": "tru.models.concatenation:Concatenation",
        "lightgcn": "tru.models.lightgcn:LightGCN",
        "mgcn": "tru.models.mgcn:MGCN",
        "miggt": "tru.models.miggt:MIGGT",
    },
    error=ModelError,
)
"""The backbones there are; ``pyproject.toml`` declares the same as entry points."""

_OWN_DEFAULTS: dict[str, dict[str, Any]] = {"miggt": {"regularisation": 1e-2}}
"""Settings of :class:`ModelParams` for which a backbone has defaults of its own."""

MULTIMODAL = ("mgcn", "miggt")
"""Those that read features: without any they would train layers on nothing."""


def refuse_without_features(name: str, modalities: Collection[str]) -> None:
    """Refuse to train a backbone on data that has nothing of what it reads.

    Args:
        name: of the backbone.
        modalities: which the data has.

    Raises:
        ModelError: it needs features and there are none.
    """
    if name in MULTIMODAL and not modalities:
        raise ModelError(
            f"{name} reads features of items and the data has none: train lightgcn (model.name: lightgcn), or import "
            "the data with features."
        )


class BackboneParams(Params):
    """What block ``model`` of ``params.yaml`` says of every backbone.

    A backbone of another package subclasses it with settings of its own, and names the subclass in its attribute
    ``params_class``; a key that the subclass does not have is an error.
    """

    name: str
    """Which backbone: one of those that `tru backbones` lists, or the path ``package.module:Name`` of any other."""
    width: PositiveInt = 64
    """Length of every embedding."""

    def without_modalities(self, gone: Collection[str]) -> Self:
        """The settings for data in which some modalities do not occur any more: here the same."""
        return self


class ModelParams(BackboneParams):
    """The settings of the built-in backbones, which share them."""

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
        return {**_OWN_DEFAULTS[name], **given} if isinstance(name, str) and name in _OWN_DEFAULTS else given

    def without_modalities(self, gone: Collection[str]) -> Self:
        """The same without the hops of branches that there are not any more."""
        return self.model_copy(update={"hops": {branch: n for branch, n in self.hops.items() if branch not in gone}})


def model_params_class(name: object) -> type[BackboneParams]:
    """The class that checks block ``model`` of the backbone of this name; of a name that nobody bears, the built-in.

    Raises:
        ModelError: it is one of another package, which cannot be loaded.
    """
    # What builds a model that was trained elsewhere may have no class of its own, and use what the built-in ones have.
    return BACKBONES.params_class(name, ModelParams, ModelParams)


def model_params(given: Mapping[str, Any]) -> BackboneParams:
    """Settings of a backbone, checked by the class of that backbone.

    Args:
        given: as in block ``model`` of ``params.yaml``, with ``name``.

    Raises:
        ModelError: there is no such backbone, or it cannot be loaded.
        ValueError: a key or a value is wrong.
    """
    if "name" in given:
        BACKBONES.find(given["name"])
    return model_params_class(given.get("name")).model_validate(given)


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
