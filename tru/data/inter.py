"""Interactions as text with a header: ``.inter`` (MMRec, RecBole), one file or a published split in three; ``.csv``."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Mapping, Sequence
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
RATINGS = COLUMNS | {"split": "split"}
"""What columns may be called in one table of interactions alone, beside what ``.inter`` files call them."""
TEXT = {".csv": ",", ".tsv": "\t"}
"""Endings of such a table as text -> what stands between its values."""
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


def read_text(file: Path) -> tuple[pd.DataFrame, Where]:
    """The interactions in a ``.csv`` or ``.tsv`` file with our column names, all of them text; and their place.

    Raises:
        DataError: it cannot be read, or has no user or no item.
    """
    mark = TEXT[file.suffix.lower()]
    frame = _table(file, {"sep": mark, "quoting": csv.QUOTE_MINIMAL if mark == "," else csv.QUOTE_NONE})
    return renamed(frame, RATINGS, file), Where(file, first=2, unit="line")


def _read(file: Path) -> pd.DataFrame:
    """One ``.inter`` file; headers such as ``user_id:token`` are understood."""
    frame = _table(file, {})
    _refuse_other_separators(frame, file)
    return renamed(frame, COLUMNS, file)


def _table(file: Path, form: Mapping[str, Any]) -> pd.DataFrame:
    """Text with a header, every cell as text; ``form``: where it differs from :data:`FORMAT`."""
    words = "comma-separated" if form.get("sep") == "," else "tab-separated"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
            frame: pd.DataFrame = pd.read_csv(file, **{**FORMAT, **form})
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        line = re.search(r"in line (\d+)", str(error))
        place = f"{file}, line {line[1]}" if line else f"{file}"
        raise DataError(f"{place}: cannot be read as {words} text with a header. Correct the file.") from error
    return frame


def called(column: object, names: Mapping[str, str] = COLUMNS) -> str | None:
    """What a column of that heading is called here (``userID`` and ``user_id:token`` are ``user_id``); None: unread."""
    return names.get(str(column).partition(":")[0].strip().lower())


def renamed(frame: pd.DataFrame, names: Mapping[str, str], file: Path | str) -> pd.DataFrame:
    """The columns that are read, under our names.

    Args:
        frame: a table.
        names: heading in small letters -> our name.
        file: its file, for messages.

    Raises:
        DataError: two headings mean the same, or there is no user or no item.
    """
    known = {column: name for column in frame.columns if (name := called(column, names))}
    if sum(column in known for column in frame.columns) > len(set(known.values())):
        raise DataError(f"{file}: two columns of the header mean the same. Keep one of them.")
    require_columns(list(known.values()), ["user_id", "item_id"], file)
    return frame[list(known)].rename(columns=known)


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
