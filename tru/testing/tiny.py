"""Small data and small models for tests: made once per process, and nobody writes to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from tru.data.forget import ForgetSet, cut
from tru.data.interactions import TRAIN as TRAIN_ROWS
from tru.data.interactions import Dataset
from tru.data.params import SyntheticParams
from tru.data.prepare import Prepared, prepare
from tru.data.synthetic import generate
from tru.models.params import ModelParams, TrainParams
from tru.models.trained import TrainedModel
from tru.training import fit

MODEL = ModelParams(width=16)
TRAIN = TrainParams(epochs=16, min_epochs=4, patience=4, batch=256, learning_rate=1e-2, canaries=60)
CANARY_RATE = 60 / 1236


@cache
def dataset() -> Dataset:
    """120 users, 80 items, two modalities."""
    return generate(SyntheticParams(users=120, items=80))


@cache
def prepared() -> Prepared:
    """The data set by position, 5 % of the train pairs canaries."""
    return prepare(dataset(), CANARY_RATE)


@cache
def trained() -> TrainedModel:
    """A model that has learned something (about one second)."""
    return fit(dataset(), MODEL, TRAIN)


def without(forget: ForgetSet) -> Prepared:
    """The data that :func:`trained` stands on, less what is to be forgotten."""
    return prepare(cut(dataset(), forget), trained().recipe.canary_rate)


def train_pairs(split: int = TRAIN_ROWS) -> list[tuple[str, str]]:
    """(user id, item id) of the rows of one split."""
    rows = dataset().interactions
    rows = rows[rows["split"] == split]
    return list(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))


def by_hand(
    users: str, items: str, train: str, canaries: str = "", val: str = "", test: str = "", present: str | None = None
) -> Prepared:
    """A data set small enough to think through: ids are letters, pairs are written ``"ax ay bx"``."""
    rows, columns = list(users), list(items)
    kept, withheld, *held_out = [
        np.array([(rows.index(pair[0]), columns.index(pair[1])) for pair in pairs.split()], dtype=np.int64).reshape(
            -1, 2
        )
        for pairs in (train, canaries, val, test)
    ]
    has = np.array([present is None or i in present for i in columns])
    features = np.eye(len(columns), dtype=np.float32) * has[:, None]
    itself = np.flatnonzero(has)
    return Prepared(
        users=np.array(rows),
        items=np.array(columns),
        train=np.concatenate([kept, withheld]),
        canary=np.repeat([False, True], [len(kept), len(withheld)]),
        val=held_out[0],
        test=held_out[1],
        features={"image": features},
        present={"image": has},
        knn={"image": np.stack([itself, itself], axis=1)},
        similarity={"image": np.ones(len(itself), dtype=np.float32)},
    )


def in_modalities(data: Prepared, names: tuple[str, ...]) -> Prepared:
    """The same data with other modalities; each is a shifted copy of one that is there, of a width of its own."""
    old = sorted(data.features)
    like = {name: old[k % len(old)] for k, name in enumerate(names)}
    return replace(
        data,
        features={n: np.ascontiguousarray(data.features[m][:, : 20 + k]) for k, (n, m) in enumerate(like.items())},
        present={n: data.present[m] for n, m in like.items()},
        knn={n: data.knn[m] for n, m in like.items()},
        similarity={n: data.similarity[m] for n, m in like.items()},
    )


def without_some_edges(data: Prepared, every: int) -> Prepared:
    """The data less every so many-th edge; canaries stay."""
    stay = data.canary | (np.arange(len(data.train)) % every != 0)
    return replace(data, train=data.train[stay], canary=data.canary[stay])


def in_order(data: Prepared, users: np.ndarray, items: np.ndarray) -> Prepared:
    """The same data with its users and items at other positions.

    Args:
        data: the data.
        users: (n_users,) position now of each user then.
        items: (n_items,) the same for items.
    """
    where = np.argsort(users), np.argsort(items)
    train, val, test = (
        np.stack([where[0][rows[:, 0]], where[1][rows[:, 1]]], axis=1) for rows in (data.train, data.val, data.test)
    )
    return replace(
        data,
        users=data.users[users],
        items=data.items[items],
        train=train,
        val=val,
        test=test,
        features={m: x[items] for m, x in data.features.items()},
        present={m: x[items] for m, x in data.present.items()},
        knn={m: where[1][x] for m, x in data.knn.items()},
    )


def less(data: Prepared, users: Sequence[int], items: Sequence[int]) -> tuple[Prepared, np.ndarray, np.ndarray]:
    """The data without the users and items at these positions, and the positions of those that stay."""
    stay = [np.setdiff1d(np.arange(len(ids)), gone) for ids, gone in ((data.users, users), (data.items, items))]
    shell = hollow(data, *stay)
    moved = in_order(shell, *(np.concatenate([s, g]) for s, g in zip(stay, (users, items), strict=True)))
    n_users, n_items = map(len, stay)
    cut = replace(
        moved,
        users=moved.users[:n_users],
        items=moved.items[:n_items],
        features={m: x[:n_items] for m, x in moved.features.items()},
        present={m: x[:n_items] for m, x in moved.present.items()},
    )
    return cut, stay[0], stay[1]


def hollow(data: Prepared, users: np.ndarray, items: np.ndarray) -> Prepared:
    """The same users and items, of whom only those at these positions keep edges, features and neighbours."""

    def inside(pairs: np.ndarray) -> np.ndarray:
        kept: np.ndarray = np.isin(pairs[:, 0], users) & np.isin(pairs[:, 1], items)
        return kept

    at = np.isin(np.arange(len(data.items)), items)
    near = {m: np.isin(x, items).all(axis=1) for m, x in data.knn.items()}
    return replace(
        data,
        train=data.train[inside(data.train)],
        canary=data.canary[inside(data.train)],
        val=data.val[inside(data.val)],
        test=data.test[inside(data.test)],
        features={m: x * at[:, None] for m, x in data.features.items()},
        present={m: x & at for m, x in data.present.items()},
        knn={m: x[near[m]] for m, x in data.knn.items()},
        similarity={m: x[near[m]] for m, x in data.similarity.items()},
    )
