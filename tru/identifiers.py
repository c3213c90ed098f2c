"""What an id may be: one rule for data sets and for requests, so that whoever is in the data can be asked for."""

from __future__ import annotations

import unicodedata

LONGEST = 512
"""Characters."""


def fault(text: str) -> str | None:
    """Why no request could name this id, as the end of a sentence that does not repeat it; None if one could."""
    if not text.strip():
        return "is blank"
    if text != text.strip():
        return "has blanks around it, which a request would lose"
    if len(text) > LONGEST:
        return f"has {len(text)} characters; at most {LONGEST} are taken"
    if not text.isprintable() and any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return "holds a control character or broken text; check the encoding (UTF-8)"
    return None
