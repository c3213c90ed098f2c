"""Random nights: what is requested, drawn from the data as it is, in all four regimes."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from tru.data.forget import ForgetSet
from tru.data.interactions import TRAIN, Dataset
from tru.ops.requests.lifecycle import Regime, Subject

SHARES = {Regime.USER: 0.5, Regime.ITEM: 0.1, Regime.INTERACTION: 0.3, Regime.MODALITY: 0.1}
"""How many of a night's requests are of which regime, on average."""
STRANGERS = 0.03
"""Share of requests that name somebody who is not in the data."""


def mix(
    ds: Dataset, size: int, draw: np.random.Generator, regimes: Collection[Regime] = tuple(Regime)
) -> list[dict[str, str]]:
    """Requests about different subjects, as a file for ``tru requests import`` holds them.

    Args:
        ds: the data as it is.
        size: how many.
        draw: decides everything.
        regimes: those to draw from; their shares keep their proportions.
    """
    shares = np.array([SHARES[regime] * (regime in regimes) for regime in SHARES])
    counts = dict(zip(SHARES, draw.multinomial(size, shares / shares.sum()).tolist(), strict=True))
    train = ds.interactions[ds.interactions["split"] == TRAIN]
    users, items = _some(ds.users, counts[Regime.USER], draw), _some(ds.items, counts[Regime.ITEM], draw)
    rows = [{"user": str(user)} for user in users] + [{"item": str(item)} for item in items]
    at = draw.choice(len(train), size=min(counts[Regime.INTERACTION], len(train)), replace=False)
    pairs = zip(train["user_id"].iloc[at], train["item_id"].iloc[at], strict=True)
    rows += [{"user": str(user), "item": str(item)} for user, item in pairs]
    shown = [{"item": str(i), "modality": m} for m in ds.modalities for i in ds.items[ds.present[m]]]
    rows += [shown[k] for k in draw.choice(len(shown), size=min(counts[Regime.MODALITY], len(shown)), replace=False)]
    for k in np.flatnonzero(draw.random(len(rows)) < STRANGERS):
        rows[k] = {"user": f"nobody-{draw.integers(2**48):012x}"}
    return [rows[k] for k in draw.permutation(len(rows))]


def forget_set(rows: list[dict[str, str]]) -> ForgetSet:
    """The subjects that these requests name."""
    named = [Subject.of(**row) for row in rows]
    return ForgetSet(
        users=frozenset(s.user for s in named if s.regime is Regime.USER and s.user),
        items=frozenset(s.item for s in named if s.regime is Regime.ITEM and s.item),
        pairs=frozenset((s.user, s.item) for s in named if s.regime is Regime.INTERACTION and s.user and s.item),
        modalities=frozenset((s.item, s.modality) for s in named if s.item and s.modality),
    )


def write(file: Path, words: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write JSON, whole or not at all, readable by this account only: requests name people."""
    beside = file.with_name(file.name + ".new")
    beside.touch(mode=0o600)
    beside.write_text(json.dumps(words))
    beside.replace(file)


def _some(names: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    found: np.ndarray = draw.choice(names, size=min(count, len(names) - 1), replace=False)
    return found
