"""What a batch would leave of a data set, counted without cutting: can a model be trained on it, and be measured?

A night asks before it cuts, so that requests that can be fulfilled need not wait for those that cannot. The check after
the cut asks again. Nothing here knows how :func:`tru.data.forget.cut` works, so that an error there is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd

from tru.data.forget import ForgetSet
from tru.data.interactions import SPLITS, TRAIN, Dataset

T = TypeVar("T")


@dataclass(frozen=True)
class Left:
    """Counts of what is left; no identifier in it.

    Attributes:
        rows: interactions by split (``train``, ``val``, ``test``).
        users: with at least one interaction.
        items: of the catalogue, with or without interactions.
        modalities: modality -> items that have it.
    """

    rows: dict[str, int] = field(default_factory=dict)
    users: int = 0
    items: int = 0
    modalities: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ds: Dataset, forget: ForgetSet | None = None) -> Left:
        """What ``ds`` holds without ``forget``."""
        rows = ds.interactions
        if forget is None:
            items, has = len(ds.items), {m: int(flags.sum()) for m, flags in ds.present.items()}
        else:
            rows = rows[~in_batch(rows, forget)]
            items = int(kept_items(ds, forget).sum())
            has = {m: _having(ds, forget, m) for m in ds.modalities}
        counts = {word: int((rows["split"] == code).sum()) for code, word in SPLITS.items()}
        return cls(counts, int(rows["user_id"].nunique()), items, has)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split among all interactions."""
        total = max(1, sum(self.rows.values()))
        return {word: count / total for word, count in self.rows.items()}

    @property
    def density(self) -> float:
        """Interactions of a user, on average."""
        return sum(self.rows.values()) / max(1, self.users)

    @property
    def carries_a_model(self) -> bool:
        """Whether there is anything to learn from."""
        return self.rows[SPLITS[TRAIN]] > 0

    def lacks(self, before: Left) -> list[str]:
        """What ``before`` had and nobody has any more, in words; empty as it should be."""
        found = [
            f"no {word} rows would be left" for word, count in self.rows.items() if before.rows[word] and not count
        ]
        found += ["no user would be left"] if before.users and not self.users else []
        found += ["no item would be left"] if before.items and not self.items else []
        names = [m for m, n in self.modalities.items() if before.modalities[m] and not n]
        return found + [f"no item would have the modality {name} any more" for name in names if self.items]


def _having(ds: Dataset, forget: ForgetSet, modality: str) -> int:
    """How many of the items that the batch leaves keep the modality."""
    names = ds.items[ds.present[modality]].tolist()
    return sum(name not in forget.items and (name, modality) not in forget.modalities for name in names)


def in_batch(rows: pd.DataFrame, forget: ForgetSet) -> np.ndarray:
    """(n_rows,) bool: which interactions belong to the batch."""
    pairs = zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)
    hit = [u in forget.users or i in forget.items or (u, i) in forget.pairs for u, i in pairs]
    return np.array(hit, dtype=bool)


def kept_items(ds: Dataset, forget: ForgetSet) -> np.ndarray:
    """(n_items,) bool: which items the batch leaves."""
    return np.array([item not in forget.items for item in ds.items.tolist()], dtype=bool)


def fitting(groups: Sequence[T], fits: Callable[[Sequence[T]], bool]) -> list[T]:
    """The groups that fit together: each in its turn is taken if it fits beside those taken before.

    Many are tried at once and halved where they do not fit, so that among thousands the few that stand in the way
    are found with a few dozen questions.

    Args:
        groups: in the order in which they have a claim.
        fits: whether these fit together; what does not fit never fits with more beside it.
    """
    taken: list[T] = []

    def take(some: Sequence[T]) -> None:
        if fits([*taken, *some]):
            taken.extend(some)
        elif len(some) > 1:
            middle = len(some) // 2
            take(some[:middle])
            take(some[middle:])

    take(groups)
    return taken
