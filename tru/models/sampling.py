"""A crowd: the nodes of one kind, known by their ids, from which a backbone samples.

A draw is a function of the key of the node it is made for and a word, so that removing a node changes only the draws
that hit it: retraining without it differs by the data, not by the dice (:mod:`tru.randomness`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tru import randomness
from tru.models.hash_ring import Ring


@dataclass(frozen=True)
class Crowd:
    """All users, or all items. Keys and ring are made when first needed; most backbones draw nothing.

    Attributes:
        ids: (n,) str.
        connected: (n,) bool; only nodes with edges are drawn.
        whole: a crowd that this one is a part of, and the (n,) positions of its nodes there; what was hashed and sorted
            for that one need not be for this.
    """

    ids: np.ndarray
    connected: np.ndarray
    whole: tuple[Crowd, np.ndarray] | None = None
    _fixed: dict[tuple[int, ...], Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def keys(self) -> randomness.Keys:
        """(n,) uint64, one per id."""
        if self.whole is None:
            return randomness.of_ids(self.ids)
        crowd, positions = self.whole
        found: randomness.Keys = crowd.keys[positions]
        return found

    @cached_property
    def _ring(self) -> tuple[np.ndarray, Ring]:
        if self.whole is None:
            at = np.flatnonzero(self.connected)
            return at, Ring(self.keys[at])
        there, ring = self.whole[0]._ring
        at = self._here[there]
        return at[at >= 0], ring.only(at >= 0)

    @cached_property
    def _here(self) -> np.ndarray:
        """Of a part: (n of the whole,) position here of each node with edges, -1 for all others."""
        assert self.whole is not None
        crowd, positions = self.whole
        here = np.full(len(crowd.ids), -1)
        here[positions[self.connected]] = np.flatnonzero(self.connected)
        return here

    def part(self, positions: np.ndarray, connected: np.ndarray) -> Crowd:
        """The crowd of the nodes at some positions (m,), of which those ``connected`` (m,) have edges, as before."""
        return Crowd(self.ids[positions], connected, (self, positions))

    def draw(self, keys: randomness.Keys) -> Tensor:
        """Positions, in the shape of ``keys``, of nodes with edges, about uniformly at random; one must exist."""
        at, ring = self._ring
        return torch.from_numpy(at[ring.draw(keys)])

    def companions(self, count: int, *word: np.uint64 | int) -> Tensor:
        """(n, count) positions drawn for every node; each row is a function of its node and the word."""
        keys = randomness.mix(self.keys, *word)[:, None]
        return self.draw(randomness.mix(keys, np.arange(count, dtype=np.uint64)[None, :]))

    def fixed(self, count: int, *word: np.uint64 | int) -> Tensor:
        """:meth:`companions`, remembered: for draws that serving makes again and again."""
        key = (count, *map(int, word))
        if key not in self._fixed:
            drawn = self.companions if self.whole is None else self._companions_of_part
            self._fixed[key] = drawn(count, *word)
        return self._fixed[key]

    def _companions_of_part(self, count: int, *word: np.uint64 | int) -> Tensor:
        """:meth:`companions` as the whole has them; only those who are not here any more are drawn anew."""
        assert self.whole is not None
        crowd, positions = self.whole
        found = self._here[crowd.fixed(count, *word).numpy()[positions]]
        node, place = np.nonzero(found < 0)
        found[node, place] = self.draw(randomness.mix(randomness.mix(self.keys[node], *word), place)).numpy()
        return torch.from_numpy(found)

    def mask(self, width: int, rate: float, *word: randomness.Keys | np.uint64 | int) -> Tensor:
        """(n, width) dropout mask with mean one, each row a function of its node and the word."""
        return torch.from_numpy(randomness.mask(randomness.mix(self.keys, *word), width, rate))
