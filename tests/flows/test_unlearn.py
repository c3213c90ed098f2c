"""The flow's paths. The steps are scripted, because the real gate cannot be told what to say.

Their own work is tested in tests/test_night.py and from end to end.
"""

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter

from flows.unlearn import unlearn_nightly
from tests.patience import HANG, until
from tru.errors import Busy, CheckFailed, LeaseHeld, RequestError, TruError, WorkspaceError
from tru.ops import flows, pipeline
from tru.ops.flows import approval, notices, tasks
from tru.ops.requests.store import open_inbox

FLOW = [sys.executable, "-m", "flows.unlearn"]


def test_nothing_due_is_a_completed_run(workspace):
    state = unlearn_nightly(workspace=str(workspace.root), return_state=True)

    assert state.is_completed()
    assert state.message == "Nothing to do: no deletion request is due."
    assert flows.run(workspace, "unlearn-nightly") == {"batch": None, "erased": []}


def test_as_a_command_it_needs_no_server_and_no_settings(empty_workspace, environment):
    done = subprocess.run(
        [*FLOW, "-w", empty_workspace.root], env=environment, capture_output=True, text=True, timeout=HANG
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"batch": None, "erased": []}
    assert "Nothing to do" in done.stderr
    assert (empty_workspace.state / "prefect").is_dir()


def test_as_a_command_a_folder_that_is_no_workspace_is_refused(tmp_path, environment):
    done = subprocess.run([*FLOW, "-w", tmp_path], env=environment, capture_output=True, text=True, timeout=HANG)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and "params.yaml" in done.stderr.splitlines()[-1]


class Script:
    """Stands in for the steps of the night and notes who was called."""

    def __init__(self, gate="pass", retrain="pass"):
        self.calls = []
        self.told = {}
        self.errors = {}
        self.answers = {
            "claim": "batch-1",
            "cut": "0f3a",
            "check": {"passed": True, "expectations": 9},
            "unlearn": {"method": "tru", "seconds": 0.25},
            "evaluate": {"models": {}},
            "gate": self._verdict(gate),
            "retrain": self._verdict(retrain),
            "promote": "7",
            "close": {"outcome": "unlearned", "version": "7", "size": 5, "not_found": 2},
            "labels": ["batch-1", "users", "pass"],
            "note_run": None,
            "hold": {"outcome": "held", "reasons": ["a reason"]},
        }

    def _verdict(self, verdict):
        passed = verdict == "pass"
        row = {
            "name": "test/ndcg@20",
            "group": "users",
            "value": 0.123456,
            "reference": float("nan"),
            "difference": -0.1,
            "interval": [-0.2, 0.0],
            "low": None,
            "high": None,
            "margin": 0.03,
            "n": 40,
            "judged": True,
            "passed": passed,
            "fault": None if passed else "utility",
            "words": "test/ndcg@20 0.1235",
        }
        exact = {
            **row,
            **{"name": "deleted users in the model", "group": None, "value": 0.0, "low": 0.0, "high": 0.0},
            **{"passed": True, "fault": None, "words": "deleted users in the model: none"},
        }
        return {
            "verdict": verdict,
            "mode": "licensed",
            "reasons": [] if passed else ["ndcg@20 0.81 of retrained, needs 0.99"],
            "table": [exact, row, {**row, "judged": False, "passed": True}],
            "cost": {"expected_seconds": 7200, "budget_seconds": 1800, "words": "Retraining takes two hours."},
            "licences": ["licence/users"],
            "drift": {"nights": 3, "forgotten_share": 0.0123, "distance": 0.2},
            "notes": ["5 users are too few for a test."],
        }

    def step(self, name):
        def work(ws, batch=None, more=None):
            self.calls += [name] if name not in ("labels", "note_run") else []  # no steps, only what is told of them
            self.told[name] = more
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return self.answers[name]

        return work

    @contextmanager
    def open_lease(self, ws, batch):
        self.calls.append("lease")
        yield
        self.calls.append("leave")


@pytest.fixture
def play(monkeypatch, workspace):
    """Run the flow by a script; the final state and the script."""

    def played(script):
        for name in script.answers:
            monkeypatch.setattr(pipeline, name, script.step(name))
            if step := getattr(tasks, name, None):
                monkeypatch.setattr(tasks, name, step.with_options(retry_delay_seconds=0))
        monkeypatch.setattr(pipeline, "open_lease", script.open_lease)
        return unlearn_nightly(workspace=str(workspace.root), return_state=True)

    return played


def test_a_good_night(play):
    script = Script()
    state = play(script)

    assert state.is_completed()
    assert state.result() == {"batch": "batch-1", **script.answers["close"], "erased": []}
    assert state.message.startswith("batch-1: unlearned; version 7 is champion. 2 of 5 requests named nobody")
    assert script.calls == [
        *("claim", "lease", "cut", "check", "unlearn", "evaluate", "gate", "promote", "close", "leave")
    ]


def test_the_verdict_is_on_the_prefect_page(play):
    shown = artifacts_of(play(Script(gate="fail")))
    exact, judged, unjudged = json.loads(shown["verdict"])
    assert list(judged) == ["judgement", "measured", "on", "new model", "reference", "allowed"]
    assert list(judged.values()) == ["refused: worse for those who stay", "test/ndcg@20", "users", "0.1235", "—", "—"]
    assert list(exact.values()) == ["passed", "deleted users in the model", "", "0", "", "none"]
    assert unjudged["judgement"] == "not judged"
    words = shown["verdict-reasons"]
    assert "needs 0.99" in words and "mode `licensed`" in words and "Retraining takes two hours." in words
    assert "licence/users" in words and "3 nights unlearned, 1.2% of the trained pairs forgotten" in words
    assert "5 users are too few" in words and "- not judged. test/ndcg@20 0.1235" in words
    assert "pass, 2 of 2 checks, 1 not judged" in shown["verdict-retrained-reasons"]


def test_the_run_is_named_after_its_batch_and_tagged_with_what_came_of_it(play):
    script = Script()
    run_id = play(script).state_details.flow_run_id

    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run_id)
    assert found.name == "batch-1" and set(found.tags) == {"batch-1", "users", "pass"}
    assert script.told["note_run"] == str(run_id)


def test_a_run_with_nothing_to_do_is_named_by_its_day(workspace):
    state = unlearn_nightly(workspace=str(workspace.root), return_state=True)

    with get_client(sync_client=True) as client:
        found = client.read_flow_run(state.state_details.flow_run_id)
    assert re.fullmatch(r"nightly \d{4}-\d\d-\d\d \d\d:\d\d", found.name) and found.tags == []


def test_a_page_that_cannot_be_told_stops_nothing(play, caplog):
    script = Script()
    script.errors["labels"] = [RequestError("u-somebody is not the open batch")] * 9
    script.errors["note_run"] = [KeyError("u-somebody")]
    assert play(script).is_completed()
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "the run could not be noted with its batch (KeyError)" in said
    assert "the run could not be named (RequestError)" in said and "u-somebody" not in str(said)


def test_each_step_says_once_in_a_short_line_how_it_ended(play, caplog):
    play(Script(gate="fail"))
    assert not [record for record in caplog.records if record.name == "prefect.engine"]
    said = [record.message for record in caplog.records if record.name == "prefect.task_runs"]
    steps = ["deadlines", "claim", "cut", "check", "unlearn", "evaluate", "gate", "retrain", "promote"]
    assert [line.partition(":")[0] for line in said] == [*steps, "close", "erase"]
    assert all(len(line) < 200 for line in said)
    told = dict(line.split(": ", 1) for line in said)
    assert told["gate"].startswith("fail, 1 of 2 checks, 1 not judged; refused: test/ndcg@20")
    assert told["check"].startswith("all 9 expectations met (") and told["unlearn"].startswith("by tru in 0.2 s (")


def artifacts_of(state):
    """Key -> data of what the run put on its page."""
    run_id = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id={"any_": [run_id]}))
    return {artifact.key: artifact.data for artifact in found}


def test_erasure_and_certificates_are_on_the_prefect_page(play, monkeypatch):
    erased = {
        "batches": ["batch-1"],
        "destroyed": [
            {"store": "dvc cache", "count": 13, "bytes": 2_170_000},
            {"store": "prefect database", "count": 0, "bytes": 4_000_000},
        ],
        "scan": [
            {"store": "data", "state": "not found", "count": 0, "why": ""},
            {"store": "dvc remote", "state": "unreachable", "count": 0, "why": "no credentials"},
        ],
        "unreachable": ["what others computed from earlier lists"],
        "certificates": 5,
    }
    monkeypatch.setattr(tasks.eraser, "erase", lambda *_, **__: erased)
    monkeypatch.setattr(notices.report, "summary", lambda _, batch: f"# {batch}: Passed")
    shown = artifacts_of(play(Script()))

    assert [tuple(row.values()) for row in json.loads(shown["erasure"])] == [
        ("destroyed", "dvc cache", "13 objects, 2.17 MB"),
        ("destroyed", "prefect database", "4 MB"),
        ("searched", "data", "nothing found"),
        ("searched", "dvc remote", "could not be searched: no credentials"),
    ]
    assert "5 certificates signed for batch-1" in shown["certificates"] and "earlier lists" in shown["certificates"]
    assert shown["night"] == "# batch-1: Passed"


def test_where_nothing_was_erased_nothing_is_said_of_it(play):
    assert not {"erasure", "certificates"} & set(artifacts_of(play(Script())))


def test_a_no_of_the_gate_leads_to_the_retrained_model(play):
    script = Script(gate="fail")

    assert play(script).is_completed()
    assert script.calls[6:] == ["gate", "retrain", "promote", "close", "leave"]


def test_a_second_no_holds_the_batch_and_calls_a_person(play):
    script = Script(gate="fail", retrain="fail")
    state = play(script)

    assert state.is_failed()
    assert script.calls[6:] == ["gate", "retrain", "hold"]
    assert "batch-1 is held" in state.message and "needs 0.99" in state.message
    assert "`tru batch retry`" in state.message and "`tru batch release`" in state.message
    with pytest.raises(TruError):
        state.result()


def test_a_step_that_fails_for_good_holds_the_batch_and_the_run_says_so(play, monkeypatch):
    script = Script()
    script.errors["check"] = [CheckFailed("no")]
    monkeypatch.setattr(pipeline, "failed", lambda ws, batch, error: ["no picture is left"])
    state = play(script)
    assert state.is_failed() and "batch-1 is held" in state.message and "no picture is left" in state.message
    assert "`tru batch accept`" in state.message
    assert script.calls[-3:] == ["cut", "check", "hold"] and script.told["hold"] == ["no picture is left"]


def test_an_unforeseen_error_is_counted_after_its_retries_by_type_and_place(play, monkeypatch):
    told = []
    script = Script()
    script.errors["check"] = [KeyError("u-somebody")] * 3
    monkeypatch.setattr(pipeline, "failed", lambda ws, batch, error: told.append(error.place))
    state = play(script)
    assert state.is_failed() and script.calls.count("check") == 3 and "hold" not in script.calls
    assert len(told) == 1 and told[0].startswith("KeyError at ") and "u-somebody" not in str(told)


def test_what_holds_no_batch_is_the_end_of_the_run_alone(play):
    script = Script()
    script.errors["check"] = [WorkspaceError("params.yaml is wrong")]
    state = play(script)
    assert state.is_failed() and "params.yaml is wrong" in state.message and "hold" not in script.calls


def test_without_a_persons_yes_the_batch_is_held(play, monkeypatch):
    monkeypatch.setattr(approval, "ask", lambda *_: "a person declined it: too early")
    script = Script()
    state = play(script)

    assert state.is_failed()
    assert script.calls[6:] == ["gate", "hold"] and script.told["hold"] == "a person declined it: too early"
    assert "has no approval (a person declined it: too early)" in state.message


def test_prefect_hears_of_a_held_batch_and_of_requests_that_are_overdue(play, empty_workspace, caplog):
    receipt = open_inbox(empty_workspace).add("user", user="u-late", received=datetime(2026, 1, 5, tzinfo=UTC))
    try:
        play(Script(gate="fail", retrain="fail"))
    finally:
        open_inbox(empty_workspace).withdraw(receipt.request.id)

    assert any("OVERDUE: 1 request" in r.message and r.levelname == "ERROR" for r in caplog.records)
    heard = {event["event"]: event for event in until(lambda: events("tru.batch.held", "tru.ops.requests.overdue"))}
    held = heard["tru.batch.held"]
    assert held["resource"]["prefect.resource.id"] == "tru.batch.batch-1"
    assert held["payload"] == {"batch": "batch-1", "reasons": ["a reason"]}
    overdue = heard["tru.ops.requests.overdue"]["payload"]
    assert (overdue["overdue"], overdue["soon"], overdue["next_due"][:10]) == (1, 0, "2026-02-04")
    assert "u-late" not in str(heard)


def events(*names):
    """What the server heard under these names, newest of each; nothing until it has heard of all."""
    with get_client(sync_client=True) as client:
        reply = client._client.post("/events/filter", json={"filter": {"event": {"name": list(names)}}, "limit": 50})
    found = {event["event"]: event for event in reversed(reply.json()["events"])}
    return list(found.values()) if set(found) == set(names) else []


def test_what_a_person_must_solve_is_not_tried_again(play):
    script = Script()
    script.errors["claim"] = [RequestError("another run holds the batch. Wait.")]
    state = play(script)

    assert state.is_failed() and "another run holds the batch" in state.message
    assert script.calls == ["claim"]


def test_a_second_run_ends_at_once_as_cancelled_and_says_why(play, workspace):
    script = Script()
    script.errors["claim"] = [LeaseHeld("Batch batch-1 is being worked on by another."), Busy("an erasure is at work.")]
    state = play(script)

    assert state.is_cancelled() and state.message == "Batch batch-1 is being worked on by another."
    assert script.calls == ["claim"]
    with pytest.raises(Busy, match="an erasure is at work"):  # in a terminal it is an error like any other
        flows.run(workspace, "unlearn-nightly")


def test_a_lease_that_is_lost_later_fails_the_run(play):
    script = Script()
    script.errors["gate"] = [LeaseHeld("Batch batch-1 is not leased to this run.")]

    assert play(script).is_failed()


def test_an_unforeseen_error_is_tried_again_and_quotes_nobody(play, capsys):
    script = Script()
    script.errors["cut"] = [KeyError("somebody@example.org")]
    assert play(script).is_completed()
    assert script.calls.count("cut") == 2

    script = Script()
    script.errors["cut"] = [KeyError("somebody@example.org")] * 3
    state = play(script)
    assert state.is_failed()
    assert script.calls == ["claim", "lease", "cut", "cut", "cut"]
    assert "'cut' stopped on KeyError at" in state.message and "test_unlearn.py" in state.message
    assert "somebody" not in state.message + "".join(capsys.readouterr())


def test_a_crash_after_a_step_is_a_crash_and_leaves_no_server_behind(empty_workspace, environment):
    crashing = environment | {"TRU_CRASH_AFTER": "claim"}
    process = subprocess.Popen(
        [*FLOW, "-w", empty_workspace.root], env=crashing, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.wait(HANG) == -signal.SIGKILL

    until(lambda: not started_by(process.pid))  # else Prefect's temporary server outlived the run


def started_by(pid):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TRU_RUN_PID") == str(pid) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
