from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tru.errors import RequestError
from tru.ops.requests import Deadlines, DeletionRequest, Regime, RequestParams, State, Subject


@pytest.mark.parametrize(
    ("named", "regime"),
    [
        ({"user": "u"}, "user"),
        ({"item": "i"}, "item"),
        ({"user": "u", "item": "i"}, "interaction"),
        ({"item": "i", "modality": "image"}, "modality"),
    ],
)
def test_the_regime_follows_from_what_is_named(named, regime):
    assert Subject.of(**named) == Subject.of(regime, **named)
    assert Subject.of(**named).regime is Regime(regime)


@pytest.mark.parametrize(
    ("regime", "named", "says"),
    [
        (None, {}, "names nothing"),
        (None, {"user": "u", "modality": "m"}, "names user and modality"),
        (None, {"user": "u", "item": "i", "modality": "m"}, "names user, item and modality"),
        ("user", {}, "names nothing"),
        ("item", {"user": "u"}, "names item and nothing else"),
        ("modality", {"item": "i"}, "names item and modality"),
        ("person", {"user": "u"}, "known ones are user, item, interaction and modality"),
        ("user", {"user": " "}, "empty"),
        ("user", {"user": "x" * 513}, "513 characters"),
        ("user", {"user": "a\x00b"}, "control character"),
        ("user", {"user": "a\udcffb"}, "UTF-8"),
        ("user", {"user": 7}, "must be text"),
    ],
)
def test_an_unusable_subject_is_refused(regime, named, says):
    with pytest.raises(RequestError, match=says):
        Subject.of(regime, **named)


def test_nothing_that_is_printed_names_a_subject():
    request = DeletionRequest("req-1", Regime.USER, State.QUEUED, datetime.now(UTC), user="alice")
    assert "alice" not in repr(request) + repr(request.subject) + repr(request.public())
    with pytest.raises(RequestError) as caught:
        Subject.of("alice", user="alice")
    assert "alice" not in str(caught.value)


def test_the_public_form_has_the_promised_fields():
    request = DeletionRequest("req-1", Regime.USER, State.QUEUED, datetime(2026, 1, 1, tzinfo=UTC), user="alice")
    assert request.public() == {
        "id": "req-1",
        "regime": "user",
        "state": "queued",
        "outcome": None,
        "received": "2026-01-01T00:00:00+00:00",
        "due": "2026-01-31T00:00:00+00:00",
        "batch": None,
    }


def test_the_moment_a_request_is_due_is_not_yet_late():
    now = datetime(2026, 11, 23, tzinfo=UTC)
    params = RequestParams(due_days=30, warn_days=7)
    for age, expected in (
        (timedelta(days=30, seconds=1), (1, 0)),
        (timedelta(days=30), (0, 1)),
        (timedelta(days=23), (0, 1)),
        (timedelta(days=23) - timedelta(seconds=1), (0, 0)),
    ):
        found = Deadlines.of([now - age], params, now)
        assert (found.overdue, found.soon, found.next_due) == (*expected, now - age + timedelta(days=30))


def test_a_shorter_promise_makes_requests_late_sooner():
    now = datetime(2026, 11, 23, tzinfo=UTC)
    received = [now - timedelta(days=days) for days in (1, 4, 6)]
    late = now - timedelta(days=1)
    assert Deadlines.of(received, RequestParams(due_days=5, warn_days=0), now) == Deadlines(1, 0, late)
    assert Deadlines.of(received, RequestParams(due_days=5, warn_days=2), now) == Deadlines(1, 1, late)


@pytest.mark.parametrize("wrong", [{"due_days": 0}, {"due_days": -1}, {"warn_days": -1}, {"days": 3}])
def test_impossible_deadlines_are_refused(wrong):
    with pytest.raises(ValidationError):
        RequestParams(**wrong)
