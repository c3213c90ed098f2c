import pytest

from tru.ops.requests.spelling import CASE, COMPOSED, NUMBER, cause, other_spellings


@pytest.mark.parametrize(
    ("written", "meant", "expected"),
    [
        ("jos\u00e9-0", "jose\u0301-0", COMPOSED),
        ("jose\u0301-0", "jos\u00e9-0", COMPOSED),
        ("\uac00", "\u1100\u1161", COMPOSED),
        ("3.0", "3", NUMBER),
        ("3,00", "3", NUMBER),
        ("1.23457E+12", "1234570000000", NUMBER),
        ("1,5E3", "1500", NUMBER),
        ("4e+2", "400", NUMBER),
        ("1,234", "1234", NUMBER),
        ("12.345.678", "12345678", NUMBER),
        ("1\u00a0234", "1234", NUMBER),
        ("1'234", "1234", NUMBER),
        ("'3", "3", NUMBER),
        ("'alice", "alice", NUMBER),
        ("'007", "7", NUMBER),
        ("7", "007", NUMBER),
        ("7.0", "00000007", NUMBER),
        ("000", "0", NUMBER),
        ("ALICE@EXAMPLE.ORG", "alice@example.org", CASE),
        ("alice", "ALICE", CASE),
    ],
)
def test_an_id_that_was_changed_on_its_way_is_recognised(written, meant, expected):
    assert cause(written, {meant, "somebody else"}) == expected
    assert dict(other_spellings(written))[meant] == expected


@pytest.mark.parametrize("written", ["3.0", "1.23457E+12", "1,234", "'3", "12.345"])
def test_what_only_a_spreadsheet_writes_is_said_even_if_nobody_is_found(written):
    assert cause(written, set()) == NUMBER


@pytest.mark.parametrize(
    "written", ["3", "alice", "12-34", "u-1.5", "E5", "1.5", "12,3", "2026-10-02", "jos\u00e9", "\u0663"]
)
def test_an_ordinary_id_is_no_suspect(written):
    assert cause(written, {"somebody else"}) is None


@pytest.mark.parametrize("written", ["3.0", "jos\u00e9", "ALICE", "'3"])
def test_an_id_that_is_there_is_what_it_is(written):
    assert cause(written, {written, "3", "jose\u0301", "alice"}) is None
