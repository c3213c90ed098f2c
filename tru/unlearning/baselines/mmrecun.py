"""MMRecUn: Sinha et al., "Multi-Modal Recommendation Unlearning for Legal, Licensing, and Modality Constraints".

arXiv 2405.15328 (AAAI'25), section 3, written from the paper: reverse BPR on the forget set attenuates it, forward BPR
on the retain set reinforces the rest, both in the same steps and over all layers alike:

    L = loss(retain) + weight * mean_(u,i) in forget of -log sigmoid(s_un - s_ui)

The forward part is the backbone's whole training loss, of which BPR is the ranking term, so that what training kept in
place (contrast, regularisation) is kept in place. It starts from the trained model, on the graph without the edges.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from tru.data.prepare import Prepared
from tru.models.base import Backbone
from tru.models.graph import Inputs
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.base import Unlearner
from tru.unlearning.baselines import settings
from tru.unlearning.baselines.cut import signed, structural
from tru.unlearning.baselines.reverse import Ground, descend, reverse_bpr
from tru.unlearning.baselines.sampler import Lessons
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class MMRecUn(Unlearner):
    """MMRecUn: reverse steps on forgotten pairs and forward steps on retained ones, together.

    For users, items and interactions; of a revoked modality it makes the cut alone.

    Attributes:
        params: steps, learning rate, weight, batch.
        neutral_rows: see :class:`tru.unlearning.params.UnlearnParams`.
    """

    params_class = UnlearnParams

    params: settings.MMRecUn
    neutral_rows: bool = True

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params.rivals.mmrecun, params.neutral_rows)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        turned = self._turn(model, retained, change) if len(change.forgotten) else model
        return signed(structural(turned, retained, change, self.neutral_rows), "mmrecun", change, start)

    def _turn(self, model: TrainedModel, retained: Prepared, change: Change) -> TrainedModel:
        ground = Ground.of(model.data, retained, change)
        laid, most = ground.model(model), self.params.batch
        forget = Lessons(ground.data, ground.forgotten, model.recipe, "mmrecun forget")
        retain = Lessons(ground.data, ground.data.edges, model.recipe, "mmrecun retain")
        patch = torch.from_numpy(laid.patch)

        def loss(module: Backbone, inputs: Inputs, step: int) -> Tensor:
            forward = module.loss(inputs, retain.draw(step, 2 * most))
            return forward + self.params.weight * reverse_bpr(module, inputs, forget.draw(step, most), patch)

        return ground.back(descend(laid, loss, self.params.steps, self.params.rate), model)
