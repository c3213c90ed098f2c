"""What to look for, in the forms in which it can lie somewhere: bytes, single values, rows of two ids.

An id is *distinctive* if it would not be met by chance (``u-3fa9…``, a UUID, a number of nine digits): it counts
wherever its bytes stand by themselves. Any other id (``885``) counts only where ids of its kind are kept: see
:mod:`tru.ops.erasure.search.kinds`. Nothing here opens a file; that is :mod:`tru.ops.erasure.search.formats`.
"""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tru.ops.erasure.search.kinds import Kind
from tru.ops.erasure.search.traces import Traces

Tag = tuple[str, ...]
"""What was found: ``("user", id)``, ``("item", id)``, ``("pair", user, item)``, ``("modality", item, modality)`` or
``("vector", number)``. It holds identifiers: keep it off reports."""

Mention = tuple[int, int, str]
"""First byte, byte after the last, and the id that stands there."""

CONTEXT = 32
"""Bytes on either side of a hit that decide whether it stands alone."""
_NEAR = 80
"""Two ids of a pair on one line of text, at most so many bytes apart, are an interaction."""
_KEY = 8
_SHORT_KEY = 6
_LONG = 12
"""An id of so many characters is not the beginning of another one by chance."""
_DIGITS = frozenset(b"0123456789")
_ALNUM = _DIGITS | frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def is_distinctive(name: str) -> bool:
    """Whether an id can be looked for anywhere: six characters with a letter that are no plain word, or nine digits."""
    if name.isdigit():
        return len(name) >= 9
    return len(name) >= 6 and any(c.isalpha() for c in name) and not re.fullmatch(r"[A-Z]?[a-z]+|[A-Z]+", name)


@dataclass
class Hits:
    """What one place holds.

    Attributes:
        tags: of the traces found.
        faults: why a part of it could not be read; words without identifiers.
    """

    tags: set[Tag] = field(default_factory=set)
    faults: set[str] = field(default_factory=set)

    def add(self, other: Hits) -> None:
        """Take another's into this one."""
        self.tags |= other.tags
        self.faults |= other.faults


@dataclass(frozen=True)
class Needle:
    """One string of bytes to look for.

    Attributes:
        content: the bytes.
        tags: what it is a trace of.
        name: the id; empty for a vector.
        unit: bytes per character; 0 for a vector, which needs no word boundaries.
    """

    content: bytes
    tags: tuple[Tag, ...]
    name: str = ""
    unit: int = 0

    def stands_alone(self, data: bytes, start: int, loose: bool) -> bool:
        """Whether it is a word of its own at ``start``: ``u-1`` is none in ``u-12``."""
        if not self.unit:
            return True
        end, size = start + len(self.content), len(self.content)
        left = self._character(data, start - self.unit) if start >= self.unit else -1
        right = self._character(data, end)
        if loose:  # fields without anything between them
            return len(self.name) >= _LONG or not (right in _DIGITS and ord(self.name[-1]) in _DIGITS)
        # Ids of one length often lie end to end, as in Arrow's buffers and NumPy's fixed-width strings.
        like = self.content[: 2 * self.unit]
        digits = self.name[:2].isdigit()
        left_ok = left not in _ALNUM or (not digits and data[max(start - size, 0) : start].startswith(like))
        return left_ok and (right not in _ALNUM or (not digits and data.startswith(like, end)))

    def _character(self, data: bytes, at: int) -> int:
        """The code of the character at ``at``; -1 if there is none."""
        return int.from_bytes(data[at : at + self.unit], "little") if at + self.unit <= len(data) else -1


class ByteSearch:
    """Finds many strings of bytes at once.

    Eight bytes of each, the least uniform ones, are its key. The data is passed over with a table of the keys' first
    two bytes, what remains with a table of their hashes; what remains then is compared key by key, and as a whole. It
    takes about the same time for few and for many needles.
    """

    def __init__(self, needles: Iterable[Needle]) -> None:
        """Sort the needles by their keys; none may be shorter than six bytes."""
        self._by_key: dict[int, dict[int, list[tuple[int, Needle]]]] = {_SHORT_KEY: {}, _KEY: {}}
        self._first = np.zeros(1 << 16, dtype=bool)
        self.longest = 0
        for needle in needles:
            width = _KEY if len(needle.content) >= _KEY else _SHORT_KEY
            offset = _telling_offset(needle.content, width)
            key = int.from_bytes(needle.content[offset : offset + width], "little")
            self._by_key[width].setdefault(key, []).append((offset, needle))
            self._first[key & 0xFFFF] = True
            self.longest = max(self.longest, len(needle.content))
        self._keys = {w: np.array(sorted(some), dtype=np.uint64) for w, some in self._by_key.items() if some}
        self._hashed = {width: np.zeros(1 << 16, dtype=bool) for width in self._keys}
        for width, keys in self._keys.items():
            self._hashed[width][_hash(keys)] = True

    @property
    def overlap(self) -> int:
        """How many bytes of a chunk belong in front of the next one, so that nothing is missed between them."""
        return self.longest + 2 * CONTEXT

    def find(self, data: bytes, *, loose: bool = False, last: bool = True) -> Iterator[tuple[int, Needle]]:
        """Where needles stand, in no order.

        Args:
            data: a chunk.
            loose: fields may follow each other without anything in between (SQLite's pages).
            last: False leaves hits at the end, whose context is missing, to the next chunk.
        """
        if not self._keys or len(data) < _SHORT_KEY:
            return
        stop = len(data) if last else len(data) - CONTEXT
        for at, offset, needle in self._candidates(data):
            start = at - offset
            if start < 0 or start + len(needle.content) > stop:
                continue
            if data.startswith(needle.content, start) and needle.stands_alone(data, start, loose):
                yield start, needle

    def _candidates(self, data: bytes) -> Iterator[tuple[int, int, Needle]]:
        padded = np.frombuffer(data + bytes(_KEY), dtype=np.uint8)
        at = np.concatenate([_where(self._first, padded, phase) for phase in (0, 1)])
        if not len(at):
            return
        # One number per position, not per eight bytes: keys lie at any address.
        words = np.ndarray((len(data),), dtype="<u8", buffer=padded, strides=(1,))
        found = words[at[at < len(data)]]
        at = at[at < len(data)]
        for width, keys in self._keys.items():
            masked = found & np.uint64((1 << (8 * width)) - 1)
            likely = np.flatnonzero(self._hashed[width][_hash(masked)])
            masked = masked[likely]
            near = np.minimum(np.searchsorted(keys, masked), len(keys) - 1)
            same = keys[near] == masked
            for place, key in zip(at[likely][same].tolist(), masked[same].tolist(), strict=True):
                for offset, needle in self._by_key[width][key]:
                    yield place, offset, needle


def _where(table: np.ndarray, data: np.ndarray, phase: int) -> np.ndarray:
    """Positions of one parity whose two bytes are in the table."""
    pairs = data[phase : phase + (len(data) - phase) // 2 * 2].view("<u2")
    return np.flatnonzero(table[pairs]) * 2 + phase


def _hash(keys: np.ndarray) -> np.ndarray:
    """Sixteen bits of each key (Fibonacci hashing)."""
    hashed: np.ndarray = (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48)
    return hashed


def _telling_offset(content: bytes, width: int) -> int:
    """Where the least uniform ``width`` bytes are, the last such place: ids differ at their ends.

    Zeros in front are avoided: numbers rounded to half precision end in zeros, all of them.
    """
    places = range(max(len(content) - 256, 0), len(content) - width + 1)
    return max(places, key=lambda at: (min(len(set(content[at : at + width])), 5), 0 not in content[at : at + 2], at))


class Needles:
    """All that one search looks for."""

    def __init__(self, traces: Traces) -> None:
        """Sort the traces by how they can be found."""
        subjects = traces.subjects
        self.users, self.items = subjects.users, subjects.items
        self.names = traces.names
        self.pairs = subjects.pairs
        self.rows = subjects.pairs | traces.rows
        self.modalities = subjects.modalities
        self.revoked = frozenset(item for item, _ in subjects.modalities)
        self.widths = {len(vector) for vector in traces.vectors}
        self._vectors = {vector: ("vector", str(n)) for n, vector in enumerate(sorted(traces.vectors))}
        self._distinctive = frozenset(filter(is_distinctive, self.users | self.items))
        vectors = [Needle(vector, (tag,)) for vector, tag in self._vectors.items()]
        self.bytes = ByteSearch([*self._words(self._distinctive), *vectors])

    @cached_property
    def parts(self) -> ByteSearch:
        """Distinctive ids of pairs; one alone is no trace, the two of a pair on one line are."""
        return ByteSearch(self._words(filter(is_distinctive, {name for pair in self.pairs for name in pair})))

    @cached_property
    def pair_users(self) -> frozenset[str]:
        """Users of deleted pairs."""
        return frozenset(user for user, _ in self.pairs)

    @cached_property
    def row_users(self) -> frozenset[str]:
        """Users of deleted rows."""
        return frozenset(user for user, _ in self.rows)

    @cached_property
    def weak(self) -> frozenset[str]:
        """Ids that are looked for where ids are kept, those of pairs included."""
        named = self.users | self.items | {name for pair in self.pairs for name in pair}
        return frozenset(name for name in named if not is_distinctive(name))

    def tags_of(self, name: str, kind: Kind) -> set[Tag]:
        """What an exact value is a trace of; ``kind`` says what sort of id stands in that place."""
        anywhere = kind == "any" or name in self._distinctive
        tags: set[Tag] = set()
        if name in self.users and (anywhere or kind == "user"):
            tags.add(("user", name))
        if name in self.items and (anywhere or kind == "item"):
            tags.add(("item", name))
        return tags

    def wanted(self, kind: Kind) -> frozenset[str]:
        """Exact values that count in places of this kind."""
        if kind == "any":
            return self.users | self.items
        return self._distinctive | {"user": self.users, "item": self.items}.get(kind, frozenset())

    def exact(self, values: Collection[str], kind: Kind) -> set[Tag]:
        """Traces among values."""
        return {tag for name in self.wanted(kind).intersection(values) for tag in self.tags_of(name, kind)}

    def among(self, users: Iterable[str], items: Iterable[str], *, all_rows: bool = False) -> set[Tag]:
        """Traces among rows of two ids.

        Args:
            users: of the rows.
            items: of the rows, as many.
            all_rows: look for the rows of deleted users and items too, where no name says that these are ids.
        """
        wanted = self.rows if all_rows else self.pairs
        return {("pair", *pair) for pair in wanted.intersection(zip(users, items, strict=False))}

    def modality(self, item: str, modality: str) -> set[Tag]:
        """A modality that an item should no longer have."""
        return {("modality", item, modality)} if (item, modality) in self.modalities else set()

    def vector(self, row: bytes) -> set[Tag]:
        """One row of a table."""
        return {self._vectors[row]} if row in self._vectors else set()

    def near(self, mentions: list[Mention], text: bytes) -> set[Tag]:
        """Pairs of which both ids are mentioned close to each other on one line."""
        by_name: dict[str, list[Mention]] = {}
        for mention in mentions:
            by_name.setdefault(mention[2], []).append(mention)
        return {
            ("pair", *pair)
            for pair in self.pairs
            if any(_close(a, b, text) for a in by_name.get(pair[0], []) for b in by_name.get(pair[1], []))
        }

    def _words(self, names: Iterable[str]) -> list[Needle]:
        needles = []
        for name in names:
            tags = (*self._pure("user", self.users, name), *self._pure("item", self.items, name))
            forms = {name, json.dumps(name)[1:-1], urllib.parse.quote(name, safe=""), html.escape(name)}
            needles += [Needle(form.encode(), tags, form, 1) for form in sorted(forms)]
            needles += [Needle(name.encode(f"utf-{8 * unit}-le"), tags, name, unit) for unit in (2, 4)]
        return needles

    @staticmethod
    def _pure(kind: str, names: Collection[str], name: str) -> tuple[Tag, ...]:
        return ((kind, name),) if name in names else ()


def _close(first: Mention, second: Mention, text: bytes) -> bool:
    before, after = sorted([first, second])
    return 0 <= after[0] - before[1] <= _NEAR and b"\n" not in text[before[1] : after[0]]
