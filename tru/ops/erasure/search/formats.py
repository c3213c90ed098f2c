"""Searches a file by what it is, not by its name: every byte as it lies, and decoded wherever it is encoded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from tru.ops.erasure.search import databases, tables
from tru.ops.erasure.search.arrays import in_archive, in_array, read_array
from tru.ops.erasure.search.kinds import kind_of, tokens
from tru.ops.erasure.search.patterns import Hits, Needles, Tag
from tru.ops.erasure.search.text import hidden, in_text
from tru.ops.erasure.search.trees import in_json, in_pickle

_CHUNK = 1 << 23
_PIECE = 1 << 28
"""Bytes of text that are decoded at once."""
_LARGEST = 1 << 29
"""Bytes of something packed that is unpacked into memory and decoded; the rest of it is searched byte by byte."""
_DEEPEST = 4
"""Archives in archives."""
_HEAD = 8192
_DAMAGED = (OSError, EOFError, ValueError, ArithmeticError, LookupError, RuntimeError, NotImplementedError)
_BROKEN = (
    *_DAMAGED,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    sqlite3.Error,
    pa.ArrowException,
)


@dataclass(frozen=True)
class Source:
    """What is searched: a file, or something unpacked.

    Attributes:
        place: where it lies, or its bytes.
        hint: its name, where a name says what a file is about (``image_knn.parquet``).
        depth: how many containers it was unpacked from.
    """

    place: Path | bytes
    hint: str = ""
    depth: int = 0

    def open(self) -> BinaryIO:
        """The bytes, from their beginning."""
        return io.BytesIO(self.place) if isinstance(self.place, bytes) else self.place.open("rb")

    def whole(self) -> bytes:
        """All of it."""
        return self.place if isinstance(self.place, bytes) else self.place.read_bytes()

    def inner(self, content: bytes, name: str = "") -> Source:
        """Something unpacked from it."""
        return Source(content, name or self.hint, self.depth + 1)


def search(source: Source, needles: Needles) -> Hits:
    """Everything of the traces in one place.

    Returns:
        What was found, and what could not be decoded, in words; the bytes of that are searched even so.

    Raises:
        OSError: it cannot be read at all.
    """
    hits = Hits()
    with source.open() as stream:
        head = stream.read(_HEAD)
    kind = sniff(head)
    with source.open() as stream:
        _raw(stream, needles, hits, loose=kind in ("sqlite", "sqlite log"))
    if source.depth <= _DEEPEST and kind in _DECODERS:
        try:
            _DECODERS[kind](source, needles, hits)
        except _BROKEN as error:
            if kind not in _GUESSED:
                hits.faults.add(f"damaged {kind} file ({type(error).__name__})")
    return hits


_MAGIC = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "zip",
    databases.MAGIC: "sqlite",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"x\x01": "zlib",
    b"x^": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
    **dict.fromkeys(databases.LOGS, "sqlite log"),
}
_GUESSED = ("zlib", "text")
"""Kinds told by so little that a failure to decode means nothing."""


def sniff(head: bytes) -> str:
    """What a file is, by its first bytes; ``binary`` if nothing is known of it."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return "pickle"
    return "text" if is_text(head) else "binary"


def is_text(head: bytes) -> bool:
    """Whether bytes are text: UTF-16 with its mark, or free of control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return bool(head) and b"\0" not in head and controls <= len(head) // 50


def in_name(name: str, needles: Needles) -> Hits:
    """Traces in the path of a file: a distinctive id anywhere, ``user-885.json``, ``users/885.json``."""
    words = tokens(name)
    said = "\n".join(f"{a}={b}" for a, b in pairwise(words))
    hits = fragments([name.encode(errors="replace"), said.encode(errors="replace")], needles)
    parts = Path(name).with_suffix("").parts
    for parent, part in pairwise(parts):
        kind = kind_of(parent)
        hits.tags |= needles.exact([part], kind) if kind != "none" else set()
    return hits


def fragments(some: list[bytes], needles: Needles, depth: int = _DEEPEST) -> Hits:
    """Traces in many small pieces: cells of a table, names, what was written in base64."""
    hits = Hits()
    if not some:
        return hits
    joined = b"\n".join(some)
    hits.tags |= {tag for _, needle in needles.bytes.find(joined) for tag in needle.tags}
    hits.tags |= in_text(joined, needles)
    for piece in some:
        if piece[:1] in (b"{", b"["):
            hits.tags |= in_json(piece, needles) or set()
        elif depth < _DEEPEST + 1 and sniff(piece[:_HEAD]) not in ("text", "binary"):
            hits.add(search(Source(piece, depth=depth + 1), needles))
    if depth <= _DEEPEST:
        hits.tags |= in_base64(joined, needles, depth + 1)
    return hits


def in_base64(text: bytes, needles: Needles, depth: int) -> set[Tag]:
    """Traces in what is written in base64; that something only looks so, or is cut off, is no fault."""
    return fragments(list(hidden(text)), needles, depth).tags


def _raw(stream: BinaryIO, needles: Needles, hits: Hits, *, loose: bool = False) -> None:
    """Every byte as it lies."""
    overlap, rest = needles.bytes.overlap, b""
    while chunk := stream.read(_CHUNK):
        last = len(chunk) < _CHUNK
        data = rest + chunk
        hits.tags |= {tag for _, needle in needles.bytes.find(data, loose=loose, last=last) for tag in needle.tags}
        rest = data[-overlap:]
    if len(rest):  # the context of the last hits is complete now
        hits.tags |= {tag for _, needle in needles.bytes.find(rest, loose=loose) for tag in needle.tags}


def _text(source: Source, needles: Needles, hits: Hits) -> None:
    header = b""
    for first, last, piece in _pieces(source):
        if first and last and piece.lstrip()[:1] in (b"{", b"["):
            found = in_json(piece, needles)
            hits.tags |= found or set()
        hits.tags |= in_text(piece, needles)
        hits.tags |= in_base64(piece, needles, source.depth)
        header = piece.split(b"\n", 1)[0] if first else header
        table = tables.delimited(piece if first else header + b"\n" + piece, needles, source.hint)
        hits.tags |= table or set()


def _pieces(source: Source) -> Iterator[tuple[bool, bool, bytes]]:
    """(is the first, is the last, text), cut between lines."""
    with source.open() as stream:
        rest, first = b"", True
        while chunk := stream.read(_PIECE):
            last = len(chunk) < _PIECE
            data = rest + chunk
            if first and data.startswith((b"\xff\xfe", b"\xfe\xff")):
                data = (data + stream.read()).decode("utf-16", errors="replace").encode()
                last = True
            cut = len(data) if last else data.rfind(b"\n") + 1 or len(data)
            yield first, last, data[:cut]
            rest, first = data[cut:], False
        if rest:
            yield first, True, rest


def _parquet(source: Source, needles: Needles, hits: Hits) -> None:
    _table(tables.parquet, source, needles, hits)


def _arrow(source: Source, needles: Needles, hits: Hits) -> None:
    _table(tables.arrow, source, needles, hits)


def _table(reader: Callable[..., tuple[set[Tag], list[bytes]]], source: Source, needles: Needles, hits: Hits) -> None:
    with source.open() as stream:
        tags, texts = reader(stream, needles, source.hint)
    hits.tags |= tags
    hits.add(fragments(texts, needles, source.depth))


def _npy(source: Source, needles: Needles, hits: Hits) -> None:
    size = len(source.place) if isinstance(source.place, bytes) else source.place.stat().st_size
    with source.open() as stream:
        array = read_array(stream, size)
    if array is not None:
        hits.tags |= in_array(array, needles, Path(source.hint).stem, searched=True)
        return
    data = source.whole()
    start = data.find(b"\x80", 10)  # an array of objects is a pickle behind a header
    if 0 < start < _HEAD:
        hits.tags |= in_pickle(data[start:], needles)


def _zip(source: Source, needles: Needles, hits: Hits) -> None:
    with source.open() as stream, zipfile.ZipFile(stream) as archive:
        hits.tags |= in_archive(archive, needles)
        for entry in archive.infolist():
            if entry.is_dir() or entry.filename.endswith(".npy"):
                continue
            with archive.open(entry) as member:
                _unpacked(cast(BinaryIO, member), source, entry.filename, needles, hits)


def _tar(source: Source, needles: Needles, hits: Hits) -> None:
    with source.open() as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for entry in archive:
            member = archive.extractfile(entry) if entry.isfile() else None
            if member is not None:
                _unpacked(cast(BinaryIO, member), source, entry.name, needles, hits)


def _unpacked(stream: BinaryIO, source: Source, name: str, needles: Needles, hits: Hits) -> None:
    """Something in a container: decoded if it is not too large, else byte by byte."""
    content = stream.read(_LARGEST)
    if len(content) < _LARGEST:
        hits.add(search(source.inner(content, name), needles))
        return
    overlap = needles.bytes.overlap
    _raw(io.BytesIO(content), needles, hits)
    _raw(cast(BinaryIO, _Chained(content[-overlap:], stream)), needles, hits)


class _Chained:
    """A stream behind some bytes that were read from it already."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end."""
        data, self._first = self._first[:size], self._first[size:]
        return data + self._rest.read(size - len(data))


def _packed(opener: Callable[[BinaryIO], BinaryIO]) -> Callable[[Source, Needles, Hits], None]:
    def unpack(source: Source, needles: Needles, hits: Hits) -> None:
        with source.open() as stream, opener(stream) as content:
            _unpacked(content, source, re.sub(r"\.(gz|bz2|xz|zst|lz4|tgz)$", "", source.hint), needles, hits)

    return unpack


def _xz(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(stream))


def _zlib(source: Source, needles: Needles, hits: Hits) -> None:
    content = zlib.decompressobj().decompress(source.whole(), _LARGEST)
    hits.add(search(source.inner(content), needles))


def _pickle(source: Source, needles: Needles, hits: Hits) -> None:
    hits.tags |= in_pickle(source.whole(), needles)


def _sqlite(source: Source, needles: Needles, hits: Hits) -> None:
    hits.add(databases.in_database(source.place, needles, lambda some: fragments(some, needles, source.depth)))


_DECODERS: dict[str, Callable[[Source, Needles, Hits], None]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "npy": _npy,
    "zip": _zip,
    "tar": _tar,
    "gzip": _packed(lambda stream: cast(BinaryIO, gzip.GzipFile(fileobj=stream))),
    "bzip2": _packed(lambda stream: cast(BinaryIO, bz2.BZ2File(stream))),
    "xz": _packed(_xz),
    "zstd": _packed(lambda stream: cast(BinaryIO, pa.CompressedInputStream(stream, "zstd"))),
    "lz4": _packed(lambda stream: cast(BinaryIO, pa.CompressedInputStream(stream, "lz4"))),
    "zlib": _zlib,
    "pickle": _pickle,
    "sqlite": _sqlite,
    "text": _text,
}
