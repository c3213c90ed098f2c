"""From what a column holds to ids as text: the one place that says how, or why not.

An id has to be spelled as people spell it who ask to be forgotten: 7, not 7.0. So it is read where it can mean one
thing only, and refused, with file, row and remedy, where not.

================================  =====================================================================================
text                              stays; in a new data set, whole numbers that became floats (7.0) are read as 7
whole numbers                     spelled out, also floats (as far as they are exact) and decimals without a fraction
bytes                             read as UTF-8, if all of it is printable
UUIDs                             written 8-4-4-4-12, if the column says that they are UUIDs
true and false, dates, lists …    refused
================================  =====================================================================================
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd

from tru import identifiers
from tru.data.tables import Where
from tru.errors import DataError

WHOLE = re.compile(r"-?\d+")
WHOLE_FLOAT = re.compile(r"(-?[1-9]\d*|0)\.0+")
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]\d+")
MISSING_WORDS = frozenset({"nan", "none", "null", "<na>"})
"""What a missing value becomes when a column of floats is turned into text."""


def to_ids(values: pd.Series, where: Where, column: str) -> pd.Series:
    """Ids as text, whatever type the column has.

    Args:
        values: the column.
        where: its file, for messages.
        column: its name.

    Raises:
        DataError: an id is missing or blank, or the column holds what has no single spelling.
    """
    if values.empty:
        return values.astype("str")
    missing = values.isna().to_numpy(dtype=bool)
    if missing.any():
        raise DataError(f"{where.at(missing)}: {column} is empty. Give every {where.unit} an id or leave it out.")
    codes, unique = pd.factorize(_plain(values, where, column))
    text = _spelled(pd.Series(unique), codes, where, column)
    # numpy's fixed-width strings drop trailing NULs, which would make two ids one.
    blank = np.array([not id.strip() or "\x00" in id for id in text], dtype=bool)[codes]
    if blank.any():
        raise DataError(f"{where.at(blank)}: {column} is blank. Give every {where.unit} an id or leave it out.")
    return pd.Series(text.astype("str").to_numpy()[codes], index=values.index, dtype="str")


@dataclass
class Reading:
    """What was read otherwise than it stands in the files.

    Attributes:
        notes: one sentence each, without an identifier; for who imports.
        users: id -> its spelling in the files; somebody may have been forgotten under that one.
        items: the same of items.
    """

    notes: list[str] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)
    items: dict[str, str] = field(default_factory=dict)


def new_ids(values: pd.Series, where: Where, column: str, reading: Reading) -> pd.Series:
    """Ids of a data set that comes in: as :func:`to_ids`, and such that a request can name each of them.

    Args:
        values: the column.
        where: its file, for messages.
        column: its name.
        reading: takes whatever was read otherwise than it stands there.

    Raises:
        DataError: as :func:`to_ids`; or a request could not name an id, or could name it in two ways.
    """
    text = to_ids(values, where, column)
    codes, unique = pd.factorize(text)
    ids = _without_point(list(unique), codes, where, column)
    if pd.api.types.is_float_dtype(values.dtype) or ids != list(unique):
        reading.notes.append(
            f"{where.file}: {column} holds whole numbers stored as floats; 1.0 was read as 1, and so on."
        )
    found = pd.Series(np.array(ids, dtype=object)[codes], index=values.index, dtype="str")
    refuse_unnameable(found, where, column)
    (reading.users if column == "user_id" else reading.items).update(_respelled(values, found))
    alike = _alike(ids)
    if alike:
        reading.notes.append(
            f"{where.file}: {alike} ids in {column} look like another one but differ from it in their Unicode normal "
            "form (é as one character or as two). They stay apart; a request has to spell each as the data do."
        )
    return found


def _respelled(values: pd.Series, ids: pd.Series) -> dict[str, str]:
    """Id -> what it was before, where that is another text."""
    first = ~ids.duplicated()
    return {id: was for id, was in zip(ids[first], values[first].astype(str), strict=True) if id != was}


def _plain(values: pd.Series, where: Where, column: str) -> pd.Series:
    """The column without categories, and with values that can be compared."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_object_dtype(values.dtype):
        kinds = {type(value) for value in values}
        if len(kinds) > 1 or not kinds <= {str, int, bytes, Decimal, UUID}:
            named = (
                "lists or records" if kinds & {list, dict, np.ndarray, tuple} else "values of several or other types"
            )
            raise _no_ids(named, where, column)
    return values


def _spelled(unique: pd.Series, codes: np.ndarray, where: Where, column: str) -> pd.Series:
    """The text of each distinct value; ``codes`` says which rows have it."""
    types, dtype = pd.api.types, unique.dtype
    if types.is_bool_dtype(dtype):
        raise _no_ids("true and false", where, column)
    if types.is_integer_dtype(dtype):
        return unique.astype(str)
    if types.is_float_dtype(dtype):
        return _of_floats(unique.to_numpy(), codes, where, column)
    if types.is_object_dtype(dtype):
        return _of_objects(unique, codes, where, column)
    if types.is_string_dtype(dtype):
        return unique.astype(str)
    raise _no_ids(str(dtype), where, column)


def _of_floats(unique: np.ndarray, codes: np.ndarray, where: Where, column: str) -> pd.Series:
    """Floats that are whole numbers, as far as their type tells one from the next."""
    fractions = ~np.isfinite(unique) | (np.floor(unique) != unique)
    if fractions.any():
        raise DataError(
            f"{where.at(fractions[codes])}: {column} is a float with a fraction, not an id. "
            "Store ids as strings or whole numbers."
        )
    inexact = np.abs(unique) > 2.0 ** (np.finfo(unique.dtype).nmant + 1)
    if inexact.any():
        raise DataError(
            f"{where.at(inexact[codes])}: {column} is a float ({unique.dtype}) too large to be exact, so its last "
            "digits may be lost. Write the ids again from their source, as strings or whole numbers."
        )
    return pd.Series(unique.astype(np.int64)).astype(str)


def _of_objects(unique: pd.Series, codes: np.ndarray, where: Where, column: str) -> pd.Series:
    """Text, whole numbers, decimals, bytes or UUIDs."""
    first = unique.iloc[0]
    if isinstance(first, Decimal):
        fractions = np.array([not value.is_finite() or value % 1 != 0 for value in unique], dtype=bool)
        if fractions.any():
            raise DataError(
                f"{where.at(fractions[codes])}: {column} is a decimal with a fraction, not an id. "
                "Store ids as strings or whole numbers."
            )
        return pd.Series([str(int(value)) for value in unique])
    if isinstance(first, bytes):
        decoded = [_decoded(value) for value in unique]
        raw = np.array([text is None for text in decoded], dtype=bool)
        if raw.any():
            raise DataError(
                f"{where.at(raw[codes])}: {column} holds raw bytes, not text. Store ids as strings "
                "(UUIDs in their usual spelling, with hyphens)."
            )
        return pd.Series(decoded)
    return pd.Series([str(value) for value in unique])


def _decoded(value: bytes) -> str | None:
    """Bytes as text; None if they are something else."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _without_point(unique: list[str], codes: np.ndarray, where: Where, column: str) -> list[str]:
    """Distinct ids, without ``.0`` if every one has it: a merge with a missing value turns whole numbers into floats.

    Raises:
        DataError: some of the numbers have it and others not, or are in scientific notation, or are missing.
    """
    floats = [WHOLE_FLOAT.fullmatch(id) is not None for id in unique]
    words = [id.lower() in MISSING_WORDS for id in unique]
    if any(floats) and any(words) and all(a or b for a, b in zip(floats, words, strict=True)):
        raise DataError(
            f"{where.at(np.array(words)[codes])}: {column} is the word for a missing value among numbers. "
            f"Give every {where.unit} an id or leave it out."
        )
    if not all(NUMBER.fullmatch(id) for id in unique):
        return unique
    lost = np.array([SCIENTIFIC.fullmatch(id) is not None for id in unique])
    if lost.any():
        raise DataError(
            f"{where.at(lost[codes])}: {column} is in scientific notation, so digits may be lost. "
            "Write the ids again from their source, with all their digits."
        )
    shorter = [id.partition(".")[0] for id in unique]
    whole = [WHOLE.fullmatch(id) is not None for id in unique]
    if (any(floats) and any(whole)) or (all(floats) and len(set(shorter)) < len(shorter)):
        raise DataError(
            f"{where.at(np.array(floats)[codes])}: {column} is spelled as a float (such as 1.0), and other ids of the "
            "column otherwise. Spell them all as whole numbers."
        )
    return shorter if all(floats) else unique


def refuse_unnameable(values: pd.Series, where: Where, column: str) -> None:
    """Refuse ids, as text, that no request could name.

    Raises:
        DataError: there are some; it names the row of the first.
    """
    codes, ids = pd.factorize(values)
    faults = [identifiers.fault(id) for id in ids]
    bad = np.array([fault is not None for fault in faults], dtype=bool)
    if bad.any():
        row = bad[codes]
        words = faults[int(codes[int(np.flatnonzero(row)[0])])]
        raise DataError(
            f"{where.at(row)}: {column} {words}. No request could name it, so {int(bad.sum())} of the ids could never "
            "be deleted. Correct them."
        )


def _alike(ids: list[str]) -> int:
    """How many ids are another one in a different Unicode normal form."""
    composed = [unicodedata.normalize("NFC", id) for id in ids if not id.isascii()]
    return len(composed) - len(set(composed))


def _no_ids(what: str, where: Where, column: str) -> DataError:
    return DataError(f"{where.file}: {column} holds {what}, not ids. Store ids as strings or whole numbers.")
