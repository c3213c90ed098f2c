"""Telling databases and model files that their workspace lies elsewhere now."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from tru.errors import ReleaseError
from tru.ops.storage.sqlite import opened

Rewrite = Callable[[str], str]


def rewriter(old: Path, new: Path) -> Rewrite:
    """What turns paths and ``file://`` addresses of ``old``, and of what is below it, into those of ``new``.

    Args:
        old: an absolute folder; ``/shop`` is not found in ``/my/shop`` nor in ``/shop2``.
        new: the folder that takes its place.
    """
    ends = r"(?=[/\"'\s,;)\]}]|$)"
    address = re.compile(f"{re.escape(old.as_uri())}{ends}")
    path = re.compile(rf"(?<![\w.%/~:-]){re.escape(str(old))}{ends}")

    def rewrite(text: str) -> str:
        return path.sub(lambda _: str(new), address.sub(lambda _: new.as_uri(), text))

    return rewrite


def readdress(database: Path, rewrite: Rewrite) -> int:
    """Rewrite every text in every table of a SQLite database, all of it or nothing.

    Returns:
        How many values were changed.

    Raises:
        ReleaseError: the database is damaged, or held by another process all the time.
    """
    try:
        with opened(database) as db:
            db.create_function("rewritten", 1, rewrite, deterministic=True)
            db.execute("BEGIN IMMEDIATE")
            changed = sum(_in_column(db, table, column) for table, column in _columns(db))
            db.execute("COMMIT")  # a kill before this leaves all as it was
            return changed
    except sqlite3.Error as error:
        raise ReleaseError(
            f"{database} cannot be rewritten ({type(error).__name__}). Was it copied while it was in use? Stop what "
            "uses the original (`tru down` there), copy the folder again, and run this again."
        ) from error


def _in_column(db: sqlite3.Connection, table: str, column: str) -> int:
    where = f"typeof({column}) = 'text' AND rewritten({column}) <> {column}"
    return db.execute(f"UPDATE {table} SET {column} = rewritten({column}) WHERE {where}").rowcount


def _columns(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Every column of every table, quoted."""
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall()
    for (table,) in tables:
        for row in db.execute(f"PRAGMA table_info({_quoted(table)})").fetchall():
            yield _quoted(table), _quoted(str(row[1]))


def is_whole(database: Path) -> bool:
    """Whether SQLite finds nothing wrong with a database; a copy that was made while it was written may be torn."""
    try:
        with opened(database) as db:
            return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
