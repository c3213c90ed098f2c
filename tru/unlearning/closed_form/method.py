"""TRU, targeted reverse update (arXiv 2604.02183), in our reading: purge, attributed reverse, fusion gate, isolation.

The paper's formulas are not public code. Ours are stated in the modules that hold them and in ``docs/method.md``:
:mod:`~tru.unlearning.closed_form.attribution`, :mod:`~tru.unlearning.closed_form.fusion_gate`,
:mod:`~tru.unlearning.closed_form.isolation`; they come together in :mod:`~tru.unlearning.closed_form.deletion`, at
strengths from :mod:`~tru.unlearning.closed_form.calibration`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tru.data.prepare import Prepared
from tru.models.graph import Inputs
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.base import Unlearner
from tru.unlearning.change import Change
from tru.unlearning.closed_form import isolation
from tru.unlearning.closed_form.calibration import calibrate
from tru.unlearning.closed_form.deletion import Deletion, where
from tru.unlearning.params import Strength, UnlearnParams


@dataclass(frozen=True)
class Tru(Unlearner):
    """Targeted reverse update: takes back what the forgotten put into the rows of their neighbours.

    Attributes:
        params: which interventions are on, and the strength.
    """

    params_class = UnlearnParams

    params: UnlearnParams

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`. Takes about a second on TikTok (60k edges)."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        gamma = self.strength(model)
        inputs = Inputs.of(model.data)
        is_reported = self.params.isolation and len(change.forgotten) > 0
        shares = isolation.sensitivity(model, change, inputs) if is_reported else {}
        found = Deletion(self.params, model, retained, change, inputs, model.embed(inputs)).apply(gamma)
        if not self.params.isolation:
            found = isolation.uniform_reverse(found, _staying(change))
        return found.with_facts(
            method="tru",
            gamma=gamma.model_dump(mode="json"),
            isolation={name: round(share, 4) for name, share in shares.items()},
            layers=isolation.chosen(shares),
            forgotten_edges=model.facts.get("forgotten_edges", 0) + len(change.forgotten),
            seconds=round(time.perf_counter() - start, 3),
        )

    def strength(self, model: TrainedModel) -> Strength:
        """gamma: as set, as the model was calibrated after training, or calibrated now."""
        given = self.params.strength
        if isinstance(given, Strength):
            return given
        if given != "canary":
            return Strength(users=given, items=given)
        found = model.facts.get("gamma")
        if not isinstance(found, dict):  # not calibrated, or by a version that knew one strength only
            return calibrate(model, self.params)
        return Strength(**found)


def _staying(change: Change) -> np.ndarray:
    """(p, 2) forgotten pairs of which both ends keep other edges, by position in the retained data."""
    users = where(change.forgotten[:, 0], change.users, change.emptied_users)
    items = where(change.forgotten[:, 1], change.items, change.emptied_items)
    return np.stack([users, items], axis=1)[(users >= 0) & (items >= 0)]
