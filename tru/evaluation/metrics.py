"""Full-ranking metrics: every item is a candidate but the user's train items (canaries included), which are masked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tru.data.prepare import Prepared

CUTOFFS = (10, 20)


def rank_metrics(users: Tensor, items: Tensor, data: Prepared, pairs: np.ndarray) -> dict[str, float]:
    """Recall and NDCG at 10 and 20, averaged over the users who have pairs.

    Args:
        users: (n_users, d) vectors.
        items: (n_items, d) vectors.
        data: whose train pairs are masked.
        pairs: (m, 2) relevant (user, item) pairs.

    Returns:
        ``recall@10``, ``recall@20``, ``ndcg@10``, ``ndcg@20``; NaN for each where there are no pairs.
    """
    per_user = per_user_metrics(users, items, data, pairs)
    return {name: float(values.mean()) if len(values) else float("nan") for name, values in per_user.items()}


def per_user_metrics(users: Tensor, items: Tensor, data: Prepared, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """The same metrics, one value per user with pairs, in order of user position."""
    k = max(CUTOFFS)
    columns: dict[str, list[np.ndarray]] = {f"{name}@{c}": [] for name in ("recall", "ndcg") for c in CUTOFFS}
    relevant = _keys(pairs, len(items))
    relevant.sort()
    for chunk, top in top_items(users, items, data.train, np.unique(pairs[:, 0]), k):
        hits = np.isin(chunk[:, None] * len(items) + top, relevant)
        counts = np.searchsorted(relevant, (chunk + 1) * len(items)) - np.searchsorted(relevant, chunk * len(items))
        for c in CUTOFFS:
            columns[f"recall@{c}"].append(hits[:, :c].sum(1) / counts)
            columns[f"ndcg@{c}"].append(_ndcg(hits[:, :c], counts))
    return {name: np.concatenate(values) if values else np.zeros(0) for name, values in columns.items()}


def top_items(
    users: Tensor, items: Tensor, masked: np.ndarray, who: np.ndarray, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The k best items of some users, in chunks of 1024 users.

    Args:
        users: (n_users, d).
        items: (n_items, d).
        masked: (m, 2) pairs that may not be recommended.
        who: (q,) user positions.
        k: length of a list.

    Yields:
        (c,) user positions and their (c, k) item positions, best first.
    """
    masked = masked[np.argsort(masked[:, 0], kind="stable")]
    for start in range(0, len(who), 1024):
        chunk = who[start : start + 1024]
        scores = users[torch.from_numpy(chunk)] @ items.T
        first, last = np.searchsorted(masked[:, 0], chunk), np.searchsorted(masked[:, 0], chunk + 1)
        rows = np.repeat(np.arange(len(chunk)), last - first)
        within = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)] or [np.zeros(0, int)])
        scores[torch.from_numpy(rows), torch.from_numpy(masked[within.astype(np.int64), 1])] = -torch.inf
        yield chunk, torch.topk(scores, min(k, len(items)), dim=1).indices.numpy()


def _ndcg(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """NDCG of (n, k) hit marks for users with ``counts`` relevant items."""
    discount = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(counts, hits.shape[1]) - 1]
    gain: np.ndarray = (hits * discount).sum(1) / ideal
    return gain


def _keys(pairs: np.ndarray, n_items: int) -> np.ndarray:
    keys: np.ndarray = pairs[:, 0] * n_items + pairs[:, 1]
    return keys
