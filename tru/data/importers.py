"""Reading data sets that others wrote, in whichever of three forms they are.

===========  ================================================================================================
our own      has ``dataset.json`` (see :mod:`tru.data.interactions`)
Parquet      ``interactions.parquet`` (user_id, item_id, split?, timestamp?) and one ``<modality>.npy`` per modality,
             perhaps ``<modality>_knn.parquet``; row k is item k, or row k of ``items.parquet`` where there is one
MMRec        ``<name>.inter`` (tab-separated, with a header), one ``<modality>_feat.npy`` per modality; row k is item k
===========  ================================================================================================

Only ids, splits, timestamps, features and neighbour graphs are carried over; titles and other columns are left behind.
"""

from __future__ import annotations

import csv
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tru.data.features import check_matrices, load_matrix, presence
from tru.data.interactions import Dataset, check_items, clean_interactions, clean_items, load_dataset, load_neighbours
from tru.data.shortcomings import refuse_unlearnable
from tru.data.split import assign_split
from tru.data.tables import Where, check_modality_name, read_table, require_columns
from tru.errors import DataError

MMREC_COLUMNS = {
    "userid": "user_id",
    "user_id": "user_id",
    "itemid": "item_id",
    "item_id": "item_id",
    "timestamp": "timestamp",
    "x_label": "split",
}
# Ids are read as text ("007" stays itself), and only an empty field counts as missing.
INTER_FORMAT: dict[str, Any] = {
    "sep": "\t",
    "dtype": "str",
    "keep_default_na": False,
    "na_values": [""],
    "encoding": "utf-8",
    "quoting": csv.QUOTE_NONE,
    "index_col": False,
    "skip_blank_lines": False,  # else the numbers of lines would be wrong
}


def import_dataset(path: Path, *, seed: int = 0) -> Dataset:
    """Read the data set at ``path`` in whichever form it is; nothing is written.

    Args:
        path: a folder, or an ``.inter`` file in one.
        seed: draws the split if the data set has none.

    Raises:
        DataError: no such path, no known form, or anything in it that cannot be right.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist. Name the folder that holds the data set.")
    if path.is_file() and path.suffix != ".inter":
        raise DataError(f"{path} is a file. Name the folder that holds the data set, or an .inter file.")
    return refuse_unlearnable(_read(path, seed))


def _read(path: Path, seed: int) -> Dataset:
    """The data set at an existing path, in the form that it is in."""
    if path.is_dir() and (path / "dataset.json").exists():
        return load_dataset(path)
    if path.is_dir() and (path / "interactions.parquet").exists():
        return _import_parquet(path, seed)
    return _import_mmrec(_inter_file(path), seed)


def _inter_file(path: Path) -> Path:
    """The one ``.inter`` file at ``path``."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.inter"))
    if not found:
        raise DataError(
            f"{path} holds no data set: no dataset.json, interactions.parquet or <name>.inter in it. "
            "Name a folder that has one of them."
        )
    if len(found) > 1:
        raise DataError(f"{path} holds {len(found)} .inter files. Name the one to import.")
    return found[0]


def _import_parquet(folder: Path, seed: int) -> Dataset:
    """The Parquet form."""
    file = folder / "interactions.parquet"
    frame = read_table(file, ["user_id", "item_id"])
    features = _matrices(folder, ".npy")
    items = _items(folder, frame["item_id"], next(iter(features.values())))
    names = sorted(path.name.removesuffix("_knn.parquet") for path in folder.glob("*_knn.parquet"))
    strange = [name for name in names if name not in features]
    if strange:
        raise DataError(f"{folder / strange[0]}_knn.parquet has no {strange[0]}.npy. Add it, or drop the graph.")
    ds = _assemble(folder.resolve().name, frame, Where(file), items, features, ".npy", seed)
    graphs = {m: load_neighbours(folder / f"{m}_knn.parquet", items) for m in names}
    # An item without features has no neighbours by features: relations published for it rest on a filled-in vector.
    present = {m: items[ds.present[m]] for m in names}
    for m, table in graphs.items():
        kept = table["item_id"].isin(present[m]) & table["neighbour_id"].isin(present[m])
        ds.neighbours[m] = table[kept].reset_index(drop=True)
    return ds


def _import_mmrec(file: Path, seed: int) -> Dataset:
    """The MMRec form."""
    frame = _read_inter(file)
    features = _matrices(file.parent, "_feat.npy")
    where = Where(file, first=2, unit="line")
    items = _numbered(frame["item_id"], next(iter(features.values())), where)
    return _assemble(file.stem, frame, where, items, features, "_feat.npy", seed)


def _read_inter(file: Path) -> pd.DataFrame:
    """An ``.inter`` file with our column names; headers such as ``user_id:token`` are understood."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
            frame: pd.DataFrame = pd.read_csv(file, **INTER_FORMAT)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        line = re.search(r"in line (\d+)", str(error))
        place = f"{file}, line {line[1]}" if line else f"{file}"
        raise DataError(f"{place}: cannot be read as tab-separated text with a header. Correct the file.") from error
    names = {column: MMREC_COLUMNS.get(str(column).partition(":")[0].strip().lower()) for column in frame.columns}
    known = [column for column, name in names.items() if name]
    if len({names[column] for column in known}) < len(known):
        raise DataError(f"{file}: two columns of the header mean the same. Keep one of them.")
    frame = frame[known].rename(columns=names)
    require_columns(frame, ["user_id", "item_id"], file)
    return frame


def _matrices(folder: Path, ending: str) -> dict[str, np.ndarray]:
    """Modality -> matrix, of all files of that ending."""
    found = sorted(folder.glob(f"*{ending}"))
    if not found:
        raise DataError(f"{folder} has no feature matrix (<modality>{ending}). A multimodal recommender needs one.")
    names = {check_modality_name(path.name.removesuffix(ending), path): path for path in found}
    return {name: load_matrix(path) for name, path in names.items()}


def _items(folder: Path, mentioned: pd.Series, matrix: np.ndarray) -> np.ndarray:
    """Item ids in the order of the feature rows: as ``items.parquet`` says, else counted from 0."""
    file = folder / "items.parquet"
    if not file.exists():
        return _numbered(mentioned, matrix, Where(folder / "interactions.parquet"))
    ids = read_table(file, ["item_id"])["item_id"]
    items = clean_items(ids, Where(file))
    if pd.api.types.is_integer_dtype(ids.dtype):
        numbers = ids.to_numpy(dtype=np.int64)
        moved = numbers != np.arange(len(numbers))
        if moved.any() and np.array_equal(np.sort(numbers), np.arange(len(numbers))):
            raise DataError(
                f"{Where(file).at(moved)}: items are numbered from 0 but not in order, so row k of a matrix could mean "
                "item k or row k of this file. Sort the file by item_id (and the matrices with it)."
            )
    return items


def _numbered(mentioned: pd.Series, matrix: np.ndarray, where: Where) -> np.ndarray:
    """Item ids 0, 1, 2, … one per feature row, for data sets that number their items by feature row."""
    numbers = pd.to_numeric(mentioned, errors="coerce")
    if (numbers.isna() & mentioned.notna()).any():
        raise DataError(
            f"{where.at(numbers.isna() & mentioned.notna())}: item_id is not a row number of the feature matrices. "
            "Number the items from 0 in the order of their feature rows, or use the Parquet form with items.parquet."
        )
    outside = numbers.notna() & ((numbers < 0) | (numbers >= len(matrix)))
    if outside.any():
        raise DataError(
            f"{where.at(outside)}: item_id has no feature row (there are {len(matrix)} rows, counted from 0). "
            "Add the features of the item, or drop the row."
        )
    return np.arange(len(matrix)).astype(str)


def _assemble(
    name: str,
    frame: pd.DataFrame,
    where: Where,
    items: np.ndarray,
    features: dict[str, np.ndarray],
    ending: str,
    seed: int,
) -> Dataset:
    """A validated data set; the split is assigned here if none was published."""
    published = "split" in frame.columns
    clean = clean_interactions(frame if published else frame.assign(split=0), where)
    if not published:
        clean["split"] = assign_split(clean, seed)
    present = {m: presence(matrix) for m, matrix in features.items()}
    check_matrices(features, present, len(items), Path(where.file).parent, ending)
    check_items(clean, items, where)
    split = "published" if published else "assigned"
    return Dataset(name, clean, items, features, present, {}, split, f"imported from {name}")
