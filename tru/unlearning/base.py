"""What every unlearner offers, and the register of those there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tru.data.prepare import Prepared
from tru.errors import UnlearningError
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.params import UNLEARNERS, UnlearnParams


class Unlearner(Protocol):
    """Turns a model into one that should behave as if trained on less."""

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """The new model on the retained data.

        Args:
            model: what serves now.
            retained: the data that may stay, a part of ``model.data``.

        Raises:
            UnlearningError: it cannot be done; retraining can.
        """
        ...


Maker = Callable[[UnlearnParams, TrainParams, Path | None], Unlearner]
_UNLEARNERS: dict[str, Maker] = {}


def unlearner(name: str) -> Callable[[Maker], Maker]:
    """Register a maker ``(params, training params, checkpoint) -> unlearner`` under a name."""

    def keep(maker: Maker) -> Maker:
        _UNLEARNERS[name] = maker
        return maker

    return keep


def make(params: UnlearnParams, train: TrainParams, checkpoint: Path | None = None) -> Unlearner:
    """The unlearner that ``params.method`` names.

    Args:
        params: block ``unlearn``.
        train: block ``train``, for methods that train.
        checkpoint: file for methods that train, to resume from after a crash.

    Raises:
        UnlearningError: there is none of that name; the message lists those there are.
    """
    for name in UNLEARNERS:
        importlib.import_module(f"tru.unlearning.{name}")  # it registers itself
    if params.method not in _UNLEARNERS:
        known = ", ".join(sorted(_UNLEARNERS))
        raise UnlearningError(f"unlearn.method: no unlearner is called {params.method!r}. There are: {known}.")
    return _UNLEARNERS[params.method](params, train, checkpoint)
