"""Fine-tuning: after the structural cut, train on with what stays and hope that the rest fades.

The oldest baseline of unlearning, "catastrophic forgetting used on purpose" (Golatkar et al., "Eternal Sunshine of the
Spotless Net", CVPR'20, section 6; Warnecke et al., NDSS'23). The loss is the backbone's own, whole; every layer moves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from tru.data.prepare import Prepared
from tru.models.base import Backbone
from tru.models.graph import Inputs
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.base import Unlearner
from tru.unlearning.baselines import settings
from tru.unlearning.baselines.cut import is_same, signed, structural
from tru.unlearning.baselines.reverse import descend
from tru.unlearning.baselines.sampler import Lessons
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class Finetune(Unlearner):
    """Fine-tuning: the structural cut, then some more steps of training on what stays.

    For all regimes, a revoked modality included.

    Attributes:
        params: steps, learning rate, batch.
        neutral_rows: see :class:`tru.unlearning.params.UnlearnParams`.
    """

    params_class = UnlearnParams

    params: settings.Finetune
    neutral_rows: bool = True

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params.rivals.finetune, params.neutral_rows)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        found = structural(model, retained, change, self.neutral_rows)
        if not is_same(model.data, retained):
            found = self._train(found)
        return signed(found, "finetune", change, start)

    def _train(self, model: TrainedModel) -> TrainedModel:
        lessons = Lessons(model.data, model.data.edges, model.recipe, "finetune")

        def loss(module: Backbone, inputs: Inputs, step: int) -> Tensor:
            return module.loss(inputs, lessons.draw(step, self.params.batch))

        return descend(model, loss, self.params.steps, self.params.rate)
