from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tru.data.tables import Where
from tru.data.timestamps import to_timestamps
from tru.errors import DataError

X = Where("x")
NS = 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([str(NS), None, "7"], [NS, None, 7]),
        ([f"{NS}.0", "7.", "-3"], [NS, 7, -3]),
        (pd.array([NS, None], dtype="Int64"), [NS, None]),
        (pd.array([7, None], dtype="UInt64"), [7, None]),
        ([7.0, np.nan], [7, None]),
        ([Decimal(NS), None], [NS, None]),
        ([Decimal("1E+3")], [1000]),
        ([str(2**63 - 1), str(-(2**63))], [2**63 - 1, -(2**63)]),
        ([2.0**53], [2**53]),
    ],
)
def test_whole_numbers_stay_exact_also_with_gaps(values, found):
    clean = to_timestamps(pd.Series(values), X)
    assert clean.dtype == "Int64"
    assert [None if v is pd.NA else v for v in clean.tolist()] == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["7", "1e20"], "x, row 2: timestamp is not a whole number with all its digits"),
        (["7", "1.7E+18"], "x, row 2: timestamp is not a whole number with all its digits"),
        (["7", "1.5"], "x, row 2: timestamp is not a whole number"),
        (["7", "soon"], "x, row 2: timestamp is not a whole number"),
        (["7", None, ""], "x, row 3: timestamp is not a whole number"),
        (["7", "100000000000000000000"], "x, row 2: timestamp does not fit into 64 bits"),
        (["7", str(2**64 - 1)], "x, row 2: timestamp does not fit into 64 bits"),
        (pd.array([2**64 - 1, None], dtype="UInt64"), "x, row 1: timestamp does not fit"),
        ([7.0, 1e20], "x, row 2: timestamp is a float too large to be exact"),
        ([float(NS), np.nan], "x, row 1: timestamp is a float too large to be exact"),
        ([7.0, np.inf], "x, row 2: timestamp is not a whole number"),
        ([7, 1.5], "x, row 2: timestamp is not a whole number"),
        ([True, False], "x: timestamp holds true and false"),
        (pd.to_datetime(["2020-01-01"]), "x: timestamp holds dates"),
        ([[1], [2]], "x: timestamp holds"),
    ],
)
def test_what_is_no_exact_whole_number_is_refused_by_its_row(values, message):
    with pytest.raises(DataError, match=message):
        to_timestamps(pd.Series(values), X)
