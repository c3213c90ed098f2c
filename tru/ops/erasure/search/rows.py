"""Destroying the rows of a SQLite database that hold a trace, while a server may be using it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tru.ops.erasure.search import formats
from tru.ops.erasure.search.formats import Source
from tru.ops.erasure.search.patterns import Needles
from tru.ops.storage.sqlite import opened

_ROWS = 2_000
T = TypeVar("T")


def drop_rows(file: Path, needles: Needles, tables: Collection[str], patience: float | None = None) -> int:
    """Delete every row that holds a trace from some tables, with what the schema says goes with it.

    A row is judged by the same search that looks for residue, as a table of its own.

    Args:
        file: the database; it is not rewritten here (see :func:`tru.ops.storage.sqlite.compact`).
        needles: what to look for.
        tables: where; those that are not there are passed over.
        patience: seconds to wait for others to let go of it.

    Returns:
        How many rows were deleted, not counting those that went with others.

    Raises:
        sqlite3.Error: damaged, or locked all the time.
    """
    dropped = 0
    with opened(file, patience) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = ON")
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in sorted(there.intersection(tables)):
            for found in list(_guilty(db, table, needles)):
                dropped += db.execute(f"DELETE FROM {_quoted(table)} WHERE rowid = ?", (found,)).rowcount
    return dropped


def _guilty(db: sqlite3.Connection, table: str, needles: Needles) -> Iterator[int]:
    """Row ids."""
    last = -1 << 63
    while True:
        query = f"SELECT rowid, * FROM {_quoted(table)} WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"
        cursor = db.execute(query, (last,))
        columns = [column[0] for column in cursor.description[1:]]
        if not (rows := cursor.fetchall()):
            return
        last = rows[-1][0]
        for block in smallest(rows, partial(_hold, needles, columns)):
            yield from (row[0] for row in block)


def smallest(parts: Sequence[T], holds: Callable[[Sequence[T]], bool]) -> Iterator[Sequence[T]]:
    """The smallest pieces of a sequence that still hold what the whole holds.

    Where only both halves together hold it, that is one piece.
    """
    if not parts or not holds(parts):
        return
    middle = len(parts) // 2
    found = [*smallest(parts[:middle], holds), *smallest(parts[middle:], holds)] if middle else []
    yield from found or [parts]


def _hold(needles: Needles, columns: list[str], rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether some rows hold a trace, searched as the database that they would make."""
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.execute(f"CREATE TABLE rows ({', '.join(map(_quoted, columns))})")
        marks = ", ".join("?" * len(columns))
        copy.executemany(f"INSERT INTO rows VALUES ({marks})", [row[1:] for row in rows])
        copy.commit()
        return bool(formats.search(Source(copy.serialize()), needles).tags)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
