"""Whether a data set, or a model, holds what a request names: a look at the identifiers alone, in a second at most.

Loading the whole data set (`tru.data.interactions`) takes many times as long, and pandas; whoever files one request
waits for neither. Both give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Named:
    """Users, items, (user, item) and (item, modality) that somebody names, or those of them that are there.

    Its ``repr`` would show identifiers; it belongs in no log line.
    """

    users: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = frozenset()
    modalities: frozenset[tuple[str, str]] = frozenset()


def present(folder: Path, named: Named) -> Named | None:
    """The part of ``named`` that the data set in ``folder`` holds; None if there is none that can be read.

    Nothing is written and nothing mended: a night may be at work on the folder.
    """
    try:
        users, pairs = _in_interactions(folder / "interactions.parquet", named)
        items, modalities = _in_items(folder / "items.parquet", named)
    except (OSError, KeyError, pa.ArrowException):
        return None
    return Named(users, items, pairs, modalities)


def present_in_model(folder: Path, named: Named) -> Named | None:
    """The part of ``named`` that the model in the model directory ``folder`` was made from; None if it has none."""
    try:
        with (folder / "prepared.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            users, items = (dict(enumerate(stored[side].tolist())) for side in ("users", "items"))
            owners, things = ({pair[side] for pair in named.pairs} for side in (0, 1))
            train = stored["train"]
            rows = train[np.isin(train[:, 0], [n for n, name in users.items() if name in owners])]
            rows = rows[np.isin(rows[:, 1], [n for n, name in items.items() if name in things])]
            pairs = {(users[user], items[item]) for user, item in rows.tolist()}
            has = {m: stored[f"present/{m}"] for _, m in named.modalities if f"present/{m}" in stored.files}
            modalities = {(items[n], m) for m, flags in has.items() for n in np.flatnonzero(flags).tolist()}
    except (OSError, EOFError, BadZipFile, ValueError, LookupError):
        return None
    return Named(
        named.users.intersection(users.values()),
        named.items.intersection(items.values()),
        named.pairs & pairs,
        named.modalities & modalities,
    )


def _in_interactions(path: Path, named: Named) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    owners, things = ({pair[side] for pair in named.pairs} for side in (0, 1))
    users: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    with pq.ParquetFile(path) as file:
        for rows in file.iter_batches(_ROWS_AT_ONCE, columns=["user_id", "item_id"]):
            user, item = _text(rows["user_id"]), _text(rows["item_id"])
            users |= named.users.intersection(pc.unique(user).to_pylist())
            both = pc.and_(_is_in(user, owners), _is_in(item, things))
            pairs |= named.pairs.intersection(
                zip(user.filter(both).to_pylist(), item.filter(both).to_pylist(), strict=True)
            )
    return frozenset(users), frozenset(pairs)


def _in_items(path: Path, named: Named) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    with pq.ParquetFile(path) as file:
        modalities = {modality for _, modality in named.modalities}
        flags = sorted(f"has_{m}" for m in modalities if f"has_{m}" in file.schema_arrow.names)
        table = file.read(columns=["item_id", *flags])
    items = _text(table["item_id"].combine_chunks())
    there = {
        (item, flag.removeprefix("has_"))
        for flag in flags
        for item in items.filter(table[flag].combine_chunks()).to_pylist()
    }
    return named.items.intersection(items.to_pylist()), named.modalities & there


def _text(ids: pa.Array) -> pa.Array:
    """Identifiers as text, as `tru.data.tables.to_ids` spells them."""
    return ids.cast(pa.string())


def _is_in(ids: pa.Array, wanted: set[str]) -> pa.Array:
    return pc.is_in(ids, value_set=pa.array(sorted(wanted), type=pa.string()))
