"""Ranking fusion gate: lower what is left of the forgotten items in a user's ranking, and disturb nothing else.

The score of a forgotten pair is fused with a reference score, only ever downwards, and the change is written into the
user's served vector by the correction that moves all other items' scores least (closed form; design: tru.md, step 2).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def patch(
    users: Tensor, items: Tensor, reference: Tensor, ghosts: Tensor, pairs: np.ndarray, epsilon: float = 1e-3
) -> Tensor:
    """What to add to the users' final vectors.

    Args:
        users: (n_users, d) final vectors now.
        items: (n_items, d) final vectors now; the catalogue whose scores should not move.
        reference: (n_users, d) final vectors with the attributed reverse applied to the user rows.
        ghosts: (n, d) vectors of the forgotten items, indexed by the second column of ``pairs``: the present vector of
            an item that stays, the last one of an item that is gone.
        pairs: (f, 2) forgotten (user, ghost) pairs of users that stay.
        epsilon: regularisation of the metric, relative to its mean diagonal.

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
        gram = z @ inverse @ z.transpose(1, 2)
        mu = epsilon * gram.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        step = torch.linalg.solve(gram + mu * torch.eye(int(n)), wish[..., None])
        out[u] = (inverse @ (z.transpose(1, 2) @ step)).squeeze(-1)
    return out
