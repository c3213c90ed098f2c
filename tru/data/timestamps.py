"""Timestamps as whole numbers, exactly: nanoseconds have more digits than a float can hold."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pandas as pd

from tru.data.tables import Where
from tru.errors import DataError

WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
EXACT = 2**53
"""Above this a float is no exact whole number any more."""


def to_timestamps(values: pd.Series, where: Where) -> pd.Series:
    """Timestamps as nullable int64, missing ones stay missing.

    Args:
        values: whole numbers of any type, also as text; the unit is the data set's own.
        where: their file, for messages.

    Raises:
        DataError: one is no whole number, is not exact, or does not fit into 64 bits.
    """
    types, dtype = pd.api.types, values.dtype
    if types.is_datetime64_any_dtype(dtype):
        raise DataError(f"{where.file}: timestamp holds dates. Store whole numbers (seconds), or drop the column.")
    if types.is_bool_dtype(dtype):
        raise DataError(f"{where.file}: timestamp holds true and false. Store whole numbers, or drop the column.")
    if types.is_object_dtype(dtype) and any(isinstance(value, list | dict | np.ndarray) for value in values):
        raise DataError(f"{where.file}: timestamp holds lists or records. Store whole numbers, or drop the column.")
    missing = values.isna().to_numpy(dtype=bool)
    codes, unique = pd.factorize(values)
    numbers = [_whole(value) for value in unique]
    _refuse([number is None for number in numbers], codes, where, "is not a whole number with all its digits")
    if types.is_float_dtype(dtype):
        large = [number is not None and abs(number) > EXACT for number in numbers]
        _refuse(large, codes, where, "is a float too large to be exact")
    wide = [number is not None and not -(2**63) <= number < 2**63 for number in numbers]
    _refuse(wide, codes, where, "does not fit into 64 bits")
    known = np.array([*numbers, 0], dtype=np.int64)[codes]  # a missing one has code -1
    return pd.Series(pd.arrays.IntegerArray(known, missing), index=values.index)


def _whole(value: object) -> int | None:
    """The number, if it is a whole one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else None
    if isinstance(value, Decimal):
        value = format(value, "f")
    found = WHOLE.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(found[1]) if found else None


def _refuse(bad: list[bool], codes: np.ndarray, where: Where, words: str) -> None:
    rows = np.array([*bad, False], dtype=bool)[codes]
    if rows.any():
        raise DataError(f"{where.at(rows)}: timestamp {words}. Correct it, or drop the column.")
