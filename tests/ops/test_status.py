import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from typer.testing import CliRunner

from tests.workspaces import subjects
from tru.cli.init import create
from tru.cli.main import app
from tru.data.interactions import load_dataset
from tru.errors import ModelError
from tru.ops.release.champion import crown
from tru.ops.release.registry import Registry
from tru.ops.requests.lifecycle import State
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.ops.status import as_words, deadlines, is_anything_due, read, recommendation, urgent

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOTHING = {
    **{"deadlines": {}, "baseline": None, "drift": None, "licences": []},
    "erasure": {"waiting": [], "last": None},
}
BATCH = {"id": "batch-20260101-01", "outcome": "unlearned", "verdict": "pass", "size": 3, "seconds": {}}
DRIFT = {"nights": 3, "forgotten_share": 0.0123, "distance": 0.25}


@pytest.fixture
def empty(tmp_path):
    return create(tmp_path / "empty")


def test_an_empty_workspace_has_no_champion_and_makes_no_store(empty):
    assert read(empty) == {
        "champion": None,
        "champion_problem": None,
        "retired": False,
        "requests": dict.fromkeys(State, 0),
        "open_batch": None,
        "last_batch": None,
        "urgent": [],
        "deadlines": {"overdue": 0, "soon": 0, "next_due": None},
        "baseline": None,
        "drift": None,
        "licences": [],
        "erasure": {"waiting": [], "last": None},
    }
    assert not (empty.root / "mlflow.db").exists()
    words = as_words(read(empty))
    assert words.splitlines()[1].split() == ["requests", "none"]
    assert "baseline    none; make one: `tru baseline`" in words and "licences    none" in words
    assert urgent(empty) == []


def test_without_a_champion_nothing_is_recommended(empty):
    with pytest.raises(ModelError, match="`tru train`"):
        recommendation(empty, "somebody", 5)


def test_who_serves_and_what_waits(trained):
    open_inbox(trained).add_all(subjects(trained))
    found = read(trained)
    assert found["champion"]["version"] == "1" and found["champion"]["deleted_through"] == 0
    assert found["champion"]["data_md5"].endswith(".dir")
    assert found["requests"]["queued"] == 6 and found["last_batch"] is None
    assert found["drift"] == {"nights": 0, "forgotten_share": 0.0, "distance": 0.0}
    words = as_words(found)
    assert "version 1" in words and "6 queued" in words and "closed" not in words


def file_aged(ws, *days):
    """Requests that came in so many days ago."""
    for n, age in enumerate(days):
        open_inbox(ws).add("user", user=f"u-{n}", received=NOW - timedelta(days=age))


def test_overdue_and_soon_due_requests_come_first(empty):
    file_aged(empty, 31, 29, 29.5, 2)
    assert deadlines(empty, NOW) == {"overdue": 1, "soon": 2, "next_due": "2026-11-22T12:00:00+00:00"}
    lines = urgent(empty, NOW)
    assert lines[0].startswith("OVERDUE: 1 request is past the day")
    assert lines[1].startswith("DUE SOON: 2 requests are due")
    assert "2026-11-22" in lines[2] and "`tru run`" in lines[2]


def test_the_days_are_set_in_params(empty):
    file_aged(empty, 8)
    assert deadlines(empty, NOW)["soon"] == 0 and urgent(empty, NOW) == []
    empty.params.write_text("requests: {due_days: 10, warn_days: 3}\n")
    assert deadlines(empty, NOW)["soon"] == 1
    empty.params.write_text("requests: {due_days: 7, warn_days: 3}\n")
    assert deadlines(empty, NOW)["overdue"] == 1


REFUSED = {"verdict": "fail", "reasons": ["no"]}


def hold(ws, step="retrain", **facts):
    inbox = open_inbox(ws)
    inbox.add("user", user="ann")
    batch = inbox.claim("somebody").id
    judged = {"gate": REFUSED, "retrain": REFUSED} if step == "retrain" else {}
    inbox.advance(batch, "somebody", step, None, **judged)
    inbox.hold(batch, "somebody", "fail", {}, **facts)
    return batch


def test_a_held_batch_says_why_and_what_to_do(empty):
    batch = hold(empty, held=["test/ndcg@20 0.20 is too low"])
    words = "\n".join(urgent(empty))
    assert f"HELD: {batch} waits for a person" in words and "because test/ndcg@20 0.20 is too low" in words
    assert f"`tru report {batch}`" in words
    assert "`tru batch retry`" in words and "`tru batch release --reason" in words and "Leave it" in words
    assert "ann" not in words.replace("cannot", "").split()


def test_a_batch_whose_check_failed_says_every_way_out_and_fits_a_screen(empty):
    batch = hold(empty, "cut", held=["data after the cut: no item has the modality image any more"] * 9)
    lines = urgent(empty)
    words = "\n".join(lines)
    assert "because data after the cut: no item has the modality image" in words and "6 more reasons" in words
    for command in ("batch accept --reason", "batch retry", "batch split", "requests withdraw", "requests refuse"):
        assert f"`tru {command}" in words, command
    assert "tru batch release" not in words, "there is no model to release"
    assert f"{batch} waits for a person" in words
    assert len(lines) <= 20 and max(map(len, lines)) <= 120


def test_of_several_held_batches_each_command_names_its_own(empty):
    first = hold(empty, "cut", held=["why"])
    open_inbox(empty).put_aside(first)
    open_inbox(empty).add("user", user="bob")
    second = open_inbox(empty).claim("somebody").id
    open_inbox(empty).hold(second, "somebody", None, {}, held=["why not"])
    words = "\n".join(urgent(empty))
    assert f"`tru batch accept {first} --reason" in words and f"`tru batch retry {second}`" in words


def test_a_held_batch_names_its_report_once_it_is_written(empty):
    batch = hold(empty, gate={"reasons": ["no"]}, retrain=None)
    report = empty.state / "reports" / f"{batch}.html"
    report.parent.mkdir(parents=True)
    report.touch()
    words = "\n".join(urgent(empty))
    assert str(report) in words and "because no" in words


@pytest.mark.parametrize(("again", "which"), [(None, "unlearned"), ({"verdict": "pass"}, "retrained")])
def test_a_batch_that_only_lacks_approval_says_which_model_would_serve(empty, again, which):
    hold(empty, held=["a person declined it"], gate={"verdict": "fail" if again else "pass"}, retrain=again)
    words = "\n".join(urgent(empty))
    assert f"The {which} model serves, which passed the gate" in words and "gate refused" not in words


def test_a_batch_under_work_is_not_urgent(empty):
    open_inbox(empty).add("user", user="ann")
    open_inbox(empty).claim("somebody")
    assert urgent(empty) == []


def interrupted(ws, how):
    """A batch whose run was killed, lost its machine, or failed; and nobody is at it any more."""
    inbox = open_inbox(ws)
    inbox.add("user", user="ann")
    owner = this_owner() if how == "it failed" else "another-machine:1:2"
    if how == "killed":
        process = subprocess.Popen([sys.executable, "-c", ""])
        owner = this_owner().replace(f":{os.getpid()}:", f":{process.pid}:")
        process.wait()
    batch = inbox.claim(owner, 120.0)
    times = {"cut": "2026-11-23T02:31:07+00:00"}
    inbox.advance(batch.id, owner, "cut", State.CUT, times=times)
    if how == "it failed":
        inbox.release(batch.id, owner)
    return batch.id


@pytest.mark.parametrize("how", ["killed", "its machine is gone", "it failed"])
def test_an_interrupted_batch_is_urgent_and_says_how_far_it_came(empty, how):
    batch = interrupted(empty, how)
    later = datetime.now(UTC) + timedelta(minutes=3 if how == "its machine is gone" else 0)
    lines = urgent(empty, later)
    assert lines[0].startswith(f"INTERRUPTED: {batch} stopped after the step cut (2026-11-23 02:31 UTC)")
    assert "`tru run` goes on from there" in lines[1] and len(lines) == 2
    found = read(empty, later)
    assert found["urgent"] == lines
    assert found["open_batch"] == {
        "id": batch,
        "state": "interrupted",
        "step": "cut",
        "since": "2026-11-23T02:31:07+00:00",
    }


def test_a_batch_under_work_is_said_and_is_not_urgent(empty):
    inbox = open_inbox(empty)
    inbox.add("user", user="ann")
    batch = inbox.claim(this_owner(), 120.0).id
    found = read(empty)
    assert found["open_batch"]["state"] == "working" and found["urgent"] == []
    assert f"open batch  {batch}: a run is at it; last step claim" in as_words(found)


def test_a_held_batch_shows_its_first_reasons_and_how_many_more_there_are(empty):
    hold(empty, held=[f"reason {n}" for n in range(9)])
    lines = [line.strip() for line in urgent(empty)]
    assert [line for line in lines if line.startswith("because")] == [f"because reason {n}" for n in range(3)]
    assert "and 6 more reasons, see the report" in lines


def test_requests_that_named_nothing_are_counted(empty):
    inbox = open_inbox(empty)
    ids = [inbox.add("user", user=name).request.id for name in ("ann", "bob", "eve")]
    batch = inbox.claim(this_owner(), 120.0).id
    inbox.not_found(batch, this_owner(), ids[:2])
    inbox.close(batch, this_owner(), "unlearned", "pass", {})
    found = read(empty)
    assert found["last_batch"]["not_found"] == 2
    assert "not found   2 of these 3 named nothing in the data: `tru requests list`" in as_words(found)


def test_a_champion_whose_files_are_gone_is_said(trained):
    shutil.rmtree(trained.model_store)
    found = read(trained)
    assert found["champion"]["version"] == "1"
    (line,) = found["urgent"]
    assert line.startswith("NO CHAMPION: version 1 should serve, but its files are gone from ")
    assert str(trained.model_store) in line and "`tru rollback --list`" in line


def test_a_store_that_lost_the_champion_is_said(trained):
    (trained.root / "mlflow.db").unlink()
    found = read(trained)
    assert found["champion"] is None
    (line,) = found["urgent"]
    assert line.startswith("NO CHAMPION: by the ledger version 1 serves, but MLflow's store has no champion")
    assert not (trained.root / "mlflow.db").exists()


def test_a_server_that_is_gone_leaves_all_the_rest(trained, monkeypatch):
    open_inbox(trained).add_all(subjects(trained))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
        found = read(trained)
    assert found["champion"]["version"] == "1" and found["champion"]["deleted_through"] == 0  # by the ledger
    assert found["requests"]["queued"] == 6 and found["drift"] is None
    (line,) = found["urgent"]
    assert line.startswith("CHAMPION NOT KNOWN: MLflow's store at http://127.0.0.1:")
    assert "does not answer (MLFLOW_TRACKING_URI)" in line


def test_it_fits_a_screen_when_everything_is_the_matter(empty):
    file_aged(empty, 40, 29)
    interrupted(empty, "it failed")
    found = read(empty, NOW) | {
        "champion": {"version": "112", "data_md5": "9400820d0e6e820a4aad30c2bf1817ef.dir", "deleted_through": 10_112},
        "requests": {"queued": 25, "held": 62, "closed": 10_112, "withdrawn": 3},
        "last_batch": {**BATCH, "not_found": 2},
        "baseline": {"version": "104", "age_days": 3.25},
        "drift": DRIFT,
        "licences": [
            {"regime": regime, "size": 100, "expires": "2026-12-23T12:00:00+00:00"}
            for regime in ("user", "item", "interaction", "modality")
        ],
    }
    lines = [*found["urgent"], *as_words(found).splitlines()]
    assert len(found["urgent"]) == 5 and len(lines) >= 13
    assert sum(max(1, ceil(len(line) / 80)) for line in lines) <= 24 - 1  # and the prompt


@pytest.mark.parametrize("what", ["a request", "an open batch", "a held batch", "an erasure"])
def test_what_is_due_is_known_beforehand(empty, what):
    assert not is_anything_due(empty)
    if what == "a request":
        open_inbox(empty).add("user", user="ann")
    elif what == "an open batch":
        interrupted(empty, "it failed")
    elif what == "a held batch":
        hold(empty, held=["no"])
    else:
        place = empty.state / "erasure" / "batch-20260101-01"
        place.mkdir(parents=True)
        (place / "traces.npz").touch()
        about = {"batch": place.name, "mark": 1, "promoted": "2026-11-23T11:00:00+00:00", "requests": [], "about": {}}
        (place / "about.json").write_text(json.dumps(about))
        empty.params.write_text("erasure: {grace_hours: 2}\n")
        assert not is_anything_due(empty, NOW)  # its time of grace is not over
        assert is_anything_due(empty, NOW + timedelta(hours=2))
        empty.params.write_text("erasure: {automatic: false}\n")
        assert not is_anything_due(empty, NOW)  # a person erases
        empty.params.write_text("")
    assert is_anything_due(empty, NOW)


def test_the_command_puts_what_is_urgent_first_and_in_red(empty):
    open_inbox(empty).add("user", user="ann", received=datetime.now(UTC) - timedelta(days=40))
    words = ["status", "--workspace", str(empty.root)]
    shown = CliRunner().invoke(app, words, color=True, catch_exceptions=False).stdout
    assert shown.startswith("\x1b[31m\x1b[1mOVERDUE: 1 request is")
    assert "champion    none" in shown.splitlines()[2]
    piped = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert piped.startswith("OVERDUE: 1 request is")


def test_drift_is_what_the_gate_noted_of_the_champion(trained):
    inbox = open_inbox(trained)
    inbox.add("user", user="ann")
    batch = inbox.claim("somebody")
    inbox.advance(batch.id, "somebody", "gate", None, gate={"drift": DRIFT})
    champion = Registry(trained).champion()
    tags = {**champion.tags, "tru.method": "tru", "tru.batch": batch.id}
    Registry(trained).tag(champion.version, tags)
    assert read(trained)["drift"] == DRIFT
    words = "3 nights unlearned, 1.2% of the trained pairs forgotten, at most 25% of the lists changed by that"
    assert f"drift       {words}" in as_words(read(trained))

    Registry(trained).tag(champion.version, {"tru.method": "baseline"})
    crown(trained, champion.version, "baseline")
    assert read(trained)["drift"]["nights"] == 0


def test_the_baseline_and_the_licences_that_count(trained):
    from tru.ops.judging.baseline import method_facts

    granted = NOW - timedelta(days=5)
    facts = {
        **method_facts(trained.data, load_settings(trained)),
        "regime": "user",
        "size": 100,
        "passed": True,
        "reasons": [],
        "table": [],
        "granted": granted.isoformat(),
        "expires": (granted + timedelta(days=35)).isoformat(),
    }
    open_ledger(trained).append("licence", "licence/1/user", **facts)
    open_ledger(trained).append("licence", "licence/1/item", **{**facts, "regime": "item", "passed": False})
    found = read(trained, NOW)
    assert found["licences"] == [
        {"regime": "user", "size": 100, "method": "tru", "expires": "2026-12-23T12:00:00+00:00"}
    ]
    assert "licences    user up to 100 until 2026-12-23" in as_words(found)
    assert read(trained, NOW + timedelta(days=31))["licences"] == []

    words = as_words({**found, "baseline": {"version": "4", "age_days": 2.25}})
    assert "baseline    version 4, 2.2 days old" in words


def test_a_damaged_baseline_does_not_silence_the_status(trained):
    from tru.ops.judging.baseline import folder

    folder(trained).mkdir(parents=True)
    (folder(trained) / "baseline.npz").write_bytes(b"not an array")
    assert read(trained)["baseline"] is None


def test_a_batch_that_ended_is_one_line():
    words = as_words({"champion": None, "requests": {}, "open_batch": None, "last_batch": BATCH, **NOTHING})
    assert "last batch  batch-20260101-01: unlearned, verdict pass, 3 requests" in words


def test_a_stranger_gets_what_is_popular(trained):
    user = str(load_dataset(trained.data).users[0])
    known, stranger = recommendation(trained, user, 7), recommendation(trained, "a stranger", 7)
    assert len(known["items"]) == len(stranger["items"]) == 7
    assert known["items"] != stranger["items"]
    assert stranger == {**recommendation(trained, "another", 7), "suppressed": False, "model_version": "1"}
