"""What is to be forgotten, and the data set without it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from tru.data.choice import extreme, standings
from tru.data.features import presence
from tru.data.interactions import TRAIN, Dataset
from tru.data.params import ForgetParams
from tru.errors import DataError, NothingLeft

Pair = tuple[str, str]
T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class ForgetSet:
    """The subjects of a batch. It holds raw identifiers: keep it off logs and reports, destroy it with the batch.

    Attributes:
        users: all their rows go.
        items: their rows, features and neighbour relations go, and the items themselves.
        pairs: (user, item); that row goes.
        modalities: (item, modality); the item stays, its features of that modality and what was built on them go.
    """

    users: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    pairs: frozenset[Pair] = frozenset()
    modalities: frozenset[Pair] = frozenset()

    def __repr__(self) -> str:
        """Counts, and no identifier: it may end in a log or a traceback."""
        sizes = (len(self.users), len(self.items), len(self.pairs), len(self.modalities))
        return "<ForgetSet: {} users, {} items, {} pairs, {} modalities>".format(*sizes)

    @property
    def size(self) -> int:
        """Number of subjects."""
        return len(self.users) + len(self.items) + len(self.pairs) + len(self.modalities)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to forget."""
        return self.size == 0

    def known(self, ds: Dataset) -> ForgetSet:
        """The part of it that ``ds`` holds."""
        return ForgetSet(
            users=self.users & frozenset(ds.users.tolist()),
            items=self.items & frozenset(ds.items.tolist()),
            pairs=frozenset(_pairs_of(ds.interactions[_names(ds.interactions, self.pairs)])),
            modalities=self.modalities & _present_pairs(ds),
        )

    def unknown(self, ds: Dataset) -> ForgetSet:
        """The part of it that ``ds`` does not hold: these requests are answered as "not found"."""
        known = self.known(ds)
        return ForgetSet(
            users=self.users - known.users,
            items=self.items - known.items,
            pairs=self.pairs - known.pairs,
            modalities=self.modalities - known.modalities,
        )

    def to_dict(self) -> dict[str, list[Any]]:
        """Sorted lists, ready for JSON."""
        return {
            "users": sorted(self.users),
            "items": sorted(self.items),
            "pairs": [list(pair) for pair in sorted(self.pairs)],
            "modalities": [list(pair) for pair in sorted(self.modalities)],
        }

    @classmethod
    def from_dict(cls, value: dict[str, list[Any]]) -> ForgetSet:
        """The inverse of :meth:`to_dict`; absent keys are empty."""
        return cls(
            users=frozenset(value.get("users", [])),
            items=frozenset(value.get("items", [])),
            pairs=frozenset((user, item) for user, item in value.get("pairs", [])),
            modalities=frozenset((item, modality) for item, modality in value.get("modalities", [])),
        )

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all, readable by this account only."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.new-{os.getpid()}")
        part.touch(mode=0o600)
        part.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> ForgetSet:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: missing or damaged.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is missing or no forget set. Run the step that writes it again.") from error


def cut(ds: Dataset, forget: ForgetSet) -> Dataset:
    """``ds`` without what is to be forgotten; every other row keeps its place, its split and its bytes.

    What ``ds`` does not hold is passed over (see :meth:`ForgetSet.unknown`). A modality that no item has any more goes
    as a whole: a matrix of zeros would say nothing, and the mean of nothing is no number.

    Raises:
        NothingLeft: no train row would be left.
    """
    rows = ds.interactions
    gone = rows["user_id"].isin(list(forget.users)) | rows["item_id"].isin(list(forget.items))
    rows = rows[~(gone | _names(rows, forget.pairs))].reset_index(drop=True)
    stay = ~np.isin(ds.items, sorted(forget.items)) if forget.items else np.ones(len(ds.items), dtype=bool)
    items = ds.items[stay]
    features = {m: _without(ds.features[m][stay], items, _of(forget, m)) for m in ds.modalities}
    present = {m: presence(features[m]) for m in ds.modalities}
    if not (rows["split"] == TRAIN).any():
        raise NothingLeft("After the cut no train row would be left: there would be nothing to learn from.")
    present = {m: flags for m, flags in present.items() if flags.any()}
    features = {m: features[m] for m in present}
    neighbours = {m: _among(table, items[present[m]]) for m, table in ds.neighbours.items() if m in present}
    return replace(ds, interactions=rows, items=items, features=features, present=present, neighbours=neighbours)


def simulate(ds: Dataset, params: ForgetParams) -> ForgetSet:
    """Draw a batch of requests: among users or items with train rows, train pairs, or modalities items have.

    Raises:
        DataError: nothing, or everything, would be forgotten.
    """
    train = ds.interactions[ds.interactions["split"] == TRAIN]
    if params.regime == "user":
        return ForgetSet(users=frozenset(_draw(sorted(set(train["user_id"])), train, params)))
    if params.regime == "item":
        return ForgetSet(items=frozenset(_draw(sorted(set(train["item_id"])), train, params)))
    if params.regime == "interaction":
        return ForgetSet(pairs=frozenset(_draw(sorted(_pairs_of(train)), train, params)))
    return ForgetSet(modalities=frozenset(_draw(sorted(_present_pairs(ds)), train, params)))


def _draw(pool: list[T], train: pd.DataFrame, params: ForgetParams) -> list[T]:
    """``params.count`` or ``params.fraction`` of ``pool``, at least one."""
    count = max(1, round(params.fraction * len(pool))) if params.count is None else params.count
    if not 0 < count < len(pool):
        raise DataError(
            f"Cannot forget {count} of {len(pool)} ({params.regime}s). "
            "Set forget.fraction between 0 and 1, or forget.count between 1 and what there is."
        )
    if params.choice != "random":
        names = [" ".join(one) if isinstance(one, tuple) else str(one) for one in pool]
        at = extreme(names, _standing(pool, train, params), params.choice, count, params.seed)
        pool = [pool[k] for k in at]
    picked = np.random.default_rng(params.seed).choice(len(pool), size=count, replace=False)
    return [pool[k] for k in sorted(picked)]


def _standing(pool: list[Any], train: pd.DataFrame, params: ForgetParams) -> np.ndarray:
    """(n,) what ``params.choice`` goes by; 0 for an item that nobody has."""
    users, items, rows = standings(train, params.choice)
    if params.regime == "interaction":
        rows.index = pd.MultiIndex.from_frame(train[["user_id", "item_id"]])
        return rows.loc[pool].to_numpy(dtype=float)
    names = [item for item, _ in pool] if params.regime == "modality" else pool
    return (users if params.regime == "user" else items).reindex(names).fillna(0.0).to_numpy(dtype=float)


def _pairs_of(rows: pd.DataFrame) -> Iterable[Pair]:
    """(user, item) of each row."""
    return zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)


def _present_pairs(ds: Dataset) -> set[Pair]:
    """All (item, modality) that are there."""
    return {(item, m) for m in ds.modalities for item in ds.items[ds.present[m]].tolist()}


def _names(rows: pd.DataFrame, pairs: frozenset[Pair]) -> np.ndarray:
    """(n_rows,) bool: which rows are one of ``pairs``."""
    hit = rows["user_id"].isin([user for user, _ in pairs]).to_numpy(dtype=bool).copy()
    # Only the rows of users who are named are compared pair by pair.
    hit[hit] = [pair in pairs for pair in _pairs_of(rows[hit])]
    return hit


def _of(forget: ForgetSet, modality: str) -> list[str]:
    """Items whose ``modality`` is revoked."""
    return sorted(item for item, name in forget.modalities if name == modality)


def _without(matrix: np.ndarray, items: np.ndarray, revoked: list[str]) -> np.ndarray:
    """``matrix`` with the rows of the revoked items zero."""
    if revoked:
        matrix = matrix.copy()
        matrix[np.isin(items, revoked)] = 0
    return matrix


def _among(table: pd.DataFrame, items: np.ndarray) -> pd.DataFrame:
    """The neighbour relations between ``items``."""
    return table[table["item_id"].isin(items) & table["neighbour_id"].isin(items)].reset_index(drop=True)
