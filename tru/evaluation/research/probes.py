"""Probes: can a straight line read from a branch's user vectors who had to do with something forgotten?

Lists and scores mix the branches of a multimodal model, and what one of them still knows may hide behind the others.
The probe (Alain & Bengio, *Understanding intermediate layers using linear classifier probes*, 2016) asks each branch
alone. It learns from half of the users and is measured on the other half, and the other way round.
"""

from __future__ import annotations

import numpy as np

from tru import randomness
from tru.evaluation.audits import Stage
from tru.evaluation.research.attacks import power
from tru.evaluation.research.utility import affected
from tru.models.trained import TrainedModel

RIDGE = 1.0
STEPS = 12
"""Of Newton's method; it ends sooner where it stands still."""
FEWEST = 5
"""Users of each kind in each half; with fewer nothing is said."""


def logistic(x: np.ndarray, y: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Weights of a logistic regression, by Newton's method with the exact Hessian.

    Minimises the summed log loss plus ``ridge / 2`` times the squared weights, but for the intercept.

    Args:
        x: (n, d).
        y: (n,) bool.
        ridge: above 0.

    Returns:
        (d + 1,) weights, the intercept last.
    """
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = np.append(np.full(x.shape[1] - 1, ridge), 1e-9)
    w = np.zeros(x.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        slope = x.T @ (chance - y) + penalty * w
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        move = np.linalg.solve(curvature, slope)
        w = w - move
        if np.abs(move).max() < 1e-6:
            break
    return w


def probe(x: np.ndarray, y: np.ndarray, half: np.ndarray) -> float:
    """AUC of a linear probe on users it has not learned from; the mean of both directions.

    Args:
        x: (n, d) vectors.
        y: (n,) bool.
        half: (n,) bool.

    Returns:
        NaN if a half has fewer than FEWEST users of either kind.
    """
    sizes = [np.sum(a & b) for a in (half, ~half) for b in (y, ~y)]
    if min(sizes) < FEWEST:
        return float("nan")
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    found = []
    for learn in (half, ~half):
        w = logistic(x[learn], y[learn])
        score = x[~learn] @ w[:-1]
        found.append(power(score[y[~learn]], score[~y[~learn]])["auc"])
    return float(np.mean(found))


def probe_rows(model: TrainedModel, stage: Stage) -> dict[tuple[str, str], float]:
    """``probe/auc`` by branch, and of the ``final`` vectors as served.

    The probe looks for users who stay and had to do with what went: who lost an edge, or have an item of which a
    modality was revoked. If whole users went, there are none, and no row.
    """
    y = affected(stage)["touched"]
    if not y.any():
        return {}
    found = model.embed()
    at = np.searchsorted(model.data.users, stage.after.users)
    half = randomness.uniform(randomness.mix(randomness.of_ids(stage.after.users), randomness.of_word("probe"))) < 0.5
    vectors = {**{name: users for name, (users, _) in found.branches.items()}, "final": found.users}
    return {("probe/auc", name): probe(x.numpy()[at].astype(np.float64), y, half) for name, x in vectors.items()}
