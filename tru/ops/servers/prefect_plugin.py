"""What tru adds to Prefect, through Prefect's own plugin system; nothing inside Prefect is patched.

Prefect loads this module in every process that imports it while ``pyproject.toml`` or ``prefect.toml`` of the current
directory (or ``PREFECT_PLUGINS_ENABLED=true``) switches plugins on. In a workspace it does this:

1. ``prefect deployment run unlearn-nightly``: a bare name is read as ``name/name``; our flows and deployments agree.
2. The ``prefect`` command finds the server of a running ``tru up`` of this workspace: nothing needs to be exported.
3. Where none is running, a command that asks a server ends in one line. Prefect would start a server of its own for it,
   which knows nothing of the workspace and leaves a database in the user's home.
4. Prefect reports to nobody that it is used, unless the environment says otherwise.
5. The temporary server that Prefect starts beside a flow run ends with that run, even if it was killed.

Who has a Prefect of their own (``PREFECT_API_URL``, or a profile with an address) keeps it: only 1 and 4 hold there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

from prefect.plugins import HookContext, SetupResult, register_hook
from prefect.settings import get_current_settings

from tru.ops.servers.services import NO_TELEMETRY, prefect_address
from tru.ops.workspace import Workspace

# Our deployments, and how each is run without a server.
_WITHOUT_SERVER = {
    "unlearn-nightly": "tru run",
    "train": "tru train",
    "baseline-weekly": "tru baseline",
    "rollback": "tru rollback",
}
# Options of `prefect deployment run` and `inspect` that are followed by a value, which must not be taken for the name.
_WITH_VALUE = frozenset(
    (
        *("--id", "--job-variable", "--param", "-p", "--params", "--start-in", "--start-at", "--tag", "--output", "-o"),
        *("--watch-interval", "--watch-timeout", "--flow-run-name"),
    )
)
# Commands that ask a server; in the others (config, profile, server, version …) Prefect starts none.
_ASKING = frozenset(
    (
        *("api", "artifact", "automation", "automations", "block", "blocks", "concurrency-limit", "concurrency-limits"),
        *("deploy", "deployment", "deployments", "event", "events", "flow", "flows", "flow-run", "flow-runs", "gcl"),
        *("global-concurrency-limit", "shell", "task", "task-run", "task-runs", "variable", "work-pool", "work-pools"),
        *("work-queue", "work-queues", "worker"),
    )
)


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Prefect calls this while it is being imported, before it reads the command line.

    Raises:
        SystemExit: no server runs for the command that was typed.
    """
    if os.environ.get("PREFECT__SERVER_EPHEMERAL") and os.environ.get("TRU_RUN_PID"):
        _end_with(int(os.environ["TRU_RUN_PID"]))
    ws = Workspace(Path(os.environ.get("TRU_WORKSPACE") or ".").resolve())
    if not _is_prefect_command() or not ws.params.is_file():
        return None
    typed = sys.argv[1:]
    sys.argv[1:] = with_full_name(typed)
    quiet = {name: os.environ.get(name, value) for name, value in NO_TELEMETRY.items()}
    if ctx.api_url is not None:
        return SetupResult(env=quiet)
    address = prefect_address(ws)
    if address is None and asks_our_server(typed):
        _refuse(ws, typed)
    return SetupResult(env={**quiet, "PREFECT_API_URL": address} if address else quiet, note="server of tru up")


def with_full_name(arguments: list[str]) -> list[str]:
    """The arguments of ``prefect``; the bare name of a deployment of ours after ``deployment run`` as ``name/name``."""
    at = _position_of_name(arguments)
    if at is None or arguments[at] not in _WITHOUT_SERVER:
        return arguments
    return [*arguments[:at], f"{arguments[at]}/{arguments[at]}", *arguments[at + 1 :]]


def asks_our_server(arguments: list[str]) -> bool:
    """Whether ``prefect`` with these arguments would ask a server, and may mean ours."""
    options = list(takewhile(lambda word: word.startswith("-"), arguments))
    command = arguments[len(options) :]
    if "--help" in arguments or any(word.partition("=")[0] in ("--profile", "-p") for word in options):
        return False
    if not command or command[0] not in _ASKING or (command[0] != "deploy" and len(command) == 1):  # that one helps
        return False
    at = _position_of_name(arguments)
    return at is None or arguments[at].rpartition("/")[2] in _WITHOUT_SERVER


def _position_of_name(arguments: list[str]) -> int | None:
    """Where the name stands in ``deployment run NAME``: the first argument that is no option and no option's value."""
    for start in range(len(arguments) - 2):
        if arguments[start] in ("deployment", "deployments") and arguments[start + 1] in ("run", "inspect"):
            at = start + 2
            while at < len(arguments):
                if not arguments[at].startswith("-"):
                    return at
                at += 2 if arguments[at] in _WITH_VALUE else 1
    return None


def _refuse(ws: Workspace, typed: Collection[str]) -> None:
    """Say in one line what is missing, and end.

    Raises:
        SystemExit: always.
    """
    named = next((word.rpartition("/")[2] for word in typed if word.rpartition("/")[2] in _WITHOUT_SERVER), None)
    instead = f", or `{_WITHOUT_SERVER[named]}`, which needs no server" if named else ""
    print(f"Error: no Prefect server runs for the workspace {ws.root}: `tru up` first{instead}.", file=sys.stderr)  # noqa: T201
    with contextlib.suppress(OSError):  # Prefect made it a moment ago; if anything is in it, it stays
        get_current_settings().home.rmdir()
    raise SystemExit(1)


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
