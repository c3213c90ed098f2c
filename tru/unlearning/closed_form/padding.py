"""Lists of unlike length, such as everybody's neighbours, in batches with little padding."""

from __future__ import annotations

import numpy as np

LARGEST = 100_000
"""Entries of a batch."""


def alike(length: np.ndarray) -> list[np.ndarray]:
    """Groups of positions whose lengths are within a factor of the square root of two, at most 100k entries each."""
    if not len(length):
        return []
    bucket = np.ceil(2 * np.log2(np.maximum(length, 1))).astype(int)
    groups = []
    for b in np.unique(bucket):
        members = np.flatnonzero(bucket == b)
        size = max(1, LARGEST // int(length[members].max(initial=1)))
        groups += [members[k : k + size] for k in range(0, len(members), size)]
    return groups


def padded(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions ``first`` to ``last`` of each list, (g, longest), and which of them exist; the others are zero."""
    at = first[:, None] + np.arange((last - first).max(initial=0))[None, :]
    exists = at < last[:, None]
    return np.where(exists, at, 0), exists
