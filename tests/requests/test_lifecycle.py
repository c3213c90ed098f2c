from datetime import UTC, datetime

import pytest

from tru.errors import RequestError
from tru.requests import DeletionRequest, Regime, State, Subject


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
