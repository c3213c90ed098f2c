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

import torch
from torch import Tensor, nn

from tru.data.prepare import Prepared
from tru.models.params import TrainParams
from tru.models.propagation import Inputs
from tru.models.trained import TrainedModel
from tru.unlearning import rivals
from tru.unlearning.base import unlearner
from tru.unlearning.change import Change
from tru.unlearning.cut import signed, structural
from tru.unlearning.lessons import Lessons
from tru.unlearning.params import UnlearnParams
from tru.unlearning.reverse import Ground, descend, reverse_bpr


@dataclass(frozen=True)
class Ascent:
    """The unlearner; see the file's docstring. Users, items, interactions; a revoked modality is the cut alone.

    Attributes:
        params: steps, learning rate, batch.
        neutral_rows: see :class:`tru.unlearning.params.UnlearnParams`.
    """

    params: rivals.Ascent
    neutral_rows: bool = True

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

        def loss(module: nn.Module, inputs: Inputs, step: int) -> Tensor:
            return reverse_bpr(module, inputs, forget.draw(step, self.params.batch), patch)

        return ground.back(descend(laid, loss, self.params.steps, self.params.rate), model)


@unlearner("ascent")
def build(params: UnlearnParams, _: TrainParams, __: Path | None) -> Ascent:
    """Gradient ascent on what is forgotten."""
    return Ascent(params.rivals.ascent, params.neutral_rows)
