"""Utility of a model for those who stay: for all, for who lost something, and for those who are near to what went.

The literature masks in two ways, a user's train items only, or train and validation items, and figures may differ
between them wherever users have both. Both are given.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tru import randomness
from tru.data.prepare import Prepared
from tru.evaluation.audits import Scores, Stage, kept, stay, tested_pairs
from tru.evaluation.metrics import per_user_metrics

FITTED = 2000
"""Users drawn for how well a model still knows retained train pairs."""


def masks(data: Prepared) -> dict[str, np.ndarray]:
    """Name of a public masking -> (m, 2) pairs that no list may show."""
    return {"train": data.train, "train+val": np.concatenate([data.train, data.val])}


def affected(stage: Stage) -> dict[str, np.ndarray]:
    """Groups of the users who stay, as (n_users_after,) flags.

    ``touched`` lost an edge, or have an item of which a modality was revoked. Of the others, those have a share that
    went in their surroundings: the mean over their edges of the item's forgotten edges by its edges before. ``near``
    are the upper half of those with any such share, ``far`` everybody else.
    """
    edges, gone = kept(stage, canaries=False), stage.forgotten
    n = len(stage.before.users)
    touched = np.bincount(gone[:, 0], minlength=n) + np.bincount(edges[revoked(stage)[edges[:, 1]], 0], minlength=n) > 0
    lost, stayed = (np.bincount(part[:, 1], minlength=len(stage.before.items)) for part in (gone, edges))
    share = (lost / np.maximum(lost + stayed, 1))[edges[:, 1]]
    own = np.bincount(edges[:, 0], share, minlength=n) / np.maximum(np.bincount(edges[:, 0], minlength=n), 1)
    near = ~touched & (own > 0)
    near &= own >= (np.median(own[near]) if near.any() else 0)
    at = np.searchsorted(stage.before.users, stage.after.users)
    return {"touched": touched[at], "near": near[at], "far": ~(touched | near)[at]}


def revoked(stage: Stage) -> np.ndarray:
    """(n_items_before,) bool: items that stay and have a modality less."""
    before, after = stage.before, stage.after
    out = np.zeros(len(before.items), dtype=bool)
    for m in after.modalities:
        out |= before.present[m] & ~np.isin(before.items, after.items[after.present[m]])
    found: np.ndarray = out & np.isin(before.items, after.items)
    return found


def utility_rows(scores: Scores, stage: Stage) -> dict[tuple[str, str], float]:
    """``test/<masking>/<metric>`` by group of users, and ``retain/<metric>`` of a sample's retained train pairs.

    A group without tested users has no row.
    """
    users, items = stay(scores, stage)
    pairs = tested_pairs(stage)
    who = np.unique(pairs[:, 0])
    groups = {name: flags[who] for name, flags in affected(stage).items() if flags[who].any()}
    out: dict[tuple[str, str], float] = {}
    for masking, masked in masks(stage.after).items():
        found = per_user_metrics(users, items, replace(stage.after, train=masked), pairs)
        for name, values in found.items():
            out[f"test/{masking}/{name}", "all"] = mean(values)
            out |= {(f"test/{masking}/{name}", group): mean(values[flags]) for group, flags in groups.items()}
    edges = _sampled(stage.after)
    nothing = replace(stage.after, train=np.zeros((0, 2), dtype=np.int64))
    for name, values in per_user_metrics(users, items, nothing, edges).items():
        out[f"retain/{name}", "all"] = mean(values)
    return out


def mean(values: np.ndarray) -> float:
    """NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def _sampled(data: Prepared) -> np.ndarray:
    """The edges of FITTED users, the same ones every time as long as they stay."""
    who = np.unique(data.edges[:, 0])
    order = np.argsort(randomness.mix(randomness.of_ids(data.users[who]), randomness.of_word("fitted")), kind="stable")
    found: np.ndarray = data.edges[np.isin(data.edges[:, 0], who[order[:FITTED]])]
    return found
