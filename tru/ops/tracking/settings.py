"""Which settings a model really came from, and when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tru.ops.release.names import Span
from tru.ops.settings import Settings
from tru.unlearning.params import UnlearnParams

if TYPE_CHECKING:
    from tru.models.trained import TrainedModel


def flat(words: Mapping[str, Any], joint: str = ".") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; a metric's parts are joined by a slash."""
    out: dict[str, Any] = {}
    for name, value in words.items():
        inner = flat(value, joint) if isinstance(value, Mapping) else None
        out |= {name: value} if inner is None else {f"{name}{joint}{key}": found for key, found in inner.items()}
    return out


def used(model: TrainedModel, settings: Settings, *, trained: bool = False, unlearned: bool = False) -> dict[str, Any]:
    """The settings that made a model, flat; none of those that had no part in it.

    Args:
        model: its backbone and recipe are its own, whatever ``params.yaml`` says by now.
        settings: as they are now.
        trained: it was trained with them.
        unlearned: it was unlearned with them.
    """
    found: dict[str, Any] = {
        "model": model.params.model_dump(mode="json"),
        "recipe": {"seed": model.recipe.seed, "epochs": model.recipe.epochs},
    }
    if trained:
        found["train"] = settings.train.model_dump(mode="json") | {"seed": model.recipe.seed}
    if unlearned:
        found["unlearn"] = _unlearning(settings)
    return flat(found)


def _unlearning(settings: Settings) -> dict[str, Any]:
    """Block ``unlearn``. Of the built-in methods only TRU reads all of it, a rival its block, retraining nothing."""
    block = settings.unlearn.model_dump(mode="json")
    if settings.unlearn.method == "tru" or not isinstance(settings.unlearn, UnlearnParams):
        return block
    return {name: block[name] for name in ("method", "rivals") if name in block}


def finished(model: TrainedModel) -> TrainedModel:
    """The model, which has just been made, with the fact when that was."""
    return model.finished()


def span_of(model: TrainedModel, *, training: bool = False) -> Span | None:
    """When a model was made; None for one of a version that did not note it.

    Args:
        model: the model.
        training: rather when it was last trained in full, for one that was unlearned since.
    """
    ended, took = ("trained", "train_seconds") if training else ("ended", "seconds")
    moment, seconds = model.facts.get(ended), model.facts.get(took)
    return None if moment is None or seconds is None else Span.until(datetime.fromisoformat(moment), float(seconds))
