"""Gradient ascent: undo learning by climbing the loss of what is to be forgotten (negative BPR).

The baseline "NegGrad" of the unlearning literature (Golatkar et al., CVPR'20, section 6; Thudi et al., EuroS&P'22, for
one step) with the ranking loss of the backbones. Climbing -log sigmoid(s_ui - s_un) has no end and its gradient grows
as the pair is forgotten; here the sign is turned inside the sigmoid, -log sigmoid(s_un - s_ui), so that it has one.
Nothing holds on to what stays: that is what MMRecUn adds.
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
class Ascent(Unlearner):
    """Gradient ascent: the ranking loss of forgotten pairs with its sign turned, and bounded.

    For users, items and interactions; of a revoked modality it makes the cut alone.

    Attributes:
        params: steps, learning rate, batch.
        neutral_rows: see :class:`tru.unlearning.params.UnlearnParams`.
    """

    params_class = UnlearnParams

    params: settings.Ascent
    neutral_rows: bool = True

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params.rivals.ascent, params.neutral_rows)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        climbed = self._climb(model, retained, change) if len(change.forgotten) else model
        return signed(structural(climbed, retained, change, self.neutral_rows), "ascent", change, start)

    def _climb(self, model: TrainedModel, retained: Prepared, change: Change) -> TrainedModel:
        ground = Ground.of(model.data, retained, change)
        laid = ground.model(model)
        forget = Lessons(ground.data, ground.forgotten, model.recipe, "ascent")
        patch = torch.from_numpy(laid.patch)

        def loss(module: Backbone, inputs: Inputs, step: int) -> Tensor:
            return reverse_bpr(module, inputs, forget.draw(step, self.params.batch), patch)

        return ground.back(descend(laid, loss, self.params.steps, self.params.rate), model)
