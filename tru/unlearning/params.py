"""Block ``unlearn`` of ``params.yaml``; apart from what reads it, so that nobody loads torch to ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from tru.errors import UnlearningError
from tru.params import Params
from tru.plugins import PluginRegistry
from tru.unlearning.baselines.settings import Rivals

UNLEARNERS = PluginRegistry(
    what="unlearner",
    key="unlearn.method",
    group="tru.unlearners",
    builtin={
        "ascent": "tru.unlearning.baselines.ascent:Ascent",
        "cut": "tru.unlearning.baselines.cut:Cut",
        "finetune": "tru.unlearning.baselines.finetune:Finetune",
        "influence": "tru.unlearning.baselines.influence:Influence",
        "mmrecun": "tru.unlearning.baselines.mmrecun:MMRecUn",
        "retrain": "tru.unlearning.retrain:Retrain",
        "shards": "tru.unlearning.baselines.shards:Shards",
        "ssd": "tru.unlearning.baselines.ssd:Ssd",
        "tru": "tru.unlearning.closed_form.method:Tru",
    },
    error=UnlearningError,
)
"""The unlearners there are; ``pyproject.toml`` declares the same as entry points."""


class UnlearnerParams(Params):
    """What block ``unlearn`` of ``params.yaml`` says of every unlearner.

    An unlearner of another package subclasses it with settings of its own, and names the subclass in its attribute
    ``params_class``; a key that the subclass does not have is an error.
    """

    method: str
    """Which unlearner: one of those that `tru unlearners` lists, or the path ``package.module:Name`` of any other."""


class Strength(Params):
    """How much of what was attributed is taken back: one scale for users' rows, others for items'."""

    users: float = Field(gt=0, allow_inf_nan=False)
    """Governs pairs of users with few edges, whose row is shaped by each of them."""
    items: float = Field(gt=0, allow_inf_nan=False)
    """Governs pairs of users with many edges."""
    gone: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """Governs what users of whom no edge is left put into items' rows: of users with 1 edge, with 2 or 3, with 4 to 7,
    and so on, the last for all beyond; empty: as ``items``."""

    def of_gone(self, classes: int) -> list[float]:
        """The scale for each of so many classes of users who are gone, by doubling numbers of edges."""
        known = self.gone or (self.items,)
        return [known[min(k, len(known) - 1)] for k in range(classes)]

    def times(self, factor: float) -> Strength:
        """All, scaled."""
        gone = tuple(scale * factor for scale in self.gone)
        return Strength(users=self.users * factor, items=self.items * factor, gone=gone)


class UnlearnParams(UnlearnerParams):
    """The settings of the built-in unlearners, which share them. Each intervention of TRU can be switched off."""

    method: str = "tru"
    """``tru``, ``retrain``, or a rival to compare with: ``cut``, ``finetune``, ``ascent``, ``mmrecun``, ``ssd``,
    ``influence``, ``shards``; see ``tru/unlearning``."""
    neutral_rows: bool = True
    """Rows that lost every edge become what a node without data has."""
    attribution: bool = True
    """Branch-wise modality scaling: take back what forgotten neighbours put into a row."""
    branches: bool = True
    """One basis per branch in the attribution; off: the final vectors only."""
    fusion_gate: bool = True
    """Ranking fusion gate: on the served vectors of users who stay, on items' rows for users who are gone."""
    isolation: bool = True
    """Report and enforce that only rows of touched nodes move; off: a uniform reverse step on all layers follows."""
    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Strength | Literal["canary"] = "canary"
    """The scale gamma of the reverse, one number or ``users``, ``items`` and ``gone``; ``canary``: calibrated on the
    pairs that training withheld."""
    ridge: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """rho of the attribution."""
    rivals: Rivals = Rivals()
    """Settings of the rivals, a block for each. Written out, and counted as settings, for the one in use only."""

    @model_serializer(mode="wrap")
    def _with_its_own_block(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = write(self)
        rivals = found.pop("rivals", {})
        return found | ({"rivals": {self.method: rivals[self.method]}} if self.method in rivals else {})


def unlearn_params_class(method: object) -> type[UnlearnerParams]:
    """The class that checks block ``unlearn`` of the method of this name; of a name that nobody bears, the built-in.

    Raises:
        UnlearningError: it is one of another package, which cannot be loaded.
    """
    return UNLEARNERS.params_class(method, UnlearnParams, UnlearnerParams)


def unlearn_params(given: Mapping[str, Any]) -> UnlearnerParams:
    """Settings of an unlearner, checked by the class of that unlearner.

    Args:
        given: as in block ``unlearn`` of ``params.yaml``, with ``method``.

    Raises:
        UnlearningError: there is no such unlearner, or it cannot be loaded.
        ValueError: a key or a value is wrong.
    """
    if "method" in given:
        UNLEARNERS.find(given["method"])
    return unlearn_params_class(given.get("method")).model_validate(given)
