"""Assigning each row to train, val or test, once; afterwards the assignment is stored and never moves."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

TRAIN_SHARE, VAL_SHARE = 0.8, 0.1


def assign_split(interactions: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """(n_rows,) int8: 0 train, 1 val, 2 test, about 80/10/10; every user keeps at least one train row.

    A row's place follows from a hash of its own ids alone, whatever other rows there are; only a user whose rows would
    all be held out gets the one with the lowest draw put into train.

    Args:
        interactions: table with user_id and item_id (strings).
        seed: another seed draws another split.
    """
    draws = np.array([_draw(u, i, seed) for u, i in zip(interactions["user_id"], interactions["item_id"], strict=True)])
    split = np.select([draws < TRAIN_SHARE, draws < TRAIN_SHARE + VAL_SHARE], [0, 1], default=2).astype(np.int8)
    order = np.argsort(draws, kind="stable")
    # Each user's lowest draw: train anyway, unless all of theirs are held out.
    lowest = order[~interactions["user_id"].iloc[order].duplicated().to_numpy()]
    split[lowest] = 0
    return split


def _draw(user: str, item: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the pair and the seed."""
    # The separator cannot occur in an id, so no two pairs spell the same text.
    digest = hashlib.blake2b(f"{seed}\x00{user}\x00{item}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
