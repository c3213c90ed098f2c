"""Why an identifier that nobody has may still mean somebody: how letters are composed, and what spreadsheets do.

Identifiers are compared letter by letter everywhere in tru, and none is ever changed on the way: two that look alike
may be two people. What is found here is only said, when a request is filed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from decimal import Decimal, InvalidOperation

COMPOSED = "accents composed in another way (Unicode NFC or NFD)"
NUMBER = "a spreadsheet's number (as 3.0, 1.23E+12, 1,234 or '3, or its zeros are gone)"
CASE = "upper and lower case"
KINDS = (COMPOSED, NUMBER, CASE)
"""What may have happened to an identifier, in the order in which it is asked for."""

LONGEST_NUMBER = 12
"""Up to so many digits zeros may have gone missing in front of an id."""

_FLOAT = re.compile(r"(\d+)[.,]0+")
_POWER = re.compile(r"\d([.,]\d+)?E\+?\d{1,2}", re.IGNORECASE)
_THOUSANDS = re.compile(r"\d{1,3}(?:[.,'\u2019 \u00a0\u202f]\d{3})+")


def other_spellings(identifier: str) -> Iterator[tuple[str, str]]:
    """How else ``identifier`` may be spelled in the data, each with what would have happened to it (`KINDS`)."""
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, identifier), COMPOSED
    for spelling in _as_numbers(identifier):
        yield spelling, NUMBER
    yield identifier.lower(), CASE
    yield identifier.upper(), CASE


def cause(identifier: str, there: Collection[str]) -> str | None:
    """What may have happened to ``identifier`` if it is not among ``there``; None if it is, or nothing is known."""
    if identifier in there:
        return None
    happened = next((kind for spelling, kind in other_spellings(identifier) if spelling in there), None)
    # Digits that a spreadsheet has rounded away are in no data, so nobody can be found by them.
    return happened or (NUMBER if _looks_changed(identifier) else None)


def _looks_changed(identifier: str) -> bool:
    return any(pattern.fullmatch(identifier) for pattern in (_FLOAT, _POWER, _THOUSANDS)) or identifier.startswith("'")


def _as_numbers(identifier: str) -> Iterator[str]:
    text = identifier.removeprefix("'")
    yield text
    if whole := _FLOAT.fullmatch(text):
        text = whole[1]
    elif _POWER.fullmatch(text):
        text = _whole(text)
    elif _THOUSANDS.fullmatch(text):
        text = re.sub(r"\D", "", text)
    if text.isascii() and text.isdigit():
        yield text
        yield text.lstrip("0") or "0"
        yield from (text.zfill(length) for length in range(len(text) + 1, LONGEST_NUMBER + 1))


def _whole(power: str) -> str:
    """``1.5E+3`` as ``1500``; as it is where digits are missing."""
    try:
        number = Decimal(power.replace(",", "."))
    except InvalidOperation:
        return power
    return f"{number:f}" if number == number.to_integral_value() else power
