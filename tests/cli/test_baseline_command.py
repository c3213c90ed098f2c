import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.patience import HANG
from tests.workspaces import change
from tru.cli.baseline import baseline
from tru.errors import WorkspaceError
from tru.ops.requests.store import open_ledger

app = typer.Typer()
app.command()(baseline)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).stdout


def test_it_says_what_there_is(trained):
    words = run("--show", "--workspace", trained.root)
    assert "baseline   none; make one: `tru baseline`" in words
    assert "no rehearsal has been made for items" in words
    found = json.loads(run("--show", "--json", "--workspace", trained.root))
    assert found["baseline"] is None and len(found["licences"]) == 4
    assert not open_ledger(trained).entries("baseline")  # looking makes none


def test_it_makes_one_without_a_server(trained):
    change(trained, "gate", min_subjects=5)
    tru = Path(sys.executable).with_name("tru")  # a process of its own, for Prefect's temporary server ends with it
    done = subprocess.run([tru, "baseline", "-w", trained.root], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    words = done.stdout
    assert words.startswith("Version 2 is the baseline; the champion stays: test NDCG@20")
    assert "is good for batches of up to 15 users until" in words

    shown = run("--show", "--workspace", trained.root)
    assert "version 2, 2 seeds of" in shown and "standard deviation between the seeds" in shown
    found = json.loads(run("--show", "--json", "--workspace", trained.root))
    assert (found["baseline"]["version"], found["baseline"]["deleted_through"]) == ("2", 0)
    assert not {"users", "ndcg"} & set(found["baseline"])
    assert [row["size"] for row in found["licences"]][:2] == [15, 8]


def test_a_folder_that_is_no_workspace(tmp_path):
    with pytest.raises(WorkspaceError):
        run("--show", "--workspace", tmp_path)


def test_nothing_heavy_is_imported_for_help():
    heavy = "('torch', 'pandas', 'numpy', 'mlflow', 'prefect', 'sqlalchemy')"
    script = f"import sys, tru.cli.baseline; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
