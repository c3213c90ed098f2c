"""Inbox and ledger in a database: SQLite in the workspace by default, PostgreSQL by URL (``TRU_DATABASE_URL``).

This module and `tru.ops.requests.database` are the only ones that know SQLAlchemy. After endings the file is rewritten
(VACUUM, then a truncating checkpoint), because ``secure_delete`` alone leaves copies of rows behind where SQLite moved
them between pages. PostgreSQL is written for (plain SQL, a locked guard row in place of ``BEGIN IMMEDIATE``) and not
tested yet; there the server's own vacuum and log retention decide when erased identifiers are gone from its files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tru.errors import WorkspaceError
from tru.ops.requests.columns import (
    batch_columns,
    entry_columns,
    request_columns,
    to_batch,
    to_entry,
    to_request,
    to_text,
)
from tru.ops.requests.database import (
    BATCHES,
    EARLIER_SCHEMAS,
    GUARD,
    LEDGER,
    MARKS,
    REFERENCES,
    REQUESTS,
    SCHEMA,
    connect_to,
    create_tables,
    explained,
    no_inbox,
    schema_of,
    upgrade_tables,
    writer,
)
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.ledger import Entry, Kind, Ledger
from tru.ops.requests.lifecycle import ENDED, FULFILLED, Batch, Deadlines, DeletionRequest, RequestParams, State
from tru.ops.requests.rows import Guard
from tru.ops.requests.suppression import Mark, Suppression, load_key
from tru.ops.workspace import Workspace

# Readers hold the scrub up; the remains can wait for the next use, the caller cannot.
SCRUB_SECONDS = 5.0
# The oldest SQLite in use takes 999 bound values in one statement.
_CHUNK = 900


def open_inbox(workspace: Workspace, clock: Callable[[], datetime] | None = None) -> Inbox:
    """The workspace's inbox; made on first use, by any number of processes at the same time.

    Raises:
        WorkspaceError: the database cannot be opened.
        RequestError: the suppression key is missing or not the one the inbox was filled with.
    """
    rows = _SqlRows(workspace.database_url, create=True)
    with rows.reading() as now:
        key = load_key(workspace, create=now.guard().key_check is None)
    return Inbox(rows, key, clock) if clock else Inbox(rows, key)


def open_suppression(workspace: Workspace) -> Suppression:
    """Who and what serving must not show. Creates nothing: serving beside a wrong, empty inbox would suppress nobody.

    Raises:
        WorkspaceError: there is no inbox, or it cannot be opened.
        RequestError: the suppression key is missing or not the one the inbox was filled with.
    """
    rows = _SqlRows(workspace.database_url, create=False)
    key = load_key(workspace, create=False)
    return Inbox(rows, key).suppression()


def open_ledger(workspace: Workspace, clock: Callable[[], datetime] | None = None, *, create: bool = True) -> Ledger:
    """The workspace's ledger, in the same database as its inbox; made on first use unless ``create`` is False.

    Raises:
        WorkspaceError: the database cannot be opened, or there is none and none may be made.
    """
    return Ledger(_SqlRows(workspace.database_url, create=create), clock)


def refuse_unusable(workspace: Workspace) -> None:
    """See that the inbox is there and belongs to the key at hand; nothing is made, and an older one is not upgraded.

    Raises:
        WorkspaceError: there is none, or it cannot be opened or was written by a later tru.
        RequestError: the suppression key is missing or not the one the inbox was filled with.
    """
    with explained("cannot be opened", WorkspaceError):
        engine = connect_to(workspace.database_url, create=False)
        schema = schema_of(engine)
    if schema is None:
        raise no_inbox()
    if schema not in (SCHEMA, *EARLIER_SCHEMAS):
        raise WorkspaceError(f"The inbox has schema {schema}, this tru knows {SCHEMA}; use the tru that wrote it.")
    key = load_key(workspace, create=False)
    with explained("cannot be read"), engine.connect() as connection:
        check = connection.execute(sa.select(GUARD.c.key_check)).scalar()
    if check is not None:
        key.refuse_unless_of(check)


class _SqlTransaction:
    """See `tru.ops.requests.rows.Transaction`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def guard(self) -> Guard:
        row = self._connection.execute(sa.select(GUARD)).one()
        return Guard(row.completed, row.marks, row.endings, row.scrubbed, row.key_check, row.entries, row.head)

    def put_guard(self, guard: Guard) -> None:
        self._connection.execute(sa.update(GUARD).values(**asdict(guard)))

    def requests(
        self, *, states: Collection[State] | None = None, batch: str | None = None, ids: Collection[str] | None = None
    ) -> list[DeletionRequest]:
        query = sa.select(REQUESTS).order_by(REQUESTS.c.seq)
        if states is not None:
            query = query.where(REQUESTS.c.state.in_([state.value for state in states]))
        if batch is not None:
            query = query.where(REQUESTS.c.batch == batch)
        queries = [query] if ids is None else [query.where(REQUESTS.c.id.in_(some)) for some in _chunks(ids)]
        rows = [row for one in queries for row in self._connection.execute(one)]
        return [to_request(row._asdict()) for row in sorted(rows, key=lambda row: row.seq)]

    def open_by_key(self, keys: Collection[str]) -> dict[str, DeletionRequest]:
        found: dict[str, DeletionRequest] = {}
        for some in _chunks(keys):
            for row in self._connection.execute(sa.select(REQUESTS).where(REQUESTS.c.key.in_(some))):
                found[row.key] = to_request(row._asdict())
        return found

    def insert(self, requests: Sequence[tuple[str, DeletionRequest]]) -> None:
        if requests:
            values = [{"id": r.id, "key": key, "regime": r.regime.value, **request_columns(r)} for key, r in requests]
            self._connection.execute(sa.insert(REQUESTS), values)

    def update(self, requests: Sequence[DeletionRequest]) -> None:
        # A step moves a whole batch the same way; one statement for many rows takes a fraction of one for each.
        alike: dict[tuple[State, str | None, str | None], list[str]] = {}
        for request in requests:
            alike.setdefault((request.state, request.outcome, request.batch), []).append(request.id)
        for (state, outcome, batch), ids in alike.items():
            values = {"state": state.value, "outcome": outcome, "batch": batch}
            emptied = dict.fromkeys(("key", "user", "item", "modality")) if state in ENDED else {}
            for some in _chunks(ids):
                self._connection.execute(sa.update(REQUESTS).where(REQUESTS.c.id.in_(some)).values(values | emptied))

    def antedate(self, requests: Sequence[DeletionRequest]) -> None:
        if requests:
            change = sa.update(REQUESTS).where(REQUESTS.c.id == sa.bindparam("of"))
            values = [{"of": request.id, "received": to_text(request.received)} for request in requests]
            self._connection.execute(change, values)

    def counts(self) -> dict[State, int]:
        query = sa.select(REQUESTS.c.state, sa.func.count()).group_by(REQUESTS.c.state)
        return {State(state): count for state, count in self._connection.execute(query)}

    def outcomes(self, batch: str | None) -> dict[str, int]:
        query = sa.select(REQUESTS.c.outcome, sa.func.count()).where(REQUESTS.c.outcome.is_not(None))
        query = query if batch is None else query.where(REQUESTS.c.batch == batch)
        return {outcome: count for outcome, count in self._connection.execute(query.group_by(REQUESTS.c.outcome))}

    def deadlines(self, params: RequestParams, now: datetime) -> Deadlines:
        received, month = REQUESTS.c.received, timedelta(days=params.due_days)
        late, near = now - month, now - month + timedelta(days=params.warn_days)
        query = sa.select(
            sa.func.count(sa.case((received < to_text(late), 1))),
            sa.func.count(sa.case((received <= to_text(near), 1))),
            sa.func.min(received),
        ).where(REQUESTS.c.state.not_in([state.value for state in ENDED]))
        overdue, until_near, first = self._connection.execute(query).one()
        next_due = None if first is None else datetime.fromisoformat(first) + month
        return Deadlines(overdue, max(until_near - overdue, 0), next_due)

    def open_batch(self) -> Batch | None:
        return self._first(sa.select(BATCHES).where(BATCHES.c.open == 1))

    def aside(self) -> list[Batch]:
        query = sa.select(BATCHES).where(BATCHES.c.open.is_(None), BATCHES.c.closed.is_(None)).order_by(BATCHES.c.seq)
        return [to_batch(row._asdict()) for row in self._connection.execute(query)]

    def last_batch(self) -> Batch | None:
        ended = sa.func.coalesce(BATCHES.c.closed, BATCHES.c.opened)
        query = sa.select(BATCHES).where(BATCHES.c.outcome.is_not(None))
        return self._first(query.order_by(ended.desc(), BATCHES.c.seq.desc()))

    def recent(self, count: int) -> list[Batch]:
        query = sa.select(BATCHES).where(BATCHES.c.closed.is_not(None))
        query = query.order_by(BATCHES.c.closed.desc(), BATCHES.c.seq.desc()).limit(count)
        return [to_batch(row._asdict()) for row in self._connection.execute(query)]

    def batch(self, batch: str) -> Batch | None:
        return self._first(sa.select(BATCHES).where(BATCHES.c.id == batch))

    def count_batches(self, prefix: str) -> int:
        query = sa.select(sa.func.count()).where(BATCHES.c.id.startswith(prefix, autoescape=True))
        return self._connection.execute(query).scalar_one()

    def put_batch(self, batch: Batch) -> None:
        values = batch_columns(batch)
        done = self._connection.execute(sa.update(BATCHES).where(BATCHES.c.id == batch.id).values(**values))
        if done.rowcount == 0:
            self._connection.execute(sa.insert(BATCHES).values(id=batch.id, **values))

    def mark(self, marks: Sequence[Mark]) -> None:
        if marks:
            self._connection.execute(sa.insert(MARKS), [asdict(mark) for mark in marks])

    def unmark(self, requests: Sequence[str]) -> None:
        for some in _chunks(requests):
            self._connection.execute(sa.delete(MARKS).where(MARKS.c.request.in_(some)))

    def refer(self, references: Sequence[tuple[str, str]]) -> None:
        if not references:
            return
        known: set[tuple[str, str]] = set()
        for some in _chunks({request for request, _ in references}):
            rows = self._connection.execute(sa.select(REFERENCES).where(REFERENCES.c.request.in_(some)))
            known |= {(row.request, row.digest) for row in rows}
        if new := [{"request": id, "digest": digest} for id, digest in references if (id, digest) not in known]:
            self._connection.execute(sa.insert(REFERENCES), new)

    def referred(self, reference: str) -> list[str]:
        query = sa.select(REFERENCES.c.request).where(REFERENCES.c.digest == reference)
        return list(self._connection.execute(query).scalars())

    def ledger(self, kind: Kind | None) -> list[Entry]:
        query = sa.select(LEDGER).order_by(LEDGER.c.seq)
        if kind is not None:
            query = query.where(LEDGER.c.kind == kind)
        return [to_entry(row._asdict()) for row in self._connection.execute(query)]

    def ledger_last(self, kind: Kind) -> Entry | None:
        return self._entry(sa.select(LEDGER).where(LEDGER.c.kind == kind).order_by(LEDGER.c.seq.desc()))

    def ledger_entry(self, kind: Kind, key: str) -> Entry | None:
        return self._entry(sa.select(LEDGER).where(LEDGER.c.kind == kind, LEDGER.c.key == key))

    def ledger_add(self, entry: Entry) -> None:
        self._connection.execute(sa.insert(LEDGER).values(**entry_columns(entry)))

    def _entry(self, query: sa.Select[Any]) -> Entry | None:
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else to_entry(row._asdict())

    def _first(self, query: sa.Select[Any]) -> Batch | None:
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else to_batch(row._asdict())


class _SqlRows:
    """Rows in a database, and the marks in it. Connections live as long as a transaction, so forks share none."""

    def __init__(self, url: str, *, create: bool) -> None:
        with explained("cannot be opened", WorkspaceError):
            self._engine = connect_to(url, create=create)
            if schema_of(self._engine) is None:
                if not create:
                    raise no_inbox()
                create_tables(self._engine)
            elif schema_of(self._engine) in EARLIER_SCHEMAS:
                upgrade_tables(self._engine)
        if (found := schema_of(self._engine)) != SCHEMA:
            raise WorkspaceError(f"The inbox has schema {found}, this tru knows {SCHEMA}; use the tru that wrote it.")

    @contextmanager
    def reading(self) -> Iterator[_SqlTransaction]:
        with explained("cannot be read"), self._engine.connect() as connection, connection.begin():
            yield _SqlTransaction(connection)

    @contextmanager
    def writing(self) -> Iterator[_SqlTransaction]:
        with explained("cannot be written"), writer(self._engine) as connection:
            # SQLite has locked the file by now; elsewhere the guard row is what every writer takes first.
            connection.execute(sa.select(GUARD.c.id).with_for_update())
            yield _SqlTransaction(connection)

    def scrub(self) -> bool:
        """Rewrite the file without the remains of deleted content, and empty the write-ahead log."""
        if self._engine.dialect.name != "sqlite":
            return True
        try:
            with closing(self._engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {int(1000 * SCRUB_SECONDS)}")
                cursor.execute("VACUUM")
                row = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return bool(row[0] == 0)
        except sqlite3.OperationalError:
            return False

    def lookup(self) -> _SqlRows:
        return self

    def version(self) -> int:
        with self.reading() as rows:
            return rows.guard().marks

    def retirements(self) -> int:
        query = sa.select(sa.func.count()).where(BATCHES.c.outcome == "retired")
        with explained("cannot be read"), self._engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def known(self, digests: Collection[str]) -> set[str]:
        return {digest for some in _chunks(digests) for digest in self._digests(MARKS.c.digest.in_(some))}

    def within(self, scope: str) -> set[str]:
        return set(self._digests(MARKS.c.scope == scope))

    def forgotten(self) -> list[Mark]:
        done = REQUESTS.c.outcome.in_(FULFILLED)
        query = sa.select(MARKS).join(REQUESTS, REQUESTS.c.id == MARKS.c.request).where(done)
        with explained("cannot be read"), self._engine.connect() as connection:
            return [Mark(row.request, row.digest, row.scope) for row in connection.execute(query)]

    def _digests(self, condition: sa.ColumnElement[bool]) -> Sequence[str]:
        with explained("cannot be read"), self._engine.connect() as connection:
            return connection.execute(sa.select(MARKS.c.digest).where(condition)).scalars().all()


def _chunks(values: Collection[str]) -> Iterator[list[str]]:
    everything = list(values)
    return (everything[start : start + _CHUNK] for start in range(0, len(everything), _CHUNK))
