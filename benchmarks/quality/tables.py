"""What the report reads off the results: medians and spreads over seeds, the issue's targets, who does best where.

Every judgement is made here and nowhere else, from the tidy rows alone; its words and numbers go straight to the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import cast

import numpy as np
import pandas as pd

from benchmarks.quality.grid import NOISE, YARDSTICKS
from benchmarks.quality.results import FAILED

TRU = "tru"
EXACT = ("shards",)
"""Methods that retrain what is touched; the approximate rivals are all others."""
RETAINED, RECALL_SLACK, MEMBERSHIP = 0.99, 0.02, 0.02
FASTER, FASTER_FEW, FEW = 20.0, 100.0, 20
"""Targets of TRU: retained NDCG, forget recall beyond noise, membership AUC, speed-up, and that for so few subjects."""
CATASTROPHIC = 0.10
"""Worse than the best rival by so much is more than a defeat; all three criteria are shares between 0 and 1."""
QUOTA = 0.90
"""Share of the cells in which TRU should be best or tied."""

Spot = tuple[str, str, str, str]
"""Backbone, data set, regime, fraction."""
SPOT = ["backbone", "dataset", "regime", "fraction"]
CRITERIA = {
    "a": ("retained NDCG@20 below retrained", "loss"),
    "b": ("KS of forgotten ranks to retrained", "ks"),
    "c": ("membership AUC away from retrained", "distance/membership_auc"),
}


@dataclass(frozen=True)
class Summary:
    """Of one metric over seeds.

    Attributes:
        median: NaN if there is no value.
        half: half the range.
        count: seeds.
    """

    median: float
    half: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float] | pd.Series | np.ndarray) -> Summary:
        """Of some values, those that are not numbers left out."""
        numbers = np.asarray(values, dtype=float)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return cls(float("nan"), float("nan"), 0)
        return cls(float(np.median(numbers)), float(np.ptp(numbers)) / 2, len(numbers))

    @property
    def known(self) -> bool:
        """Whether there is anything."""
        return self.count > 0


class Results:
    """The tidy rows, asked by spot, method and metric.

    Args:
        frame: as :func:`benchmarks.quality.results.load` gives it.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        index = [*SPOT, "method", "seed"]
        self._wide = frame.pivot(index=index, columns="metric", values="value")
        if len(frame):
            self._wide["loss"] = np.maximum(0.0, 1 - self.column("relative/ndcg@20"))
            self._wide["off"] = (1 - self.column("relative/ndcg@20")).abs()
        self._groups: dict[tuple[str, str, str, str, str], pd.DataFrame] = {}
        for key, part in self._wide.groupby(level=[*SPOT, "method"]) if len(frame) else ():
            backbone, dataset, regime, fraction, method = map(str, cast(Sequence[str], key))
            self._groups[backbone, dataset, regime, fraction, method] = part

    def column(self, metric: str) -> pd.Series:
        """All values of a metric; NaN where a cell lacks it."""
        found = self._wide.get(metric)
        return pd.Series(np.nan, index=self._wide.index) if found is None else found

    def spots(self) -> list[Spot]:
        """Where anything was measured; nights are not among them."""
        return [spot for spot in dict.fromkeys(key[:4] for key in self._groups) if "x" not in spot[3]]

    def nights(self) -> dict[tuple[str, str, str, int], list[int]]:
        """(backbone, data set, regime, requests a night) -> nights after which anything was measured."""
        found: dict[tuple[str, str, str, int], set[int]] = {}
        for backbone, dataset, regime, fraction in {key[:4] for key in self._groups if "x" in key[3]}:
            night, _, size = fraction.partition("x")
            found.setdefault((backbone, dataset, regime, int(size)), set()).add(int(night))
        return {key: sorted(found[key]) for key in sorted(found)}

    def methods(self, spot: Spot) -> list[str]:
        """What was measured there."""
        return [key[4] for key in self._groups if key[:4] == spot]

    def metrics(self, prefix: str) -> list[str]:
        """Names of metrics that begin like this."""
        return sorted(name for name in self._wide.columns if str(name).startswith(prefix))

    def values(self, spot: Spot, method: str, metric: str) -> pd.Series:
        """One value per seed."""
        part = self._groups.get((*spot, method))
        if part is None or metric not in part:
            return pd.Series(dtype=float)
        found: pd.Series = part[metric].dropna().droplevel([*SPOT, "method"])
        return found

    def get(self, spot: Spot, method: str, metric: str) -> Summary:
        """Median and spread over seeds."""
        return Summary.of(self.values(spot, method, metric))

    def failures(self, spot: Spot, method: str) -> int:
        """Seeds in which the method raised an error."""
        return len(self.values(spot, method, FAILED))

    def rivals(self, spot: Spot) -> list[str]:
        """The approximate methods beside TRU that were measured there."""
        mine = (TRU, *YARDSTICKS, *EXACT)
        return [name for name in self.methods(spot) if name not in mine and not name.startswith(f"{TRU}/")]


@dataclass(frozen=True)
class Target:
    """One target of TRU at one spot.

    Attributes:
        name: what it is about.
        found: over seeds; the median is judged.
        bound: the target.
        at_least: or at most.
    """

    name: str
    found: Summary
    bound: float
    at_least: bool

    @property
    def value(self) -> float:
        """Reached; NaN if it was not measured."""
        return self.found.median

    @property
    def word(self) -> str:
        """``met``, ``FAILED`` or ``missing``."""
        if not (np.isfinite(self.value) and np.isfinite(self.bound)):
            return "missing"
        return "met" if (self.value >= self.bound if self.at_least else self.value <= self.bound) else "FAILED"


def targets(found: Results, spot: Spot) -> list[Target]:
    """The issue's targets for TRU, medians over seeds."""
    few = "." not in spot[3] and int(spot[3]) <= FEW
    faster = Target("speed-up", found.get(spot, TRU, "speedup"), FASTER_FEW if few else FASTER, True)
    return [*_closeness(found, spot), faster]


def _closeness(found: Results, spot: Spot, *, or_noise: bool = False) -> list[Target]:
    """Those of the targets that compare with a retrain.

    Args:
        found: all results.
        spot: where.
        or_noise: with bounds as wide as two retrains differ, where that is wider.
    """

    def noise(metric: str) -> float:
        value = found.get(spot, NOISE, metric).median
        return value if or_noise and np.isfinite(value) else 0.0

    recall = found.get(spot, NOISE, "distance/forget_recall@20").median
    kept = found.get(spot, TRU, "relative/ndcg@20")
    away = [found.get(spot, TRU, f"distance/{name}") for name in ("forget_recall@20", "membership_auc")]
    return [
        Target("retained NDCG@20", kept, min(RETAINED, 1 - noise("off")), True),
        Target("forget recall@20", away[0], recall + RECALL_SLACK, False),
        Target("membership AUC", away[1], max(MEMBERSHIP, noise("distance/membership_auc")), False),
    ]


@dataclass(frozen=True)
class Match:
    """TRU against the approximate rivals at one spot by one criterion; less is better.

    Attributes:
        own: of TRU.
        best: of the best rival.
        rival: its name.
        noise: the same of an independently shuffled retraining.
    """

    own: float
    best: float
    rival: str
    noise: float

    @property
    def word(self) -> str:
        """``best``, ``tied`` (within noise), ``WORSE``, ``CATASTROPHIC`` or ``missing``."""
        if not all(np.isfinite([self.own, self.best, self.noise])):
            return "missing"
        if self.own <= self.best:
            return "best"
        if self.own <= self.best + self.noise:
            return "tied"
        return "CATASTROPHIC" if self.own > self.best + max(self.noise, CATASTROPHIC) else "WORSE"


def match(found: Results, spot: Spot, criterion: str) -> Match:
    """One of CRITERIA at one spot."""
    metric = CRITERIA[criterion][1]
    # A retrain may lie above or below the other; both ways are its noise.
    noise = found.get(spot, NOISE, "off" if metric == "loss" else metric).median
    rivals = {name: found.get(spot, name, metric).median for name in found.rivals(spot)}
    rivals = {name: value for name, value in rivals.items() if np.isfinite(value)}
    rival = min(rivals, key=rivals.__getitem__, default="")
    return Match(found.get(spot, TRU, metric).median, rivals.get(rival, float("nan")), rival, noise)


@dataclass(frozen=True)
class Earned:
    """What one intervention of TRU does at one spot by one criterion.

    Attributes:
        change: of the criterion when it is switched off; above 0 is worse without it.
        noise: of the criterion.
    """

    change: float
    noise: float

    @property
    def word(self) -> str:
        """``earns``, ``harms``, ``no difference`` or ``missing``."""
        if not (np.isfinite(self.change) and np.isfinite(self.noise)):
            return "missing"
        if abs(self.change) <= self.noise:
            return "no difference"
        return "earns" if self.change > 0 else "harms"


def earned(found: Results, spot: Spot, ablation: str, criterion: str) -> Earned:
    """Switch one intervention off; paired by seed, median of the differences."""
    metric = CRITERIA[criterion][1]
    with_it, without = found.values(spot, TRU, metric), found.values(spot, ablation, metric)
    noise = found.get(spot, NOISE, "off" if metric == "loss" else metric).median
    return Earned(Summary.of(without - with_it).median, noise)


@dataclass(frozen=True)
class Night:
    """The state after some nights.

    Attributes:
        night: how many.
        spot: where its numbers are.
        targets: as on any spot but for the speed-up, which is of a single night.
        limits: the same, no narrower than what two retrains differ by: what they do not agree on cannot call for one.
        share: of the train pairs that is forgotten by then.
    """

    night: int
    spot: Spot
    targets: list[Target]
    limits: list[Target]
    share: float

    @property
    def holds(self) -> bool:
        """Whether everything that was measured is as it should be, or as two retrains are to each other."""
        return all(target.word != "FAILED" for target in self.limits)


def course(found: Results, key: tuple[str, str, str, int], nights: Sequence[int]) -> Iterator[Night]:
    """The states of one course of nights, with the targets that a retrain can be due by."""
    backbone, dataset, regime, size = key
    for night in nights:
        spot = (backbone, dataset, regime, f"{night}x{size}")
        targets, limits = _closeness(found, spot), _closeness(found, spot, or_noise=True)
        yield Night(night, spot, targets, limits, found.get(spot, TRU, "forgotten_share").median)


def due(nights: Sequence[Night]) -> Night | None:
    """The first night from which on nothing measured holds: a retrain is due by then.

    One night that fails between others that hold is the luck of the pairs it is measured on.
    """
    failing = list(takewhile(lambda night: not night.holds, reversed(nights)))
    return failing[-1] if failing else None
