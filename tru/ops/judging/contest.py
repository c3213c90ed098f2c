"""Who serves, the champion or a freshly trained model: both on the test rows of the same users, paired."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tru.data.prepare import Prepared
from tru.evaluation.metrics import per_user_metrics
from tru.evaluation.params import GateParams
from tru.evaluation.statistics import bootstrap_bounds
from tru.models.trained import TrainedModel


@dataclass(frozen=True)
class Contest:
    """A newcomer's test NDCG@20 against the champion's.

    Attributes:
        newcomer: its mean.
        champion: the champion's mean.
        low: lower end of the one-sided interval of the difference, newcomer minus champion.
        high: upper end of the other one.
        margin: how much better the newcomer has to be, in NDCG.
        tolerance: how much worse it may be to count as good as the champion.
        n: users compared.
    """

    newcomer: float
    champion: float
    low: float
    high: float
    margin: float
    tolerance: float
    n: int

    @classmethod
    def between(
        cls, newcomer: TrainedModel, champion: TrainedModel, data: Prepared, margin: float, gate: GateParams
    ) -> Contest:
        """Compare the two among the users and items that both know.

        Args:
            newcomer: freshly trained.
            champion: what serves.
            data: whose test rows count and whose train rows are masked.
            margin: share of the champion's NDCG by which the newcomer has to be better.
            gate: level, power and utility margin of the tests.
        """
        common = _common(data, newcomer, champion)
        new, old = (_ndcg(model, common) for model in (newcomer, champion))
        if not len(new):
            return cls(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0)
        bounds = bootstrap_bounds(new - old, 1, gate.alpha, gate.power)
        mean = float(old.mean())
        tolerance = max(gate.utility_margin * mean, bounds.floor)
        return cls(float(new.mean()), mean, bounds.low, bounds.high, margin * mean, tolerance, len(new))

    @property
    def difference(self) -> float:
        """Newcomer minus champion."""
        return self.newcomer - self.champion

    @property
    def is_better(self) -> bool:
        """By more than the margin, and surely so: the interval does not reach down to zero."""
        return self.difference > self.margin and self.low > 0

    @property
    def is_as_good(self) -> bool:
        """Not worse by more than the gate lets pass."""
        return self.low >= -self.tolerance

    @property
    def words(self) -> str:
        """For a person."""
        if not self.n:
            return "the champion and the baseline have no test user in common, so they cannot be compared"
        said = (
            f"test NDCG@20 {self.newcomer:.4f} of the baseline against {self.champion:.4f} of the champion: difference "
            f"{self.difference:+.4f}, interval {self.low:+.4f} to {self.high:+.4f}"
        )
        if self.is_better:
            return f"{said}; better by more than the margin of {self.margin:.4f}"
        return f"{said}; {'as good' if self.is_as_good else 'worse'}, not better by more than {self.margin:.4f}"

    @property
    def facts(self) -> dict[str, Any]:
        """For JSON; null where nothing could be compared."""
        numbers = {
            "baseline": self.newcomer,
            "champion": self.champion,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "margin": self.margin,
        }
        return {**{k: v if v == v else None for k, v in numbers.items()}, "n": self.n}


def _common(data: Prepared, *models: TrainedModel) -> Prepared:
    """The part of the data that all models know, renumbered; only what ranking needs."""
    users, items = data.users, data.items
    for model in models:
        users, items = np.intersect1d(users, model.data.users), np.intersect1d(items, model.data.items)
    train, test = _renumbered(data, data.train, users, items), _renumbered(data, data.test, users, items)
    edges = _renumbered(data, data.edges, users, items)
    test = test[np.isin(test[:, 0], edges[:, 0])]
    return replace(data, users=users, items=items, train=train, canary=np.zeros(len(train), dtype=bool), test=test)


def _renumbered(data: Prepared, pairs: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(p', 2) pairs by position in ``users`` and ``items`` (both sorted), those of others left out."""
    named = data.users[pairs[:, 0]], data.items[pairs[:, 1]]
    stay = np.isin(named[0], users) & np.isin(named[1], items)
    at = [np.searchsorted(names, ids[stay]) for names, ids in zip((users, items), named, strict=True)]
    return np.stack(at, axis=1).astype(np.int64)


def _ndcg(model: TrainedModel, common: Prepared) -> np.ndarray:
    """(t,) NDCG@20 of the test users, in their order."""
    found = model.embed()
    users = found.users[_positions(model.data.users, common.users)]
    items = found.items[_positions(model.data.items, common.items)]
    return per_user_metrics(users, items, common, common.test)["ndcg@20"]


def _positions(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(own, kind="stable")
    found: np.ndarray = order[np.searchsorted(own[order], wanted)]
    return found
