"""What lies about on this machine: batches that are closed, killed runs' copies, logs, reports, Prefect's memory.

By design none of it names anybody. So it is searched like any other store, and what is found is destroyed; copies of
the data and of models that nobody goes on from are destroyed unsearched.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tru.errors import ErasureError, ReleaseError
from tru.ops.erasure.purged import Purged
from tru.ops.erasure.search import formats
from tru.ops.erasure.search.formats import Source
from tru.ops.erasure.search.patterns import Needles
from tru.ops.erasure.search.rows import drop_rows, smallest
from tru.ops.erasure.search.traces import Traces
from tru.ops.judging import baseline
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox
from tru.ops.storage.sqlite import compact
from tru.ops.workspace import Workspace

HOUR, DAY = 3600.0, 86400.0
# Prefect's record of what ran. What people set up there (deployments, variables, blocks) is left to them: deleting it
# would stop the nights, and the search says where it is.
_HISTORY = frozenset(
    {
        "artifact",
        "artifact_collection",
        "automation_event_follower",
        "composite_trigger_child_firing",
        "event_resources",
        "events",
        "flow_run",
        "flow_run_input",
        "flow_run_state",
        "log",
        "task_run",
        "task_run_state",
        "task_run_state_cache",
    }
)
_HIDDEN = frozenset(("mlartifacts", "mlruns", "data", "artifacts", "node_modules"))


def purge_local(ws: Workspace, traces: Traces) -> list[Purged]:
    """Destroy what is left of the forgotten beside data and models; may be repeated.

    Args:
        ws: the workspace; no batch may be worked on.
        traces: what to look for.

    Returns:
        What was destroyed, store by store.

    Raises:
        ErasureError: something holds a trace and cannot be destroyed now (the rest was): run it again.
    """
    needles, faults = Needles(traces), list[str]()
    found = [
        Purged("batches under way", *_batches(ws)),
        Purged("baseline", *_baseline(ws, faults)),
        Purged("stage outputs", *_remove(_files(ws.state / "checkpoints"))),
        Purged("temporary files", *_temporary(ws, needles)),
        Purged("prefect results", *_results(ws, needles)),
        Purged("prefect database", *_prefect(ws, needles, faults)),
        Purged("logs", *_logs(ws, needles)),
        Purged("reports", *_remove(_holding(_files(ws.state / "reports"), needles))),
    ]
    if faults:
        raise ErasureError(" ".join(faults))
    return found


def _batches(ws: Workspace) -> tuple[int, int]:
    """Folders of batches that are closed; the one of an open or held batch is needed."""
    folders = _entries(ws.batches)
    opened = open_inbox(ws).open_batch()  # asked after they were listed: a batch that opens now is not in the list
    return _remove(folder for folder in folders if opened is None or folder.name != opened.id)


def _baseline(ws: Workspace, faults: list[str]) -> tuple[int, int]:
    """A killed weekly run's copy of the data and its models, unless it can still go on from there."""
    place = baseline.work(ws)
    if not place.parent.is_dir() or is_current(ws):
        return 0, 0
    try:
        with baseline.exclusive(ws):
            # Asked again: whoever had the lock may have begun anew on the present data.
            return (0, 0) if is_current(ws) else _remove([place, *place.parent.glob("*.new")])
    except ReleaseError:
        faults.append("A baseline is being made from older data; wait until it ends, then run this again.")
        return 0, 0


def is_current(ws: Workspace) -> bool:
    """Whether a baseline under way is of the present data and respects every deletion; also if none is."""
    place = baseline.work(ws)
    if not place.exists():
        return not list(place.parent.glob("*.new"))
    try:
        notes = json.loads((place / "notes.json").read_text())
        known = notes["data_md5"], notes["deleted_through"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    versions = DataVersions(ws)
    return versions.has_data and bool(known == (versions.md5(), open_inbox(ws).completed_through()))


def _temporary(ws: Workspace, needles: Needles) -> tuple[int, int]:
    """Those that are old or hold a trace; what somebody may be using now and holds none stays."""
    own = [place for place in _entries(ws.state / "tmp") if _age(place) > HOUR or _any_holds(place, needles)]
    return _remove(own)


def _results(ws: Workspace, needles: Needles) -> tuple[int, int]:
    """Results of tasks that Prefect has stored; a run that is under way may need those of today."""
    stored = list(_files(ws.state / "prefect" / "storage"))
    return _remove(file for file in stored if _age(file) > DAY or _holds(file, needles))


def _prefect(ws: Workspace, needles: Needles, faults: list[str]) -> tuple[int, int]:
    """Rows with a trace; then the file is rewritten, for what was deleted earlier may still be in it."""
    file = ws.state / "prefect" / "prefect.db"
    if not file.exists():
        return 0, 0
    held, dropped = _holds(file, needles) or any(_holds(log, needles) for log in _beside(file)), 0
    try:
        if held:
            dropped = drop_rows(file, needles, _HISTORY)
        return dropped, compact(file)
    except (sqlite3.Error, ReleaseError):
        if held:
            faults.append("Prefect's database holds something of the forgotten and is in use: `tru down`, then again.")
        return dropped, 0


def _beside(file: Path) -> list[Path]:
    return [log for log in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-journal")) if log.exists()]


# -- logs -------------------------------------------------------------------------------------------------------------


def _logs(ws: Workspace, needles: Needles) -> tuple[int, int]:
    """Lines with a trace are blanked in their place: a server that is writing goes on where it was."""
    lines, size = 0, 0
    for file in {*_files(ws.state / "logs"), *_logs_beside(ws.root)}:
        if not _holds(file, needles):
            continue
        if not formats.in_name(file.name, needles).tags and formats.is_text(file.read_bytes()[:4096]):
            lines += _blank(file, needles)
        # Packed, in another encoding, or named after somebody. Somebody else's log is left for the search to name.
        if file.is_relative_to(ws.state) and _holds(file, needles):
            count, freed = _remove([file])
            lines, size = lines + count, size + freed
    return lines, size


def _logs_beside(root: Path) -> Iterator[Path]:
    """Files called .log anywhere in the workspace, except in hidden folders and those of data and models."""
    for at, folders, files in os.walk(root):
        here = Path(at)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _HIDDEN and not (here / name / "pyvenv.cfg").exists()
        ]
        yield from (here / name for name in files if name.endswith(".log") and not (here / name).is_symlink())


def _blank(file: Path, needles: Needles) -> int:
    """Write blanks over every line that holds a trace; how many lines."""
    lines, at = [], 0
    for line in file.read_bytes().splitlines(keepends=True):
        lines.append((at, line))
        at += len(line)
    blanked = 0
    with file.open("r+b") as out:
        for block in smallest(lines, lambda some: _in(b"".join(line for _, line in some), file.name, needles)):
            for start, line in block:
                out.seek(start)
                out.write(b" " * len(line.rstrip(b"\r\n")))
                blanked += 1
    return blanked


def _in(content: bytes, name: str, needles: Needles) -> bool:
    return bool(formats.search(Source(content, name), needles).tags)


# -- files ------------------------------------------------------------------------------------------------------------


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink())


def _holding(files: Iterable[Path], needles: Needles) -> list[Path]:
    return [file for file in files if _holds(file, needles)]


def _any_holds(place: Path, needles: Needles) -> bool:
    return any(_holds(file, needles) for file in ([place] if place.is_file() else _files(place)))


def _holds(file: Path, needles: Needles) -> bool:
    """Whether a file holds a trace, in its name or its content; one that cannot be read does, for all we know."""
    try:
        named = formats.in_name(f"{file.parent.name}/{file.name}", needles).tags
        return bool(named or formats.search(Source(file, file.name), needles).tags)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _age(place: Path) -> float:
    """Seconds since it was changed."""
    try:
        return time.time() - place.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(places: Iterable[Path]) -> tuple[int, int]:
    """Destroy files and folders; how many files and bytes."""
    count, size = 0, 0
    for place in list(places):
        files = list(_files(place)) if place.is_dir() and not place.is_symlink() else [place]
        here = [file.lstat().st_size for file in files if file.is_symlink() or file.exists()]
        count, size = count + len(here), size + sum(here)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    return count, size
