"""Killed between any two of its writes, a decision or the night that follows it is finished by the next command."""

import os
import signal
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.ops.pipeline.test_every_request_ends import assert_sound, pictures, users
from tests.patience import HANG
from tests.workspaces import copy, file_requests, remains, whole_night
from tru.data.interactions import load_dataset
from tru.ops import pipeline
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import _SqlRows, open_inbox, open_ledger
from tru.ops.workspace import Workspace

REASON = "the contract has ended"
MOST = 60
"""Writes of the longest of them, and some more."""


def dies_at(number):
    """Let this process die by SIGKILL before the write of that number: to data, versions, aliases, inbox, ledger."""
    from tru.ops.pipeline import nightly, undo

    done = 0

    def counted(real):
        def call(*rest, **more):
            nonlocal done
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return real(*rest, **more)

        return call

    for owner, name in (
        (undo, "replace_folder"),
        (undo, "clear"),
        (nightly, "save_dataset"),
        (nightly, "clear"),
        (DataVersions, "add"),
        (DataVersions, "remove"),
        (DataVersions, "commit"),
        (Registry, "set_alias"),
        (Registry, "drop_alias"),
        (Path, "unlink"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))
    writing = _SqlRows.writing

    @contextmanager
    def write(rows):
        with counted(writing)(rows) as transaction:
            yield transaction

    _SqlRows.writing = write


def run(root, what, number, argument):
    """In a process of its own."""
    ws = Workspace(Path(root))
    dies_at(number)
    WHAT[what](ws, argument)


WHAT = {
    "night": lambda ws, _: whole_night(ws),
    "accept": lambda ws, _: pipeline.accept(ws, REASON),
    "retry": lambda ws, _: pipeline.retry(ws),
    "withdraw": lambda ws, id: pipeline.withdraw(ws, [id]),
    "split": lambda ws, _: pipeline.split(ws),
}


@pytest.fixture(scope="module")
def processes():
    context = get_context("forkserver")
    context.set_forkserver_preload(["tru.ops.pipeline", "tru.cli.init", "tests.ops.pipeline.test_killed_decisions"])
    return context


@pytest.fixture(scope="module")
def held(small, tmp_path_factory):
    """All pictures are to go, which holds the batch."""
    ws = copy(small.root, tmp_path_factory.mktemp("held") / "workspace")
    file_requests(ws, pictures(load_dataset(ws.data)))
    whole_night(ws)
    assert open_inbox(ws).open_batch().is_held
    return ws


@pytest.fixture(scope="module")
def leaving(small, tmp_path_factory):
    """Everybody is to go, which a person has accepted."""
    ws = copy(small.root, tmp_path_factory.mktemp("leaving") / "workspace")
    file_requests(ws, users(load_dataset(ws.data)))
    whole_night(ws)
    pipeline.accept(ws, REASON)
    return ws


def killed(processes, template, place, what, argument=None, step=1):
    """Workspaces in which it was killed, before its first write, its second and so on."""
    for number in range(0, MOST, step):
        ws = copy(template.root, place / f"at-{number}")
        process = processes.Process(target=run, args=(str(ws.root), what, number, argument))
        process.start()
        process.join(HANG)
        assert process.exitcode in (0, -signal.SIGKILL), number
        if process.exitcode == 0:
            assert number > 3, "it wrote something"
            return
        yield ws
    raise AssertionError("it never came to its end")


def finish(ws):
    for _ in range(4):
        whole_night(ws)


def test_an_accepted_batch(processes, held, tmp_path):
    asked = pictures(load_dataset(held.batches / open_inbox(held).open_batch().id / "before"))
    for ws in killed(processes, held, tmp_path, "accept"):
        if open_inbox(ws).open_batch().is_held:  # typed again
            pipeline.accept(ws, REASON)
        finish(ws)
        assert open_inbox(ws).last_batch().outcome == "retrained"
        assert_sound(ws, asked)


@pytest.mark.parametrize("what", ["withdraw", "split"])
def test_a_batch_that_requests_leave(processes, held, tmp_path, what):
    ids = [request.id for request in open_inbox(held).list()]
    asked = pictures(load_dataset(held.batches / open_inbox(held).open_batch().id / "before"))
    for ws in killed(processes, held, tmp_path, what, ids[0]):
        if open_inbox(ws).open_batch().is_held:  # typed again
            WHAT[what](ws, ids[0])
        finish(ws)
        inbox = open_inbox(ws)
        waiting = [request for request in inbox.list() if request.outcome is None]
        if what == "withdraw":
            assert [str(request.state) for request in waiting] == ["withdrawn"]
            assert len(remains(ws, asked)) == 1
        else:  # without the second half no picture would be left; nobody waits behind it, so its cut stays cut
            assert len(waiting) == len(ids) // 2
            assert remains(ws, asked) == []
        assert {str(r.state) for r in inbox.list()} == {"closed", "withdrawn" if what == "withdraw" else "held"}
        assert_consistent(ws)


def test_a_night_in_which_a_held_batch_steps_aside(processes, held, tmp_path):
    template = copy(held.root, tmp_path / "awaited")
    name = str(load_dataset(template.data).users[3])
    (alone,) = file_requests(template, [Subject.of(user=name)])
    for ws in killed(processes, template, tmp_path, "night", step=2):
        finish(ws)
        assert open_inbox(ws).get(alone).outcome in ("unlearned", "retrained")
        assert [batch.outcome for batch in open_inbox(ws).held()] == ["held"]
        assert "image" in load_dataset(ws.data).modalities and name not in load_dataset(ws.data).users
        assert_consistent(ws)


def test_a_night_after_which_no_model_serves(processes, leaving, tmp_path):
    asked = users(load_dataset(leaving.data))
    for ws in killed(processes, leaving, tmp_path, "night", step=2):
        finish(ws)
        assert open_inbox(ws).last_batch().outcome == "retired"
        assert_sound(ws, asked)


def assert_consistent(ws):
    """Data, versions and ledger say the same, and nothing lies about."""
    versions = DataVersions(ws)
    md5 = versions.md5()
    assert versions.add() == md5 == open_ledger(ws).last("data").facts["after"]
    assert versions.git("status", "--porcelain", "data.dvc").strip() == ""
    entries = [entry.facts for entry in open_ledger(ws).entries("data")]
    assert all(one["after"] == two["before"] for one, two in pairwise(entries))
    assert open_ledger(ws).verify() == []
    assert [path.name for path in ws.root.glob("data.*")] == ["data.dvc"]
    opened = open_inbox(ws).open_batch()
    assert [folder.name for folder in ws.batches.iterdir()] == ([opened.id] if opened else [])
