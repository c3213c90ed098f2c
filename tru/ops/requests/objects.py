"""Lists of requests as programs write them: JSON and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tru.errors import RequestError
from tru.ops.requests.filing import COLUMNS, column_of

_ENDINGS = {".json", ".jsonl", ".ndjson"}
_OPEN_DSR = {"subject_request_id", "subject_request_type", "subject_identities"}


class _Object(dict[str, Any]):
    """An object of a file, which remembers that a key stood in it twice: Python would keep the last value alone."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.has_repetition = len(self) < len(pairs)


def is_json(path: Path, text: str) -> bool:
    """Whether a file holds JSON, by its ending or its first character, which begins no header of a sheet."""
    return path.suffix.lower() in _ENDINGS or text.lstrip()[:1] in {"[", "{"}


def read_objects(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file: number of the object (in JSON lines: of the line), and its values by the usual names.

    Raises:
        RequestError: it is not JSON, no list of objects, or an object has other keys.
    """
    for row, value in _values(path, text):
        yield row, _named(f"{path}, row {row}", value)


def _values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        document = _parsed(text)
    except RecursionError:
        raise RequestError(f"{path}: this is not JSON; it should be a list of objects.") from None
    except ValueError as error:
        if text.lstrip().startswith("{") or path.suffix.lower() in {".jsonl", ".ndjson"}:
            return _lines(path, text)
        line = f", row {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(f"{path}{line}: this is not JSON; it should be a list of objects.") from None
    if isinstance(document, _Object) and (any(map(column_of, document)) or _OPEN_DSR & set(document)):
        return iter([(text[: text.index("{")].count("\n") + 1, document)])  # one request, alone in its file
    return enumerate(_list(path, document), start=1)


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """One value per line."""
    for row, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield row, _parsed(line)
            except (ValueError, RecursionError):
                raise RequestError(f"{path}, row {row}: this is not JSON; each line should be one object.") from None


def _parsed(text: str) -> Any:  # noqa: ANN401 - whatever the file holds
    return json.loads(text, object_pairs_hook=_Object)


def _list(path: Path, document: Any) -> Sequence[Any]:  # noqa: ANN401 - whatever the file holds
    """The list that a document is, or that stands under ``requests`` in it."""
    if isinstance(document, _Object) and set(document) == {"requests"} and not document.has_repetition:
        document = document["requests"]
    if not isinstance(document, list):
        raise RequestError(
            f'{path}: this is not a list of objects; write [{{...}}, {{...}}], or {{"requests": [...]}} and nothing '
            "beside it, or one object per line."
        )
    return document


def _named(where: str, value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - whatever the file holds
    if not isinstance(value, _Object):
        raise RequestError(
            f'{where}: this is not an object; an id alone does not say whose it is. Write {{"user": "..."}} or '
            '{"item": "..."}.'
        )
    if _OPEN_DSR & set(value):
        raise RequestError(
            f"{where}: this is a request in OpenDSR's form, which is not read, as it may ask for something else than "
            'erasure. Write {"user": "...", "received": "..."} with its identity_value and its submitted_time.'
        )
    named: dict[str, Any] = {}
    for key, given in value.items():
        name = column_of(key)
        if not name or name in named or value.has_repetition:
            raise RequestError(f"{where}: a key is unknown or given twice; the keys are {COLUMNS}.")
        if given is not None:
            # Ids are text everywhere in tru; a number is what many a system exports for one.
            named[name] = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    return named
