"""What every unlearner is and does, and how one is found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from tru.data.prepare import Prepared
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.params import UNLEARNERS, UnlearnerParams


class Unlearner(ABC):
    """Turns a model into one that should behave as if trained on less."""

    params_class: ClassVar[type[UnlearnerParams]] = UnlearnerParams
    """The class of its settings."""

    @classmethod
    @abstractmethod
    def build(cls, params: Any, train: TrainParams, checkpoint: Path | None) -> Self:  # noqa: ANN401 - `params_class`
        """The unlearner with these settings.

        Args:
            params: block ``unlearn``, an instance of ``params_class``.
            train: block ``train``, for methods that train.
            checkpoint: file for methods that train, to resume from after a crash.
        """

    @abstractmethod
    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """The new model on the retained data.

        Args:
            model: what serves now; it stays as it is.
            retained: the data that may stay, a part of ``model.data``.

        Raises:
            UnlearningError: it cannot be done; retraining can.
        """


def make(params: UnlearnerParams, train: TrainParams, checkpoint: Path | None = None) -> Unlearner:
    """The unlearner that ``params.method`` names.

    Args:
        params: block ``unlearn``.
        train: block ``train``, for methods that train.
        checkpoint: file for methods that train, to resume from after a crash.

    Raises:
        UnlearningError: there is none of that name, and the message lists those there are; or it cannot be loaded.
    """
    found: type[Unlearner] = UNLEARNERS.load(params.method)
    return found.build(params=params, train=train, checkpoint=checkpoint)
