from __future__ import annotations

import contextlib
import datetime
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tru import identifiers
from tru.data.ids import Reading, new_ids, to_ids
from tru.data.parquet import read_table
from tru.data.tables import Where
from tru.errors import DataError, RequestError
from tru.ops.requests.lifecycle import Subject

X = Where("x")
UUIDS = [uuid.UUID(int=3), uuid.UUID(int=7)]


def _new(values):
    reading = Reading()
    return new_ids(pd.Series(values), X, "user_id", reading).tolist(), reading.notes


def _stored(array, root):
    """A column as Parquet gives it back."""
    pq.write_table(pa.table({"user_id": array}), root / "x.parquet")
    return read_table(root / "x.parquet", ["user_id"])[0]["user_id"]


@pytest.mark.parametrize(
    "values",
    [
        [3, 7],
        np.array([3, 7], dtype=np.uint64),
        pd.array([3, 7], dtype="Int64"),
        pd.Categorical(["3", "7"]),
        pd.Categorical([3, 7]),
        ["3", "7"],
        [3.0, 7.0],
        np.array([3, 7], dtype=np.float32),
        [Decimal("3"), Decimal("7.00")],
        [b"3", b"7"],
    ],
)
def test_ids_become_strings(values):
    assert to_ids(pd.Series(values), X, "user_id").tolist() == ["3", "7"]


ARROW = [
    (pa.array([3, 7], pa.int8()), ["3", "7"]),
    (pa.array([2**64 - 1, 7], pa.uint64()), [str(2**64 - 1), "7"]),
    (pa.array([2**63 - 1, 2**53 + 1], pa.int64()), [str(2**63 - 1), str(2**53 + 1)]),
    (pa.array(["3", "7"], pa.large_string()), ["3", "7"]),
    (pa.array(["3", "7"], pa.string()).dictionary_encode(), ["3", "7"]),
    (pa.array([3, 7], pa.int64()).dictionary_encode(), ["3", "7"]),
    (pa.array([3.0, 7.0], pa.float16()), ["3", "7"]),
    (pa.array([3.0, -7.0], pa.float64()), ["3", "-7"]),
    (pa.array([-0.0, 2.0**53], pa.float64()), ["0", str(2**53)]),
    (pa.array([Decimal("3.00"), Decimal("12345678901234567890123.00")]), ["3", "12345678901234567890123"]),
    (pa.array([b"u-3", "josé".encode()], pa.binary()), ["u-3", "josé"]),
    (pa.array([b"u3", b"u7"], pa.binary(2)), ["u3", "u7"]),
    (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([i.bytes for i in UUIDS], pa.binary(16))), [*map(str, UUIDS)]),
]


@pytest.mark.parametrize(("array", "ids"), ARROW, ids=lambda value: str(getattr(value, "type", "")))
def test_every_type_of_which_one_thing_can_be_meant_is_read(array, ids, tmp_path):
    reading = Reading()
    assert new_ids(_stored(array, tmp_path), X, "user_id", reading).tolist() == ids
    assert len(reading.notes) == pa.types.is_floating(array.type)


REFUSED = [
    (pa.array([True, False]), "x: user_id holds true and false, not ids"),
    (pa.array([True, None]), "row 2: user_id is empty"),
    (pa.array([1.0, 1.5]), "x, row 2: user_id is a float with a fraction"),
    (pa.array([1.0, float("inf")]), "x, row 2: user_id is a float with a fraction"),
    (pa.array([1.0, float("nan")]), "x, row 2: user_id is empty"),
    (pa.array([1.0, 2.0**53 + 2]), r"x, row 2: user_id is a float \(float64\) too large to be exact"),
    (pa.array([1.0, 2.0**25], pa.float32()), r"x, row 2: user_id is a float \(float32\) too large to be exact"),
    (pa.array([Decimal("1.00"), Decimal("1.50")]), "x, row 2: user_id is a decimal with a fraction"),
    (pa.array([b"ok", b"\xff\xfe"]), "x, row 2: user_id holds raw bytes"),
    (pa.array([b"ok", b"\x00\x01"]), "x, row 2: user_id holds raw bytes"),
    (pa.array([i.bytes for i in UUIDS], pa.binary(16)), "x, row 1: user_id holds raw bytes.*UUIDs in their usual"),
    (pa.array([[1], [2]]), "x: user_id holds lists or records"),
    (pa.array([{"id": 1}, {"id": 2}]), "x: user_id holds lists or records"),
    (pa.array([datetime.date(2026, 1, 1)]), "x: user_id holds values of several or other types"),
    (pa.array([datetime.datetime(2026, 1, 1)]), "x: user_id holds datetime64"),
    (pa.array([datetime.timedelta(1)]), "x: user_id holds timedelta64"),
    (pa.array([None, None], pa.null()), "x, row 1: user_id is empty"),
    (pa.array([3, None], pa.int32()), "x, row 2: user_id is empty"),
    (pa.array([3, None], pa.int64()).dictionary_encode(), "x, row 2: user_id is empty"),
]


@pytest.mark.parametrize(("array", "message"), REFUSED, ids=lambda value: str(getattr(value, "type", "")))
def test_everything_else_is_refused_by_column(array, message, tmp_path):
    with pytest.raises(DataError, match=message):
        new_ids(_stored(array, tmp_path), X, "user_id", Reading())


@pytest.mark.parametrize(
    "values", [["a", None], ["a", " "], ["a", ""], ["a", "b\x00"], pd.array([1, None], dtype="Int64")]
)
def test_an_empty_id_is_named_by_its_row(values):
    with pytest.raises(DataError, match="x, row 2: user_id is"):
        to_ids(pd.Series(values), X, "user_id")


@pytest.mark.parametrize("values", [[1, "1"], [1.5, "a"], [("a",), ("b",)], [datetime.date.min, "a"]])
def test_a_column_of_several_types_is_refused(values):
    with pytest.raises(DataError, match="x: user_id holds"):
        to_ids(pd.Series(values, dtype=object), X, "user_id")


def test_no_rows_are_no_ids():
    assert to_ids(pd.Series([], dtype=object), X, "user_id").tolist() == []
    assert _new([]) == ([], [])


# whole numbers that became floats on their way into text


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["7.0", "12.0", "7.0"], ["7", "12", "7"]),
        (["0.00", "-3.0"], ["0", "-3"]),
        (["123456789012345678901234567890.0"], ["123456789012345678901234567890"]),
    ],
)
def test_whole_numbers_spelled_as_floats_lose_their_point_and_it_is_said(values, ids):
    found, notes = _new(values)
    assert found == ids
    assert len(notes) == 1 and "stored as floats" in notes[0]
    assert not any(value in notes[0] for value in values)


@pytest.mark.parametrize(
    ("column", "values", "before"),
    [
        ("user_id", ["7.0", "8.0"], {"7": "7.0", "8": "8.0"}),
        ("item_id", ["7.00", "8.0"], {"7": "7.00", "8": "8.0"}),
        ("neighbour_id", [Decimal("7.00"), Decimal("8.00")], {"7": "7.00", "8": "8.00"}),
        ("user_id", ["a", "7"], {}),
        ("user_id", [7, 8], {}),
    ],
)
def test_how_an_id_was_spelled_is_kept_for_those_who_were_forgotten_under_that(column, values, before):
    reading = Reading()
    new_ids(pd.Series(values), X, column, reading)
    assert (reading.users if column == "user_id" else reading.items) == before


@pytest.mark.parametrize(
    "values",
    [
        ["7", "007", "0"],
        ["1.5", "2.5"],  # no whole number among them: versions, codes
        ["v7.0", "7.0"],  # words among them
        ["7.0.1", "7.0.2"],
        ["NA", "null", "7"],
        ["1e5", "12"],  # hexadecimal, perhaps
        ["007.0"],  # no number was ever spelled so
        ["+49170", "0049170"],
    ],
)
def test_what_was_never_a_float_stays(values):
    assert _new(values) == (values, [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["8", "7.0"], "x, row 2: user_id is spelled as a float"),
        (["7", "7.0"], "x, row 2: user_id is spelled as a float"),
        (["7.0", "7.00"], "x, row 1: user_id is spelled as a float"),
        (["1", "1.23457E+12"], "x, row 2: user_id is in scientific notation"),
        (["1.0", "1e+16"], "x, row 2: user_id is in scientific notation"),
        (["7.0", "nan"], "x, row 2: user_id is the word for a missing value"),
        (["7.0", "<NA>"], "x, row 2: user_id is the word for a missing value"),
    ],
)
def test_numbers_that_could_be_spelled_in_two_ways_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        _new(values)


# the one rule of what a request can name


NAMEABLE = ["007", "NA", "null", "a b", "josé", "u\u200bv", "x" * 512, "😀", "-1", "a,b", '"', "ünï", "\ufeffx"]
UNNAMEABLE = [" a", "a ", "\u00a0a", "a\tb", "a\nb", "a\x7f", "a\x85b", "x" * 513, "\t", "a\r"]


@pytest.mark.parametrize("id", NAMEABLE)
def test_what_is_imported_can_be_requested(id):
    assert _new([id, "other"])[0][0] == id
    assert Subject.of(user=id).user == id and identifiers.fault(id) is None


@pytest.mark.parametrize("id", UNNAMEABLE)
def test_what_cannot_be_requested_is_refused(id):
    with pytest.raises(DataError, match=r"x, row 2: user_id (has|holds|is blank)") as caught:
        _new(["other", id])
    assert "x" * 100 not in str(caught.value)
    with contextlib.suppress(RequestError):
        assert Subject.of(user=id).user != id


def test_a_lone_surrogate_is_broken_text():
    assert "broken text" in identifiers.fault("a\ud800")


def test_every_character_is_judged_alike_by_data_and_requests():
    """All of Unicode, at the edge of an id and inside of it."""
    for number in range(0x110000):
        for id in (f"a{chr(number)}", f"a{chr(number)}a"):
            try:
                requested = Subject.of(user=id).user == id
            except RequestError:
                requested = False
            assert requested == (identifiers.fault(id) is None), hex(number)


def test_normal_forms_of_one_name_stay_apart_and_it_is_said():
    found, notes = _new(["jos\u00e9", "jose\u0301", "jose"])
    assert found == ["jos\u00e9", "jose\u0301", "jose"]
    assert len(notes) == 1 and "1 ids in user_id look like another one" in notes[0] and "jos" not in notes[0]
    assert _new(["jose\u0301", "jose"])[1] == []
