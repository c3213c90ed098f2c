"""Where inbox and ledger keep their rows: the seam between the rules (`inbox.py`, `ledger.py`) and a storage.

Two storages exist: `tru.ops.requests.memory` (the double, for tests and for trying things out) and
`tru.ops.requests.store` (SQLite, or PostgreSQL by URL). Both pass the same contract tests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tru.ops.requests.ledger import Entry, Kind
from tru.ops.requests.lifecycle import Batch, Deadlines, DeletionRequest, RequestParams, State
from tru.ops.requests.suppression import Lookup, Mark


@dataclass(frozen=True)
class Guard:
    """The one row every writer takes first.

    Attributes:
        completed: how many requests have been completed, in order.
        marks: changes with every suppression made or lifted.
        endings: how often identifiers were taken out of rows.
        scrubbed: up to which ending the storage itself is known to hold no remains.
        key_check: proof of the suppression key in use.
        entries: how many entries the ledger has.
        head: digest of the ledger's last entry.
    """

    completed: int = 0
    marks: int = 0
    endings: int = 0
    scrubbed: int = 0
    key_check: str | None = None
    entries: int = 0
    head: str = ""


class Transaction(Protocol):
    """Rows as of one moment; what is written becomes visible to others all at once."""

    def guard(self) -> Guard:
        """The guard row."""

    def put_guard(self, guard: Guard) -> None:
        """Replace the guard row."""

    def requests(
        self, *, states: Collection[State] | None = None, batch: str | None = None, ids: Collection[str] | None = None
    ) -> list[DeletionRequest]:
        """Requests that meet all given conditions, in the order they came in."""

    def open_by_key(self, keys: Collection[str]) -> dict[str, DeletionRequest]:
        """Open requests by the keyed hash of their subject."""

    def insert(self, requests: Sequence[tuple[str, DeletionRequest]]) -> None:
        """New open requests with the keyed hashes of their subjects."""

    def update(self, requests: Sequence[DeletionRequest]) -> None:
        """Write state, outcome and batch of requests; one that has ended loses its key and what it names."""

    def antedate(self, requests: Sequence[DeletionRequest]) -> None:
        """Write when open requests were received."""

    def counts(self) -> dict[State, int]:
        """Requests per state."""

    def outcomes(self, batch: str | None) -> dict[str, int]:
        """Requests per outcome, of one batch or all; those that have none are not counted."""

    def deadlines(self, params: RequestParams, now: datetime) -> Deadlines:
        """What the open requests demand; the same as `Deadlines.of`, counted where they lie."""

    def open_batch(self) -> Batch | None:
        """The batch that is neither closed nor aside."""

    def aside(self) -> list[Batch]:
        """The batches that are aside, oldest first."""

    def last_batch(self) -> Batch | None:
        """The batch that came to an outcome last."""

    def recent(self, count: int) -> list[Batch]:
        """Closed batches, the newest first."""

    def batch(self, batch: str) -> Batch | None:
        """A batch by id."""

    def count_batches(self, prefix: str) -> int:
        """How many batch ids begin so."""

    def put_batch(self, batch: Batch) -> None:
        """Insert or replace a batch."""

    def mark(self, marks: Sequence[Mark]) -> None:
        """Suppress."""

    def unmark(self, requests: Sequence[str]) -> None:
        """Lift what these requests suppress."""

    def refer(self, references: Sequence[tuple[str, str]]) -> None:
        """Note keyed hashes of case numbers: (id of a request, hash); what is noted already stays."""

    def referred(self, reference: str) -> list[str]:
        """Ids of the requests that were noted under the hash of a case number."""

    def ledger(self, kind: Kind | None) -> list[Entry]:
        """Entries of the ledger, of one kind or all, in order."""

    def ledger_last(self, kind: Kind) -> Entry | None:
        """The newest entry of a kind."""

    def ledger_entry(self, kind: Kind, key: str) -> Entry | None:
        """The entry with this key."""

    def ledger_add(self, entry: Entry) -> None:
        """Write the next entry; none is ever changed or taken away."""


class Rows(Protocol):
    """Storage of an inbox and a ledger."""

    def reading(self) -> AbstractContextManager[Transaction]:
        """A consistent view; waits for nobody."""

    def writing(self) -> AbstractContextManager[Transaction]:
        """The only writer; commits at the end, or nothing at all if an error leaves the block."""

    def scrub(self) -> bool:
        """Remove what deleted content left in the storage; False if somebody was in the way."""

    def lookup(self) -> Lookup:
        """The marks, for serving."""
