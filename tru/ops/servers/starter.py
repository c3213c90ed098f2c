"""What `tru up` does: start whatever is missing of the servers of a workspace, and wait until it answers."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tru import extras
from tru.errors import WorkspaceError
from tru.ops.servers import prefect_api, processes, runs
from tru.ops.servers.deployments import prefect_file
from tru.ops.servers.processes import Service
from tru.ops.servers.services import (
    HOST,
    MLFLOW,
    POOL,
    PREFECT,
    WORKER,
    Services,
    alone,
    clear,
    has_tracking_server,
    load,
    log_file,
    prefect_environment,
    state_file,
    without_prefect,
)
from tru.ops.workspace import Workspace

# Seconds. A server takes ten on a quiet machine and a few minutes on a busy one; this only ends a hang.
_PATIENCE = 900.0
Tell = Callable[[str], None]


def start(ws: Workspace, *, prefect_port: int = 4200, mlflow_port: int = 5000, tell: Tell = print) -> Services:
    """Start everything that does not run yet and wait until it answers; what runs is left alone.

    Args:
        ws: the workspace.
        prefect_port: where Prefect's page should be; the next free port is taken if it is occupied.
        mlflow_port: the same for MLflow's page.
        tell: called with one line per step.

    Raises:
        WorkspaceError: a service does not come up (then what was started is stopped again), or another `tru up` is
            under way.
        MissingExtra: Prefect or MLflow is not installed.
    """
    extras.require("tru up", "prefect", "mlflow")
    with alone(ws):
        services = load(ws)
        # What version 0.1.0 started has deployments that name a package of flows, which is gone: it is begun anew.
        if services is not None and services.alive and services.named:
            return services
        starter = _Starter(ws, _what_lives(ws, services, tell), tell)
        try:
            return _start(starter, prefect_port, mlflow_port)
        except BaseException:
            starter.undo()
            raise


def _what_lives(ws: Workspace, earlier: Services | None, tell: Tell) -> Services:
    """What an earlier `tru up` left, if any of it is worth keeping; otherwise its remains are cleared away."""
    if earlier is None:
        return Services(secrets.token_hex(16), named=True)
    lost = [member.name for member in earlier.members if not member.alive]
    if earlier.complete and earlier.named and len(lost) < len(earlier.members):
        tell(f"No longer running: {', '.join(lost)}; starting it again")
        return earlier
    tell("Clearing away what an earlier `tru up` left")
    clear(ws, earlier)
    return Services(secrets.token_hex(16), named=True)


def _start(starter: _Starter, prefect_port: int, mlflow_port: int) -> Services:
    prefect = starter.serve_prefect(prefect_port)
    mlflow = starter.serve_mlflow(mlflow_port)
    api = f"{prefect.address}/api"
    starter.wait(prefect, lambda: prefect_api.answers(f"{api}/health"))
    if starter.running(WORKER) is None:
        starter.deploy(api)
        # Only now: a worker that polls while deployments are written can lock Prefect's SQLite for a minute.
        worker = starter.launch(WORKER, _prefect("worker", "start", "--pool", POOL, "--type", "process"))
        starter.wait(worker, lambda: prefect_api.has_worker(api, POOL))
    if mlflow is not None:
        starter.wait(mlflow, lambda: prefect_api.answers(f"{mlflow.address}/health"))
    return starter.complete()


class _Starter:
    """Starts what is missing of a `tru up` and writes each process into the state file at once, so that none is lost.

    Args:
        ws: the workspace.
        earlier: what is kept of an earlier one; nothing else of it is running.
        tell: called with one line per step.
    """

    def __init__(self, ws: Workspace, earlier: Services, tell: Tell) -> None:
        self.ws, self.tell, self.api = ws, tell, ""
        self._earlier, self._launched = earlier, list[str]()
        self.services = replace(earlier, members=tuple(m for m in earlier.members if m.alive), complete=False)
        (ws.state / "prefect").mkdir(parents=True, exist_ok=True)
        (ws.state / "logs").mkdir(parents=True, exist_ok=True)
        self._save()

    def running(self, name: str) -> Service | None:
        """The service of this name, if it runs."""
        member = self.services.member(name)
        return member if member is not None and member.alive else None

    def serve_prefect(self, port: int) -> Service:
        """Prefect's server: the one that runs, or a new one, at the old address if the worker still asks there."""
        found = self.running(PREFECT)
        if found is None:
            free = self._free_port(PREFECT, port)
            page = f"http://{HOST}:{free}"
            self.api = f"{page}/api"
            command = _prefect("server", "start", "--host", HOST, "--port", str(free))
            found = self.launch(PREFECT, command, page)
        self.api = f"{found.address}/api"
        before = self._earlier.member(PREFECT)
        if self.running(WORKER) is None or (before is not None and before.address != found.address):
            # A run whose worker is gone cannot write its log any more and would end at its next line.
            self.end(WORKER)
        return found

    def serve_mlflow(self, port: int) -> Service | None:
        """MLflow's page; None where the runs are kept by a tracking server, which has one already."""
        found = self.running(MLFLOW)
        if found is not None or has_tracking_server(self.ws):
            return found
        free = self._free_port(MLFLOW, port)
        store = ["--backend-store-uri", self.ws.tracking_uri, "--default-artifact-root", str(self.ws.model_store)]
        command = _module("mlflow", "server", "--host", HOST, "--port", str(free), "--workers", "1", *store)
        return self.launch(MLFLOW, command, f"http://{HOST}:{free}")

    def _free_port(self, name: str, wanted: int) -> int:
        """The port that a service which is gone had while the others go on, else ``wanted``, else the next free one."""
        before, taken = self._earlier.member(name), [_port(member.address) for member in self.services.members]
        return free_port(_port(before.address) or wanted if before else wanted, taken)

    def deploy(self, api: str) -> None:
        """Make work pool, deployments and automations, and settle the runs that an earlier worker left.

        Raises:
            WorkspaceError: Prefect refuses.
        """
        self.tell("Prefect server: healthy; making work pool and deployments")
        self.finish("deploy", _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite"))
        self.finish("deploy", _prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file(self.ws))))
        prefect_api.watch(api)
        if settled := runs.settle(api):
            self.tell(f"Prefect server: {settled} run{'s' * (settled > 1)} marked as crashed, the process being gone")

    def launch(self, name: str, command: Sequence[str], address: str | None = None) -> Service:
        """Start a process that outlives this one."""
        self._launched.append(name)
        with log_file(self.ws, name).open("wb") as log:
            # A session of its own: neither Ctrl-C nor a closed terminal may end it.
            process = subprocess.Popen(command, **self._surroundings(log, name), start_new_session=True)
        service = Service(name, process.pid, processes.start_time(process.pid), address)
        self.services = replace(self.services, members=(*self.services.members, service))
        self._save()
        return service

    def finish(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            WorkspaceError: it failed.
        """
        with log_file(self.ws, name).open("ab") as log, contextlib.suppress(subprocess.TimeoutExpired):
            if subprocess.run(command, **self._surroundings(log, name), timeout=_PATIENCE, check=False).returncode == 0:
                return
        raise WorkspaceError(f"setting up Prefect failed. Read {log_file(self.ws, name)}, then try `tru up` again.")

    def wait(self, service: Service, ready: Callable[[], bool]) -> None:
        """Wait until ``ready``.

        Raises:
            WorkspaceError: the process ended, or took too long.
        """
        if service.name in self._launched:
            self.tell(f"{service.name}: starting")
        until = time.monotonic() + _PATIENCE
        what = f"did not answer within {_PATIENCE:.0f} s"
        while time.monotonic() < until:
            if not service.alive:  # asked first: another server may answer at the port that this one did not get
                what = "ended while it was starting"
                break
            if ready():
                return
            time.sleep(0.3)
        raise WorkspaceError(f"{service.name} {what}. Read {log_file(self.ws, service.name)}, then try `tru up` again.")

    def complete(self) -> Services:
        """Note in the state file that everything runs."""
        self.services = replace(self.services, complete=True)
        self._save()
        return self.services

    def end(self, name: str) -> None:
        """End what runs of the service of this name, and its children."""
        members, self.services = self.services.members, self._without(name)
        processes.end(lambda: processes.family(self.services.token, members, name))
        self._save()

    def undo(self) -> None:
        """End what was launched. What ran before goes on, and the state file says again what is missing of it."""
        for name in [*self._launched, "deploy"]:
            self.end(name)
        if self.services.members:
            self.services = self._earlier
            self._save()
        else:
            state_file(self.ws).unlink(missing_ok=True)

    def _without(self, name: str) -> Services:
        return replace(self.services, members=tuple(m for m in self.services.members if m.name != name))

    def _surroundings(self, log: IO[bytes], name: str) -> dict[str, Any]:
        environment = {
            **without_prefect(os.environ),
            **prefect_environment(self.ws, self.api),
            processes.TOKEN: self.services.token,
            processes.NAME: name,
            # Stages and flows call `tru`, `dvc` and `python` by name.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs of language-model features: five more processes
            "PYTHONUNBUFFERED": "1",
        }
        quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        return {"cwd": self.ws.root, "env": environment, **quiet}

    def _save(self) -> None:
        target = state_file(self.ws)
        draft = target.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self.services), indent=2) + "\n")
        draft.replace(target)


def _port(address: str | None) -> int | None:
    return urlsplit(address).port if address else None


def free_port(wanted: int, taken: Collection[int | None] = ()) -> int:
    """``wanted`` or the next port after it that nobody listens on and that is not ``taken``; 0 asks for any.

    Raises:
        WorkspaceError: a hundred ports in a row are occupied.
    """
    for port in range(wanted, wanted + 100) if wanted else [0]:
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise WorkspaceError(
        f"no free port from {wanted} to {wanted + 99}. Name another with --prefect-port or --mlflow-port."
    )


def _module(name: str, *arguments: str) -> list[str]:
    """A command of this very environment, whether or not it is on the PATH."""
    return [sys.executable, "-m", name, *arguments]


def _prefect(*arguments: str) -> list[str]:
    return _module("prefect", *arguments)
