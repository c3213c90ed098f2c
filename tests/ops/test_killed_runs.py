"""Workers and runs that are killed, with a real server: after `tru up` the next night finishes the batch.

The tests are one story told in order, in one workspace: each goes on where the one before has ended.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.patience import until
from tests.workspaces import change, copy, file_requests, remains
from tru.data.interactions import load_dataset
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.servers import prefect_api, processes, services

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ws(trained_template, tmp_path_factory):
    """A workspace with a champion whose servers run; deployed with the limits that version 0.1.0 gave."""
    ws = copy(trained_template, tmp_path_factory.mktemp("killed") / "shop")
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for deployment in deployed["deployments"]:
        deployment["concurrency_limit"] = {"limit": 1, "collision_strategy": "CANCEL_NEW", "grace_period_seconds": 120}
    (ws.root / "prefect.yaml").write_text(yaml.safe_dump(deployed))
    up(ws)
    yield ws
    services.stop(ws)


def typed(ws, *words):
    """A command of ours, typed in the workspace."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_"))}
    command = [sys.executable, "-m", "tru.cli.main", *words]
    return subprocess.run(command, cwd=ws.root, env=kept, capture_output=True, text=True, check=False)


def up(ws):
    """`tru up` on ports of its own; what it printed, line by line."""
    done = typed(ws, "up", "--prefect-port", "0", "--mlflow-port", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def api(ws):
    return services.prefect_address(ws)


def kill(ws, name=None):
    """End the processes of a service as a machine that lost power does; of all, if none is named."""
    started = services.load(ws)
    for process in processes.family(started.token, started.members, name):
        process.kill()
    until(lambda: not processes.family(started.token, started.members, name))


def ask_for(ws, number):
    """Somebody else's request; the subject."""
    subject = Subject.of(user=str(load_dataset(ws.data).users[number]))
    file_requests(ws, [subject])
    return subject


def deployment(ws, name="unlearn-nightly"):
    found = prefect_api.post(f"{api(ws)}/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    return found[0]


def begin(ws, days_ago=0):
    """Have the worker start a night; the id of the run."""
    then = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    wanted = {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": then}}}
    return prefect_api.post(f"{api(ws)}/deployments/{deployment(ws)['id']}/create_flow_run", wanted)["id"]


def state(ws, run):
    (found,) = prefect_api.post(f"{api(ws)}/flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return found["state"]


def reached(ws, run, *kinds):
    """The state of a run, once it is one of these, or ended otherwise."""

    def look():
        found = state(ws, run)
        return found if found["type"] in (*kinds, "COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    found = until(look)
    assert found["type"] in kinds, found
    return found


def tasks_under_way(ws, run):
    wanted = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}}
    return prefect_api.post(f"{api(ws)}/task_runs/filter", wanted)


def closed(ws, *subjects):
    """Whether every request has ended, and nothing of the subjects is left in the data."""
    return open_inbox(ws).open_batch() is None and not remains(ws, list(subjects))


def test_a_power_failure_while_a_run_is_pending(ws):
    gone = ask_for(ws, 3)
    run = begin(ws)
    reached(ws, run, "PENDING")
    assert deployment(ws)["global_concurrency_limit"]["active_slots"] == 1
    kill(ws)
    assert services.gone(ws) == ["prefect-server", "mlflow", "prefect-worker"]
    assert "NOT RUNNING: prefect-server, mlflow, prefect-worker" in typed(ws, "status").stdout

    assert "Prefect server: 1 run marked as crashed, the process being gone" in up(ws)
    assert services.gone(ws) == []
    found = state(ws, run)
    assert found["type"] == "CRASHED" and "The process of this run is gone" in found["message"]
    # A limit that a prefect.yaml of the workspace's own still sets does not stay taken either.
    assert deployment(ws)["global_concurrency_limit"]["active_slots"] == 0
    reached(ws, begin(ws), "COMPLETED")
    assert closed(ws, gone)


def test_a_worker_that_is_killed_while_its_run_runs(ws):
    gone = ask_for(ws, 40)
    run = begin(ws)
    reached(ws, run, "RUNNING")
    batch = until(lambda: open_inbox(ws).open_batch())
    page = services.load(ws).address("mlflow")
    os.kill(services.load(ws).member("prefect-worker").pid, signal.SIGKILL)
    until(lambda: services.gone(ws) == ["prefect-worker"])

    (ws.root / "prefect.yaml").write_text("deployments:\n- name: broken\n  entrypoint: flows.unlearn.no_such_flow\n")
    assert typed(ws, "up").returncode == 1
    assert services.gone(ws) == ["prefect-worker"]  # what ran before goes on

    (ws.root / "prefect.yaml").unlink()  # from here on with what tru brings along
    told = up(ws)
    assert told[0] == "No longer running: prefect-worker; starting it again"
    assert services.load(ws).address("mlflow") == page
    assert state(ws, run)["type"] == "CRASHED" and tasks_under_way(ws, run) == []
    assert run not in processes.flow_runs()
    assert deployment(ws)["global_concurrency_limit"] is None and deployment(ws)["concurrency_options"] is None
    reached(ws, begin(ws), "COMPLETED")
    assert closed(ws, gone)
    assert open_inbox(ws).last_batch().id == batch.id


def test_a_run_in_a_terminal_is_left_alone_while_it_lives_and_settled_when_it_is_gone(ws):
    change(ws, "gate", approval=True)
    ask_for(ws, 60)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    terminal = subprocess.Popen([sys.executable, "-m", "flows.unlearn", "-w", str(ws.root)], **quiet)
    try:
        waiting = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
        (paused,) = until(lambda: prefect_api.post(f"{api(ws)}/flow_runs/filter", waiting))
        assert paused["deployment_id"] is None

        second = reached(ws, begin(ws), "CANCELLED")  # another night, by the worker
        assert "is being worked on" in second["message"]

        kill(ws, "prefect-worker")
        up(ws)
        assert state(ws, paused["id"])["type"] == "PAUSED" and terminal.poll() is None
    finally:
        terminal.kill()
        terminal.wait()
    kill(ws, "prefect-worker")
    up(ws)
    assert state(ws, paused["id"])["type"] == "CRASHED"


def test_the_next_run_asks_a_person_anew(ws):
    gone = Subject.of(user=str(open_inbox(ws).list(batch=open_inbox(ws).open_batch().id)[0].user))
    run = begin(ws)
    reached(ws, run, "PAUSED")
    kill(ws)  # the question is on the page, and nobody waits for the answer any more
    up(ws)
    assert state(ws, run)["type"] == "CRASHED"

    run = begin(ws)
    reached(ws, run, "PAUSED")
    prefect_api.post(f"{api(ws)}/flow_runs/{run}/resume", {"run_input": {"approve": True, "words": "looks fine"}})
    reached(ws, run, "COMPLETED")
    assert closed(ws, gone)
    assert [entry.facts["answer"] for entry in open_ledger(ws).entries("approval")] == ["approved"]


def test_a_server_that_is_killed_alone_comes_back_under_a_run_that_goes_on(ws):
    change(ws, "gate", approval=False)
    gone = ask_for(ws, 80)
    page = services.load(ws).address("prefect-server")
    run = begin(ws)
    reached(ws, run, "RUNNING")
    worker = services.load(ws).member("prefect-worker")
    kill(ws, "prefect-server")

    up(ws)
    assert services.load(ws).address("prefect-server") == page
    assert services.load(ws).member("prefect-worker") == worker
    reached(ws, run, "COMPLETED")
    assert closed(ws, gone)


def test_a_week_off_is_made_up_for_by_one_night(ws):
    kill(ws, "prefect-worker")
    missed = [begin(ws, days_ago) for days_ago in (3, 2, 1)]
    by_hand = begin(ws, 4)
    kill(ws)
    with sqlite3.connect(ws.state / "prefect" / "prefect.db") as db:  # only the schedule itself can make such runs
        db.executemany("UPDATE flow_run SET auto_scheduled = 1 WHERE id = ?", [(run,) for run in missed])
    db.close()
    up(ws)

    first, second, _ = ends = [reached(ws, run, "COMPLETED", "CANCELLED") for run in missed]
    assert [end["type"] for end in ends] == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert "does the same work" in first["message"] and "does the same work" in second["message"]
    reached(ws, by_hand, "COMPLETED")
