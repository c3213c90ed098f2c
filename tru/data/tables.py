"""Parquet and ``.npy`` files: read with errors a person can act on, written the same to the byte every time.

Nothing here knows what a user or an item is; that is :mod:`tru.data.interactions` and :mod:`tru.data.features`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tru.errors import DataError

MODALITY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Where:
    """Names a place in a file for error messages, by position and never by identifier.

    Attributes:
        file: the file as the user knows it.
        first: number of the first record (2 for a text file with a header line).
        unit: what a record is called, ``row`` or ``line``.
    """

    file: Path | str
    first: int = 1
    unit: str = "row"

    def at(self, bad: np.ndarray | pd.Series) -> str:
        """``"FILE, row N"`` for the first true entry of ``bad``."""
        return f"{self.file}, {self.unit} {int(np.flatnonzero(np.asarray(bad))[0]) + self.first}"


def read_table(path: Path, required: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of a Parquet file as pandas columns; 64-bit integers stay integers when values are missing.

    Raises:
        DataError: no such file, not Parquet, or a column of ``required`` is missing.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. A data set needs this file; name a folder that has it.")
    try:
        # ParquetFile, not read_table: the latter would turn a folder called `a=b` into a column.
        with pq.ParquetFile(path) as file:
            frame: pd.DataFrame = file.read().to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet: it is damaged or of another kind. Write it again."
        ) from error
    require_columns(frame, required, path)
    return frame


def require_columns(frame: pd.DataFrame, required: Sequence[str], file: Path | str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataError: a column of ``required`` is missing.
    """
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise DataError(f"{file} has no column {', '.join(missing)}. Add it, or rename the column that holds it.")


def write_table(columns: dict[str, tuple[pa.DataType, Any]], path: Path) -> None:
    """Write named columns as Parquet, each as ``(type, values)``.

    No compression and no pandas metadata: the bytes then depend on the values and the pinned pyarrow alone.
    """
    arrays = [pa.array(values, type=kind, from_pandas=True) for kind, values in columns.values()]
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), path, compression="none")


def read_matrix(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file; arrays of pickled objects are refused.

    Raises:
        DataError: no such file, not ``.npy``, or pickled.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. Every modality needs its matrix; add it or drop the modality.")
    try:
        with path.open("rb") as stream:
            value = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise DataError(
            f"{path} cannot be read as a plain .npy array: it is damaged or holds pickled objects. "
            "Save it again with numpy.save as an array of float16 or float32."
        ) from error
    return np.asarray(value)


def write_matrix(matrix: np.ndarray, path: Path) -> None:
    """Write an array as ``.npy``: little-endian, row by row."""
    plain = np.ascontiguousarray(matrix, dtype=matrix.dtype.newbyteorder("<"))
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, plain, version=(1, 0), allow_pickle=False)


def to_ids(values: pd.Series, where: Where, column: str) -> pd.Series:
    """Identifiers as strings: strings stay, whole numbers are spelled out.

    Raises:
        DataError: an identifier is missing or blank, or the column holds neither strings nor whole numbers.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.isna().any():
        raise DataError(f"{where.at(values.isna())}: {column} is empty. Give every {where.unit} an id or leave it out.")
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.astype("int64").astype(str)
    if not pd.api.types.is_string_dtype(values.dtype):
        raise DataError(f"{where.file}: {column} holds {values.dtype}, not ids. Store ids as strings or whole numbers.")
    text = values.astype(str)
    # numpy's fixed-width strings drop trailing NULs, which would make two ids one.
    blank = (text.str.strip() == "") | text.str.contains("\x00", regex=False)
    if blank.any():
        raise DataError(f"{where.at(blank)}: {column} is blank. Give every {where.unit} an id or leave it out.")
    return text


def check_modality_name(name: str, where: Path | str) -> str:
    """``name`` if it can name files and columns.

    Raises:
        DataError: it cannot.
    """
    if not MODALITY_NAME.fullmatch(name):
        raise DataError(f"{where} names no modality: use letters, digits, '-' and '_' before the ending. Rename it.")
    return name
