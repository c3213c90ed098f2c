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
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from tru import server
from tru.errors import WorkspaceError
from tru.workspace import Workspace

POOL = "tru"
HOST = "127.0.0.1"
# Seconds. A process that ended is noticed at once, so this only ends the wait for one that hangs; on a machine that is
# busy with other work a server may take minutes.
_PATIENCE = 900.0
_GRACE = 15.0
_TOKEN = "TRU_SERVICES_TOKEN"
Tell = Callable[[str], None]


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


@dataclass(frozen=True)
class Services:
    """Everything one `tru up` started.

    Attributes:
        token: a random word in the environment of these processes and their children; `tru down` finds them by it.
        members: the processes, in the order of their start.
        complete: whether `tru up` came to its end.
    """

    token: str
    members: tuple[Service, ...] = field(default=())
    complete: bool = False

    @property
    def alive(self) -> bool:
        """Whether all of them were started and still run."""
        return self.complete and all(member.alive for member in self.members)

    def address(self, name: str) -> str | None:
        """The address of the member called ``name``, if it runs."""
        return next((m.address for m in self.members if m.name == name and m.alive), None)


def load(ws: Workspace) -> Services | None:
    """What the state file says; None if nothing was started."""
    try:
        record = json.loads(_state_file(ws).read_text())
    except FileNotFoundError:
        return None
    return Services(record["token"], tuple(Service(**member) for member in record["members"]), record["complete"])


def prefect_address(ws: Workspace) -> str | None:
    """Address of the API of the Prefect server that `tru up` runs for ``ws``; None if there is none."""
    services = load(ws)
    page = services.address("prefect-server") if services else None
    return f"{page}/api" if page else None


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
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # A job about privacy tells no vendor that it ran. Whoever wants to can say otherwise.
        "DO_NOT_TRACK": os.environ.get("DO_NOT_TRACK", "true"),
    }


def start(ws: Workspace, *, prefect_port: int = 4200, mlflow_port: int = 5000, tell: Tell = print) -> Services:
    """Start everything and wait until it answers; nothing if it runs already.

    Args:
        ws: the workspace.
        prefect_port: where Prefect's page should be; the next free port is taken if it is occupied.
        mlflow_port: the same for MLflow's page.
        tell: called with one line per step.

    Raises:
        WorkspaceError: a service does not come up (then all are stopped again), or another `tru up` is under way.
    """
    with _alone(ws):
        services = load(ws)
        if services is not None and services.alive:
            return services
        if services is not None:
            tell("Clearing away what an earlier `tru up` left")
            _stop(ws, services)
        try:
            return _start(ws, prefect_port, mlflow_port, tell)
        except BaseException:
            _stop(ws, load(ws))
            raise


def stop(ws: Workspace) -> int:
    """Stop exactly what :func:`start` started and the children of that; the number of processes stopped."""
    with _alone(ws):
        return _stop(ws, load(ws))


def _start(ws: Workspace, prefect_port: int, mlflow_port: int, tell: Tell) -> Services:
    port = free_port(prefect_port)
    page = f"http://{HOST}:{port}"
    starter = _Starter(ws, Services(secrets.token_hex(16)), f"{page}/api")
    prefect = starter.launch("prefect-server", _prefect("server", "start", "--host", HOST, "--port", str(port)), page)
    mlflow = _launch_mlflow(starter, mlflow_port, port)
    tell("Prefect server: starting")
    starter.wait(prefect, lambda: server.answers(f"{page}/api/health"))
    tell("Prefect server: healthy; making work pool and deployments")
    starter.finish("deploy", _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite"))
    starter.finish("deploy", _prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(_prefect_file(ws))))
    server.watch(f"{page}/api")
    # Only now: a worker that polls while deployments are written can lock Prefect's SQLite for a minute.
    worker = starter.launch("prefect-worker", _prefect("worker", "start", "--pool", POOL, "--type", "process"))
    tell("Prefect worker: starting")
    starter.wait(worker, lambda: server.has_worker(f"{page}/api", POOL))
    if mlflow is not None:
        tell("MLflow page: starting")
        starter.wait(mlflow, lambda: server.answers(f"{mlflow.address}/health"))
    return starter.complete()


def _launch_mlflow(starter: _Starter, port: int, taken: int) -> Service | None:
    """Start MLflow's page, unless the runs are kept by a tracking server that has one already."""
    ws = starter.ws
    if ws.tracking_uri.startswith(("http://", "https://")):
        return None
    port = free_port(port, taken)
    page = f"http://{HOST}:{port}"
    store = ["--backend-store-uri", ws.tracking_uri, "--default-artifact-root", str(ws.model_store)]
    command = _module("mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", *store)
    return starter.launch("mlflow", command, page)


class _Starter:
    """Starts processes of one `tru up` and writes each into the state file at once, so that none can be lost."""

    def __init__(self, ws: Workspace, services: Services, api: str) -> None:
        self.ws, self.services = ws, services
        self.environment = {
            **without_prefect(os.environ),
            **prefect_environment(ws, api),
            _TOKEN: services.token,
            # Stages and flows call `tru`, `dvc` and `python` by name.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs of language-model features: five more processes
            "PYTHONUNBUFFERED": "1",
        }
        (ws.state / "prefect").mkdir(parents=True, exist_ok=True)
        (ws.state / "logs").mkdir(parents=True, exist_ok=True)
        self._save()

    def launch(self, name: str, command: Sequence[str], address: str | None = None) -> Service:
        """Start a process that outlives this one."""
        with _log(self.ws, name).open("wb") as log:
            # A session of its own: neither Ctrl-C nor a closed terminal may end it.
            process = subprocess.Popen(command, **self._surroundings(log), start_new_session=True)
        service = Service(name, process.pid, _start_time(process.pid), address)
        self.services = replace(self.services, members=(*self.services.members, service))
        self._save()
        return service

    def finish(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            WorkspaceError: it failed.
        """
        with _log(self.ws, name).open("ab") as log, contextlib.suppress(subprocess.TimeoutExpired):
            if subprocess.run(command, **self._surroundings(log), timeout=_PATIENCE, check=False).returncode == 0:
                return
        raise WorkspaceError(f"setting up Prefect failed. Read {_log(self.ws, name)}, then try `tru up` again.")

    def wait(self, service: Service, ready: Callable[[], bool]) -> None:
        """Wait until ``ready``.

        Raises:
            WorkspaceError: the process ended, or took too long.
        """
        until = time.monotonic() + _PATIENCE
        what = f"did not answer within {_PATIENCE:.0f} s"
        while time.monotonic() < until:
            if not service.alive:  # asked first: another server may answer at the port that this one did not get
                what = "ended while it was starting"
                break
            if ready():
                return
            time.sleep(0.3)
        raise WorkspaceError(f"{service.name} {what}. Read {_log(self.ws, service.name)}, then try `tru up` again.")

    def complete(self) -> Services:
        """Note in the state file that everything runs."""
        self.services = replace(self.services, complete=True)
        self._save()
        return self.services

    def _surroundings(self, log: IO[bytes]) -> dict[str, Any]:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        return {"cwd": self.ws.root, "env": self.environment, **quiet}

    def _save(self) -> None:
        target = _state_file(self.ws)
        draft = target.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self.services), indent=2) + "\n")
        draft.replace(target)


def _stop(ws: Workspace, services: Services | None) -> int:
    """End the processes of ``services`` gently, then by force, and forget them."""
    import psutil

    if services is None:
        return 0
    found = _family(services)
    for process in reversed(found):  # the youngest first: a worker whose server is gone would wait for it
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    psutil.wait_procs(found, timeout=_GRACE)
    left = _family(services)  # whatever had not yet ended, or was born meanwhile
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_GRACE)
    _state_file(ws).unlink(missing_ok=True)
    return len(found)


def _family(services: Services) -> list[Any]:
    """The processes of ``services`` and all their descendants, also those whose parent is gone; oldest first."""
    import psutil

    found = {p.pid: p for p in map(_process, services.members) if p is not None}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(_TOKEN) == services.token and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(process.pid, process)
    found.pop(os.getpid(), None)  # `tru down` typed inside one of them
    return sorted(found.values(), key=lambda p: p.pid)


def _process(service: Service) -> Any | None:  # noqa: ANN401 - psutil ships no types
    """The running process of ``service``; None if it ended, or if its pid belongs to another process by now."""
    import psutil

    try:
        process = psutil.Process(service.pid)
        same = abs(process.create_time() - service.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def _start_time(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time())


def free_port(wanted: int, taken: int | None = None) -> int:
    """``wanted`` or the next port after it that nobody listens on and that is not ``taken``; 0 asks for any.

    Raises:
        WorkspaceError: a hundred ports in a row are occupied.
    """
    for port in range(wanted, wanted + 100) if wanted else [0]:
        if port == taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise WorkspaceError(
        f"no free port from {wanted} to {wanted + 99}. Name another with --prefect-port or --mlflow-port."
    )


@contextlib.contextmanager
def _alone(ws: Workspace) -> Iterator[None]:
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


def _module(name: str, *arguments: str) -> list[str]:
    """A command of this very environment, whether or not it is on the PATH."""
    return [sys.executable, "-m", name, *arguments]


def _prefect(*arguments: str) -> list[str]:
    return _module("prefect", *arguments)


def _prefect_file(ws: Workspace) -> Path:
    """The workspace's own prefect.yaml, else the one that comes with tru.

    Raises:
        WorkspaceError: there is neither.
    """
    for folder in (ws.root, Path(__file__).parents[1]):
        if (folder / "prefect.yaml").is_file():
            return folder / "prefect.yaml"
    raise WorkspaceError(
        f"{ws.root} has no prefect.yaml. Copy the one of the tru repository there; it says what runs when."
    )


def _state_file(ws: Workspace) -> Path:
    return ws.state / "services.json"


def _log(ws: Workspace, name: str) -> Path:
    return ws.state / "logs" / f"{name}.log"
