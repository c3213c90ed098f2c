"""SSD, selective synaptic dampening: Foster et al., "Fast Machine Unlearning Without Retraining ..." (AAAI'24).

arXiv 2308.07707, section 4. The importance of a parameter is the diagonal of the Fisher information, the mean squared
gradient of the loss, over all training data D and over the forget set D_f. Parameters that matter specially to D_f are
dampened by how specially (eq. 5 and 6):

    theta_i := min(lambda I_D,i / I_Df,i, 1) theta_i    where I_Df,i > alpha I_D,i

Everything is measured on the trained model and its own graph; the structural cut follows. A squared gradient of a batch
of b pairs is worth 1/b of a pair's, so it counts b times: the two sets may differ in size. A row of which a share q of
the edges is forgotten has a ratio of about q |D| / |D_f|.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tru.data.prepare import Prepared
from tru.models.graph import Inputs
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.base import Unlearner
from tru.unlearning.baselines import settings
from tru.unlearning.baselines.cut import signed, structural
from tru.unlearning.baselines.sampler import Lessons
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class Ssd(Unlearner):
    """Selective synaptic dampening: parameters that matter to forgotten pairs above all are shrunk.

    For users, items and interactions; of a revoked modality it makes the cut alone.

    Attributes:
        params: alpha, lambda, batch.
        neutral_rows: see :class:`tru.unlearning.params.UnlearnParams`.
    """

    params_class = UnlearnParams

    params: settings.Ssd
    neutral_rows: bool = True

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params.rivals.ssd, params.neutral_rows)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        dampened, share = self._dampen(model, change.forgotten) if len(change.forgotten) else (model, 0.0)
        found = structural(dampened, retained, change, self.neutral_rows)
        return signed(found, "ssd", change, start, dampened=round(share, 6))

    def _dampen(self, model: TrainedModel, forgotten: np.ndarray) -> tuple[TrainedModel, float]:
        """The model, and the share of its parameters that were dampened."""
        whole, part = (importance(model, pairs, self.params.batch) for pairs in (model.data.edges, forgotten))
        factors = {name: factor(part[name], whole[name], self.params) for name in whole}
        arrays = {name: (torch.from_numpy(model.arrays[name]) * by).numpy() for name, by in factors.items()}
        moved = sum(int((by < 1).sum()) for by in factors.values())
        return replace(model, arrays=arrays), moved / sum(by.numel() for by in factors.values())


def factor(forget: Tensor, whole: Tensor, params: settings.Ssd) -> Tensor:
    """By what to multiply each parameter, from its two importances; 1 where it is not selected."""
    ratio = (params.dampening * whole / forget.clamp_min(1e-30)).clamp_max(1.0)
    return torch.where(forget > params.selection * whole, ratio, torch.ones_like(ratio))


def importance(model: TrainedModel, pairs: np.ndarray, batch: int) -> dict[str, Tensor]:
    """Diagonal of the Fisher information by parameter, per pair, on the model's own graph.

    Args:
        model: the trained model.
        pairs: (p, 2) positions in ``model.data``.
        batch: pairs per gradient.
    """
    inputs, module = Inputs.of(model.data), model.module()
    names, parameters = zip(*module.named_parameters(), strict=True)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for lesson in Lessons(model.data, pairs, model.recipe, "importance").once(batch):
        loss, size = module.loss(inputs, lesson), len(lesson.users)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += gradient.square() * (size * size / len(pairs))
    return dict(zip(names, total, strict=True))
