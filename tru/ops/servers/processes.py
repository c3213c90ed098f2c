"""Processes that `tru up` started, with their children: which of them live, and how they are ended.

Each carries two words in its environment, and so do its children: the token of this `tru up`, and the name of the
service it is or belongs to. An orphan is found by them, and nobody else's process is ever taken for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

TOKEN, NAME = "TRU_SERVICES_TOKEN", "TRU_SERVICE"
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"  # set by Prefect for the process of a flow run, from its first moment
_GRACE = 15.0


@dataclass(frozen=True)
class Service:
    """One process that `tru up` started.

    Attributes:
        name: what it is, as printed and as its log is named.
        pid: its process id.
        started: when the process began, seconds since 1970, as the system tells it.
        address: where its page is; None for the worker.
    """

    name: str
    pid: int
    started: float
    address: str | None = None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _process(self) is not None


def family(token: str, members: Sequence[Service], name: str | None = None) -> list[Any]:
    """The processes of one `tru up` and all their descendants, also those whose parent is gone; oldest first.

    Args:
        token: the word in their environment.
        members: those that were started first hand.
        name: only what belongs to the service of this name.
    """
    import psutil

    wanted = [member for member in members if name in (None, member.name)]
    found = {process.pid: process for process in map(_process, wanted) if process is not None}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.environ()
            is_ours = words.get(TOKEN) == token and name in (None, words.get(NAME))
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(process.pid, process)
    found.pop(os.getpid(), None)  # `tru down` typed inside one of them
    return sorted(found.values(), key=lambda process: process.pid)


def end(look: Callable[[], list[Any]]) -> int:
    """End the processes that ``look`` finds, gently, then by force; how many there were."""
    import psutil

    found = look()
    for process in reversed(found):  # the youngest first: a worker whose server is gone would wait for it
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    psutil.wait_procs(found, timeout=_GRACE)
    left = look()  # whatever had not yet ended, or was born meanwhile
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_GRACE)
    return len(found)


def flow_runs() -> set[str]:
    """Ids of the flow runs for which a worker has started a process on this machine that still runs."""
    import psutil

    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.environ().get(_FLOW_RUN, ""))
    return found - {""}


def start_time(pid: int) -> float:
    """When a process began, seconds since 1970; a later one with the same pid began later."""
    import psutil

    return float(psutil.Process(pid).create_time())


def _process(service: Service) -> Any | None:  # noqa: ANN401 - psutil ships no types
    """The running process of ``service``; None if it ended, or if its pid belongs to another process by now."""
    import psutil

    try:
        process = psutil.Process(service.pid)
        same = abs(process.create_time() - service.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None
