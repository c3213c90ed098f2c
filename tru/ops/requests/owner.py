"""Who holds a lease, and whether that process still lives: a killed run must not block the next one."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def this_owner() -> str:
    """This process as ``host:pid:start``; the start time tells it from a later process with the same pid."""
    return f"{_host()}:{os.getpid()}:{_started(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether ``owner`` is surely gone. False if it runs elsewhere or cannot be judged: then its lease must run out."""
    parts = owner.rsplit(":", 2)
    if len(parts) != 3 or parts[0] != _host() or not parts[1].isdigit():
        return False
    return _started(int(parts[1])) != parts[2]


def _host() -> str:
    """The machine's name with a mark for this boot and process namespace.

    Two containers may share a name while each has its own pids; without the mark one would see the other's live
    process as dead.
    """
    marks = []
    for mark in (_PROC / "sys/kernel/random/boot_id", _PROC / "self/ns/pid"):
        try:
            marks.append(str(mark.readlink()) if mark.is_symlink() else mark.read_text())
        except OSError:
            marks.append("")
    return f"{socket.gethostname()}-{hashlib.sha256('|'.join(marks).encode()).hexdigest()[:8]}"


def _started(pid: int) -> str | None:
    """When process ``pid`` started, in the kernel's ticks; None if there is none (a zombie counts as none)."""
    try:
        # The name in brackets may hold blanks; the fields after it do not (proc(5): 3 is the state, 22 the start).
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        return None if (_PROC / "self").exists() else _answers(pid)


def _answers(pid: int) -> str | None:
    """Without /proc only the pid can be asked for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "0"
