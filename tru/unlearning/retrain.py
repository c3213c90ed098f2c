"""Retraining: exact by construction, slow, and what every other unlearner is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tru.data.prepare import Prepared
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.training import refit
from tru.unlearning.base import unlearner
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class Retrain:
    """Train from scratch on the retained data with the model's own recipe (same dice, same number of epochs).

    Attributes:
        train: the training loop.
        seed: another seed gives an independent baseline; empty keeps the model's.
        checkpoint: resume from here after a crash.
    """

    train: TrainParams
    seed: int | None = None
    checkpoint: Path | None = None

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        title = f"retrain, seed {model.recipe.seed if self.seed is None else self.seed}"
        found = refit(retained, model, self.train, seed=self.seed, checkpoint=self.checkpoint, title=title)
        return found.with_facts(method="retrain")


@unlearner("retrain")
def build(_: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Retrain:
    """The exact unlearner."""
    return Retrain(train, checkpoint=checkpoint)
