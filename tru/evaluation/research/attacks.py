"""Per-sample membership attacks as arithmetic: scores of pairs from what shadow models make of the same pairs.

LiRA (Carlini et al., *Membership Inference Attacks From First Principles*, S&P 2022), RMIA (Zarifzadeh et al.,
*Low-Cost High-Power Membership Inference Attacks*, ICML 2024), and the attack of RULI (Naderloui et al., *Rectifying
Privacy and Efficacy Measurements in Machine Unlearning*, USENIX Security 2025), which is LiRA between "was unlearned"
and "never was there". Here ``s`` counts shadows and ``p`` pairs. Nothing in this file knows what a recommender is.
"""

from __future__ import annotations

import numpy as np

ENOUGH = 16
"""Shadows of a kind from which a pair has a variance of its own; with fewer, all pairs share one (LiRA, VI-C)."""
LEVELS = (0.01, 0.05)
FLOOR = 1e-6
"""Smallest standard deviation."""


def likelihood_ratio(observed: np.ndarray, values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """LiRA online: log N(x; mean and variance inside) - log N(x; mean and variance outside), per pair.

    Args:
        observed: (p,) what the model under attack gives.
        values: (s, p) what the shadows give.
        inside: (s, p) bool: the shadow learned (RULI: unlearned) this pair.
        outside: (s, p) bool: the shadow never saw it.

    Returns:
        (p,); NaN for pairs that no shadow has inside, or none outside.
    """
    (a, b), (c, d) = (_normal(values, part) for part in (inside, outside))
    found: np.ndarray = np.log(d / b) + ((observed - c) / d) ** 2 / 2 - ((observed - a) / b) ** 2 / 2
    return found


def outlyingness(observed: np.ndarray, values: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """LiRA offline: how many standard deviations a pair is above what models give that never saw it.

    Args:
        observed: (p,).
        values: (s, p).
        outside: (s, p) bool.

    Returns:
        (p,); the probit of the paper's one-sided probability, which orders pairs alike. NaN where none is outside.
    """
    centre, spread = _normal(values, outside)
    found: np.ndarray = (observed - centre) / spread
    return found


def relative_ratio(observed: np.ndarray, values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """RMIA's ratio of a pair: log of p(x | model) to p(x), the mean of p inside and outside.

    RMIA's score is the share of a population whose ratio the pair's own reaches. With one population for all pairs that
    orders them as the ratio does, but for ties, so the ratio itself is what thresholds are put on.

    Args:
        observed: (p,) log probability.
        values: (s, p) log probabilities.
        inside: (s, p) bool.
        outside: (s, p) bool.

    Returns:
        (p,); NaN for pairs that no shadow has inside, or none outside.
    """
    chance = np.exp(values)
    found: np.ndarray = observed - np.log((_mean(chance, inside) + _mean(chance, outside)) / 2)
    return found


def power(members: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """What an attack tells apart.

    Args:
        members: (a,) scores; NaN are left out.
        others: (b,) scores of those who are none.

    Returns:
        ``auc``: chance that a member outscores another, ties count half. ``tpr@1%``, ``tpr@5%``: share of the members
        found when at most that share of the others is accused. ``flipped@1%``, ``flipped@5%``: the same for somebody
        who accuses the *lowest* scores: over-forgetting betrays as well. All NaN if either side is empty.
    """
    members, others = (np.sort(part[~np.isnan(part)]) for part in (members, others))
    names = [f"{kind}@{level:.0%}" for kind in ("tpr", "flipped") for level in LEVELS]
    if not len(members) or not len(others):
        return dict.fromkeys(("auc", *names), float("nan"))
    below, upto = (np.searchsorted(others, members, side=side) for side in ("left", "right"))
    found = [_found(x, y, level) for x, y in ((members, others), (-members, -others)) for level in LEVELS]
    return {"auc": float((below + upto).mean() / 2 / len(others)), **dict(zip(names, found, strict=True))}


def _found(members: np.ndarray, others: np.ndarray, level: float) -> float:
    """Share of the members above a threshold that at most ``level`` of the others exceed."""
    accused = int(level * len(others) + 1e-9)  # .01 * 700 is not 7
    threshold = np.sort(others)[len(others) - 1 - accused]
    return float((members > threshold).mean())


def _normal(values: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p,) mean and standard deviation over the shadows in ``part``; with few shadows the deviation of all pairs."""
    counts, centre = part.sum(axis=0), _mean(values, part)
    squares = np.where(part, (values - centre) ** 2, 0.0).sum(axis=0)
    shared = np.sqrt(squares.sum() / max((np.maximum(counts - 1, 0)).sum(), 1))
    own = np.sqrt(squares / np.maximum(counts - 1, 1))
    return centre, np.maximum(np.where(counts >= ENOUGH, own, shared), FLOOR)


def _mean(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    """(p,) mean over the shadows in ``part``; NaN where there are none."""
    counts = part.sum(axis=0)
    found: np.ndarray = np.where(part, values, 0.0).sum(axis=0) / np.where(counts > 0, counts, np.nan)
    return found
