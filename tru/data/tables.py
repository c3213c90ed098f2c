"""Places in files for messages, and ``.npy`` files: read with errors a person can act on, written the same every time.

Nothing here knows what a user or an item is; that is :mod:`tru.data.interactions` and :mod:`tru.data.features`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tru.errors import DataError

MODALITY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Where:
    """Names a place in a file for error messages, by position and never by identifier.

    Attributes:
        file: the file as the user knows it.
        first: number of the first record (2 for a text file with a header line).
        unit: what a record is called, ``row`` or ``line``.
        parts: where the table is of several files, each with its number of records, in order.
    """

    file: Path | str
    first: int = 1
    unit: str = "row"
    parts: tuple[tuple[Path, int], ...] = ()

    def at(self, bad: np.ndarray | pd.Series) -> str:
        """``"FILE, row N"`` for the first true entry of ``bad``."""
        record, file = int(np.flatnonzero(np.asarray(bad))[0]), self.file
        for part, size in self.parts:
            if record < size:
                file = part
                break
            record -= size
        return f"{file}, {self.unit} {record + self.first}"


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """What a folder holds, by name, without hidden files: macOS lays a ``._NAME`` beside each NAME on foreign disks."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def require_columns(names: Sequence[str], required: Sequence[str], file: Path | str) -> None:
    """Refuse a table that lacks a column, or has one twice.

    Raises:
        DataError: a column of ``required`` is missing, or there are several of that name.
    """
    counts = Counter(names)
    missing = [name for name in required if not counts[name]]
    if missing:
        like = [name for name in names if name.lower() in missing]
        hint = f" (there is {', '.join(like)}; case counts)" if like else ""
        raise DataError(f"{file} has no column {', '.join(missing)}{hint}. Add it, or rename the column that holds it.")
    if twice := [name for name in required if counts[name] > 1]:
        raise DataError(f"{file} has several columns {', '.join(twice)}. Keep one of them.")


def read_matrix(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file; arrays of pickled objects are refused.

    Raises:
        DataError: no such file, not ``.npy``, or pickled.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. Every modality needs its matrix; add it or drop the modality.")
    try:
        with path.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise DataError(f"{path} is a Git LFS pointer, not the array itself. Fetch it: git lfs pull.")
            stream.seek(0)
            value = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise DataError(
            f"{path} cannot be read as a plain .npy array: it is damaged, cut off or holds pickled objects. "
            "Save it again with numpy.save as an array of float16 or float32."
        ) from error
    return np.asarray(value)


def write_matrix(matrix: np.ndarray, path: Path) -> None:
    """Write an array as ``.npy``: little-endian, row by row."""
    plain = np.ascontiguousarray(matrix, dtype=matrix.dtype.newbyteorder("<"))
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, plain, version=(1, 0), allow_pickle=False)


def check_modality_name(name: str, where: Path | str) -> str:
    """``name`` if it can name files and columns.

    Raises:
        DataError: it cannot.
    """
    if not MODALITY_NAME.fullmatch(name):
        raise DataError(f"{where} names no modality: use letters, digits, '-' and '_' before the ending. Rename it.")
    return name
