"""The durable inbox: SQLite in the workspace by default, PostgreSQL by URL (``TRU_DATABASE_URL``).

The only module that knows SQLAlchemy. What SQLite needs for several processes and for real deletion is here: WAL,
``BEGIN IMMEDIATE`` for writers, a busy timeout, ``secure_delete``, and after endings VACUUM plus a truncating
checkpoint, because ``secure_delete`` alone leaves copies of rows behind where SQLite moved them between pages.
PostgreSQL is written for (plain SQL, a locked guard row in place of ``BEGIN IMMEDIATE``) and not tested yet; there the
server's own vacuum and log retention decide when erased identifiers are gone from its files.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tru.errors import RequestError, TruError, WorkspaceError
from tru.requests.columns import batch_columns, request_columns, to_batch, to_request
from tru.requests.inbox import Inbox
from tru.requests.lifecycle import LONGEST_ID, Batch, DeletionRequest, State
from tru.requests.rows import Guard
from tru.requests.suppression import Mark, Suppression, load_key
from tru.workspace import Workspace

SCHEMA = 1
BUSY_SECONDS = 30.0
# Readers hold the scrub up; the remains can wait for the next use, the caller cannot.
SCRUB_SECONDS = 5.0
# The oldest SQLite in use takes 999 bound values in one statement.
_CHUNK = 900

_tables = sa.MetaData()
_guard = sa.Table(
    "guard",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema", sa.Integer, nullable=False),
    sa.Column("completed", sa.BigInteger, nullable=False),
    sa.Column("marks", sa.BigInteger, nullable=False),
    sa.Column("endings", sa.BigInteger, nullable=False),
    sa.Column("scrubbed", sa.BigInteger, nullable=False),
    sa.Column("key_check", sa.String(64)),
)
_requests = sa.Table(
    "requests",
    _tables,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    # The keyed hash of the subject while the request is open: the database itself refuses a second open one.
    sa.Column("key", sa.String(64), unique=True),
    sa.Column("regime", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("received", sa.String(32), nullable=False),
    sa.Column("user", sa.String(LONGEST_ID)),
    sa.Column("item", sa.String(LONGEST_ID)),
    sa.Column("modality", sa.String(LONGEST_ID)),
    sa.Column("outcome", sa.String(16)),
    sa.Column("batch", sa.String(32), index=True),
)
_batches = sa.Table(
    "batches",
    _tables,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    # 1 while the batch is open, else NULL: the database itself refuses a second open one.
    sa.Column("open", sa.Integer, unique=True),
    sa.Column("opened", sa.String(32), nullable=False),
    sa.Column("closed", sa.String(32)),
    sa.Column("step", sa.String(64), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("verdict", sa.String(16)),
    sa.Column("seconds", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("owner", sa.String(512)),
    sa.Column("lease_until", sa.String(32)),
)
_marks = sa.Table(
    "marks",
    _tables,
    sa.Column("request", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, index=True),
    sa.Column("scope", sa.String(64), nullable=False, index=True),
)


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


class _SqlTransaction:
    """See `tru.requests.rows.Transaction`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def guard(self) -> Guard:
        row = self._connection.execute(sa.select(_guard)).one()
        return Guard(row.completed, row.marks, row.endings, row.scrubbed, row.key_check)

    def put_guard(self, guard: Guard) -> None:
        self._connection.execute(sa.update(_guard).values(**asdict(guard)))

    def requests(
        self, *, states: Collection[State] | None = None, batch: str | None = None, ids: Collection[str] | None = None
    ) -> list[DeletionRequest]:
        query = sa.select(_requests).order_by(_requests.c.seq)
        if states is not None:
            query = query.where(_requests.c.state.in_([state.value for state in states]))
        if batch is not None:
            query = query.where(_requests.c.batch == batch)
        if ids is not None:
            query = query.where(_requests.c.id.in_(ids))
        return [to_request(row._asdict()) for row in self._connection.execute(query)]

    def open_by_key(self, keys: Collection[str]) -> dict[str, DeletionRequest]:
        found: dict[str, DeletionRequest] = {}
        for some in _chunks(keys):
            for row in self._connection.execute(sa.select(_requests).where(_requests.c.key.in_(some))):
                found[row.key] = to_request(row._asdict())
        return found

    def insert(self, requests: Sequence[tuple[str, DeletionRequest]]) -> None:
        if requests:
            values = [{"id": r.id, "key": key, "regime": r.regime.value, **request_columns(r)} for key, r in requests]
            self._connection.execute(sa.insert(_requests), values)

    def update(self, requests: Sequence[DeletionRequest]) -> None:
        change = sa.update(_requests).where(_requests.c.id == sa.bindparam("of"))
        for some in ([r for r in requests if r.is_open], [r for r in requests if not r.is_open]):
            if some:
                freed: dict[str, None] = {} if some[0].is_open else {"key": None}
                self._connection.execute(change, [{"of": r.id, **request_columns(r), **freed} for r in some])

    def counts(self) -> dict[State, int]:
        query = sa.select(_requests.c.state, sa.func.count()).group_by(_requests.c.state)
        return {State(state): count for state, count in self._connection.execute(query)}

    def open_batch(self) -> Batch | None:
        return self._first(sa.select(_batches).where(_batches.c.open == 1))

    def last_batch(self) -> Batch | None:
        return self._first(sa.select(_batches).where(_batches.c.outcome.is_not(None)).order_by(_batches.c.seq.desc()))

    def batch(self, batch: str) -> Batch | None:
        return self._first(sa.select(_batches).where(_batches.c.id == batch))

    def count_batches(self, prefix: str) -> int:
        query = sa.select(sa.func.count()).where(_batches.c.id.startswith(prefix, autoescape=True))
        return self._connection.execute(query).scalar_one()

    def put_batch(self, batch: Batch) -> None:
        values = batch_columns(batch)
        done = self._connection.execute(sa.update(_batches).where(_batches.c.id == batch.id).values(**values))
        if done.rowcount == 0:
            self._connection.execute(sa.insert(_batches).values(id=batch.id, **values))

    def mark(self, marks: Sequence[Mark]) -> None:
        if marks:
            self._connection.execute(sa.insert(_marks), [asdict(mark) for mark in marks])

    def unmark(self, requests: Sequence[str]) -> None:
        for some in _chunks(requests):
            self._connection.execute(sa.delete(_marks).where(_marks.c.request.in_(some)))

    def _first(self, query: sa.Select[Any]) -> Batch | None:
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else to_batch(row._asdict())


class _SqlRows:
    """Rows in a database, and the marks in it. Connections live as long as a transaction, so forks share none."""

    def __init__(self, url: str, *, create: bool) -> None:
        with _explained("cannot be opened", WorkspaceError):
            self._engine = _engine(url, create=create)
            if _schema_of(self._engine) is None:
                if not create:
                    raise _no_inbox()
                _create(self._engine)
        if (found := _schema_of(self._engine)) != SCHEMA:
            raise WorkspaceError(f"The inbox has schema {found}, this tru knows {SCHEMA}; use the tru that wrote it.")

    @contextmanager
    def reading(self) -> Iterator[_SqlTransaction]:
        with _explained("cannot be read"), self._engine.connect() as connection, connection.begin():
            yield _SqlTransaction(connection)

    @contextmanager
    def writing(self) -> Iterator[_SqlTransaction]:
        with _explained("cannot be written"), _writer(self._engine) as connection:
            # SQLite has locked the file by now; elsewhere the guard row is what every writer takes first.
            connection.execute(sa.select(_guard.c.id).with_for_update())
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

    def known(self, digests: Collection[str]) -> set[str]:
        return {digest for some in _chunks(digests) for digest in self._digests(_marks.c.digest.in_(some))}

    def within(self, scope: str) -> set[str]:
        return set(self._digests(_marks.c.scope == scope))

    def _digests(self, condition: sa.ColumnElement[bool]) -> Sequence[str]:
        with _explained("cannot be read"), self._engine.connect() as connection:
            return connection.execute(sa.select(_marks.c.digest).where(condition)).scalars().all()


def _engine(url: str, *, create: bool) -> Engine:
    """An engine whose errors show no values and whose SQLite connections are set up for safety."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return sa.create_engine(address, poolclass=NullPool, hide_parameters=True)
    if not address.database or address.database == ":memory:":
        raise WorkspaceError("The inbox needs a file: sqlite:///path/to/inbox.db (three slashes, or four if absolute).")
    path = Path(address.database)
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Identifiers of people who asked to be forgotten: for the owner's eyes only, log files included.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    elif not path.exists():
        raise _no_inbox()
    engine = sa.create_engine(address, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _no_inbox() -> WorkspaceError:
    return WorkspaceError(
        "There is no inbox here, so nobody could be suppressed. If requests are kept elsewhere, set TRU_DATABASE_URL "
        "and TRU_SUPPRESSION_KEY; if there are none yet, `tru requests list` makes an empty inbox."
    )


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    # Python's driver would begin transactions by its own rules; ours begin in `_begin`.
    connection.isolation_level = None
    for pragma in ("secure_delete = ON", "synchronous = FULL", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("tru_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _writer(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(tru_writes=True) as connection, connection.begin():
        yield connection


def _schema_of(engine: Engine) -> int | None:
    """The version of the tables, None if there are none."""
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(_guard.c.schema)).scalar()
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.OperationalError) and "no such table" in str(error.orig):
            return None
        if isinstance(error, ProgrammingError):
            return None
        raise


def _create(engine: Engine) -> None:
    """Make the tables; whoever comes second finds them made."""
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    for attempt in range(5):
        try:
            with _writer(engine) as connection:
                _tables.create_all(connection)
                if connection.execute(sa.select(_guard.c.id)).first() is None:
                    connection.execute(sa.insert(_guard).values(id=1, schema=SCHEMA, **asdict(Guard())))
            return
        except (IntegrityError, ProgrammingError):
            # Another process made them at the same moment (PostgreSQL has no lock for this before they exist).
            if attempt == 4:
                raise
            time.sleep(0.1)


def _use_wal(engine: Engine) -> None:
    """Switch to write-ahead logging, which the file remembers. SQLite does not wait for others here, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def _explained(what: str, kind: type[TruError] = RequestError) -> Iterator[None]:
    """Turn what the database says into an error with a way out; values never appear in it."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        cause = str(error.orig if isinstance(error, DBAPIError) else error)
        if isinstance(error, ArgumentError):
            cause = "TRU_DATABASE_URL is not a database address"
        hint = "check TRU_DATABASE_URL, the rights on its folder and the free space"
        if "locked" in cause:
            hint = "another process is writing to it; try again"
        raise kind(f"The inbox {what}: {cause}. To solve it: {hint}.") from None


def _chunks(values: Collection[str]) -> Iterator[list[str]]:
    everything = list(values)
    return (everything[start : start + _CHUNK] for start in range(0, len(everything), _CHUNK))
