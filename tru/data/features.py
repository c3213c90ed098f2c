"""Feature matrices and published neighbour graphs: reading them, and refusing what cannot be right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from tru.data.ids import to_ids
from tru.data.tables import Where, check_modality_name, read_matrix, visible
from tru.errors import DataError

# Published cosines are rounded (float32, degree normalisation undone), so they may pass 1 by a little.
COSINE_SLACK = 1e-3
ARRAYS = re.compile(r"\.(np[yz]|pt|pth|pkl|pickle|h5|hdf5|mat|safetensors|feather|arrow|parquet)\b", re.IGNORECASE)
"""In the name of a file that may well hold features."""
FEATURES = re.compile(r"_feat(ure)?s?(\.|$)", re.IGNORECASE)


def load_matrices(folder: Path, ending: str, notes: list[str]) -> dict[str, np.ndarray]:
    """Modality -> matrix, of all files of that ending; empty where there are none (ids alone can be learned from).

    Args:
        folder: where they are.
        ending: what follows the name of the modality, such as ``_feat.npy``.
        notes: takes a sentence that names what looks like features and is not read, beside the modality that is.

    Raises:
        DataError: one that is no matrix, or features of a modality in a form that is not read.
    """
    names = {check_modality_name(path.name.removesuffix(ending), path): path for path in visible(folder, f"*{ending}")}
    left = [path for path in visible(folder) if path not in names.values() and _may_be_features(path, ending)]
    for path in left:
        modality = FEATURES.split(path.name)[0].partition(".")[0]
        is_known = any(modality.lower() == name.lower() for name in names)
        if not is_known and (ending == ".npy" or FEATURES.search(path.name)) and path.suffix != ".parquet":
            raise DataError(
                f"{path} would not be read: features are in <modality>{ending}, one row per item. Save it so, or move "
                "it elsewhere."
            )
    if left:
        notes.append(
            f"{folder}: not read: {', '.join(path.name for path in left)}. Features are in <modality>{ending}."
        )
    return {name: load_matrix(path) for name, path in names.items()}


def _may_be_features(path: Path, ending: str) -> bool:
    """Whether somebody could take it for features; not the tables that are read as something else."""
    tables = ("interactions.parquet", "items.parquet")
    if path.name in tables or path.name.endswith("_knn.parquet"):
        return False
    return ARRAYS.search(path.name) is not None or FEATURES.search(path.name) is not None


def load_matrix(path: Path) -> np.ndarray:
    """A feature matrix, (n, d), as float16 if stored so and float32 otherwise.

    Raises:
        DataError: unreadable, not a matrix of numbers, without rows or columns, or a value that is not finite.
    """
    return as_matrix(read_matrix(path), path)


def as_matrix(matrix: np.ndarray, place: Path | str) -> np.ndarray:
    """See :func:`load_matrix`; for an array in memory. ``place`` says in messages whose it is."""
    if matrix.dtype.kind not in "fiu":
        what = "bfloat16 or another type that numpy does not know" if matrix.dtype.kind == "V" else str(matrix.dtype)
        raise DataError(f"{place} holds {what}; need a matrix of numbers. Save it as float16 or float32.")
    if matrix.ndim != 2:
        raise DataError(f"{place} holds {matrix.ndim}-d {matrix.dtype}; need a matrix of numbers, one row per item.")
    if 0 in matrix.shape:
        raise DataError(f"{place} is empty, of shape {matrix.shape}. Give it one row per item, or drop the modality.")
    kind = np.dtype(np.float16 if matrix.dtype == np.float16 else np.float32)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite and is refused below
        matrix = np.ascontiguousarray(matrix, dtype=kind)
    bad = ~np.isfinite(matrix).all(axis=1)
    if bad.any():
        raise DataError(
            f"{Where(place).at(bad)}: a value is NaN or infinite. Replace it, or set the whole row to zero."
        )
    return matrix


def presence(matrix: np.ndarray) -> np.ndarray:
    """(n,) bool: which rows hold anything; a row of zeros says that the item lacks the modality."""
    return np.asarray((matrix != 0).any(axis=1), dtype=bool)


def check_matrices(
    features: dict[str, np.ndarray], present: dict[str, np.ndarray], n_items: int, folder: Path, ending: str = ".npy"
) -> None:
    """Refuse matrices that do not fit the items, or flags that do not fit the matrices.

    Args:
        features: modality -> matrix.
        present: modality -> (n_items,) bool.
        n_items: number of items.
        folder: where the matrices were read, as ``<modality><ending>``.
        ending: see ``folder``.

    Raises:
        DataError: a wrong number of rows, a modality that no item has, or a row that contradicts its flag.
    """
    for modality, matrix in features.items():
        file = folder / f"{modality}{ending}"
        if len(matrix) != n_items:
            raise DataError(f"{file} has {len(matrix)} rows but there are {n_items} items. Give every item one row.")
        filled = presence(matrix)
        if not filled.any():
            raise DataError(f"{file} is zero in all its rows: no item has this modality. Drop the modality.")
        wrong = filled != present[modality]
        if wrong.any():
            raise DataError(
                f"{Where(file).at(wrong)}: the row contradicts has_{modality} in items.parquet. "
                "A row is zero exactly where the item lacks the modality; correct one of the two."
            )


def clean_neighbours(frame: pd.DataFrame, items: np.ndarray, where: Where) -> pd.DataFrame:
    """A neighbour graph with string ids and float32 cosines, in the order given, other columns dropped.

    Raises:
        DataError: an end that is not among ``items``, one pair twice, or a cosine outside [-1, 1].
    """
    clean = pd.DataFrame({name: to_ids(frame[name], where, name) for name in ("item_id", "neighbour_id")})
    clean["cosine"] = pd.to_numeric(frame["cosine"], errors="coerce").astype("float32")
    for name in ("item_id", "neighbour_id"):
        unknown = ~clean[name].isin(items)
        if unknown.any():
            raise DataError(f"{where.at(unknown)}: {name} is not an item with this modality. Drop the row.")
    twice = clean.duplicated(["item_id", "neighbour_id"])
    if twice.any():
        raise DataError(f"{where.at(twice)}: this pair of items is in an earlier row. Keep one of the two.")
    wild = ~(clean["cosine"].abs() <= 1 + COSINE_SLACK)
    if wild.any():
        raise DataError(f"{where.at(wild)}: cosine is not a number from -1 to 1. Correct it, or drop the file.")
    return clean
