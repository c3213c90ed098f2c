"""Inbox and ledger in memory: the doubles that tests of other parts use in place of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import RLock

from tru.ops.requests.inbox import Inbox
from tru.ops.requests.ledger import Entry, Kind, Ledger
from tru.ops.requests.lifecycle import FULFILLED, Batch, Deadlines, DeletionRequest, RequestParams, State
from tru.ops.requests.rows import Guard
from tru.ops.requests.suppression import Key, Mark


@dataclass
class _Sheet:
    """All rows; also the transaction, since nobody else can look while one runs."""

    kept: Guard = field(default_factory=Guard)
    rows: dict[str, DeletionRequest] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    facts: list[Entry] = field(default_factory=list)
    references: set[tuple[str, str]] = field(default_factory=set)

    def copy(self) -> _Sheet:
        tables = (dict(self.rows), dict(self.keys), dict(self.batches), dict(self.marks))
        return _Sheet(self.kept, *tables, list(self.facts), set(self.references))

    def guard(self) -> Guard:
        return self.kept

    def put_guard(self, guard: Guard) -> None:
        self.kept = guard

    def requests(
        self, *, states: Collection[State] | None = None, batch: str | None = None, ids: Collection[str] | None = None
    ) -> list[DeletionRequest]:
        return [
            row
            for row in self.rows.values()
            if (states is None or row.state in states)
            and (batch is None or row.batch == batch)
            and (ids is None or row.id in ids)
        ]

    def open_by_key(self, keys: Collection[str]) -> dict[str, DeletionRequest]:
        return {key: self.rows[self.keys[key]] for key in keys if key in self.keys}

    def insert(self, requests: Sequence[tuple[str, DeletionRequest]]) -> None:
        for key, request in requests:
            self.rows[request.id] = request
            self.keys[key] = request.id

    def update(self, requests: Sequence[DeletionRequest]) -> None:
        self.rows.update((request.id, request) for request in requests)
        ended = {request.id for request in requests if not request.is_open}
        self.keys = {key: id for key, id in self.keys.items() if id not in ended}

    def antedate(self, requests: Sequence[DeletionRequest]) -> None:
        self.update(requests)

    def counts(self) -> dict[State, int]:
        return dict(Counter(row.state for row in self.rows.values()))

    def outcomes(self, batch: str | None) -> dict[str, int]:
        return dict(Counter(row.outcome for row in self.requests(batch=batch) if row.outcome is not None))

    def deadlines(self, params: RequestParams, now: datetime) -> Deadlines:
        return Deadlines.of([row.received for row in self.rows.values() if row.is_open], params, now)

    def open_batch(self) -> Batch | None:
        return next((b for b in self.batches.values() if b.closed is None and not b.is_aside), None)

    def aside(self) -> list[Batch]:
        return [batch for batch in self.batches.values() if batch.is_aside]

    def last_batch(self) -> Batch | None:
        ended = [batch for batch in reversed(self.batches.values()) if batch.outcome is not None]
        return max(ended, key=lambda batch: batch.closed or batch.opened, default=None)

    def recent(self, count: int) -> list[Batch]:
        closed = [(batch.closed, batch) for batch in reversed(self.batches.values()) if batch.closed is not None]
        return [batch for _, batch in sorted(closed, key=lambda pair: pair[0], reverse=True)][:count]

    def batch(self, batch: str) -> Batch | None:
        return self.batches.get(batch)

    def count_batches(self, prefix: str) -> int:
        return sum(id.startswith(prefix) for id in self.batches)

    def put_batch(self, batch: Batch) -> None:
        self.batches[batch.id] = batch

    def mark(self, marks: Sequence[Mark]) -> None:
        self.marks.update((mark.request, mark) for mark in marks)

    def unmark(self, requests: Sequence[str]) -> None:
        for request in requests:
            self.marks.pop(request, None)

    def refer(self, references: Sequence[tuple[str, str]]) -> None:
        self.references.update(references)

    def referred(self, reference: str) -> list[str]:
        return [id for id, digest in self.references if digest == reference]

    def ledger(self, kind: Kind | None) -> list[Entry]:
        return [entry for entry in self.facts if kind is None or entry.kind == kind]

    def ledger_last(self, kind: Kind) -> Entry | None:
        return next((entry for entry in reversed(self.facts) if entry.kind == kind), None)

    def ledger_entry(self, kind: Kind, key: str) -> Entry | None:
        return next((entry for entry in self.facts if (entry.kind, entry.key) == (kind, key)), None)

    def ledger_add(self, entry: Entry) -> None:
        self.facts.append(entry)


class MemoryRows:
    """Rows that live as long as the object; threads may share it."""

    def __init__(self) -> None:
        self._sheet = _Sheet()
        self._lock = RLock()

    @contextmanager
    def reading(self) -> Iterator[_Sheet]:
        """A copy, so that nothing a reader does is kept."""
        with self._lock:
            yield self._sheet.copy()

    @contextmanager
    def writing(self) -> Iterator[_Sheet]:
        """Work on a copy and keep it only if all went well."""
        with self._lock:
            sheet = self._sheet.copy()
            yield sheet
            self._sheet = sheet

    def scrub(self) -> bool:
        """Nothing is left behind in memory that anyone could read."""
        return True

    def lookup(self) -> MemoryRows:
        """The marks, for serving."""
        return self

    def version(self) -> int:
        """Changes with every mark made or lifted."""
        return self._sheet.kept.marks

    def retirements(self) -> int:
        """Batches that left nobody to recommend to."""
        return sum(batch.outcome == "retired" for batch in self._sheet.batches.values())

    def known(self, digests: Collection[str]) -> set[str]:
        """Those of ``digests`` that are marked."""
        return {mark.digest for mark in self._sheet.marks.values()} & set(digests)

    def within(self, scope: str) -> set[str]:
        """All marked digests of one scope."""
        return {mark.digest for mark in self._sheet.marks.values() if mark.scope == scope}

    def forgotten(self) -> list[Mark]:
        """The marks of subjects who were forgotten."""
        sheet = self._sheet
        return [mark for mark in sheet.marks.values() if sheet.rows[mark.request].outcome in FULFILLED]


class MemoryInbox(Inbox):
    """An inbox that forgets everything with the process."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__(MemoryRows(), Key(b"not a secret"), clock or (lambda: datetime.now(UTC)))


class MemoryLedger(Ledger):
    """A ledger that forgets everything with the process."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__(MemoryRows(), clock)
