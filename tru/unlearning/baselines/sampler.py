"""Pairs to learn from, or to unlearn, in batches whose every draw is a hash of the pair.

What the rivals that take gradients share. A pair's place and its negatives depend on the pair, the seed and the step
alone (:mod:`tru.randomness`); negatives are items that have edges.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tru import randomness
from tru.data.prepare import Prepared, pair_keys
from tru.models.base import Batch
from tru.models.hash_ring import Ring
from tru.models.trained import Recipe
from tru.training import CHUNK

PLACE, NEGATIVE = randomness.of_word("place"), randomness.of_word("negative")


class Lessons:
    """Some pairs of a data set.

    Args:
        data: whose ids the keys are made of; negatives come from its items with edges.
        pairs: (p, 2) positions in ``data``.
        recipe: its seed decides the draws; its epochs are over, so draws by epoch count on from there.
        word: keeps draws of different purposes apart.
    """

    def __init__(self, data: Prepared, pairs: np.ndarray, recipe: Recipe, word: str) -> None:
        self.pairs, self._epochs = pairs, recipe.epochs
        self._keys = pair_keys(data.users, data.items, pairs, randomness.of_word(word), recipe.seed)
        self._connected = np.flatnonzero(data.popularity > 0)
        self._ring = Ring(data.items[self._connected])

    def draw(self, step: int, most: int) -> Batch:
        """A sample of ``most`` pairs, or all of them in another order; each step has one of its own."""
        mixed = randomness.mix(self._keys, PLACE, step)
        at = np.argsort(mixed, kind="stable")[:most]
        sizes = [min(CHUNK, len(at) - first) for first in range(0, len(at), CHUNK)]
        return self._batch(at, sizes, step, step * most // len(self.pairs))

    def once(self, size: int, like: int | None = None) -> Iterator[Batch]:
        """Every pair once, in batches of about ``size``.

        Args:
            size: pairs per batch.
            like: number of pairs that the batches are laid out for. With the same number, and the same ``size``, a pair
                is in the same batch and group whether or not others are missing.
        """
        per_batch = max(1, round(size / CHUNK))
        groups = per_batch * max(1, round((like or len(self.pairs)) / size))
        mixed = randomness.mix(self._keys, PLACE)
        group = (randomness.uniform(mixed) * groups).astype(np.int64)
        order = np.lexsort((mixed, group))
        for number, first in enumerate(range(0, groups, per_batch)):
            low, high = np.searchsorted(group[order], [first, first + per_batch])
            at = order[low:high]
            sizes = np.bincount(group[at] - first, minlength=per_batch)
            if len(at):
                yield self._batch(at, [int(n) for n in sizes if n], number, 0)

    def _batch(self, at: np.ndarray, sizes: list[int], number: int, lap: int) -> Batch:
        negatives = self._connected[self._ring.draw(randomness.mix(self._keys[at], NEGATIVE, number))]
        users, positives = self.pairs[at].T
        ends = [torch.from_numpy(np.ascontiguousarray(x)) for x in (users, positives, negatives)]
        return Batch(ends[0], ends[1], ends[2], chunks=sizes, epoch=self._epochs + lap, number=number)
