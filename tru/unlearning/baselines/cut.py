"""The structural cut: what is deleted is gone from data, graph and tables, and nothing that was learned is taken back.

The least that every method does, and the first of the rivals: how far does it get without touching a parameter? It is
step 0 of TRU without the rest (design: tru.md, "Purge and cut").
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from tru.data.prepare import Prepared
from tru.models.base import Rows
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.base import Unlearner
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class Cut(Unlearner):
    """The structural cut alone: what is deleted leaves data, graph and tables; what was learned stays.

    For all regimes.

    Attributes:
        neutral_rows: whether rows that lost every edge become fresh ones.
    """

    params_class = UnlearnParams

    neutral_rows: bool = True

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params.neutral_rows)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        return signed(structural(model, retained, change, self.neutral_rows), "cut", change, start)


def structural(model: TrainedModel, retained: Prepared, change: Change, neutral_rows: bool) -> TrainedModel:
    """The model on the retained data: rows that go are gone, those that lost every edge become fresh ones.

    Args:
        model: its rows are by position in ``model.data``.
        retained: the data that may stay.
        change: between the two.
        neutral_rows: off: a row without edges keeps what it learned.
    """
    tables = {"users": model.arrays["users"][change.users], "items": model.arrays["items"][change.items]}
    patch = model.patch[change.users].copy()
    patch[change.emptied_users] = 0.0
    if neutral_rows:
        recipe, width = model.recipe, model.params.width
        users, items = change.emptied_users, change.emptied_items
        tables["users"][users] = recipe.user_rows(retained.users[users], width, "neutral user")
        tables["items"][items] = recipe.item_rows(retained.items[items], width, "neutral item")
    initial = model.initial
    if initial is not None:
        initial = Rows(initial.users[change.users], initial.items[change.items])
        # Who lost every edge starts anew from the fresh row; where the old one started is nobody's business any more.
        initial.users[change.emptied_users] = tables["users"][change.emptied_users]
        initial.items[change.emptied_items] = tables["items"][change.emptied_items]
    return replace(model, arrays={**model.arrays, **tables}, data=retained, patch=patch, initial=initial)


def signed(found: TrainedModel, method: str, change: Change, start: float, **facts: Any) -> TrainedModel:  # noqa: ANN401
    """The result with the facts that every unlearner records.

    Args:
        found: made from the model before, whose facts it still has.
        method: the unlearner's name.
        change: what was forgotten.
        start: ``time.perf_counter()`` when it began.
        facts: whatever else there is to say, fit for JSON and without identifiers.
    """
    return found.with_facts(
        method=method,
        forgotten_edges=found.facts.get("forgotten_edges", 0) + len(change.forgotten),
        seconds=round(time.perf_counter() - start, 3),
        **facts,
    )


def is_same(before: Prepared, after: Prepared) -> bool:
    """Whether nothing at all was taken away: no node, no edge, no feature."""
    own, other = before.arrays(), after.arrays()
    return own.keys() == other.keys() and all(np.array_equal(own[name], other[name]) for name in own)
