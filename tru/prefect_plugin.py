"""What tru adds to Prefect, through Prefect's own plugin system; nothing inside Prefect is patched.

Prefect loads this module in every process that imports it while ``pyproject.toml`` or ``prefect.toml`` of the current
directory (or ``PREFECT_PLUGINS_ENABLED=true``) switches plugins on. It does three things:

1. ``prefect deployment run unlearn-nightly``: a bare name is read as ``name/name``; our flows and deployments agree.
2. The ``prefect`` command finds the server of a running ``tru up`` of this workspace: nothing needs to be exported.
3. The temporary server that Prefect starts beside a flow run ends with that run, even if it was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from prefect.plugins import HookContext, SetupResult, register_hook

from tru.services import prefect_address
from tru.workspace import Workspace

# Options of `prefect deployment run` and `inspect` that are followed by a value, which must not be taken for the name.
_WITH_VALUE = frozenset(
    (
        *("--id", "--job-variable", "--param", "-p", "--params", "--start-in", "--start-at", "--tag", "--output", "-o"),
        *("--watch-interval", "--watch-timeout", "--flow-run-name"),
    )
)


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Prefect calls this while it is being imported, before it reads the command line."""
    if os.environ.get("PREFECT__SERVER_EPHEMERAL") and os.environ.get("TRU_RUN_PID"):
        _end_with(int(os.environ["TRU_RUN_PID"]))
    if not _is_prefect_command():
        return None
    sys.argv[1:] = with_full_name(sys.argv[1:])
    if ctx.api_url is not None:
        return None
    address = prefect_address(Workspace(Path(os.environ.get("TRU_WORKSPACE") or ".").resolve()))
    return SetupResult(env={"PREFECT_API_URL": address}, note="server of tru up") if address else None


def with_full_name(arguments: list[str]) -> list[str]:
    """The arguments of ``prefect``; a bare deployment name after ``deployment run`` is written as ``name/name``."""
    for start in range(len(arguments) - 2):
        if arguments[start] in ("deployment", "deployments") and arguments[start + 1] in ("run", "inspect"):
            at = _position_of_name(arguments, start + 2)
            if at is not None and "/" not in arguments[at]:
                return [*arguments[:at], f"{arguments[at]}/{arguments[at]}", *arguments[at + 1 :]]
            break
    return arguments


def _position_of_name(arguments: list[str], start: int) -> int | None:
    """Where the first argument stands that is neither an option nor an option's value."""
    at = start
    while at < len(arguments):
        if not arguments[at].startswith("-"):
            return at
        at += 2 if arguments[at] in _WITH_VALUE else 1
    return None


def _is_prefect_command() -> bool:
    """Whether this process is the command ``prefect`` (or ``python -m prefect``), not some program that imports it."""
    if sys.argv[:1] == ["-m"]:  # Python has not yet found out which file `-m prefect` stands for
        return "prefect" in sys.orig_argv
    program = Path(sys.argv[0]) if sys.argv else Path()
    return program.stem == "prefect" or program.parts[-2:] == ("prefect", "__main__.py")


def _end_with(pid: int) -> None:
    """End this process soon after its parent ``pid`` is gone."""

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="tru-end-with-run", daemon=True).start()
