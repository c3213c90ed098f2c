"""The servers of a workspace: what `tru up` starts and `tru down` stops.

Prefect's server, a worker and MLflow's page run detached, each with a log under ``.tru/logs``. ``.tru/services.json``
says which processes they are, by pid *and* start time, so that a pid that belongs to somebody else by now is spared.
Prefect is run by its command line only and keeps everything in ``.tru/prefect``: the user's own Prefect stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tru.errors import WorkspaceError
from tru.ops import identity
from tru.ops.servers import processes
from tru.ops.servers.processes import Service
from tru.ops.workspace import Workspace

POOL = "tru"
HOST = "127.0.0.1"
# A job about privacy tells no vendor that it ran. Whoever wants to can say otherwise in the environment.
NO_TELEMETRY = {"DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
PREFECT, WORKER, MLFLOW = "prefect-server", "prefect-worker", "mlflow"


@dataclass(frozen=True)
class Services:
    """Everything one `tru up` started.

    Attributes:
        token: a random word in the environment of these processes and their children; `tru down` finds them by it.
        members: the processes, in the order of their start.
        complete: whether `tru up` came to its end.
        named: whether the processes carry the name of their service; those of version 0.1.0 do not.
    """

    token: str
    members: tuple[Service, ...] = field(default=())
    complete: bool = False
    named: bool = False

    @property
    def alive(self) -> bool:
        """Whether all of them were started and still run."""
        return self.complete and all(member.alive for member in self.members)

    def member(self, name: str) -> Service | None:
        """The member called ``name``, running or not."""
        return next((member for member in self.members if member.name == name), None)

    def address(self, name: str) -> str | None:
        """The address of the member called ``name``, if it runs."""
        member = self.member(name)
        return member.address if member is not None and member.alive else None


def load(ws: Workspace) -> Services | None:
    """What was started; None if nothing was. The state file of a copied workspace names the original's processes."""
    return None if identity.origin(ws.root) else _noted(ws)


def _noted(ws: Workspace) -> Services | None:
    """What the state file says."""
    try:
        record = json.loads(state_file(ws).read_text())
    except FileNotFoundError:
        return None
    members = tuple(Service(**member) for member in record["members"])
    return Services(record["token"], members, record["complete"], record.get("named", False))


def gone(ws: Workspace) -> list[str]:
    """Names of the services that `tru up` started and that do not run any more; none after a `tru down`."""
    services = load(ws)
    lost = [member.name for member in services.members if not member.alive] if services else []
    is_starting = services is not None and not services.complete and len(lost) < len(services.members)
    return [] if is_starting else lost


def gone_words(ws: Workspace) -> list[str]:
    """The same for a person, in at most one line."""
    lost = gone(ws)
    if not lost:
        return []
    nights = "no night starts by itself until " if {PREFECT, WORKER} & set(lost) else ""
    return [f"NOT RUNNING: {', '.join(lost)}, which `tru up` had started; {nights}`tru up` starts it again."]


def prefect_address(ws: Workspace) -> str | None:
    """Address of the API of the Prefect server that `tru up` runs for ``ws``; None if there is none."""
    services = load(ws)
    page = services.address(PREFECT) if services else None
    return f"{page}/api" if page else None


def has_tracking_server(ws: Workspace) -> bool:
    """Whether the runs are kept by an MLflow server (``MLFLOW_TRACKING_URI``), which has a page of its own."""
    return ws.tracking_uri.startswith(("http://", "https://"))


def without_prefect(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` without the settings of the user's own Prefect; only their wishes about logging stay."""
    return {k: v for k, v in environment.items() if not k.startswith("PREFECT_") or k.startswith("PREFECT_LOGGING_")}


def prefect_environment(ws: Workspace, address: str | None = None) -> dict[str, str]:
    """The settings that keep Prefect inside ``ws``.

    Args:
        ws: the workspace.
        address: the API to use; else that of a running `tru up`; else Prefect starts a temporary server.
    """
    address = address or prefect_address(ws)
    place = {"PREFECT_API_URL": address} if address else {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true"}
    return {
        **place,
        "TRU_WORKSPACE": str(ws.root),
        "PREFECT_HOME": str(ws.state / "prefect"),
        "PREFECT_PLUGINS_ENABLED": "true",
        "PREFECT_PLUGINS_ALLOW": "tru",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "900",
        **NO_TELEMETRY,
        "DO_NOT_TRACK": os.environ.get("DO_NOT_TRACK", NO_TELEMETRY["DO_NOT_TRACK"]),
    }


def stop(ws: Workspace) -> int:
    """Stop exactly what `tru up` started and the children of that; the number of processes stopped."""
    with alone(ws):
        return clear(ws, load(ws))


def leave(ws: Workspace, *, is_moved: bool) -> None:
    """Forget what was started before the folder came where it is; in a moved one it is its own, so it is stopped."""
    with alone(ws):
        if is_moved:
            clear(ws, _noted(ws))
        state_file(ws).unlink(missing_ok=True)


def clear(ws: Workspace, services: Services | None) -> int:
    """End the processes of ``services`` and forget them."""
    if services is None:
        return 0
    count = processes.end(lambda: processes.family(services.token, services.members))
    state_file(ws).unlink(missing_ok=True)
    return count


@contextlib.contextmanager
def alone(ws: Workspace) -> Iterator[None]:
    """Keep a second `tru up` or `tru down` of the same workspace out."""
    ws.state.mkdir(parents=True, exist_ok=True)
    with (ws.state / "services.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceError(
                f"another `tru up` or `tru down` is at work in {ws.root}. Wait for it to end."
            ) from None
        yield


def state_file(ws: Workspace) -> Path:
    """Where the processes of the last `tru up` are noted."""
    return ws.state / "services.json"


def log_file(ws: Workspace, name: str) -> Path:
    """Where a service writes what it has to say."""
    return ws.state / "logs" / f"{name}.log"
