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
        gone: (e,) bool; which edges before are gone.
        forgotten: (f, 2) positions *before* of those edges.
        emptied_users: (n_users_after,) bool; the user stays but lost every edge.
        emptied_items: (n_items_after,) bool; the item stays but lost every edge.
    """

    users: np.ndarray
    items: np.ndarray
    gone: np.ndarray
    forgotten: np.ndarray
    emptied_users: np.ndarray
    emptied_items: np.ndarray

    @classmethod
    def between(cls, before: Prepared, after: Prepared) -> Change:
        """Compare two data sets of which the second is a part of the first.

        Raises:
            UnlearningError: the second holds users, items or edges that the first does not, or lacks a modality.
        """
        if gone_modalities := sorted(set(before.modalities) - set(after.modalities)):
            raise UnlearningError(_READ.format(names=", ".join(gone_modalities)))
        users, items = _positions(before.users, after.users), _positions(before.items, after.items)
        stays = np.stack([users[after.edges[:, 0]], items[after.edges[:, 1]]], axis=1)
        old, kept = (pairs @ [len(before.items), 1] for pairs in (before.edges, stays))
        if not _among(kept, old).all():
            raise UnlearningError(_GREW)
        gone = ~_among(old, kept)
        return cls(
            users=users,
            items=items,
            gone=gone,
            forgotten=before.edges[gone],
            emptied_users=_emptied(before.edges[:, 0], after.edges[:, 0], users),
            emptied_items=_emptied(before.edges[:, 1], after.edges[:, 1], items),
        )


_GREW = (
    "the data holds rows that the model was not trained on, so there is nothing to compare with: "
    "unlearning only takes away. Retrain: `tru train`."
)


_READ = (
    "no item has the modality {names} any more, and the layers that read it learned from it. Unlearning takes nothing "
    "out of layers; only retraining makes a model without them."
)


def _positions(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(n_after,) positions in ``before`` of the ids in ``after``."""
    order = np.argsort(before, kind="stable")
    at = np.minimum(np.searchsorted(before[order], after), len(before) - 1)
    if not (before[order][at] == after).all():
        raise UnlearningError(_GREW)
    found: np.ndarray = order[at]
    return found


def _among(numbers: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) bool: whether each number is one of the others. By sorting, in a third of the time of ``np.isin``."""
    others = np.append(np.sort(others), -1)  # so that there is one to look at for what is larger than all
    found: np.ndarray = others[np.searchsorted(others[:-1], numbers)] == numbers
    return found


def _emptied(before: np.ndarray, after: np.ndarray, where: np.ndarray) -> np.ndarray:
    had = np.bincount(before, minlength=where.max(initial=-1) + 1)[where]
    has = np.bincount(after, minlength=len(where))
    emptied: np.ndarray = (had > 0) & (has == 0)
    return emptied
