"""What sort of id a place holds, judged by the name of its column, key or array."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Kind = Literal["user", "item", "any", "none"]
"""Users, items, ids of either sort, or none that would be known by its name."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_USER = _words(
    "user users usr uid uids userid userids customer customers member members viewer viewers visitor visitors account "
    "accounts person persons people subscriber subscribers"
)
_ITEM = _words(
    "item items iid iids itemid itemids product products asin asins sku skus video videos movie movies article "
    "articles song songs track tracks neighbour neighbours neighbor neighbors"
)
_ID = _words("id ids identifier identifiers name names key keys raw")
_EITHER = _words("subject subjects forget forgotten deleted removed erased suppressed")
_ROWS = _words("pair pairs interaction interactions edge edges row rows train val test history clicks")
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=10_000)
def tokens(name: str) -> tuple[str, ...]:
    """The words of a name: ``user_id``, ``userId`` and ``user-id`` are the same two."""
    return tuple(word.lower() for word in _SPLIT.split(name) if word)


@lru_cache(maxsize=10_000)
def kind_of(name: str) -> Kind:
    """The sort of id that texts under this name are."""
    words = frozenset(tokens(name))
    user, item = bool(words & _USER), bool(words & _ITEM)
    if user or item:
        return "any" if user and item else ("user" if user else "item")
    return (
        "any" if words and words <= _ID | _EITHER and not words <= {"name", "names", "key", "keys", "raw"} else "none"
    )


@lru_cache(maxsize=10_000)
def kind_of_numbers(name: str) -> Kind:
    """The sort of id that whole numbers under this name are: ``users: 885`` is a count, ``user: 885`` is an id."""
    words = tokens(name)
    kind = kind_of(name)
    one = any(
        word in ("user", "usr", "uid", "userid", "item", "iid", "itemid", "neighbour", "neighbor") for word in words
    )
    ids = any(word in ("id", "ids", "userids", "itemids", "uids", "iids") for word in words)
    if kind not in ("user", "item") or not (one or ids) or not set(words) <= _USER | _ITEM | _ID:
        return "none"
    return kind


def is_bare(name: str) -> bool:
    """Whether a name says only that it is an id, so that what it belongs to must say of what."""
    return set(tokens(name)) <= _ID


def holds_rows(name: str) -> bool:
    """Whether lists of two under this name are rows of a user and an item."""
    return bool(set(tokens(name)) & _ROWS)
