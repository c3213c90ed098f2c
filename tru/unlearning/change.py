"""What lies between a model's data and the data it should have been trained on; unlearners work from this alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tru.data.prepare import Prepared
from tru.errors import UnlearningError


@dataclass(frozen=True)
class Change:
    """The difference between two prepared data sets, by position.

    Attributes:
        users: (n_users_after,) position before of each user that stays.
        items: (n_items_after,) the same for items.
        forgotten: (f, 2) positions *before* of the edges that are gone.
        emptied_users: (n_users_after,) bool; the user stays but lost every edge.
        emptied_items: (n_items_after,) bool; the item stays but lost every edge.
    """

    users: np.ndarray
    items: np.ndarray
    forgotten: np.ndarray
    emptied_users: np.ndarray
    emptied_items: np.ndarray

    @classmethod
    def between(cls, before: Prepared, after: Prepared) -> Change:
        """Compare two data sets of which the second is a part of the first.

        Raises:
            UnlearningError: the second holds users, items or edges that the first does not.
        """
        users, items = _positions(before.users, after.users), _positions(before.items, after.items)
        stays = np.stack([users[after.edges[:, 0]], items[after.edges[:, 1]]], axis=1)
        n = len(before.items)
        old, kept = before.edges[:, 0] * n + before.edges[:, 1], stays[:, 0] * n + stays[:, 1]
        if not np.isin(kept, old).all():
            raise UnlearningError(_GREW)
        forgotten = before.edges[~np.isin(old, kept)]
        return cls(
            users=users,
            items=items,
            forgotten=forgotten,
            emptied_users=_emptied(before.edges[:, 0], after.edges[:, 0], users),
            emptied_items=_emptied(before.edges[:, 1], after.edges[:, 1], items),
        )


_GREW = (
    "the data holds rows that the model was not trained on, so there is nothing to compare with: "
    "unlearning only takes away. Retrain: `tru train`."
)


def _positions(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(n_after,) positions in ``before`` of the ids in ``after``."""
    order = np.argsort(before, kind="stable")
    at = np.minimum(np.searchsorted(before[order], after), len(before) - 1)
    if not (before[order][at] == after).all():
        raise UnlearningError(_GREW)
    found: np.ndarray = order[at]
    return found


def _emptied(before: np.ndarray, after: np.ndarray, where: np.ndarray) -> np.ndarray:
    had = np.isin(where, before)
    has = np.isin(np.arange(len(where)), after)
    emptied: np.ndarray = had & ~has
    return emptied
