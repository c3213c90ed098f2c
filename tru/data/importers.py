"""Reading data sets that others wrote, in whichever of four forms they are.

===========  ================================================================================================
our own      has ``dataset.json`` (see :mod:`tru.data.interactions`)
Parquet      ``interactions.parquet`` (user_id, item_id, split?, timestamp?) and one ``<modality>.npy`` per modality,
             perhaps ``<modality>_knn.parquet``; row k is item k, or row k of ``items.parquet`` where there is one
MMRec        ``<name>.inter`` (tab-separated, with a header) or one per part of a split, one ``<modality>_feat.npy``
             per modality; row k is item k
one table    ``<name>.parquet``, ``<name>.csv`` or ``<name>.tsv`` with the columns of ``interactions.parquet``, or a
             frame in memory: interactions without features
===========  ================================================================================================

Features may be missing in every form: ids alone can be learned from. Each Parquet table may be a folder of parts. Only
ids, splits, timestamps, features and neighbour graphs are carried over; titles and other columns are left behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tru.data.features import as_matrix, check_matrices, clean_neighbours, load_matrices, presence
from tru.data.ids import Reading, new_ids, refuse_unnameable
from tru.data.inter import RATINGS, TEXT, called, left_beside, read_inter, read_text, renamed
from tru.data.interactions import NEIGHBOURS, Dataset, check_items, clean_interactions, clean_items, load_dataset
from tru.data.parquet import column_names, read_table
from tru.data.shortcomings import refuse_unlearnable
from tru.data.split import assign_split
from tru.data.tables import Where, check_modality_name, visible
from tru.errors import DataError

INTERACTIONS = "interactions.parquet"


def import_dataset(path: Path, *, seed: int = 0) -> Dataset:
    """Read the data set at ``path`` in whichever form it is; nothing is written.

    Args:
        path: a folder, an ``.inter`` file in one, or one table of interactions.
        seed: draws the split if the data set has none.

    Raises:
        DataError: no such path, no known form, or anything in it that cannot be right.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist. Name the folder that holds the data set.")
    if path.name == INTERACTIONS and _has_company(path):
        raise DataError(f"{path} is a table of the data set. Name the folder that holds it: {path.parent}.")
    if path.is_file() and path.suffix.lower() not in (".inter", ".parquet", *TEXT):
        raise DataError(
            f"{path} is a file. Name the folder that holds the data set, or an .inter, .parquet, .csv or .tsv file."
        )
    return refuse_unlearnable(_read(path, seed))


def from_frame(
    frame: pd.DataFrame,
    *,
    features: Mapping[str, np.ndarray] | None = None,
    items: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "data",
) -> Dataset:
    """The data set in a frame.

    Args:
        frame: columns user_id, item_id and perhaps split (0 train, 1 val, 2 test) and timestamp; others stay unread.
        features: modality -> (n_items, d) numbers, a row of zeros where an item lacks it.
        items: (n_items,) which item each feature row belongs to; needed with ``features``.
        seed: draws the split if there is none.
        name: what the data set is called.

    Raises:
        DataError: anything in it that cannot be right.
    """
    where, reading = Where("the frame"), Reading()
    table = _with_new_ids(renamed(frame, RATINGS, where.file), ["user_id", "item_id"], where, reading)
    table = table.reset_index(drop=True)
    matrices = {check_modality_name(m, "features"): as_matrix(np.asarray(x), m) for m, x in (features or {}).items()}
    if matrices and items is None:
        raise DataError("features came without items. Say with items= which item each feature row belongs to.")
    if items is None:
        listed = _mentioned(table["item_id"])
    else:
        place = Where("items")
        given = pd.DataFrame({"item_id": pd.Series(list(items))})
        listed = clean_items(_with_new_ids(given, ["item_id"], place, reading)["item_id"], place)
    ds = _assemble(name, table, where, listed, matrices, None, "", seed)
    return refuse_unlearnable(_with(ds, reading))


def _has_company(table: Path) -> bool:
    """Whether other parts of a data set lie beside a table of interactions."""
    beside = [*visible(table.parent, "*.npy"), *visible(table.parent, "*_knn.parquet")]
    return bool(beside) or any((table.parent / name).exists() for name in ("items.parquet", "dataset.json"))


def _read(path: Path, seed: int) -> Dataset:
    """The data set at an existing path, in the form that it is in."""
    if path.is_dir() and (path / "dataset.json").exists():
        return _import_own(path)
    if path.is_dir() and (path / INTERACTIONS).exists():
        return _import_parquet(path, seed)
    if path.suffix.lower() in (".parquet", *TEXT):
        return _import_table(path, seed)
    return _import_mmrec(path, seed)


def _import_table(path: Path, seed: int) -> Dataset:
    """Interactions alone, in one table."""
    reading = Reading()
    if path.suffix.lower() in TEXT:
        frame, where = read_text(path)
    else:
        wanted = [name for name in column_names(path) if called(name, RATINGS)]
        frame, where = read_table(path, wanted)
        frame = renamed(frame, RATINGS, path)
    if beside := visible(path.parent, "*.npy"):
        names = ", ".join(file.name for file in beside)
        reading.notes.append(f"{path} is read alone, without {names} beside it. Features need the Parquet form.")
    frame = _with_new_ids(frame, ["user_id", "item_id"], where, reading)
    ds = _assemble(path.stem, frame, where, _mentioned(frame["item_id"]), {}, None, "", seed)
    return _with(ds, reading)


def _import_own(folder: Path) -> Dataset:
    """Our own form. Its ids stay as they are; each must be one that a request can name."""
    ds = load_dataset(folder)
    refuse_unnameable(ds.interactions["user_id"], Where(folder / INTERACTIONS), "user_id")
    refuse_unnameable(pd.Series(ds.items, dtype="str"), Where(folder / "items.parquet"), "item_id")
    return ds


def _import_parquet(folder: Path, seed: int) -> Dataset:
    """The Parquet form."""
    reading = Reading()
    frame, where = read_table(folder / INTERACTIONS, ["user_id", "item_id"], ["split", "timestamp"])
    frame = _with_new_ids(frame, ["user_id", "item_id"], where, reading)
    features = load_matrices(folder, ".npy", reading.notes)
    items = _items(folder, frame["item_id"], where, features, reading)
    ds = _assemble(folder.resolve().name, frame, where, items, features, folder, ".npy", seed)
    for file in visible(folder, "*_knn.parquet"):
        modality = file.name.removesuffix("_knn.parquet")
        if modality not in features:
            raise DataError(f"{file} has no {modality}.npy. Add it, or drop the graph.")
        ds.neighbours[modality] = _graph(file, items, items[ds.present[modality]], reading)
    return _with(ds, reading)


def _graph(file: Path, items: np.ndarray, present: np.ndarray, reading: Reading) -> pd.DataFrame:
    """A published neighbour graph, without the items that lack the modality.

    An item without features has no neighbours by features: relations published for it rest on a filled-in vector.
    """
    table, where = read_table(file, NEIGHBOURS)
    table = clean_neighbours(_with_new_ids(table, NEIGHBOURS[:2], where, reading), items, where)
    kept = table["item_id"].isin(present) & table["neighbour_id"].isin(present)
    return table[kept].reset_index(drop=True)


def _import_mmrec(path: Path, seed: int) -> Dataset:
    """The MMRec form."""
    reading = Reading()
    name, frame, where = read_inter(path)
    if beside := left_beside(path):
        names = ", ".join(file.name for file in beside)
        reading.notes.append(f"{path} is read alone; {names} of the same split is left out. Name the folder for all.")
    frame = _with_new_ids(frame, ["user_id", "item_id"], where, reading)
    folder = path if path.is_dir() else path.parent
    features = load_matrices(folder, "_feat.npy", reading.notes)
    items = _numbered(frame["item_id"], where, features)
    ds = _assemble(name, frame, where, items, features, folder, "_feat.npy", seed)
    return _with(ds, reading)


def _with(ds: Dataset, reading: Reading) -> Dataset:
    """The data set with what there is to say of how it was read."""
    return replace(ds, notes=tuple(reading.notes), users_before=reading.users, items_before=reading.items)


def _with_new_ids(frame: pd.DataFrame, columns: list[str], where: Where, reading: Reading) -> pd.DataFrame:
    """The table with ids as text that a request can name."""
    return frame.assign(**{column: new_ids(frame[column], where, column, reading) for column in columns})


def _items(
    folder: Path, mentioned: pd.Series, where: Where, features: dict[str, np.ndarray], reading: Reading
) -> np.ndarray:
    """Item ids in the order of the feature rows: as ``items.parquet`` says, else :func:`_numbered`."""
    if not (folder / "items.parquet").exists():
        return _numbered(mentioned, where, features)
    frame, place = read_table(folder / "items.parquet", ["item_id"])
    given = frame["item_id"]
    items = clean_items(_with_new_ids(frame, ["item_id"], place, reading)["item_id"], place)
    counted = np.arange(len(items)).astype(str)
    moved = items != counted
    is_text = pd.api.types.is_string_dtype(given.dtype)
    if not is_text and moved.any() and set(items.tolist()) == set(counted.tolist()):
        raise DataError(
            f"{place.at(moved)}: items are numbered from 0 but not in order, so row k of a matrix could mean "
            "item k or row k of this file. Sort the file by item_id (and the matrices with it)."
        )
    return items


def _numbered(mentioned: pd.Series, where: Where, features: dict[str, np.ndarray]) -> np.ndarray:
    """Item ids 0, 1, 2, … one per feature row, for data sets that number their items so; any where there are none."""
    if not features:
        return _mentioned(mentioned)
    n = len(next(iter(features.values())))
    items = np.arange(n).astype(str)
    words = ~mentioned.str.fullmatch(re.compile(r"0|-?[1-9][0-9]*"))
    if words.any():
        raise DataError(
            f"{where.at(words)}: item_id is not a row number of the feature matrices. "
            "Number the items from 0 in the order of their feature rows, or use the Parquet form with items.parquet."
        )
    outside = ~mentioned.isin(items)
    if outside.any():
        raise DataError(
            f"{where.at(outside)}: item_id has no feature row (there are {n} rows, counted from 0). "
            "Add the features of the item, or drop the row."
        )
    return items


def _mentioned(items: pd.Series) -> np.ndarray:
    """The items that somebody took, sorted: all there are where no table and no feature row says otherwise."""
    return np.unique(items.to_numpy(dtype=str))


def _assemble(
    name: str,
    frame: pd.DataFrame,
    where: Where,
    items: np.ndarray,
    features: dict[str, np.ndarray],
    folder: Path | None,
    ending: str,
    seed: int,
) -> Dataset:
    """A validated data set; the split is assigned here if none was published."""
    published = "split" in frame.columns
    clean = clean_interactions(frame if published else frame.assign(split=0), where)
    if not published:
        clean["split"] = assign_split(clean, seed)
    present = {m: presence(matrix) for m, matrix in features.items()}
    check_matrices(features, present, len(items), folder or Path("features"), ending)
    check_items(clean, items, where)
    split = "published" if published else "assigned"
    return Dataset(name, clean, items, features, present, {}, split, f"imported from {name}")
