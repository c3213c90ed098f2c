"""The database under inbox and ledger: its tables, their versions, and connections set up for safety.

What SQLite needs for several processes and for real deletion is here: WAL, ``BEGIN IMMEDIATE`` for writers, a busy
timeout, ``secure_delete``. Triggers refuse any change to an entry of the ledger.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tru.errors import RequestError, TruError, WorkspaceError
from tru.ops.requests.ledger import LONGEST_KEY
from tru.ops.requests.lifecycle import LONGEST_ID
from tru.ops.requests.rows import Guard

SCHEMA = 3
EARLIER_SCHEMAS = (1, 2)
BUSY_SECONDS = 30.0

TABLES = sa.MetaData()
GUARD = sa.Table(
    "guard",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema", sa.Integer, nullable=False),
    sa.Column("completed", sa.BigInteger, nullable=False),
    sa.Column("marks", sa.BigInteger, nullable=False),
    sa.Column("endings", sa.BigInteger, nullable=False),
    sa.Column("scrubbed", sa.BigInteger, nullable=False),
    sa.Column("key_check", sa.String(64)),
    # Server defaults, so that a guard row of schema 1 gets them too.
    sa.Column("entries", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("head", sa.String(64), nullable=False, server_default=""),
)
REQUESTS = sa.Table(
    "requests",
    TABLES,
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
BATCHES = sa.Table(
    "batches",
    TABLES,
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
MARKS = sa.Table(
    "marks",
    TABLES,
    sa.Column("request", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, index=True),
    sa.Column("scope", sa.String(64), nullable=False, index=True),
)
# Keyed hashes of the case numbers that requests were filed under.
REFERENCES = sa.Table(
    "references",
    TABLES,
    sa.Column("request", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True, index=True),
)
LEDGER = sa.Table(
    "ledger",
    TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, index=True),
    sa.Column("key", sa.String(LONGEST_KEY), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.UniqueConstraint("kind", "key"),
)
# What SQLite refuses. INSERT OR REPLACE deletes without asking the trigger on DELETE, hence the one on INSERT.
_ONLY_ADDED = {"UPDATE": "", "DELETE": "", "INSERT": "WHEN NEW.seq <= (SELECT MAX(seq) FROM ledger)"}


def connect_to(url: str, *, create: bool) -> Engine:
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
        raise no_inbox()
    engine = sa.create_engine(address, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


def no_inbox() -> WorkspaceError:
    """The error of whoever may not make one."""
    return WorkspaceError(
        "There is no inbox here, so nobody could be suppressed, and no ledger. If they are kept elsewhere, set "
        "TRU_DATABASE_URL and TRU_SUPPRESSION_KEY; if there are none yet, `tru requests list` makes an empty inbox."
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
def writer(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes from its beginning, so that no two begin with the same state."""
    with engine.connect().execution_options(tru_writes=True) as connection, connection.begin():
        yield connection


def schema_of(engine: Engine) -> int | None:
    """The version of the tables, None if there are none."""
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(GUARD.c.schema)).scalar()
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.OperationalError) and "no such table" in str(error.orig):
            return None
        if isinstance(error, ProgrammingError):
            return None
        raise


def create_tables(engine: Engine) -> None:
    """Make the tables; whoever comes second finds them made."""
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    for attempt in range(5):
        try:
            with writer(engine) as connection:
                TABLES.create_all(connection)
                _protect(connection)
                if connection.execute(sa.select(GUARD.c.id)).first() is None:
                    connection.execute(sa.insert(GUARD).values(id=1, schema=SCHEMA, **asdict(Guard())))
            return
        except (IntegrityError, ProgrammingError):
            # Another process made them at the same moment (PostgreSQL has no lock for this before they exist).
            if attempt == 4:
                raise
            time.sleep(0.1)


def upgrade_tables(engine: Engine) -> None:
    """Bring a database of an earlier schema to the present one; whoever comes second finds it done.

    Schema 1 had no ledger, schema 2 no case numbers.
    """
    with writer(engine) as connection:
        schema = connection.execute(sa.select(GUARD.c.schema).with_for_update()).scalar()
        if schema not in EARLIER_SCHEMAS:
            return
        if schema == 1:
            connection.execute(sa.text("ALTER TABLE guard ADD COLUMN entries BIGINT NOT NULL DEFAULT 0"))
            connection.execute(sa.text("ALTER TABLE guard ADD COLUMN head VARCHAR(64) NOT NULL DEFAULT ''"))
            LEDGER.create(connection)
            _protect(connection)
        REFERENCES.create(connection)
        connection.execute(sa.update(GUARD).values(schema=SCHEMA))


def _protect(connection: Connection) -> None:
    """Let SQLite itself refuse to change or delete an entry of the ledger; elsewhere the rights of the role must."""
    if connection.dialect.name != "sqlite":
        return
    for event, when in _ONLY_ADDED.items():
        connection.exec_driver_sql(
            f"CREATE TRIGGER IF NOT EXISTS ledger_no_{event.lower()} BEFORE {event} ON ledger {when} "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )


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
def explained(what: str, kind: type[TruError] = RequestError) -> Iterator[None]:
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
