"""`tru up` and `tru down`: a real server and worker, the literal commands, in a workspace and on ports of their own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.patience import HANG, until
from tru.errors import WorkspaceError
from tru.ops.servers import prefect_api as server
from tru.ops.servers import processes, services, starter
from tru.ops.servers.processes import Service
from tru.ops.servers.services import Services
from tru.ops.workspace import Workspace

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]


@pytest.fixture
def workspace(tmp_path):
    root = tmp_path / "workspace"
    (root / ".tru").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", root)
    return Workspace(root)


@pytest.fixture
def environment(tmp_path):
    """What a second terminal has: nothing of ours, and a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_"))}
    path = os.pathsep.join([str(BIN), kept.get("PATH", "")])
    quiet = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return kept | quiet | {"HOME": str(tmp_path), "PATH": path}


@pytest.fixture
def sleeper():
    """Starts processes that are not ours to stop; they end with the test."""
    started = []

    def start(**extra):
        started.append(subprocess.Popen(SLEEP, env=os.environ | extra))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def write_state(ws, token, *members, complete=True):
    record = {"token": token, "members": [vars(member) for member in members], "complete": complete}
    (ws.state / "services.json").write_text(json.dumps(record))


def service(process, shift=0.0):
    return Service("prefect-worker", process.pid, psutil.Process(process.pid).create_time() + shift)


def test_down_stops_what_it_started_and_the_orphans_of_that(workspace, sleeper):
    ours, orphan = sleeper(), sleeper(TRU_SERVICES_TOKEN="a-token")
    foreign, other = sleeper(), sleeper(TRU_SERVICES_TOKEN="another-token")
    write_state(workspace, "a-token", service(ours))

    assert services.stop(workspace) == 2
    assert ours.poll() is not None and orphan.poll() is not None
    assert foreign.poll() is None and other.poll() is None
    assert services.load(workspace) is None
    assert services.stop(workspace) == 0


def test_a_pid_that_has_a_new_owner_is_spared(workspace, sleeper):
    stranger = sleeper()
    write_state(workspace, "a-token", service(stranger, shift=-3600))

    assert services.stop(workspace) == 0
    assert stranger.poll() is None


def test_the_address_is_known_only_while_the_server_runs(workspace, sleeper):
    process = sleeper()
    server = Service("prefect-server", process.pid, psutil.Process(process.pid).create_time(), "http://127.0.0.1:4999")
    write_state(workspace, "a-token", server)
    assert services.prefect_address(workspace) == "http://127.0.0.1:4999/api"

    process.kill()
    process.wait()
    assert services.prefect_address(workspace) is None
    assert not Services("a-token", (server,), complete=True).alive


def test_what_is_gone_is_named_until_it_is_stopped_on_purpose(workspace, sleeper):
    server, worker = sleeper(), sleeper()
    members = [
        Service(name, p.pid, psutil.Process(p.pid).create_time())
        for name, p in (("prefect-server", server), ("prefect-worker", worker))
    ]
    write_state(workspace, "a-token", *members)
    assert services.gone(workspace) == []

    worker.kill()
    worker.wait()
    assert services.gone(workspace) == ["prefect-worker"]
    assert services.gone_words(workspace) == [
        "NOT RUNNING: prefect-worker, which `tru up` had started; "
        "no night starts by itself until `tru up` starts it again."
    ]
    write_state(workspace, "a-token", *members, complete=False)
    assert services.gone(workspace) == []  # a `tru up` that is at work
    services.stop(workspace)
    assert services.gone(workspace) == [] == services.gone_words(workspace)


def test_the_children_of_one_service_are_told_from_those_of_another(workspace, sleeper):
    ours = {"TRU_SERVICES_TOKEN": "a-token"}
    run, page = sleeper(**ours, TRU_SERVICE="prefect-worker"), sleeper(**ours, TRU_SERVICE="mlflow")
    sleeper(TRU_SERVICES_TOKEN="another-token", TRU_SERVICE="prefect-worker")

    assert [p.pid for p in processes.family("a-token", (), "prefect-worker")] == [run.pid]
    assert [p.pid for p in processes.family("a-token", ())] == sorted([run.pid, page.pid])


def test_a_flow_run_is_known_by_its_process(sleeper):
    process = sleeper(PREFECT__FLOW_RUN_ID="a-run")
    assert "a-run" in processes.flow_runs()

    process.kill()
    process.wait()
    assert "a-run" not in processes.flow_runs()


def test_a_taken_port_is_passed_over():
    taken = starter.free_port(0)
    with socket.socket() as listener:
        listener.bind((services.HOST, taken))
        listener.listen()
        assert starter.free_port(taken) > taken
    assert starter.free_port(taken, [taken]) > taken


def test_the_users_own_prefect_stays_out(workspace):
    theirs = {"PREFECT_API_URL": "http://prefect.internal/api", "PREFECT_LOGGING_LEVEL": "DEBUG", "HOME": "/home/me"}

    assert services.without_prefect(theirs) == {"PREFECT_LOGGING_LEVEL": "DEBUG", "HOME": "/home/me"}
    ours = services.prefect_environment(workspace)
    assert "PREFECT_API_URL" not in ours
    assert ours["PREFECT_HOME"] == str(workspace.state / "prefect")


def test_only_one_up_or_down_at_a_time(workspace):
    with services.alone(workspace), pytest.raises(WorkspaceError, match="another `tru up`"):
        services.stop(workspace)


def tru(ws, environment, *arguments):
    """The literal command, typed in the workspace."""
    return subprocess.run(
        ["tru", *arguments], cwd=ws.root, env=environment, capture_output=True, text=True, timeout=HANG
    )


@pytest.fixture
def cleared(workspace):
    """Whatever happens in the test, nothing it started stays."""
    yield workspace
    services.stop(workspace)


def test_up_run_down(cleared, environment, tmp_path):
    ws = cleared
    # Prefect reads from the current directory that plug-ins are on: the checkout's own file is what has to do it.
    shutil.copy(ROOT / "pyproject.toml", ws.root)
    up = ["up", "--prefect-port", "0", "--mlflow-port", "0"]

    first = tru(ws, environment, *up)
    assert first.returncode == 0, first.stdout + first.stderr
    running = services.load(ws)
    page = running.address("prefect-server")
    assert page in first.stdout
    # The page of runs, which MLflow does not open by itself; the link works before there is any run.
    (link,) = [line.split()[-1] for line in first.stdout.splitlines() if line.startswith("  MLflow page")]
    assert (
        link == f"{running.address('mlflow')}/#/experiments/1/runs?viewStateShareKey=tru&workflowType=machine_learning"
    )
    assert experiment(running.address("mlflow"), "1")["name"] == "tru"
    assert "  prefect deployment run unlearn-nightly\n" in first.stdout
    token, started = running.token, processes.family(running.token, running.members)

    again = tru(ws, environment, *up)
    assert again.returncode == 0 and "Already running" in again.stdout
    assert services.load(ws) == running

    # SQLAlchemy 2.1 would leave this empty for ever, while runs by hand go on working.
    scheduled = until(lambda: runs(page, state_type="SCHEDULED"))
    assert {run["auto_scheduled"] for run in scheduled} == {True}
    assert all("T02:30:00" in run["expected_start_time"] for run in scheduled)
    weekly = until(lambda: runs(page, state_type="SCHEDULED", flow="baseline-weekly"))
    assert all("T03:30:00" in run["expected_start_time"] for run in weekly)
    assert server.watch(f"{page}/api") == []  # `tru up` has made the automations

    # A second terminal: nothing exported, the bare name.
    typed = subprocess.run(
        ["prefect", "deployment", "run", "unlearn-nightly"],
        cwd=ws.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert typed.returncode == 0, typed.stdout + typed.stderr
    (done,) = until(lambda: runs(page, state_type="COMPLETED") + runs(page, state_type="FAILED"))
    assert done["state"]["message"] == "Nothing to do: no deletion request is due."

    down = tru(ws, environment, "down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert services.load(ws) is None
    assert processes.family(token, ()) == []
    assert not any(process.is_running() for process in started)
    assert "Nothing was running" in tru(ws, environment, "down").stdout


def test_an_up_that_fails_names_the_log_and_leaves_nothing(cleared, environment):
    ws = cleared
    (ws.root / "prefect.yaml").write_text("deployments:\n- name: broken\n  entrypoint: flows.unlearn.no_such_flow\n")

    up = tru(ws, environment, "up", "--prefect-port", "0", "--mlflow-port", "0")
    assert up.returncode != 0
    message = "".join((up.stdout + up.stderr).split())  # a terminal may have broken the line
    assert str(ws.state / "logs" / "deploy.log") in message
    assert "no_such_flow" in (ws.state / "logs" / "deploy.log").read_text()
    assert services.load(ws) is None


def runs(page, state_type, flow="unlearn-nightly"):
    """The runs of a flow that are in a state."""
    wanted = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": [state_type]}}},
        "limit": 3,
    }
    ask = urllib.request.Request(
        f"{page}/api/flow_runs/filter", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(ask, timeout=HANG) as reply:
        return json.load(reply)


def experiment(page, id):
    """What MLflow says of an experiment."""
    with urllib.request.urlopen(f"{page}/api/2.0/mlflow/experiments/get?experiment_id={id}", timeout=HANG) as reply:
        return json.load(reply)["experiment"]
