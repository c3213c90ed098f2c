"""``.inter`` files: tab-separated text with a header, one file or a published split in three (MMRec, RecBole)."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tru.data.interactions import TEST, TRAIN, VAL
from tru.data.tables import Where, require_columns, visible
from tru.errors import DataError

COLUMNS = {
    "userid": "user_id",
    "user_id": "user_id",
    "itemid": "item_id",
    "item_id": "item_id",
    "timestamp": "timestamp",
    "x_label": "split",
}
PARTS = {"train": TRAIN, "valid": VAL, "val": VAL, "validation": VAL, "dev": VAL, "test": TEST}
"""What the files of a published split are called: ``NAME.train.inter`` or ``train.inter``."""
SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars", "::": "double colons", " ": "blanks"}
# Ids are read as text ("007" stays itself), and only an empty field counts as missing.
FORMAT: dict[str, Any] = {
    "sep": "\t",
    "dtype": "str",
    "keep_default_na": False,
    "na_values": [""],
    "encoding": "utf-8",
    "quoting": csv.QUOTE_NONE,
    "index_col": False,
    "skip_blank_lines": False,  # else the numbers of lines would be wrong
}


def read_inter(path: Path) -> tuple[str, pd.DataFrame, Where]:
    """The interactions at ``path`` with our column names, all of them text but for a ``split`` from names of files.

    Args:
        path: an ``.inter`` file, or a folder that has one, or one for each part of a split.

    Returns:
        What the data set is called, its table, and the place of its rows.

    Raises:
        DataError: no such file, several that are not one split, or text of another form.
    """
    if path.is_file():
        return _one(path)
    files = visible(path, "*.inter")
    if not files:
        raise DataError(
            f"{path} holds no data set: no dataset.json, interactions.parquet or <name>.inter in it. "
            "Name a folder that has one of them."
        )
    if len(files) == 1:
        return _one(files[0])
    split = _split(files)
    if split is None:
        raise DataError(f"{path} holds {len(files)} .inter files. Name the one to import.")
    name = files[0].stem.rpartition(".")[0] or path.resolve().name
    frames = {file: _with_split(_read(file), file, code) for code, file in split.items()}
    where = Where(path, first=2, unit="line", parts=tuple((file, len(frame)) for file, frame in frames.items()))
    return name, pd.concat(frames.values(), ignore_index=True), where


def left_beside(path: Path) -> list[Path]:
    """The other parts of a split of which one file is named: whoever names it imports that part alone."""
    files = visible(path.parent, "*.inter") if path.is_file() else []
    return [file for file in files if file != path] if path in files and _split(files) else []


def _one(file: Path) -> tuple[str, pd.DataFrame, Where]:
    return file.stem, _read(file), Where(file, first=2, unit="line")


def _split(files: Sequence[Path]) -> dict[int, Path] | None:
    """Code -> file, if the names of the files say that each is another part of one split."""
    parted = [file.stem.rpartition(".") for file in files]
    codes = [PARTS.get(word.lower()) for _, _, word in parted]
    if len({name for name, _, _ in parted}) > 1 or TRAIN not in codes or None in codes or len(set(codes)) < len(codes):
        return None
    return {code: file for code, file in sorted(zip(codes, files, strict=True)) if code is not None}


def _with_split(frame: pd.DataFrame, file: Path, code: int) -> pd.DataFrame:
    if "split" in frame.columns:
        raise DataError(
            f"{file} has a column x_label, and its name says what part of a split it is. Drop the column, or join the "
            "files into one that has it."
        )
    return frame.assign(split=code)


def _read(file: Path) -> pd.DataFrame:
    """One file; headers such as ``user_id:token`` are understood."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
            frame: pd.DataFrame = pd.read_csv(file, **FORMAT)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        line = re.search(r"in line (\d+)", str(error))
        place = f"{file}, line {line[1]}" if line else f"{file}"
        raise DataError(f"{place}: cannot be read as tab-separated text with a header. Correct the file.") from error
    names = {column: COLUMNS.get(str(column).partition(":")[0].strip().lower()) for column in frame.columns}
    _refuse_other_separators(frame, file)
    known = [column for column, name in names.items() if name]
    if len({names[column] for column in known}) < len(known):
        raise DataError(f"{file}: two columns of the header mean the same. Keep one of them.")
    frame = frame[known].rename(columns=names)
    require_columns(list(frame.columns), ["user_id", "item_id"], file)
    return frame


def _refuse_other_separators(frame: pd.DataFrame, file: Path) -> None:
    """Say so if the header, or every line below it, is one cell in which something else stands between the values."""
    if len(frame.columns) == 1:
        cell = str(frame.columns[0])
    elif len(frame) and bool(frame.iloc[:, 1:].isna().all(axis=None)):
        cell = str(frame.iloc[0, 0])
    else:
        return
    for mark, words in SEPARATORS.items():
        if mark in cell:
            raise DataError(f"{file}: its columns are separated by {words}, not by tabs. Save it with tabs.")
