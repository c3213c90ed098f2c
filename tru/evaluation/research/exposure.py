"""What is shown to people: items that were taken down, and items that planted users pushed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tru.evaluation.audits import Stage
from tru.evaluation.metrics import top_items
from tru.models.trained import TrainedModel

CUTOFF = 20


def exposure(
    model: TrainedModel, items: Collection[str], *, users: Collection[str] | None = None, k: int = CUTOFF
) -> float:
    """How often a list of ``k`` shows one of the items, of all (user, item) for which it might.

    A user who has an item already cannot be shown it and does not count for it. An item that the model does not know
    is never shown.

    Args:
        model: what serves.
        items: their ids.
        users: whose lists; all the model knows where nothing is said.
        k: length of a list.

    Returns:
        From 0 to 1; NaN if nobody could be shown any.
    """
    data = model.data
    wanted = np.array(sorted(set(items)), dtype=str)
    at = np.flatnonzero(np.isin(data.items, wanted))
    who = np.arange(len(data.users)) if users is None else np.flatnonzero(np.isin(data.users, sorted(users)))
    owned = data.train[np.isin(data.train[:, 1], at) & np.isin(data.train[:, 0], who)]
    possible = len(who) * len(wanted) - len(np.unique(owned, axis=0))
    if not possible:
        return float("nan")
    if not len(at):  # ranking for everybody is dear
        return 0.0
    found = model.embed()
    n, shown = len(data.items), 0
    for chunk, top in top_items(found.users, found.items, data.train, who, k):
        listed = np.isin(top, at)
        # Where a user has nearly everything, masked items fill the end of the list.
        listed[listed] = ~np.isin((chunk[:, None] * n + top)[listed], owned[:, 0] * n + owned[:, 1])
        shown += int(listed.sum())
    return shown / possible


def exposure_rows(model: TrainedModel, stage: Stage, targets: Collection[str] = ()) -> dict[tuple[str, str], float]:
    """``exposure@20`` of items taken down (must be 0 once they are) and of planted targets, for those who stay."""
    groups = {"taken down": np.setdiff1d(stage.before.items, stage.after.items).tolist(), "planted": list(targets)}
    users = stage.after.users.tolist()
    return {("exposure@20", group): exposure(model, items, users=users) for group, items in groups.items() if items}
