"""Keyed noise: every random choice is a hash of what it is about, never of when it was made.

A draw for (pair, epoch, seed) stays the same when other pairs are removed, so that a retrained model differs from the
original by its data alone and not by reshuffled dice. The mixing function is SplitMix64 (Steele et al., 2014).
"""

from __future__ import annotations

import hashlib
from copy import copy

import numpy as np

Keys = np.ndarray
"""(n,) uint64."""


def of_ids(ids: np.ndarray) -> Keys:
    """64-bit keys of string ids, the same on every machine.

    Args:
        ids: (n,) strings.
    """
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


class Ring:
    """Consistent hashing: a draw of an item that changes only where the drawn item itself was removed.

    Every item owns ``points`` places on a ring of 2^64; a draw takes the owner of the next place. With 64 points per
    item the shares differ by about 1/8 from uniform.
    """

    def __init__(self, ids: np.ndarray, points: int = 64) -> None:
        """Place the items, given by their string ids (n,), on the ring."""
        places = mix(of_ids(ids)[:, None], np.arange(points, dtype=np.uint64)[None, :])
        order = np.argsort(places, axis=None, kind="stable")
        self._places = places.ravel()[order]
        self._owner = (order // points).astype(np.int64)

    def only(self, stays: np.ndarray) -> Ring:
        """The ring of those items that stay, (n,) bool, in their order: what placing them anew would give, sooner."""
        kept = stays[self._owner]
        part = copy(self)
        part._places, part._owner = self._places[kept], (np.cumsum(stays) - 1)[self._owner[kept]]
        return part

    def draw(self, keys: Keys) -> np.ndarray:
        """Positions of the items drawn by ``keys``, in their shape."""
        wanted = keys.ravel()
        order = np.argsort(wanted)  # in order, the search need not start anew for each: half the time
        places = np.empty(len(wanted), dtype=np.int64)
        places[order] = np.searchsorted(self._places, wanted[order])
        return self._owner[places % len(self._places)].reshape(keys.shape)
