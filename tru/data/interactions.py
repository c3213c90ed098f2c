"""The data set: who took what, which items have which modality, and the raw form of all this on disk.

A raw data set is a folder::

    interactions.parquet    user_id, item_id (strings), split (0 train, 1 val, 2 test), [timestamp]
    items.parquet           item_id, has_<modality>; row k belongs to row k of every matrix
    <modality>.npy          float16 or float32, one row per item; zero where the item lacks the modality
    <modality>_knn.parquet  optional: item_id, neighbour_id, cosine (a published neighbour graph)
    dataset.json            name, modalities, whether the split was published or assigned, source
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tru.data.features import check_matrices, clean_neighbours, load_matrix
from tru.data.ids import to_ids
from tru.data.parquet import read_table, write_table
from tru.data.swap import recover, replace_folder
from tru.data.tables import Where, check_modality_name, visible, write_matrix
from tru.data.timestamps import to_timestamps
from tru.errors import DataError

TRAIN, VAL, TEST = 0, 1, 2
SPLITS = {TRAIN: "train", VAL: "val", TEST: "test"}
CODES = {str(code): code for code in SPLITS} | {f"{code}.0": code for code in SPLITS}
NEIGHBOURS = ["item_id", "neighbour_id", "cosine"]
META = ("name", "modalities", "split", "source")


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set in memory. Treat every array and table as read-only.

    Attributes:
        name: what the data set is called.
        interactions: one row per (user_id, item_id) pair, with split (int8) and perhaps timestamp (nullable int64).
        items: (n_items,) item ids, in the row order of the features.
        features: modality -> (n_items, d) float16 or float32.
        present: modality -> (n_items,) bool; where False the feature row is zero.
        neighbours: modality -> table item_id, neighbour_id, cosine (float32); only modalities with a published graph.
        split: ``published`` or ``assigned``.
        source: where the data came from, in words.
        notes: what was read otherwise than it stands in the files, one sentence each; for who imports, not stored.
        users_before: user id -> its spelling in the files, where that is another; not stored.
        items_before: the same of items.
    """

    name: str
    interactions: pd.DataFrame
    items: np.ndarray
    features: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    neighbours: dict[str, pd.DataFrame]
    split: str
    source: str
    notes: tuple[str, ...] = ()
    users_before: Mapping[str, str] = field(default_factory=dict)
    items_before: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Counts, and no identifier: it may end in a log or a traceback."""
        rows, users = len(self.interactions), len(self.users)
        return f"<Dataset {self.name}: {users} users, {len(self.items)} items, {rows} interactions>"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, sorted."""
        return tuple(sorted(self.features))

    @property
    def users(self) -> np.ndarray:
        """(n_users,) ids of the users with at least one row, sorted."""
        return np.unique(self.interactions["user_id"].to_numpy(dtype=str))

    def summary(self) -> dict[str, Any]:
        """Counts for a person to read; no identifier in it."""
        sizes = self.interactions["split"].value_counts()
        return {
            "name": self.name,
            "users": len(self.users),
            "items": len(self.items),
            "interactions": len(self.interactions),
            **{word: int(sizes.get(code, 0)) for code, word in SPLITS.items()},
            "split": self.split,
            "modalities": {m: [int(self.present[m].sum()), self.features[m].shape[1]] for m in self.modalities},
            "neighbour rows": {m: len(table) for m, table in sorted(self.neighbours.items())},
        }


def clean_interactions(frame: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Interactions with string ids and int8 splits, in the order given, other columns dropped.

    Raises:
        DataError: no rows, an empty id, a duplicate pair, an unknown split code, or no train row.
    """
    if frame.empty:
        raise DataError(f"{where.file} is empty: it has no interactions. Import a data set that has some.")
    clean = pd.DataFrame({name: to_ids(frame[name], where, name) for name in ("user_id", "item_id")})
    clean["split"] = _split_codes(frame["split"], where)
    if "timestamp" in frame.columns and frame["timestamp"].notna().any():
        clean["timestamp"] = to_timestamps(frame["timestamp"], where)
    clean = clean.reset_index(drop=True)
    twice = clean.duplicated(["user_id", "item_id"])
    if twice.any():
        raise DataError(f"{where.at(twice)}: this user and item are in an earlier {where.unit}. Keep one of the two.")
    if not (clean["split"] == TRAIN).any():
        raise DataError(f"{where.file} has no train rows (split 0): nothing could be learned. Mark some as train.")
    return clean


def _split_codes(values: pd.Series, where: Where) -> pd.Series:
    """Split codes as int8. True and false are none: which of three they mean, nobody knows."""
    use = "Use 0 (train), 1 (val) or 2 (test) in every"
    if pd.api.types.is_bool_dtype(values.dtype) or any(isinstance(value, bool | np.bool_) for value in values.unique()):
        raise DataError(f"{where.file}: split holds true and false, not a split code. {use} {where.unit}.")
    codes = values.astype(str).map(CODES)
    unknown = codes.isna().to_numpy(dtype=bool)
    if unknown.any():
        raise DataError(f"{where.at(unknown)}: unknown split code, or none. {use} {where.unit}.")
    return codes.astype("int8")


def check_items(frame: pd.DataFrame, items: np.ndarray, where: Where) -> None:
    """Refuse interactions with items that are not there.

    Raises:
        DataError: an interaction names an item without a feature row.
    """
    unknown = ~frame["item_id"].isin(items)
    if unknown.any():
        raise DataError(f"{where.at(unknown)}: the item has no feature row. Add the item's features, or drop the row.")


def clean_items(values: pd.Series, where: Where) -> np.ndarray:
    """(n_items,) item ids in the order of the feature rows.

    Raises:
        DataError: none at all, an empty id, or one id twice.
    """
    if values.empty:
        raise DataError(f"{where.file} is empty: it names no items. Import a data set that has some.")
    ids = to_ids(values, where, "item_id")
    if ids.duplicated().any():
        raise DataError(f"{where.at(ids.duplicated())}: the item is in an earlier row. Keep one of the two.")
    return ids.to_numpy(dtype=str)


def load_dataset(folder: Path) -> Dataset:
    """Read and validate the raw data set in ``folder``.

    Raises:
        DataError: something is missing, unreadable or inconsistent; the message names file, row and remedy.
    """
    recover(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Make it with `tru data generate` or `tru data import PATH`.")
    meta = _read_meta(folder / "dataset.json")
    table, _ = read_table(folder / "items.parquet", ["item_id", *(f"has_{m}" for m in meta["modalities"])])
    items = clean_items(table["item_id"], Where(folder / "items.parquet"))
    features = {m: load_matrix(folder / f"{m}.npy") for m in meta["modalities"]}
    present = {m: _flags(table[f"has_{m}"], Where(folder / "items.parquet")) for m in meta["modalities"]}
    check_matrices(features, present, len(items), folder)
    frame, where = read_table(folder / "interactions.parquet", ["user_id", "item_id", "split"], ["timestamp"])
    frame = clean_interactions(frame, where)
    check_items(frame, items, where)
    graphs = [m for m in meta["modalities"] if (folder / f"{m}_knn.parquet").exists()]
    neighbours = {m: load_neighbours(folder / f"{m}_knn.parquet", items[present[m]]) for m in graphs}
    _check_files(folder, meta["modalities"])
    return Dataset(meta["name"], frame, items, features, present, neighbours, meta["split"], meta["source"])


def load_neighbours(path: Path, items: np.ndarray) -> pd.DataFrame:
    """A neighbour graph whose two ends are among ``items``, in the order published.

    Raises:
        DataError: unreadable, a missing column, an unknown item, a pair twice, or a cosine out of range.
    """
    table, where = read_table(path, NEIGHBOURS)
    return clean_neighbours(table, items, where)


def _flags(values: pd.Series, where: Where) -> np.ndarray:
    """A column of true and false as a bool array."""
    if values.isna().any() or not pd.api.types.is_bool_dtype(values.dtype):
        raise DataError(f"{where.file}: {values.name} must be true or false in every row. Write the file again.")
    return values.to_numpy(dtype=bool)


def _read_meta(path: Path) -> dict[str, Any]:
    """The content of ``dataset.json``."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged. Import or generate the data set again.") from error
    if not isinstance(meta, dict) or any(key not in meta for key in META):
        raise DataError(f"{path} must have {', '.join(META)}. Import or generate the data set again.")
    if meta["split"] not in ("published", "assigned"):
        raise DataError(f"{path}: split must be published or assigned. Import or generate the data set again.")
    if not isinstance(meta["modalities"], list):  # an empty one: the last modality of the last item was revoked
        raise DataError(f"{path}: modalities must be a list of names. Import or generate the data set again.")
    for name in meta["modalities"]:
        check_modality_name(str(name), path)
    return meta


def _check_files(folder: Path, modalities: list[str]) -> None:
    """Refuse files that belong to nothing: they would be versioned with the data and escape every deletion."""
    known = {"interactions.parquet", "items.parquet", "dataset.json"}
    known |= {f"{m}{ending}" for m in modalities for ending in (".npy", "_knn.parquet")}
    strange = [path for path in visible(folder) if path.name not in known]
    if strange:
        raise DataError(f"{strange[0]} is not part of the data set and no deletion would reach it. Move it elsewhere.")


def save_dataset(ds: Dataset, folder: Path) -> None:
    """Write ``ds`` to ``folder``, whole or not at all; equal data sets give equal bytes."""
    replace_folder(folder, lambda new: _write(ds, new))


def _write(ds: Dataset, folder: Path) -> None:
    """Write the files of ``ds`` into an empty folder."""
    rows = ds.interactions
    columns: dict[str, tuple[pa.DataType, Any]] = {n: (pa.string(), rows[n]) for n in ("user_id", "item_id")}
    columns["split"] = (pa.int8(), rows["split"])
    if "timestamp" in rows.columns:
        columns["timestamp"] = (pa.int64(), rows["timestamp"])
    write_table(columns, folder / "interactions.parquet")
    flags = {f"has_{m}": (pa.bool_(), ds.present[m]) for m in ds.modalities}
    write_table({"item_id": (pa.string(), ds.items.tolist()), **flags}, folder / "items.parquet")
    for modality in ds.modalities:
        write_matrix(ds.features[modality], folder / f"{modality}.npy")
    for modality, table in ds.neighbours.items():
        ends = {name: (pa.string(), table[name]) for name in ("item_id", "neighbour_id")}
        write_table(ends | {"cosine": (pa.float32(), table["cosine"])}, folder / f"{modality}_knn.parquet")
    meta = {"name": ds.name, "modalities": list(ds.modalities), "split": ds.split, "source": ds.source}
    (folder / "dataset.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
