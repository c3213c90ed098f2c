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


def retrained(
    original: TrainedModel, retained: Prepared, train: TrainParams, count: int, folder: Path | None = None
) -> list[TrainedModel]:
    """``count`` models trained on the retained data: the original's own dice first, then other seeds.

    Args:
        original: whose recipe is repeated.
        retained: what to train on.
        train: the training loop.
        count: how many.
        folder: where to keep them. Finished ones found there are kept, so that a crash costs at most one epoch.
    """
    models = []
    for k in range(count):
        seed = original.recipe.seed + k
        if folder is None:
            models.append(Retrain(train, seed=seed).unlearn(original, retained).finished())
            continue
        place, checkpoint = folder / f"seed-{k}", folder.parent / f"{folder.name}-{k}.npz"
        if not (place / "model.json").exists():
            Retrain(train, seed=seed, checkpoint=checkpoint).unlearn(original, retained).finished().save(place)
            checkpoint.unlink(missing_ok=True)
        models.append(TrainedModel.load(place))
    return models
