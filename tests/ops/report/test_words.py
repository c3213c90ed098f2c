import math
from datetime import UTC, datetime

import pytest

from tru.ops.report import words


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "0.5", True, [], {}])
def test_what_is_no_number_is_a_dash(value):
    assert words.finite(value) is None
    for say in (words.decimal, words.signed, words.count, words.percent, words.duration):
        assert say(value) == "—"


def test_numbers():
    assert words.decimal(0.35714) == "0.3571" and words.decimal(-0.5, 1) == "−0.5"
    assert words.signed(0.001) == "+0.0010" and words.signed(-0.0347) == "−0.0347"
    assert words.count(35110) == "35\u202f110" and words.count(12) == "12"
    assert words.percent(0.0113) == "1.13 %"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.28, "0.3 s"), (0, "under 0.1 s"), (42, "42 s"), (262, "4 min 22 s"), (7200, "2 h")]
)
def test_durations(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("regimes", "said"),
    [
        ({}, "nothing"),
        ({"users": 0}, "nothing"),
        ({"users": 1}, "1 person"),
        ({"users": 2, "items": 1}, "2 people and 1 item"),
        ({"users": 2, "items": 1, "modalities": 3}, "2 people, 1 item and 3 modalities of items"),
        ({"something new": 2}, "2 something new"),
    ],
)
def test_subjects(regimes, said):
    assert words.subjects(regimes) == said


def test_moments_are_said_in_english_and_utc():
    at = datetime(2026, 3, 5, 2, 30, tzinfo=UTC)
    assert words.moment(at) == "5 March 2026, 02:30 UTC" and words.moment(None) == "—"


def test_an_unknown_measure_or_part_stands_for_itself():
    assert words.measure("hit@5").title == "hit@5" and words.group("planets", "hit@5") == "planets"
    assert words.group(None, "test/ndcg@20") == "all who stay" and words.group(None, "hit@5") == "all forgotten pairs"
    assert words.group("items, window", "membership_auc") == "pairs of items that went, with the nights before"
    assert words.group("window", "membership_auc") == "with the nights before"
