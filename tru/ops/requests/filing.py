"""Filing: who asks for what, since when, and how that becomes requests.

The month runs from the day the subject asked. A list may reach this system days later, so the day comes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tru.errors import RequestError
from tru.ops.requests import moves
from tru.ops.requests.lifecycle import DeletionRequest, Receipt, Subject
from tru.ops.requests.rows import Transaction
from tru.ops.requests.suppression import Key

# A request that is older than this was dated by mistake: by an empty cell of a spreadsheet, say, or a wrong century.
LONGEST_AGO = timedelta(days=3653)
# The clock of the system that took the request in may be a little ahead of this one.
CLOCK_SKEW = timedelta(minutes=5)
LONGEST_REFERENCE = 128
COLUMNS = "regime, user, item, modality, received, ref"
_ALIASES = {
    "user": ("user", "user_id", "userid"),
    "item": ("item", "item_id", "itemid"),
    "received": ("received", "received_at", "received_time", "submitted_at", "submitted_time"),
    "regime": ("regime",),
    "modality": ("modality",),
    "ref": ("ref", "reference", "case", "case_number"),
}
_COLUMN_OF = {alias: column for column, aliases in _ALIASES.items() for alias in aliases}
_EXAMPLE = "2026-10-02T15:00:00+02:00"


@dataclass(frozen=True)
class Filing:
    """One request as a file holds it.

    Attributes:
        subject: whom or what it names.
        received: when it was received (aware); None where the file does not say.
        row: where it stands: the line of a CSV file, the number of the object in a list.
        reference: the case number under which whoever files it keeps it; None if there is none.
    """

    subject: Subject
    received: datetime | None = None
    row: int = 0
    reference: str | None = field(default=None, repr=False)


def column_of(name: str) -> str:
    """Which of `COLUMNS` a column or a key of a file is; empty if none."""
    return _COLUMN_OF.get(name.strip().lower(), "")


def parse_received(value: object) -> datetime:
    """A moment from ISO 8601 text with date, time and zone, such as 2026-10-02T15:00:00Z.

    A date alone is refused: nobody but the sender knows in which time zone it is meant, and the month runs from it.

    Raises:
        RequestError: it is something else; the message does not repeat it.
    """
    try:
        moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise RequestError(f"The time of receipt is not ISO 8601; write it as in {_EXAMPLE}.")
    if moment.tzinfo is None:
        raise RequestError(f"The time of receipt needs a time of day and a time zone; write it as in {_EXAMPLE}.")
    return moment


def checked_received(moment: datetime, now: datetime) -> datetime:
    """``moment`` in UTC, if a request that is filed at ``now`` can have been received then.

    Raises:
        RequestError: it has no zone, or lies in the future or more than ten years back.
    """
    if moment.tzinfo is None:
        raise RequestError(f"The time of receipt needs a time zone; write it as in {_EXAMPLE}.")
    if moment > now + CLOCK_SKEW:
        raise RequestError("The time of receipt lies in the future; check the date and the time zone.")
    if moment < now - LONGEST_AGO:
        raise RequestError("The time of receipt lies more than ten years back; check the date.")
    return moment.astimezone(UTC)


def checked_reference(value: object) -> str:
    """A case number without surrounding blanks.

    Raises:
        RequestError: it is no line of text of a usual length; the message does not repeat it.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > LONGEST_REFERENCE or not text.isprintable():
        raise RequestError(f"The case number (ref) is one line of text with 1 to {LONGEST_REFERENCE} characters.")
    return text


def checked(
    subjects: Sequence[Subject],
    received: datetime | Sequence[datetime | None] | None,
    references: Sequence[str | None] | None,
    now: datetime,
) -> list[tuple[Subject, datetime, str | None]]:
    """What is handed in (see `Inbox.add_all`) as one row for each subject: what, when (UTC), under which case number.

    Raises:
        RequestError: a moment or a case number cannot be taken.
    """
    given = received if isinstance(received, Sequence) else [received] * len(subjects)
    moments = [now if moment is None else checked_received(moment, now) for moment in given]
    numbers = [None if number is None else checked_reference(number) for number in references or [None] * len(subjects)]
    return list(zip(subjects, moments, numbers, strict=True))


def file(rows: Transaction, key: Key, given: Sequence[tuple[Subject, datetime, str | None]]) -> Sequence[Receipt]:
    """File a request for each subject that has no open one. Of a subject that asks again the earlier day counts.

    Args:
        rows: the transaction.
        key: the suppression key.
        given: what :func:`checked` gave. A request that is filed again is found by each of its case numbers.

    Returns:
        One receipt per subject, in order.
    """
    keys = [key.of_subject(subject) for subject, _, _ in given]
    requests = rows.open_by_key(set(keys))
    new: dict[str, None] = {}
    earlier: dict[str, None] = {}
    for name, (subject, moment, _) in zip(keys, given, strict=True):
        if name not in requests:
            requests[name] = moves.queued(subject, moment)
            new[name] = None
        elif moment < requests[name].received:
            requests[name] = replace(requests[name], received=moment)
            earlier[name] = None
    rows.insert([(name, requests[name]) for name in new])
    rows.antedate([requests[name] for name in earlier if name not in new])
    moves.suppress(rows, key, [requests[name] for name in new])
    filed = [(requests[name].id, number) for name, (_, _, number) in zip(keys, given, strict=True) if number]
    rows.refer(sorted({(id, key.of_reference(number)) for id, number in filed}))
    return _receipts(keys, requests, new)


def _receipts(keys: Iterable[str], requests: dict[str, DeletionRequest], new: Iterable[str]) -> list[Receipt]:
    """The first naming of a subject is the addition, its repetitions are duplicates."""
    left, receipts = set(new), []
    for name in keys:
        receipts.append(Receipt(requests[name], added=name in left))
        left.discard(name)
    return receipts
