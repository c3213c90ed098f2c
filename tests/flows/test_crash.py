"""Killed after any step, and just before any step is recorded, the night is finished by the next run, once."""

import os
import signal
import subprocess
import sys
from multiprocessing import get_context

import pytest

from tests.patience import HANG
from tests.workspaces import (
    file_requests,
    grow,
    named_in_inbox,
    night_that_dies,
    remains,
    subjects,
    whole_night,
)
from tru.ops.release.registry import Registry
from tru.ops.requests.store import open_inbox

STEPS = ["claim", "cut", "check", "unlearn", "evaluate", "gate", "retrain", "promote", "close"]
MOMENTS = [(step, "after") for step in STEPS] + [(step, "before its record") for step in STEPS[1:]]


@pytest.fixture(scope="module")
def processes():
    """A process that has imported everything, from which others are born in no time; none shares our memory."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tru.ops.pipeline", "tru.cli.init"])
    return context


def champion(ws):
    return Registry(ws).champion().version


def assert_finished_once(ws, batch, ids, forgotten, outcome, old):
    inbox = open_inbox(ws)
    ended = [inbox.get(id) for id in ids]
    assert [r.state for r in ended] == ["closed"] * len(ids)
    assert [r.outcome for r in ended] == [outcome] * (len(ids) - 1) + ["not found"]
    assert {r.batch for r in ended} == {batch}
    assert inbox.last_batch().id == batch and inbox.open_batch() is None
    assert inbox.completed_through() == inbox.last_batch().sequence == len(ids)
    versions = [v.version for v in Registry(ws).list_versions() if v.tags.get("tru.batch") == batch]
    assert versions == [champion(ws)] and champion(ws) != old
    assert Registry(ws).champion().tags["tru.deleted_through"] == str(len(ids))
    assert list(ws.batches.iterdir()) == []
    assert [path.name for path in ws.root.glob("data.*")] == ["data.dvc"]
    assert named_in_inbox(ws, forgotten) == 0
    assert remains(ws, forgotten) == []


@pytest.mark.parametrize(("step", "moment"), MOMENTS, ids=lambda value: value.replace(" ", "-"))
def test_a_killed_night_is_finished_by_the_next(trained, processes, step, moment):
    if step == "retrain":
        grow(trained)  # the unlearner cannot add; so the gate says no and the night retrains
    forgotten, old = subjects(trained), champion(trained)
    ids = file_requests(trained, forgotten)

    killed = processes.Process(target=night_that_dies, args=(str(trained.root), step, moment))
    killed.start()
    killed.join(HANG)
    assert killed.exitcode == -signal.SIGKILL

    recorded = open_inbox(trained).open_batch() or open_inbox(trained).last_batch()
    if step not in ("promote", "close"):
        assert champion(trained) == old
    if (step, moment) != ("close", "after"):
        assert whole_night(trained) == recorded.id
    assert whole_night(trained) is None
    assert_finished_once(trained, recorded.id, ids, forgotten, "retrained" if step == "retrain" else "unlearned", old)


@pytest.mark.parametrize("step", ["cut", "promote"])
def test_the_real_flow_is_finished_by_the_next(trained, workspace, environment, step):
    from flows.unlearn import unlearn_nightly

    forgotten, old = subjects(trained), champion(trained)
    ids = file_requests(trained, forgotten)
    killed = subprocess.run(
        [sys.executable, "-m", "flows.unlearn", "-w", trained.root],
        env={**environment, "TRU_CRASH_AFTER": step, "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]},
        capture_output=True,
        timeout=HANG,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    batch = open_inbox(trained).open_batch()
    assert batch.step == step
    assert (champion(trained) == old) == (step == "cut")

    found = unlearn_nightly(workspace=str(trained.root))

    assert (found["batch"], found["outcome"]) == (batch.id, "unlearned")
    assert_finished_once(trained, batch.id, ids, forgotten, "unlearned", old)
    assert unlearn_nightly(workspace=str(trained.root))["batch"] is None
