"""Ids and interactions in SQLite: all tables, the write-ahead log included. Freed pages are searched by their bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from tru.ops.erasure.search.kinds import kind_of, kind_of_numbers
from tru.ops.erasure.search.patterns import Hits, Needles, Tag

MAGIC = b"SQLite format 3\0"
LOGS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
"""Beginnings of write-ahead logs and rollback journals."""
_ROWS = 5_000
_BUSY_SECONDS = 10.0

Cell = str | bytes | int | float | None


def opened(place: Path | bytes) -> sqlite3.Connection:
    """A connection that changes nothing, not even files beside the database.

    Raises:
        sqlite3.Error: damaged or locked.
    """
    if isinstance(place, bytes):
        connection = sqlite3.connect(":memory:")
        # A copy has no write-ahead log beside it: say so in its header (bytes 18 and 19), or SQLite refuses.
        connection.deserialize(place[:18] + b"\x01\x01" + place[20:])
    else:
        # Reading without immutable=1 makes the log's files anew where there are none.
        live = place.with_name(place.name + "-wal").exists()
        address = place.absolute().as_uri() + ("?mode=ro" if live else "?mode=ro&immutable=1")
        connection = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)
    connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    return connection


def in_database(place: Path | bytes, needles: Needles, look: Callable[[list[bytes]], Hits]) -> Hits:
    """Traces among the values of all tables.

    Args:
        place: the file, or a copy of it in memory.
        needles: what to look for.
        look: searches the longer texts and blobs of some rows.

    Raises:
        sqlite3.Error: damaged or locked.
    """
    hits = Hits()
    with closing(opened(place)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for columns in _columns(connection, name, hits):
                for column, cells in columns.items():
                    hits.tags |= _in_column(column, cells, needles)
                    hits.add(look(_longer(cells)))
                hits.tags |= _in_rows(columns, needles)
    return hits


def _columns(connection: sqlite3.Connection, table: str, hits: Hits) -> Iterator[dict[str, tuple[Cell, ...]]]:
    """The table by columns, some thousand rows at a time."""
    quoted = '"' + table.replace('"', '""') + '"'
    try:
        rows = connection.execute(f"SELECT * FROM {quoted}")
        names = [column[0] for column in rows.description]
        while some := rows.fetchmany(_ROWS):
            yield dict(zip(names, zip(*some, strict=True), strict=True))
    except sqlite3.OperationalError as error:
        # A virtual table of an extension that is not here keeps its content in tables of its own.
        if "no such module" not in str(error):
            hits.faults.add("a table cannot be read")


def _in_column(name: str, cells: tuple[Cell, ...], needles: Needles) -> set[Tag]:
    tags = needles.exact({cell for cell in cells if isinstance(cell, str)}, kind_of(name))
    numbers = kind_of_numbers(name)
    if numbers != "none":
        tags |= needles.exact({str(cell) for cell in cells if isinstance(cell, int)}, numbers)
    return tags


def _longer(cells: tuple[Cell, ...]) -> list[bytes]:
    """Texts and blobs that may hold something, each once."""
    texts = {cell for cell in cells if isinstance(cell, str) and len(cell) > 5}
    blobs = {cell for cell in cells if isinstance(cell, bytes) and len(cell) > 5}
    return [*(text.encode(errors="surrogateescape") for text in texts), *blobs]


def _in_rows(columns: dict[str, tuple[Cell, ...]], needles: Needles) -> set[Tag]:
    users = [list(map(str, cells)) for name, cells in columns.items() if kind_of(name) == "user"]
    items = [list(map(str, cells)) for name, cells in columns.items() if kind_of(name) == "item"]
    tags = {tag for user in users for item in items for tag in needles.among(user, item)}
    said = columns.get("modality")
    if said is not None and items and needles.modalities:
        tags |= {tag for item, word in zip(items[0], said, strict=True) for tag in needles.modality(item, str(word))}
    return tags
