from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from typer.testing import CliRunner

from tests.contracts import Clock
from tru.cli.ledger import app
from tru.errors import WorkspaceError
from tru.ops.requests.store import open_ledger
from tru.ops.workspace import Workspace


@pytest.fixture
def ws(tmp_path, monkeypatch):
    monkeypatch.delenv("TRU_DATABASE_URL", raising=False)
    (tmp_path / "params.yaml").write_text("")
    return Workspace(tmp_path)


@pytest.fixture
def filled(ws):
    """Three champions and what led to them, an hour apart."""
    clock = Clock()
    ledger = open_ledger(ws, clock)

    def enter(kind, key, **facts):
        ledger.append(kind, key, **facts)
        clock.pass_seconds(3600)

    enter("champion", "1", version="1", why="trained", previous=None, batch=None, deleted_through=0)
    enter("verdict", "b1", batch="batch-20261123-01", candidate="unlearned", verdict="pass", mode="fresh", reasons=[])
    enter("champion", "2", version="2", why="unlearned", previous="1", batch="batch-20261123-01", deleted_through=41)
    enter("rollback", "r", version="3", previous="2", reason="slow pages")
    enter("champion", "3", version="3", why="rollback", previous="2", deleted_through=41, reason="slow pages")
    return ledger


def _run(ws, *words):
    return CliRunner().invoke(app, [*words, "--workspace", str(ws.root)], catch_exceptions=False)


def _tamper(ws, statement):
    with closing(sqlite3.connect(ws.state / "inbox.db")) as connection, connection:
        for event in ("update", "delete", "insert"):
            connection.execute(f"DROP TRIGGER ledger_no_{event}")
        connection.execute(statement)


def test_show_reads_well(ws, filled):
    assert _run(ws, "show").output == (
        "champions\n"
        "  version 1  2026-11-23 02:30 to 2026-11-23 04:30  trained\n"
        "  version 2  2026-11-23 04:30 to 2026-11-23 06:30  unlearned, batch-20261123-01\n"
        "  version 3  2026-11-23 06:30 to now               rollback\n"
        "\n"
        "2026-11-23 02:30  champion  version 1 (trained), deletions through 0\n"
        "2026-11-23 03:30  verdict   pass: batch-20261123-01, unlearned (fresh)\n"
        "2026-11-23 04:30  champion  version 2 (unlearned, batch-20261123-01), after version 1, deletions through 41\n"
        "2026-11-23 05:30  rollback  to version 3, from version 2: slow pages\n"
        "2026-11-23 06:30  champion  version 3 (rollback), after version 2, deletions through 41: slow pages\n"
    )


def test_show_takes_the_newest_and_one_kind(ws, filled):
    lines = _run(ws, "show", "-n", "2").output.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["2", "3"]
    assert [line.split()[2] for line in lines[4:]] == ["rollback", "champion"]
    lines = _run(ws, "show", "--kind", "verdict").output.splitlines()
    assert [line.split()[2] for line in lines[5:]] == ["verdict"]
    refused = _run(ws, "show", "--kind", "gossip")
    assert refused.exit_code == 2 and "erasure" in refused.output
    assert _run(ws, "show", "-n", "0").exit_code == 2


def test_show_as_json(ws, filled):
    found = json.loads(_run(ws, "show", "--json", "-n", "1").output)
    entry = filled.entries()[-1]
    assert found["reigns"] == [
        {"version": "3", "from": "2026-11-23T06:30:00+00:00", "until": None, "why": "rollback", "batch": None}
    ]
    assert found["entries"] == [
        {
            "seq": 5,
            "at": "2026-11-23T06:30:00+00:00",
            "kind": "champion",
            "key": "3",
            "facts": entry.facts,
            "previous": entry.previous,
            "digest": entry.digest,
        }
    ]


def test_a_ledger_without_entries(ws):
    open_ledger(ws)
    assert "no entries yet" in _run(ws, "show").output
    done = _run(ws, "verify")
    assert (done.exit_code, done.output) == (0, "ledger intact: no entries yet\n")
    assert json.loads(_run(ws, "verify", "--json").output) == {
        "intact": True,
        "entries": 0,
        "head": None,
        "faults": [],
    }


@pytest.mark.parametrize("command", ["show", "verify"])
def test_where_there_is_none_none_is_made_and_none_found_intact(ws, command):
    with pytest.raises(WorkspaceError, match="no ledger"):
        _run(ws, command)
    assert not ws.state.exists()


def test_verify_says_that_all_is_well(ws, filled):
    done = _run(ws, "verify")
    assert (done.exit_code, done.output) == (
        0,
        f"ledger intact: 5 entries, head {filled.entries()[-1].digest}\n",
    )


def test_verify_says_what_is_wrong_and_fails(ws, filled):
    _tamper(ws, "DELETE FROM ledger WHERE seq = 2")
    done = _run(ws, "verify")
    assert done.exit_code == 1
    assert done.output.splitlines() == ["The ledger is NOT intact (4 entries):", "  Entry 2 is missing."]
    done = _run(ws, "verify", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert (found["intact"], found["entries"], found["faults"]) == (False, 4, ["Entry 2 is missing."])
    assert len(_run(ws, "show").output.splitlines()) == 9


def test_verify_against_the_versions_finds_a_ledger_made_up_from_end_to_end(trained):
    done = _run(trained, "verify", "--against")
    assert done.exit_code == 0, done.output
    for file in trained.state.glob("inbox.db*"):
        file.unlink()
    open_ledger(trained).append("champion", "champion/0", version="1", why="trained", batch=None)
    assert _run(trained, "verify").exit_code == 0
    done = _run(trained, "verify", "--against")
    assert done.exit_code == 1 and "version 1" in done.output


def test_nothing_heavy_is_imported_for_help():
    heavy = "('pandas', 'numpy', 'sqlalchemy', 'mlflow', 'dvc', 'torch')"
    script = f"import sys, tru.cli.ledger; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
