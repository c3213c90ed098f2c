"""Retraining: exact by construction, slow, and what every other unlearner is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tru.data.prepare import Prepared
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.training import refit
from tru.unlearning.base import Unlearner
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class Retrain(Unlearner):
    """Retraining from scratch on what stays, with the model's own recipe: exact, and slow.

    Attributes:
        train: the training loop.
        seed: another seed gives an independent baseline; empty keeps the model's.
        checkpoint: resume from here after a crash.
    """

    params_class = UnlearnParams

    train: TrainParams
    seed: int | None = None
    checkpoint: Path | None = None

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(train, checkpoint=checkpoint)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        title = f"retrain, seed {model.recipe.seed if self.seed is None else self.seed}"
        found = refit(retained, model, self.train, seed=self.seed, checkpoint=self.checkpoint, title=title)
        return found.with_facts(method="retrain")
