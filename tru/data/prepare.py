"""From strings to numbers: the form in which backbones, unlearners and metrics see a data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from tru import randomness
from tru.data.interactions import TEST, TRAIN, VAL, Dataset
from tru.errors import DataError

NEIGHBOURS = 10
"""Neighbours per item in a kNN graph that we build ourselves (MGCN's value; an item's own row counts as one)."""


@dataclass(frozen=True, repr=False)
class Prepared:
    """A data set by position. Treat every array as read-only.

    Attributes:
        users: (n_users,) str, sorted; every user with at least one row.
        items: (n_items,) str, in feature order.
        train: (n, 2) int64 user and item positions, canaries included.
        canary: (n,) bool; train pairs that training withholds, so that forgotten pairs have something to resemble.
        val: (m, 2) int64.
        test: (m, 2) int64.
        features: modality -> (n_items, d) float32, standardised.
        present: modality -> (n_items,) bool.
        knn: modality -> (e, 2) int64, item and neighbour.
        similarity: modality -> (e,) float32 cosine of those two.
    """

    users: np.ndarray
    items: np.ndarray
    train: np.ndarray
    canary: np.ndarray
    val: np.ndarray
    test: np.ndarray
    features: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    knn: dict[str, np.ndarray]
    similarity: dict[str, np.ndarray]

    def __repr__(self) -> str:
        """Counts, and no identifier: it may end in a log or a traceback."""
        return f"<Prepared: {len(self.users)} users, {len(self.items)} items, {len(self.train)} train pairs>"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, sorted."""
        return tuple(sorted(self.features))

    @cached_property
    def edges(self) -> np.ndarray:
        """(n', 2) int64: the train pairs that training sees, without canaries."""
        edges: np.ndarray = self.train[~self.canary]
        return edges

    @property
    def popularity(self) -> np.ndarray:
        """(n_items,) int64: edges per item."""
        return np.bincount(self.edges[:, 1], minlength=len(self.items))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name: ``train``, …, ``features/image``, …."""
        per = {f"{kind}/{m}": a for kind in _PER_MODALITY for m, a in getattr(self, kind).items()}
        return {name: getattr(self, name) for name in _PLAIN} | per

    def save(self, file: Path) -> None:
        """Write everything to one ``.npz``, without pickles."""
        flat: dict[str, Any] = self.arrays()
        np.savez(file, **flat)

    @classmethod
    def load(cls, file: Path) -> Prepared:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing or not ours.
        """
        try:
            # NumPy leaves a file open that is no proper archive; ours is closed in any case.
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            per: dict[str, Any] = {kind: {} for kind in _PER_MODALITY}
            for name in [n for n in arrays if "/" in n]:
                kind, _, modality = name.partition("/")
                per[kind][modality] = arrays.pop(name)
            return cls(**arrays, **per)
        except (OSError, EOFError, BadZipFile, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{file}: not a prepared data set ({type(error).__name__}). Run `dvc repro prepare`."
            ) from error


_PER_MODALITY = ("features", "present", "knn", "similarity")
_PLAIN = ("users", "items", "train", "canary", "val", "test")


def prepare(ds: Dataset, canary_rate: float, canary_seed: int = 0) -> Prepared:
    """Number the users and items, mark the canaries, take or build the neighbour graphs.

    Args:
        ds: the raw data set.
        canary_rate: share of train pairs to withhold. A pair is one by the hash of its ids, so the choice does not
            move when other rows are deleted.
        canary_seed: another seed marks other pairs.

    Raises:
        DataError: no train row is left for training.
    """
    users = ds.users
    rows = ds.interactions
    pairs = np.stack(
        [
            np.searchsorted(users, rows["user_id"].to_numpy(dtype=str)),
            pd.Index(ds.items.astype(object)).get_indexer(rows["item_id"].astype(object)),
        ],
        axis=1,
    ).astype(np.int64)
    split = rows["split"].to_numpy()
    train = pairs[split == TRAIN]
    canary = (
        randomness.uniform(pair_keys(users, ds.items, train, randomness.of_word("canary"), canary_seed)) < canary_rate
    )
    if not len(train) or canary_rate >= 1:
        raise DataError("no train row is left for training. Import a larger data set or lower train.canaries.")
    if canary.all():  # by chance all of the few rows that a large batch left; better to learn from them
        canary[:] = False
    graphs = {m: _neighbours(ds, m) for m in ds.modalities}
    return Prepared(
        users=users.astype(str),
        items=ds.items.astype(str),
        train=train,
        canary=canary,
        val=pairs[split == VAL],
        test=pairs[split == TEST],
        features={m: standardised(ds.features[m], ds.present[m]) for m in ds.modalities},
        present={m: ds.present[m].astype(bool) for m in ds.modalities},
        knn={m: graphs[m][0] for m in ds.modalities},
        similarity={m: graphs[m][1] for m in ds.modalities},
    )


def pair_keys(users: np.ndarray, items: np.ndarray, pairs: np.ndarray, *salt: Any) -> np.ndarray:  # noqa: ANN401
    """(n,) uint64 keys of (user, item) pairs, functions of the two ids and the salt alone."""
    return randomness.mix(randomness.of_ids(users)[pairs[:, 0]], randomness.of_ids(items)[pairs[:, 1]], *salt)


def _neighbours(ds: Dataset, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """The published graph where the data set ships one (better than one from rebuilt features), else our own."""
    if modality not in ds.neighbours:
        return nearest(standardised(ds.features[modality], ds.present[modality]), ds.present[modality])
    table = ds.neighbours[modality]
    index = pd.Index(ds.items.astype(object))
    ends = [index.get_indexer(table[c].astype(object)) for c in ("item_id", "neighbour_id")]
    return np.stack(ends, axis=1).astype(np.int64), table["cosine"].to_numpy(dtype=np.float32)


def standardised(features: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(n, d) float32 features, centred and divided by their overall standard deviation; absent rows are zero.

    Published features are often nearly parallel (TikTok's pictures: mean cosine .86), which hides who is near whom.
    """
    present = present.astype(bool)
    found: np.ndarray = features.astype(np.float32)
    if not present.any():
        return np.zeros_like(found)
    found = found - found[present].mean(axis=0)
    found = found / max(float(found[present].std()), 1e-6)
    found[~present] = 0.0
    return found


def nearest(features: np.ndarray, present: np.ndarray, k: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest items by cosine of each present item, itself included.

    Args:
        features: (n, d) float32.
        present: (n,) bool; absent items have no row and are nobody's neighbour.
        k: neighbours per item.

    Returns:
        (e, 2) int64 pairs of item and neighbour, and their (e,) float32 cosines.
    """
    at = np.flatnonzero(present)
    if not len(at):
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.float32)
    unit = features[at] / np.maximum(np.linalg.norm(features[at], axis=1, keepdims=True), 1e-12)
    k = min(k, len(at))
    edges, cosines = [], []
    for start in range(0, len(at), 1024):
        scores = unit[start : start + 1024] @ unit.T
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        rows = np.repeat(np.arange(start, start + len(scores)), k)
        edges.append(np.stack([at[rows], at[best.ravel()]], axis=1))
        cosines.append(np.take_along_axis(scores, best, axis=1).ravel())
    return np.concatenate(edges).astype(np.int64), np.concatenate(cosines).astype(np.float32)
