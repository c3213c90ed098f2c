"""Ids in running text: logs, pages, sources, settings; and what is hidden there in base64."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import suppress

from tru.ops.erasure.search.kinds import kind_of
from tru.ops.erasure.search.patterns import Mention, Needles, Tag

# `user=885`, `"user_id": "885"`, `--user 885`, `user '885'`. What follows a singular noun, a sign of assignment or a
# quotation mark is an id; `users: 885` is a count, and `item 3` may be the third of a list.
_QUOTE = rb"(?:\\?[\"'`]|&quot;|&#3[49];)"
_NAMED = re.compile(
    rb"(?<![A-Za-z0-9])(?P<dashes>--)?(?P<name>(?:user|usr|uid|customer|member|viewer|visitor|account|subscriber|item|iid"
    rb"|product|asin|sku|video|movie|article|song|track|subject)(?:[_ -]?(?:id|Id|ID))?)"
    + _QUOTE
    + rb"?(?P<sign>[ \t]{0,3}[=:]>?[ \t]{0,3}|[ \t])(?P<quote>"
    + _QUOTE
    + rb")?(?P<id>[^\s\"'`,;&<>()\[\]{}\\]{1,256})",
    re.IGNORECASE,
)
_LIST = re.compile(
    rb"(?<![A-Za-z0-9])(?P<name>(?:user|item|subject)s?(?:_ids?)?)"
    + _QUOTE
    + rb"?\s{0,3}[=:]\s{0,3}[\[({](?P<list>[^\])}]{1,65536})",
    re.IGNORECASE,
)
_QUOTED = re.compile(rb"[\"']([^\"']{1,256})[\"']")
_BASE64 = re.compile(rb"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,}={0,2}")
# The same in lines of one length, as e-mail and Python's `encodebytes` write it, perhaps inside a JSON text.
_LINES = re.compile(
    b"(?<![A-Za-z0-9+/])(?:"
    + b"|".join(rb"(?:[A-Za-z0-9+/]{%d}(?:\r?\n|\\n))+[A-Za-z0-9+/]{0,%d}={0,2}" % (n, n) for n in (60, 64, 72, 76))
    + b")"
)
_LINE_ENDS = re.compile(rb"\r?\n|\\n")
_PUNCTUATION = b".:!?"


def in_text(text: bytes, needles: Needles) -> set[Tag]:
    """Traces named in text; distinctive ids that stand alone are found elsewhere, by their bytes."""
    tags: set[Tag] = set()
    mentions: list[Mention] = []
    if needles.weak:
        for start, end, name, word in _mentions(text):
            if word in needles.weak:
                tags |= needles.tags_of(word, kind_of(name))
                mentions.append((start, end, word))
    if needles.pairs:
        mentions += [(at, at + len(part.content), part.name) for at, part in needles.parts.find(text)]
        tags |= needles.near(mentions, text)
    return tags


def hidden(text: bytes) -> Iterator[bytes]:
    """What is written in base64, decoded."""
    for match in _LINES.finditer(text):
        yield from _decoded(_LINE_ENDS.sub(b"", match.group()))
    for match in _BASE64.finditer(text):
        yield from _decoded(match.group())


def _decoded(run: bytes) -> Iterator[bytes]:
    run = run.rstrip(b"=")
    # One character left over cannot be base64; what stands before it may be.
    run = run[: len(run) - (len(run) % 4 == 1)]
    with suppress(binascii.Error, ValueError):
        yield base64.b64decode(run + b"=" * (-len(run) % 4))


def _mentions(text: bytes) -> Iterator[tuple[int, int, str, str]]:
    """(start, end, name of the place, id) of all that is named as an id."""
    for match in _NAMED.finditer(text):
        name = match["name"].decode()
        assigned = match["sign"].strip() or match["quote"] or match["dashes"] or match["name"][-2:].lower() == b"id"
        if assigned or kind_of(name) == "user":
            word = match["id"].rstrip(_PUNCTUATION).decode(errors="replace")
            yield match.start("id"), match.end("id"), name, word
    for match in _LIST.finditer(text):
        name = match["name"].decode()
        for quoted in _QUOTED.finditer(match["list"]):
            start = match.start("list") + quoted.start(1)
            yield start, start + len(quoted[1]), name, quoted[1].decode(errors="replace")
