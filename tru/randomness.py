"""Keyed noise: every random choice is a hash of what it is about, never of when it was made.

A draw for (pair, epoch, seed) stays the same when other pairs are removed, so that a retrained model differs from the
original by its data alone and not by reshuffled dice. The mixing function is SplitMix64 (Steele et al., 2014).
"""

from __future__ import annotations

import hashlib

import numpy as np

Keys = np.ndarray
"""(n,) uint64."""


def of_ids(ids: np.ndarray) -> Keys:
    """64-bit keys of string ids, the same on every machine.

    Args:
        ids: (n,) strings; or keys, which stay as they are: hashing many ids again and again takes its time.
    """
    if ids.dtype == np.uint64:
        return ids
    digests = b"".join(hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def of_word(word: str) -> np.uint64:
    """The key of one word; used to keep draws of different purposes apart."""
    return np.uint64(int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little"))


def mix(*parts: Keys | np.uint64 | int) -> Keys:
    """Combine keys, element by element; the order of the parts matters."""
    with np.errstate(over="ignore"):
        state: Keys = np.zeros(1, dtype=np.uint64)
        for part in parts:
            state = _splitmix(state ^ np.asarray(part, dtype=np.uint64))
        return state


def uniform(keys: Keys) -> np.ndarray:
    """Keys as float64 in [0, 1)."""
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53


def table(ids: np.ndarray, width: int, bound: float, *seed: Keys | np.uint64 | int) -> np.ndarray:
    """Initial rows (n, width) float32, uniform in [-bound, bound); each is a function of its id and the seed alone."""
    columns = np.arange(width, dtype=np.uint64)[None, :]
    draws = uniform(mix(mix(of_ids(ids), *seed)[:, None], columns))
    return ((2.0 * draws - 1.0) * bound).astype(np.float32)


def mask(keys: Keys, width: int, rate: float) -> np.ndarray:
    """(n, width) float32 dropout mask with mean one; each row is a function of its key alone.

    A byte decides about an entry, so ``rate`` in [0, 1) is rounded to multiples of 1/256.
    """
    least = min(round(256 * rate), 255)
    words = mix(keys[:, None], np.arange(-(-width // 8), dtype=np.uint64)[None, :])
    keep = words.astype("<u8").view(np.uint8)[:, :width] >= least
    return keep.astype(np.float32) * np.float32(256 / (256 - least))


def _splitmix(x: Keys) -> Keys:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Keys = x ^ (x >> np.uint64(31))
    return mixed
