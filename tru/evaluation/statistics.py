"""Statistics of the gate: a paired difference, its error, and the margin inside which two models count as equal.

*Passing is what has to be shown.* A candidate passes a test if the whole confidence interval of its difference to the
reference lies inside the margin: non-inferiority where one side matters (utility), two one-sided tests (Schuirmann
1987) where both do (forgetting). All tests of a verdict must pass, so a wrong pass is no likelier than in the weakest
of them (intersection-union, Berger 1982) and needs no correction. What grows with the number of tests is the chance to
refuse a model that is as good as the reference; therefore no margin is narrower than what the data can tell apart: an
equal model passes all tests together with probability ``power`` (Bonferroni).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import t as student

DRAWS = 2000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Moments:
    """Sums over independent subjects; their mean difference and its error follow, and nights are pooled by adding.

    Pairs of one subject share its vector and so are no separate evidence: they enter as one sum (cluster-robust error
    of a ratio, Cochran 1977, eq. 9A.7).

    Attributes:
        subjects: how many.
        weight: sum of the weights of their pairs.
        total: weighted sum of their differences.
        weight2: sum over subjects of their squared weight.
        total2: of their squared total.
        cross: of total times weight.
    """

    subjects: int = 0
    weight: float = 0.0
    total: float = 0.0
    weight2: float = 0.0
    total2: float = 0.0
    cross: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray, subjects: np.ndarray, weights: np.ndarray | None = None) -> Moments:
        """Sums of (p,) values of pairs, by the (p,) subject each belongs to."""
        weights = np.ones(len(values)) if weights is None else weights
        _, of = np.unique(subjects, return_inverse=True)
        weight = np.bincount(of, weights)
        total = np.bincount(of, weights * values)
        sums = weight.sum(), total.sum(), (weight**2).sum(), (total**2).sum(), (weight * total).sum()
        return cls(len(weight), *(float(s) for s in sums))

    def __add__(self, other: Moments) -> Moments:
        mine, theirs = asdict(self), asdict(other)
        return Moments(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def mean(self) -> float:
        """The weighted mean; NaN without subjects."""
        return self.total / self.weight if self.weight else float("nan")

    @property
    def error(self) -> float:
        """Its standard error; NaN with fewer than two subjects."""
        if self.subjects < 2:
            return float("nan")
        squares = self.total2 - 2 * self.mean * self.cross + self.mean**2 * self.weight2
        return float(np.sqrt(max(squares, 0.0) * self.subjects / (self.subjects - 1)) / self.weight)


@dataclass(frozen=True)
class Bounds:
    """What a test needs of a difference.

    Attributes:
        low: lower end of the one-sided confidence interval.
        high: upper end of the other one.
        floor: the smallest margin that the data can be held to, see the file's docstring.
    """

    low: float
    high: float
    floor: float


def bounds(difference: float, error: float, n: int, tests: int, alpha: float, power: float) -> Bounds:
    """Student's interval of a mean difference over ``n`` independent subjects.

    Args:
        difference: the mean.
        error: its standard error.
        n: independent subjects.
        tests: how many one-sided tests the verdict has.
        alpha: chance that a difference as large as the margin passes.
        power: chance that an equal model passes all ``tests``.
    """
    confidence, sure = quantiles(n, tests, alpha, power)
    return Bounds(difference - confidence * error, difference + confidence * error, (confidence + sure) * error)


def bootstrap_bounds(differences: np.ndarray, tests: int, alpha: float, power: float, seed: int = 0) -> Bounds:
    """The same from a paired bootstrap over users (Efron's percentile interval).

    Args:
        differences: (n,) one per user: candidate minus reference.
        tests: how many one-sided tests the verdict has.
        alpha: see :func:`bounds`.
        power: see :func:`bounds`.
        seed: of the resampling; the same data and seed give the same interval.
    """
    means = bootstrap(differences, seed)
    low, high = np.quantile(means, [alpha, 1 - alpha])
    confidence, sure = quantiles(len(differences), tests, alpha, power)
    return Bounds(float(low), float(high), (confidence + sure) * float(means.std()))


def quantiles(n: int, tests: int, alpha: float, power: float) -> tuple[float, float]:
    """Student's quantiles for the confidence of one test and for the power of all of them."""
    degrees = max(n - 1, 1)
    return float(student.isf(alpha, degrees)), float(student.isf((1 - power) / max(tests, 1), degrees))


def bootstrap(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """(DRAWS,) means of resampled users."""
    draw = np.random.default_rng(seed)
    n = len(differences)
    means = np.empty(DRAWS)
    for start in range(0, DRAWS, 100):  # 100 at a time keeps the indices of 50,000 users below 40 MB
        means[start : start + 100] = differences[draw.integers(n, size=(100, n))].mean(axis=1)
    return means
