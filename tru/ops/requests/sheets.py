"""Lists of requests as spreadsheets write them: a header and rows, separated by one of the four usual characters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tru.errors import RequestError
from tru.ops.requests.filing import COLUMNS, column_of

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# Excel lets the first line of a file say the separator: `sep=;`.
_STATED = re.compile(r'"?sep=(.?)"?[ ;,|\t]*(\r\n|\r|\n|$)', re.IGNORECASE)


def read_sheet(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a sheet: number of the line, and the filled cells by the name of their column.

    Raises:
        RequestError: the header names something else, or a row does not fit it.
    """
    stated = _STATED.match(text)
    body = text[stated.end() :] if stated else text
    separator = _stated(path, stated[1]) if stated else _guessed(body)
    first = 1 if stated else 0
    # A string in place of the file, so that line ends inside quotes stay as they are.
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    try:
        for cells in reader:
            row = reader.line_num + first
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _header(path, row, cells)
            else:
                yield row, _filled(f"{path}, row {row}", names, cells, separator)
    except csv.Error:
        raise RequestError(f"{path}, row {reader.line_num + first}: this is not CSV; check its quotes.") from None


def _stated(path: Path, separator: str) -> str:
    if separator not in SEPARATORS:
        known = ", ".join(SEPARATORS.values())
        raise RequestError(f"{path}, row 1: the separator that is stated here is none of {known}.")
    return separator


def _guessed(body: str) -> str:
    """The separator under which the header names most columns; a comma if none does."""
    blank = "".join(SEPARATORS) + " "
    header = next((line for line in body.splitlines() if line.strip(blank)), "")
    return max(SEPARATORS, key=lambda separator: sum(map(bool, map(column_of, _cells(header, separator)))))


def _cells(line: str, separator: str) -> Sequence[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _header(path: Path, row: int, cells: Sequence[str]) -> list[str]:
    # The cells are not repeated in an error: without a header, the first row is already somebody's identifier.
    names = [column_of(cell) for cell in cells]
    for number, (name, cell) in enumerate(zip(names, cells, strict=True), start=1):
        # A column without a name is what a separator at the end of every line makes; nothing may stand in it.
        if (not name and cell.strip()) or (name and name in names[: number - 1]):
            raise RequestError(
                f"{path}, row {row}: column {number} is {'named twice' if name else 'unknown'}; the first row names "
                f"the columns, each one of {COLUMNS} (or USER_ID, ITEM_ID)."
            )
    return names


def _filled(where: str, names: Sequence[str], cells: Sequence[str], separator: str) -> dict[str, str]:
    surplus = cells[len(names) :]
    if len(cells) < len(names) or any(cell.strip() for cell in surplus):
        raise RequestError(
            f"{where}: {len(cells)} cells where the header has {len(names)} columns, read with the "
            f"{SEPARATORS[separator]} as separator. An identifier that holds it needs quotes."
        )
    filled = {}
    for number, (name, cell) in enumerate(zip(names, cells, strict=False), start=1):
        if cell.strip():
            if not name:
                raise RequestError(f"{where}: column {number} has no name; name it in the first row, or leave it out.")
            filled[name] = cell
    return filled
