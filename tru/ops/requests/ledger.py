"""The ledger: what happened to the champion, the data and the batches, in order, for good.

Entries are only ever added. Each carries the digest of the one before it, so that a changed, missing or reordered entry
shows; the guard row keeps length and head, so that a cut-off end shows. Whoever can write to the whole database could
make up a new chain from end to end: model versions carry the digest of their entry (``tru.ledger``) as an anchor
elsewhere. An entry holds ids of batches, versions, hashes, counts and words; no id of a request, never of a subject.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from tru.errors import RequestError

if TYPE_CHECKING:
    from tru.ops.requests.rows import Guard, Rows, Transaction

Kind = Literal[
    "champion",
    "data",
    "baseline",
    "licence",
    "verdict",
    "batch",
    "rollback",
    "approval",
    "erasure",
    "restore",
    "request",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST_KEY = 255


@dataclass(frozen=True)
class Entry:
    """One fact.

    Attributes:
        seq: its number, from 1 without gaps.
        at: when it was written (aware, UTC).
        kind: what it is about.
        key: what makes it one of its kind; a second entry of the same kind and key is never written.
        facts: JSON; no identifier of a subject.
        previous: digest of the entry before, "" for the first.
        digest: SHA-256 (64 hex characters) of the canonical JSON of all fields above.
    """

    seq: int
    at: datetime
    kind: Kind
    key: str
    facts: dict[str, Any]
    previous: str
    digest: str

    def computed(self) -> str:
        """The digest that the fields have now; another one than ``digest`` says that somebody changed them."""
        fields = [self.seq, self.at.astimezone(UTC).isoformat(), self.kind, self.key, self.facts, self.previous]
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def public(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**vars(self), "at": self.at.isoformat(timespec="seconds")}


class Ledger:
    """The ledger over any storage; several processes may write to the same one. It has no way to change an entry."""

    def __init__(self, rows: Rows, clock: Callable[[], datetime] | None = None) -> None:
        self._rows = rows
        self._clock = clock or (lambda: datetime.now(UTC))

    def append(self, kind: Kind, key: str, **facts: Any) -> Entry:  # noqa: ANN401 - whatever JSON can hold
        """Write a fact down, once: if this kind has an entry with this key, that one is returned as it is.

        Raises:
            RequestError: an unknown kind, or a key that is empty or too long.
            TypeError: a fact that JSON cannot hold.
            ValueError: a fact that is NaN or infinite.
        """
        _check(kind, key)
        known: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
        with self._rows.writing() as rows:
            return rows.ledger_entry(kind, key) or _appended(rows, kind, key, known, self._clock().astimezone(UTC))

    def entries(self, kind: Kind | None = None) -> Sequence[Entry]:
        """All entries, or those of one kind, oldest first."""
        with self._rows.reading() as rows:
            return rows.ledger(kind)

    def find(self, kind: Kind, key: str) -> Entry | None:
        """The entry of this kind with this key."""
        with self._rows.reading() as rows:
            return rows.ledger_entry(kind, key)

    def last(self, kind: Kind) -> Entry | None:
        """The newest entry of a kind."""
        with self._rows.reading() as rows:
            return rows.ledger_last(kind)

    def verify(self) -> list[str]:
        """What is wrong with it, in plain sentences; empty if every entry is there and as it was written."""
        with self._rows.reading() as rows:
            return _faults(rows.ledger(None), rows.guard())


def _check(kind: str, key: str) -> None:
    if kind not in KINDS:
        raise RequestError(f"The ledger knows no kind '{kind}'; the known ones are {', '.join(KINDS)}.")
    if not 0 < len(key) <= LONGEST_KEY:
        raise RequestError(f"An entry of the ledger needs a key of 1 to {LONGEST_KEY} characters; got {len(key)}.")


def _appended(rows: Transaction, kind: Kind, key: str, facts: dict[str, Any], moment: datetime) -> Entry:
    """The next entry. It follows what the guard row remembers, so that an end cut off stays visible for good."""
    guard = rows.guard()
    entry = Entry(guard.entries + 1, moment, kind, key, facts, guard.head, "")
    entry = replace(entry, digest=entry.computed())
    rows.ledger_add(entry)
    rows.put_guard(replace(guard, entries=entry.seq, head=entry.digest))
    return entry


def _faults(entries: Sequence[Entry], guard: Guard) -> list[str]:
    found = []
    seq, head = 0, ""
    for entry in entries:
        if entry.seq > seq + 1:
            found.append(_missing(seq + 1, entry.seq - 1))
        elif entry.previous != head:
            found.append(f"Entry {entry.seq} does not follow from the one before it: one of the two was replaced.")
        if entry.computed() != entry.digest:
            found.append(f"Entry {entry.seq} ({entry.kind}) was changed after it was written.")
        seq, head = entry.seq, entry.digest
    if seq < guard.entries:
        found.append(f"The end was cut off: {guard.entries} entries were written, the last one here is {seq}.")
    elif seq > guard.entries:
        found.append(f"Entries were added past the ledger: {guard.entries} were written, the last one here is {seq}.")
    elif head != guard.head:
        found.append(f"The last entry, {seq}, is not the one that was written last.")
    return found


def _missing(first: int, last: int) -> str:
    return f"Entry {first} is missing." if first == last else f"Entries {first} to {last} are missing."
