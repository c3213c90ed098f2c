"""Files of deletion requests: CSV and JSON. A file is taken as a whole or not at all.

CSV has a header with any of ``regime,user,item,modality,received,ref`` in any order and case (``USER_ID`` and
``item_id`` will do too); without a regime it follows from what a row names, so that one column ``USER_ID`` is a list of
users. Cells are separated by commas, semicolons, tabs or bars. JSON is a list of objects with the same names, the same
list in an object under ``requests``, or one object per line. ``received`` is ISO 8601 with a time zone, ``ref`` a case
number of the sender's own.

An error says file and row; it never repeats what stands there.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tru.errors import RequestError
from tru.ops.requests.filing import Filing, checked_received, checked_reference, parse_received
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import Receipt, Subject
from tru.ops.requests.objects import is_json, read_objects
from tru.ops.requests.sheets import read_sheet

# How a file begins that holds requests perhaps, but not as text that is read here.
_FOREIGN = {
    codecs.BOM_UTF16_LE: 'this is UTF-16, which Excel calls "Unicode Text"; save it as "CSV UTF-8" and try again.',
    codecs.BOM_UTF16_BE: "this is UTF-16; save it as UTF-8 and try again.",
    b"PK\x03\x04": 'this is a workbook or a zip archive; save the sheet as "CSV UTF-8" and try again.',
    b"\xd0\xcf\x11\xe0": 'this is an Excel workbook; save the sheet as "CSV UTF-8" and try again.',
    b"\x1f\x8b": "this is compressed; unpack it and try again.",
    b"PAR1": "this is Parquet; write the requests as CSV or JSON.",
}


def import_requests(inbox: Inbox, path: Path) -> Sequence[Receipt]:
    """File every request of a file, one receipt per row; an error files none.

    Raises:
        RequestError: the file or one of its rows cannot be used.
    """
    filings = read_requests(path)
    return file_all(inbox, filings)


def file_all(inbox: Inbox, filings: Sequence[Filing]) -> Sequence[Receipt]:
    """File what was read, all or none; one receipt each, in order."""
    return inbox.add_all(
        [one.subject for one in filings],
        received=[one.received for one in filings],
        references=[one.reference for one in filings],
    )


def read_requests(path: Path, now: datetime | None = None) -> list[Filing]:
    """The requests of a file, in its order.

    Args:
        path: the file.
        now: the present moment, before which every request was received.

    Raises:
        RequestError: the file or one of its rows cannot be used.
    """
    text, moment = _text(path), now or datetime.now(UTC)
    rows = read_objects(path, text) if is_json(path, text) else read_sheet(path, text)
    filings = [_filing(path, row, named, moment) for row, named in rows]
    if not filings:
        raise RequestError(f"{path}: there is no request in this file.")
    return filings


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise RequestError(f"{path}: the file cannot be read ({type(error).__name__}).") from None
    for beginning, words in _FOREIGN.items():
        if content.startswith(beginning):
            raise RequestError(f"{path}: {words}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{path}: this is not UTF-8 text; save it as UTF-8 and try again.") from None
    if "\0" in text.partition("\n")[0]:  # a zero byte after each letter: UTF-16 that does not say so
        raise RequestError(f"{path}: {_FOREIGN[codecs.BOM_UTF16_LE]}")
    return text


def _filing(path: Path, row: int, named: Mapping[str, Any], now: datetime) -> Filing:
    regime = named.get("regime")
    if isinstance(regime, str):
        regime = regime.strip().lower()
    try:
        subject = Subject.of(regime, user=named.get("user"), item=named.get("item"), modality=named.get("modality"))
        given = named.get("received")
        received = None if given is None else checked_received(parse_received(given), now)
        reference = checked_reference(named["ref"]) if named.get("ref") is not None else None
    except RequestError as error:
        raise RequestError(f"{path}, row {row}: {error}") from None
    return Filing(subject, received, row, reference)
