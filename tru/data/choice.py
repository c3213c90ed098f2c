"""Whom to forget, where chance is not the whole answer: the popular and the rare, the core and the edge of the graph.

A batch of random users says little about one that everybody resembles, or one that nobody knows. CURE4Rec (Chen et
al., NeurIPS 2024) therefore forgets from the core and from the edge as well. What is core is ours to define: the
coreness (Seidman 1983), which asks how many connections somebody has, and with whom.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tru import randomness
from tru.data.params import Choice

SHARE = 0.2
"""Part of a pool, at its extreme end, from which a batch is drawn, so that another seed gives another batch."""


def extreme(names: list[str], standing: np.ndarray, choice: Choice, count: int, seed: int) -> np.ndarray:
    """Positions of those from whom to draw: the SHARE with the highest or lowest standing, at least ``count``.

    Args:
        names: (n,) what orders equals, hashed with the seed.
        standing: (n,) float.
        choice: ``popular`` and ``core`` ask for the highest.
        count: how many will be drawn.
        seed: of the order of equals.

    Returns:
        (m,) positions, ascending.
    """
    sign = -1.0 if choice in ("popular", "core") else 1.0
    order = np.lexsort(
        (randomness.mix(randomness.of_ids(np.array(names)), randomness.of_word("choice"), seed), sign * standing)
    )
    return np.sort(order[: max(count, round(SHARE * len(names)))])


def coreness(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest k for which a node is in the k-core: the part in which everybody has k neighbours or more.

    Args:
        left: (e,) positions from 0, one end of each edge of a bipartite graph.
        right: (e,) the other end.

    Returns:
        (n_left,) and (n_right,) int64.
    """
    n = int(left.max()) + 1
    ends = np.stack([left, right + n])
    core = np.zeros(n + int(right.max()) + 1, dtype=np.int64)
    k = 0
    while ends.shape[1]:
        k += 1
        while True:
            degree = np.bincount(ends.ravel(), minlength=len(core))
            stays = (degree[ends] >= k).all(axis=0)
            if stays.all():
                break
            ends = ends[:, stays]
        core[np.unique(ends)] = k
    return core[:n], core[n:]


def standings(train: pd.DataFrame, choice: Choice) -> tuple[pd.Series, pd.Series, pd.Series]:
    """What a choice goes by: for users, for items, and for the rows of ``train``.

    ``popular``, ``unpopular``: train rows of the item; for a user the mean over their items. ``core``, ``edge``: the
    coreness, of equals the degree decides; for a pair that of its less central end.

    Args:
        train: ``user_id`` and ``item_id`` of train rows.
        choice: not ``random``.

    Returns:
        Series by user id, by item id, and by row.
    """
    users, items = train["user_id"], train["item_id"]
    counts = train.groupby("item_id", observed=True).size().astype(float)
    if choice in ("popular", "unpopular"):
        rows = items.map(counts).astype(float)
        return rows.groupby(users).mean(), counts, rows
    (left, user_ids), (right, item_ids) = pd.factorize(users), pd.factorize(items)
    both = []
    for core, at in zip(coreness(left, right), (left, right), strict=True):
        degree = np.bincount(at)
        both.append(core + degree / (degree.max() + 1))
    rows = pd.Series(np.minimum(both[0][left], both[1][right]), index=train.index)
    return pd.Series(both[0], index=user_ids), pd.Series(both[1], index=item_ids), rows
