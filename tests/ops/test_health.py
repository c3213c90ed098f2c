"""`tru check`: each part of a workspace is broken once, and the line about it, and no other, says what to do."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.workspaces import file_requests, grow, subjects
from tru.cli.init import create
from tru.cli.main import app
from tru.ops import health
from tru.ops.requests.lifecycle import State
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox
from tru.ops.servers import services

SIGNING = "signing key"  # a workspace without a key of its own is told so, whatever else is the matter


def found(ws):
    return {finding.what: finding for finding in health.check(ws)}


def faults(ws):
    return {what: finding.words for what, finding in found(ws).items() if finding.state == "wrong"}


def everything(root: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in root.rglob("*") if file.is_file() and ".dvc/tmp" not in str(file)}


def test_a_workspace_in_order(trained):
    before = everything(trained.root)
    seen = found(trained)
    assert list(seen) == list(health.CHECKS)
    assert {what for what, finding in seen.items() if finding.state != "ok"} == {SIGNING}
    assert seen["champion"].words == "version 1 serves 150 users and 80 items"
    assert seen["data"].words.startswith("150 users, 80 items, ") and "`tru certificate keys new" in seen[SIGNING].words
    assert everything(trained.root) == before


def test_a_new_workspace_has_nothing_wrong_and_says_what_comes_first(tmp_path):
    seen = found(create(tmp_path / "new"))
    assert {finding.state for finding in seen.values()} == {"ok", "warning"}
    assert "`tru data import PATH`" in seen["data"].words and "`tru train`" in seen["champion"].words


def test_a_folder_of_settings_alone_is_told_and_left_alone(tmp_path):
    (tmp_path / "params.yaml").write_text("{}\n")
    from tru.ops.workspace import Workspace

    assert {"git", "DVC", "inbox", "ledger"} <= set(faults(Workspace(tmp_path)))
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]


def break_settings(ws):
    ws.params.write_text("trian: {}\n")


def break_exports(ws):
    ws.params.write_text("erasure: {exports: [data]}\n")


def break_pipeline(ws):
    (ws.root / "dvc.yaml").write_text("stages: {}\n")


def break_data(ws):
    file = ws.data / "interactions.parquet"
    file.write_bytes(file.read_bytes()[:1000])


def break_version(ws):
    before = (ws.root / "data.dvc").read_text()
    grow(ws)
    (ws.root / "data.dvc").write_text(before)


def break_inbox(ws):
    for file in ws.state.glob("inbox.db*"):
        file.unlink()


def break_key(ws):
    (ws.state / "suppression.key").write_text("f" * 64)


def open_key_to_others(ws):
    (ws.state / "suppression.key").chmod(0o644)


def break_ledger(ws):
    with sqlite3.connect(ws.state / "inbox.db") as db:
        db.execute("DROP TRIGGER ledger_no_update")
        db.execute("UPDATE ledger SET facts = replace(facts, 'trained', 'rollback')")
    db.close()


def break_model(ws):
    (next(ws.model_store.rglob("serving.npz"))).write_bytes(b"PK\x03\x04")


def lose_models(ws):
    shutil.rmtree(ws.model_store)


def interrupt(ws):
    inbox = open_inbox(ws)
    file_requests(ws, subjects(ws)[:1])
    batch = inbox.claim(this_owner()).id
    inbox.advance(batch, this_owner(), "cut", State.CUT)
    inbox.release(batch, this_owner())


@pytest.mark.parametrize(
    ("damage", "what", "words"),
    [
        (break_settings, {"settings"}, "did you mean train?"),
        (break_exports, {"settings"}, "erasure.exports names"),
        (break_pipeline, {"DVC"}, "`git checkout dvc.yaml`"),
        (break_data, {"data", "data version"}, "interactions.parquet"),
        (break_version, {"data version"}, "`dvc checkout data.dvc`"),
        (break_inbox, {"inbox", "ledger", "champion", "open work"}, "no inbox"),
        (break_key, {"inbox", "champion", "open work"}, "not the one this inbox was filled with"),
        (open_key_to_others, {"inbox"}, "chmod 600"),
        (break_ledger, {"ledger"}, "`tru ledger verify`"),
        (break_model, {"champion"}, "serving.npz"),
        (lose_models, {"champion"}, "its files are gone"),
        (interrupt, {"open work"}, "INTERRUPTED"),
    ],
)
def test_what_is_broken_is_wrong_and_nothing_else_is(trained, damage, what, words):
    damage(trained)
    before = everything(trained.root)
    seen = faults(trained)
    # Settings are read by most; what only they keep from being looked at is not counted.
    assert what <= set(seen) if what == {"settings"} else what == set(seen)
    assert any(words in seen[name] for name in what)
    assert everything(trained.root) == before


def test_servers_that_ended_are_wrong(trained):
    gone = services.Service("prefect-server", 1, 0.0, "http://127.0.0.1:1")
    state = {"token": "t", "members": [vars(gone)], "complete": True}
    (trained.state / "services.json").write_text(json.dumps(state))
    seen = faults(trained)
    assert set(seen) == {"servers"} and "prefect-server" in seen["servers"] and "`tru up`" in seen["servers"]


def test_too_little_room_for_a_night_is_wrong(trained, monkeypatch):
    monkeypatch.setattr(health, "SPARE", 2.0**80)
    assert "Make room" in faults(trained)["disk"]


def test_the_command_has_a_line_each_and_its_exit_code_says_whether_anything_is_wrong(trained):
    words = ["check", "--workspace", str(trained.root)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == len(health.CHECKS)
    assert done.stdout.startswith("ok       settings      mgcn, unlearned by tru, gate mode auto")
    lose_models(trained)
    done = CliRunner().invoke(app, [*words, "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == 1 and [row["what"] for row in rows] == list(health.CHECKS)
    assert [row["what"] for row in rows if row["state"] == "wrong"] == ["champion"]
