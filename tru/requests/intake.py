"""Files of deletion requests: CSV and JSON. A file is taken as a whole or not at all.

CSV has a header with any of ``regime,user,item,modality`` in any order and case (``USER_ID`` and ``item_id`` will do
too); without a regime it follows from what a row names, so that one column ``USER_ID`` is a list of users. JSON is a
list of objects with the same names. An error says file and row; it never repeats what stands there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tru.errors import RequestError
from tru.requests.inbox import Inbox
from tru.requests.lifecycle import Receipt, Subject

_COLUMNS = {"regime": "regime", "user": "user", "item": "item", "modality": "modality"}
_COLUMNS |= {"user_id": "user", "item_id": "item", "userid": "user", "itemid": "item"}


def import_requests(inbox: Inbox, path: Path) -> Sequence[Receipt]:
    """File every request of a file, one receipt per row; an error files none.

    Raises:
        RequestError: the file or one of its rows cannot be used.
    """
    return inbox.add_all(read_requests(path))


def read_requests(path: Path) -> list[Subject]:
    """The subjects a file names, in its order.

    Raises:
        RequestError: the file or one of its rows cannot be used.
    """
    text = _text(path)
    subjects = _from_json(path, text) if path.suffix.lower() == ".json" else _from_csv(path, text)
    if not subjects:
        raise RequestError(f"{path}: there is no request in this file.")
    return subjects


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RequestError(f"{path}: there is no such file.") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path}: this is not UTF-8 text; save it as UTF-8 and try again.") from None
    except OSError as error:
        raise RequestError(f"{path}: the file cannot be read ({type(error).__name__}).") from None


def _from_csv(path: Path, text: str) -> list[Subject]:
    # A string in place of the file, so that line ends inside quotes stay as they are.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    subjects = []
    try:
        for cells in reader:
            where = f"{path}, row {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _header(path, cells)
            elif len(cells) != len(names):
                raise RequestError(f"{where}: {len(cells)} cells where the header has {len(names)} columns.")
            else:
                filled = {name: cell for name, cell in zip(names, cells, strict=True) if cell.strip()}
                subjects.append(_subject(where, filled))
    except csv.Error:
        raise RequestError(f"{path}, row {reader.line_num}: this is not CSV; check its quotes.") from None
    return subjects


def _header(path: Path, cells: list[str]) -> list[str]:
    # The cells are not repeated in an error: without a header, the first row is already somebody's identifier.
    names = [_COLUMNS.get(cell.strip().lower(), "") for cell in cells]
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            problem = "named twice" if name else "unknown"
            raise RequestError(
                f"{path}, row 1: column {number} is {problem}; the first row names the columns, "
                "each one of regime, user, item, modality (or USER_ID, ITEM_ID)."
            )
    return names


def _from_json(path: Path, text: str) -> list[Subject]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f", row {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(f"{path}{line}: this is not JSON; it should be a list of objects.") from None
    if not isinstance(rows, list):
        raise RequestError(f"{path}: this is not a list of objects; write [{{...}}, {{...}}].")
    return [_from_object(f"{path}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _from_object(where: str, row: Any) -> Subject:  # noqa: ANN401 - whatever the file holds
    if not isinstance(row, dict):
        raise RequestError(f'{where}: this is not an object; write {{"user": "..."}}.')
    filled: dict[str, str] = {}
    for key, value in row.items():
        name = _COLUMNS.get(key.strip().lower())
        if name is None or name in filled:
            raise RequestError(f"{where}: a key is unknown or given twice; the keys are regime, user, item, modality.")
        if value is not None:
            # Ids are text everywhere in tru; a number is what many a system exports for one.
            filled[name] = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return _subject(where, filled)


def _subject(where: str, named: dict[str, str]) -> Subject:
    regime = named.get("regime")
    if isinstance(regime, str):
        regime = regime.strip().lower()
    try:
        return Subject.of(regime, user=named.get("user"), item=named.get("item"), modality=named.get("modality"))
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None
