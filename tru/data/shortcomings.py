"""What cannot be done with a data set, because there is too little of something; said at import and before training."""

from __future__ import annotations

from tru import identifiers
from tru.data.interactions import TEST, TRAIN, VAL, Dataset
from tru.errors import DataError

FEW_TRAIN_ROWS = 100
"""Canaries are at most one train row in twenty, and so are the rows that unlearning practises on; with fewer train rows
than this there may well be none of either."""

FEATURELESS = (
    "There are no features, and mgcn and miggt cannot be trained without. Set model.name to lightgcn, which learns "
    "from ids alone."
)
"""Said at import; a training refuses by itself what it cannot do."""


def shortcomings(ds: Dataset) -> list[str]:
    """One sentence each; empty if there is enough of everything. No identifier in them."""
    sizes = ds.interactions["split"].value_counts()
    train, val, test = (int(sizes.get(code, 0)) for code in (TRAIN, VAL, TEST))
    said = []
    if not val:
        said.append("There are no validation rows: training cannot stop early, it runs all its epochs (train.epochs).")
    if not test:
        said.append(
            "There are no test rows: how good recommendations are is not measured, and the gate cannot judge it."
        )
    if train < FEW_TRAIN_ROWS:
        said.append(
            f"There are only {train} train rows, perhaps too few to practise unlearning on; then every night retrains."
        )
    if len(ds.users) == 1:
        said.append("There is one user: nobody can be forgotten, since nothing to train on would be left.")
    nameless = sum(identifiers.fault(id) is not None for id in (*ds.users.tolist(), *ds.items.tolist()))
    if nameless:
        said.append(
            f"{nameless} ids can be named by no request (control characters, blanks around them, or more than "
            f"{identifiers.LONGEST} characters), so they could never be deleted. Correct them and import again."
        )
    if _one_item(ds):
        said.append("All train rows are with one item: there is nothing to prefer it to, so nothing is learned.")
    return said


def refuse_unlearnable(ds: Dataset) -> Dataset:
    """``ds``, if anything can be learned from it.

    Raises:
        DataError: all its train rows are with one item.
    """
    if _one_item(ds):
        raise DataError(
            f"{ds.name}: all train rows are with one item, so there is nothing to prefer it to and nothing to learn. "
            "Import a data set whose users took two items or more."
        )
    return ds


def _one_item(ds: Dataset) -> bool:
    rows = ds.interactions
    return rows.loc[rows["split"] == TRAIN, "item_id"].nunique() == 1
