"""Ranking fusion gate: lower what is left of the forgotten pairs in the rankings, and disturb nothing else.

The score of a forgotten pair is fused with a reference score, only ever downwards. A user who stays: the change is
written into the served vector, by the correction that moves all other items' scores least. A user who is gone has no
vector: it is written into the items' rows, by the correction that moves the scores of those who stay least. Both in
closed form (design: tru.md, step 2; docs/method.md, *Ranking fusion gate*).

An item that is gone is in nobody's list. What is left of it in a user's vector is a liking for items like it, which a
training without it would not have taught either: there the correction is to be short, and may move their scores.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tru.unlearning.closed_form.padding import alike, padded

EPSILON = 1e-3
"""Regularisation of a metric, relative to its mean diagonal, and of what is wished for."""
SHORT = 10.0
"""The same of the metric where an item is gone: a correction is above all to be short, and avoids only directions that
nearly all items share. Chosen on TikTok and amazon-baby, against retrained models (docs/log.md)."""


def patch(
    users: Tensor, items: Tensor, reference: Tensor, ghosts: Tensor, pairs: np.ndarray, epsilon: float = EPSILON
) -> Tensor:
    """What to add to the users' final vectors.

    Args:
        users: (n_users, d) final vectors now.
        items: (n_items, d) final vectors now; the catalogue whose scores should not move.
        reference: (n_users, d) final vectors with the attributed reverse applied to the user rows.
        ghosts: (n, d) vectors of the forgotten items, indexed by the second column of ``pairs``: the present vector of
            an item that stays, the last one of an item that is gone.
        pairs: (f, 2) forgotten (user, ghost) pairs of users that stay.
        epsilon: regularisation of the metric, relative to its mean diagonal (:data:`EPSILON`, :data:`SHORT`).

    Returns:
        (n_users, d), zero for users without forgotten pairs.
    """
    out = torch.zeros_like(users)
    if not len(pairs):
        return out
    metric = items.T @ items / len(items)
    metric = metric + epsilon * metric.diagonal().mean() * torch.eye(metric.shape[0])
    inverse = torch.linalg.inv(metric.double()).float()
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    who, first, count = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    for n in np.unique(count):  # users with equally many forgotten pairs are solved together
        at = np.flatnonzero(count == n)
        z = ghosts[torch.from_numpy(pairs[first[at][:, None] + np.arange(n), 1])]
        u = torch.from_numpy(who[at])
        wish = torch.einsum("gnd,gd->gn", z, reference[u] - users[u]).clamp_max(0.0)
        out[u] = _quietest(inverse @ z.transpose(1, 2), z, wish[..., None], EPSILON).squeeze(-1)
    return out


def rewritten(
    users: Tensor,
    edges: np.ndarray,
    probes: Tensor,
    items: np.ndarray,
    wishes: Tensor,
    n: int,
    epsilon: float = EPSILON,
) -> tuple[np.ndarray, Tensor]:
    """What to add to items' rows so that some vectors score them lower, as little as can be felt by those who stay.

    What those who stay feel is measured item by item, by its own block of the ranking loss's Gauss-Newton matrix with
    all pairs weighed alike: the second moment of the item's own users, and of everybody as often as a random negative
    is this item.

    Args:
        users: (n_users, d) final vectors of those who stay.
        edges: (e, 2) user and item of the edges that stay.
        probes: (p, d) unit vectors that should score lower.
        items: (p,) the item that each should score lower.
        wishes: (p, c) by how much its score should change; what is above zero counts as zero. Columns are wishes of
            their own: a sum of them gives the sum of the results.
        n: number of items.
        epsilon: regularisation of the metric, relative to its mean diagonal, and of the wishes.

    Returns:
        (r,) the items that have probes, in order, and (c, r, d) for their rows.
    """
    width = users.shape[1]
    everybody, negatives = users.T @ users / max(len(users), 1), len(edges) / n
    order, by_item = np.argsort(items, kind="stable"), np.argsort(edges[:, 1], kind="stable")
    rows = np.unique(items)
    out = torch.zeros(wishes.shape[1], len(rows), width)
    parts = [[np.searchsorted(x, rows, side) for side in ("left", "right")] for x in (items[order], edges[by_item, 1])]
    for group in alike(np.maximum(*(last - first for first, last in parts))):
        (asked, is_asked), (own, is_own) = (padded(first[group], last[group]) for first, last in parts)
        near = users[torch.from_numpy(edges[by_item[own], 0])] * torch.from_numpy(is_own)[..., None]
        count = torch.from_numpy(is_own.sum(axis=1))[:, None, None] + negatives
        metric = (near.transpose(1, 2) @ near + negatives * everybody) / count
        metric += epsilon * metric.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] * torch.eye(width)
        at, mask = torch.from_numpy(order[asked]), torch.from_numpy(is_asked)[..., None]
        z, wish = probes[at] * mask, wishes[at].clamp_max(0.0) * mask
        reach = torch.cholesky_solve(z.transpose(1, 2), torch.linalg.cholesky(metric))
        out[:, torch.from_numpy(group)] = _quietest(reach, z, wish, epsilon).permute(2, 0, 1)
    return rows, out


def _quietest(reach: Tensor, z: Tensor, wish: Tensor, epsilon: float) -> Tensor:
    """The smallest corrections, in a metric, whose products with some vectors are as wished.

    Args:
        reach: (g, d, n) the inverse metric times the vectors.
        z: (g, n, d) the vectors; zero ones ask for nothing.
        wish: (g, n, c).
        epsilon: regularisation, relative to the mean length of the vectors there are.

    Returns:
        (g, d, c).
    """
    gram = z @ reach
    size = gram.diagonal(dim1=1, dim2=2)
    mu = epsilon * size.sum(dim=1) / (size > 0).sum(dim=1).clamp_min(1)
    step = torch.linalg.solve(gram + mu[:, None, None] * torch.eye(z.shape[1]), wish)
    found: Tensor = reach @ step
    return found
