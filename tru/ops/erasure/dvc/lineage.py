"""What DVC's files say about data: which md5s were ever named, which stages stand on older data. Only reads.

Everything here reads the text of ``*.dvc``, ``dvc.lock``, run cache entries and folder lists; nothing knows DVC.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tru.errors import ReleaseError

# An empty file holds nothing of anybody, and every project has one.
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
_MD5 = re.compile(r"\bmd5: ['\"]?([0-9a-f]{32}(?:\.dir)?)\b")
# dvc.lock and *.dvc are small; a larger blob is something else.
_LARGEST = 16 * 1024 * 1024
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Locked:
    """One stage as ``dvc.lock`` records it; ``deps`` and ``outs`` map absolute paths to md5s."""

    file: Path
    name: str
    deps: Mapping[Path, str]
    outs: Mapping[Path, str]


@dataclass(frozen=True)
class RunEntry:
    """An entry of the run cache: md5s of what a stage read and of what it made."""

    deps: frozenset[str]
    outs: frozenset[str]

    @classmethod
    def parse(cls, content: bytes) -> RunEntry:
        """Read one; an unreadable one names nothing."""
        words = _yaml(content)
        words = words if isinstance(words, dict) else {}
        return cls(*(frozenset(md5 for _, md5 in _pairs(words.get(key))) for key in ("deps", "outs")))


def locked_stages(file: Path, wdirs: Mapping[tuple[Path, str], Path]) -> list[Locked]:
    """The stages of one ``dvc.lock``; paths are resolved by each stage's working directory, else the file's folder.

    Raises:
        ReleaseError: it cannot be read.
    """
    words = _yaml(file.read_bytes())
    if not isinstance(words, dict):
        raise ReleaseError(f"{file} is damaged. Restore it with `git checkout {file.name}`.")
    stages = words.get("stages", {}) if "schema" in words else words
    found = []
    for name, stage in (stages or {}).items():
        base = wdirs.get((file, name), file.parent)

        def absolute(key: str, stage: Any = stage, base: Path = base) -> dict[Path, str]:  # noqa: ANN401
            return {Path(os.path.normpath(base / path)): md5 for path, md5 in _pairs(stage.get(key))}

        found.append(Locked(file, name, absolute("deps"), absolute("outs")))
    return found


def stale(stages: Collection[Locked], data: Path, md5: str, files: Mapping[str, str]) -> list[Locked]:
    """The stages that stand on other data than ``md5``, directly or through others.

    Args:
        stages: of all ``dvc.lock`` files.
        data: the folder of raw data.
        md5: its present version.
        files: md5 by relative path of the files in it.

    Returns:
        Them in the order given. When in doubt a stage is stale: it is only made anew.
    """
    made = {path: made_md5 for stage in stages for path, made_md5 in stage.outs.items()}

    def differs(path: Path, dep: str) -> bool:
        if path == data:
            return dep != md5
        if data in path.parents:
            return files.get(path.relative_to(data).as_posix()) != dep
        return data.is_relative_to(path) or made.get(path, dep) != dep

    old = {id(stage) for stage in stages if any(differs(path, dep) for path, dep in stage.deps.items())}
    grown = True
    while grown:
        outs = [path for stage in stages if id(stage) in old for path in stage.outs]
        more = {id(s) for s in stages if any(_touch(dep, out) for dep in s.deps for out in outs)} - old
        old, grown = old | more, bool(more)
    return [stage for stage in stages if id(stage) in old]


def without_stages(file: Path, names: Collection[str]) -> None:
    """Rewrite one ``dvc.lock`` without these stages, whole or not at all."""
    words = _yaml(file.read_bytes())
    stages = words["stages"] if "schema" in words else words
    for name in names:
        stages.pop(name, None)
    beside = file.with_name(f".{file.name}.tmp")
    beside.write_text(yaml.safe_dump(words, sort_keys=False, allow_unicode=True), encoding="utf-8")
    beside.replace(file)


def out_md5s(content: bytes) -> set[str]:
    """The md5s of all outputs that a ``*.dvc``, ``dvc.lock`` or run cache entry names."""
    try:
        words = yaml.load(content, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError):  # a merge conflict, say: everything in it then
        return set(_MD5.findall(content.decode("utf-8", "replace")))
    return set(_outs(words))


def listed(content: bytes) -> dict[str, str] | None:
    """md5 by relative path of a folder list (``….dir``); None if it is not readable."""
    try:
        return {PurePosixPath(entry["relpath"]).as_posix(): str(entry["md5"]) for entry in json.loads(content)}
    except (ValueError, TypeError, KeyError):
        return None


def named_in_history(root: Path) -> set[str]:
    """The md5s of outputs that any version of a DVC file in git names.

    Every blob is read, so that branches, tags, stashes, experiments, reflogs and commits nothing refers to all count.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "cat-file", "--batch-all-objects", "--unordered"]
    sizes = "--batch-check=%(objecttype) %(objectsize) %(objectname)"
    check = subprocess.run([*command, sizes], capture_output=True, text=True, env=environment, check=False)
    if check.returncode:
        raise ReleaseError(f"git refused in {root}: {check.stderr.strip()}")
    found: set[str] = set()
    with tempfile.TemporaryFile() as wanted:
        for line in check.stdout.splitlines():
            kind, size, name = line.split(" ")
            if kind == "blob" and int(size) <= _LARGEST:
                wanted.write(f"{name}\n".encode())
        wanted.seek(0)
        for content in _blobs(["git", "-C", str(root), "cat-file", "--batch"], wanted.fileno(), environment):
            if b"md5" in content and b"outs" in content:
                found |= out_md5s(content)
    return found


def family(roots: Iterable[str], folder: Callable[[str], Mapping[str, str]]) -> set[str]:
    """These md5s and what their folders list."""
    return related(roots, folder, ())[0]


def related(
    roots: Iterable[str], folder: Callable[[str], Mapping[str, str]], entries: Collection[RunEntry]
) -> tuple[set[str], list[RunEntry]]:
    """These md5s, what their folders list, and whatever runs made from them, to the end.

    Args:
        roots: md5s.
        folder: the list of a folder; empty for one that is not known.
        entries: of the run cache. An entry counts where something it read is known, and every folder it read:
            two projects may share a small file, but hardly a data set.

    Returns:
        The md5s, and the entries that count, each after those that lead to it.
    """
    known: set[str] = set()
    found: list[RunEntry] = []

    def learn(some: Iterable[str]) -> None:
        for oid in set(some) - known:
            known.add(oid)
            if oid.endswith(".dir"):
                known.update(folder(oid).values())

    learn(roots)
    left = set(entries)
    while new := [entry for entry in left if is_of(entry, known)]:
        for entry in new:
            learn(entry.outs)
        found += new
        left -= set(new)
    return known - {EMPTY}, found


def is_of(entry: RunEntry, known: Collection[str]) -> bool:
    """Whether a run belongs to those who know these md5s."""
    read = entry.deps - {EMPTY}
    return any(md5 in known for md5 in read) and all(md5 in known for md5 in read if md5.endswith(".dir"))


def _blobs(command: list[str], wanted: int, environment: dict[str, str]) -> Iterator[bytes]:
    with subprocess.Popen(command, stdin=wanted, stdout=subprocess.PIPE, env=environment) as git:
        assert git.stdout is not None
        while header := git.stdout.readline().split():
            if header[-1] == b"missing":  # of a partial clone
                continue
            yield git.stdout.read(int(header[2]))
            git.stdout.read(1)


def _outs(words: object, inside: bool = False) -> Iterator[str]:
    if isinstance(words, dict):
        if inside and isinstance(words.get("md5"), str):
            yield words["md5"]
        for key, value in words.items():
            yield from _outs(value, inside or key == "outs")
    elif isinstance(words, list):
        for value in words:
            yield from _outs(value, inside)


def _pairs(entries: object) -> list[tuple[str, str]]:
    rows = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [(str(row["path"]), str(row["md5"])) for row in rows if "path" in row and "md5" in row]


def _touch(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _yaml(content: bytes) -> Any:  # noqa: ANN401
    try:
        return yaml.load(content, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
