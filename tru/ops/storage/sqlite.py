"""SQLite keeps what was deleted in its file until the file is rewritten; this rewrites it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tru.errors import ReleaseError

PATIENCE = 60.0
"""Seconds to wait for others to let go of a database."""


@contextmanager
def opened(file: Path, patience: float | None = None) -> Iterator[sqlite3.Connection]:
    """A connection of its own to a database that is there; each statement is its own transaction.

    Args:
        file: the database.
        patience: seconds that each statement waits for a lock that somebody else holds; PATIENCE if None.
    """
    patience = PATIENCE if patience is None else patience
    # Named by its address: a plain path would make a database where there is none.
    db = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=patience, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


def compact(file: Path, patience: float | None = None) -> int:
    """Rewrite a SQLite database, its write-ahead log and journal included, so that nothing deleted stays in them.

    Args:
        file: the database; others may be using it.
        patience: seconds to wait for them; PATIENCE if None.

    Returns:
        Bytes freed.

    Raises:
        ReleaseError: somebody holds the database all the time. Nothing is lost; run it again.
    """
    before = _size(file)
    patience = PATIENCE if patience is None else patience
    until = time.monotonic() + patience
    try:
        with opened(file, patience) as db:
            db.execute("VACUUM")
            while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # 1: a reader stands in the way
                if time.monotonic() > until:
                    raise sqlite3.OperationalError("database is locked")
                time.sleep(0.1)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) and "busy" not in str(error):
            raise ReleaseError(
                f"{file} cannot be rewritten ({type(error).__name__}). Is it readable and whole?"
            ) from error
        raise ReleaseError(
            f"{file} is held by another process, so what was deleted may still be in its file. Run this again."
        ) from error
    return max(before - _size(file), 0)


def _size(file: Path) -> int:
    return sum(part.stat().st_size for part in (file, file.with_name(f"{file.name}-wal")) if part.exists())
