"""What lies in a store, piece by piece: objects of git, and objects of a bucket with all their versions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tru.errors import TruError
from tru.ops.erasure.search.formats import Source

_GIT_REDIRECTS = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)


@dataclass(frozen=True)
class Piece:
    """One thing that is searched.

    Attributes:
        name: its path, or what an object is called; may hold an identifier.
        source: its content.
    """

    name: str
    source: Source


@dataclass
class Store:
    """One store.

    Attributes:
        name: plain words.
        pieces: generators of what lies in it.
        problems: why a part of it is out of reach; words without identifiers.
    """

    name: str
    pieces: list[Callable[[], Iterator[Piece]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def names_in_cache(files: Iterable[Path]) -> dict[str, str]:
    """md5 -> the name that the file had, by the lists of folders among them."""
    names: dict[str, str] = {}
    for file in files:
        if file.name.endswith(".dir"):
            names |= _names_in(_read(file))
    return names


def _names_in(listing: bytes) -> dict[str, str]:
    try:
        return {str(row["md5"]): str(row["relpath"]) for row in json.loads(listing)}
    except (ValueError, TypeError, KeyError):
        return {}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


# -- S3 -------------------------------------------------------------------------------------------------------------


def in_bucket(url: str, store: Store, **settings: Any) -> Iterator[Piece]:  # noqa: ANN401 - see open_bucket
    """Every version of every object; what delete markers hide too."""
    try:
        from tru.ops.storage.s3 import open_bucket

        bucket = open_bucket(url, **settings)
        versions = sorted(bucket.versions(), key=lambda v: not v.key.endswith(".dir"))
        names: dict[str, str] = {}
        for version in versions:
            content = bucket.read(version)
            if version.key.endswith(".dir"):
                names |= _names_in(content)
            hint = names.get("".join(version.key.rsplit("/", 2)[-2:]), version.key)
            yield Piece(version.key, Source(content, hint))
        if any(True for _ in bucket.uploads()):
            store.problems.append("unfinished uploads cannot be read; abort them")
    except TruError as error:
        store.problems.append(str(error))


# -- git --------------------------------------------------------------------------------------------------------------


def git_folder(root: Path) -> list[Path]:
    """The repository that ``root`` is in, if it is in one."""
    command = ["git", "-C", str(root), "rev-parse", "--absolute-git-dir"]
    try:
        done = subprocess.run(command, capture_output=True, env=_environment(), check=False)
    except FileNotFoundError:
        return []
    return [] if done.returncode else [Path(os.fsdecode(done.stdout).strip())]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _GIT_REDIRECTS}


def git_objects(repositories: list[Path], store: Store) -> Iterator[Piece]:
    """All objects, loose and packed, whether or not anything refers to them."""
    for place in repositories:
        command = ["git", f"--git-dir={place}", "cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer"]
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment())
        except FileNotFoundError:
            store.problems.append("git is not installed")
            return
        with process:
            assert process.stdout is not None
            while header := process.stdout.readline().split():
                if len(header) < 3:
                    store.problems.append("an object cannot be read")
                    continue
                content = process.stdout.read(int(header[2]) + 1)[:-1]
                yield Piece(f"git object {header[0].decode()[:12]}", Source(content))
        if process.returncode:
            store.problems.append("git refuses to list the objects (`git fsck` may say why)")
