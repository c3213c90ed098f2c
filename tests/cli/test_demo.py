"""The tour replaces the folder of an earlier tour and nothing else in the world."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests import nights
from tests.workspaces import file_requests, subjects, whole_night
from tru.cli import demo
from tru.cli.init import create
from tru.cli.main import app
from tru.errors import WorkspaceError
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.workspace import Workspace


def contents(folder):
    """Every file below, by its bytes; a link by where it leads."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def git(root, *words):
    subprocess.run(
        ["git", "-C", root, "-c", "user.name=me", "-c", "user.email=me@example.org", *words],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def toured(tmp_path):
    """The folder of a tour that got as far as its data."""
    return demo._workspace(tmp_path / "demo", Console(quiet=True))


def foreign_repository(folder):
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "src").mkdir()
    for name in ("params.yaml", "thesis.txt", "src/main.py"):
        (folder / name).write_text("mine: 1\n")


def real_workspace(folder):
    open_inbox(create(folder)).add("user", user="somebody")


def any_files(folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")


def demo_of_0_1_0(folder):
    """As a real workspace looks, and there is no way to tell."""
    real_workspace(folder)
    (folder / "data").mkdir()


def somebody_elses_mark(folder):
    any_files(folder)
    (folder / ".tru").mkdir()
    (folder / ".tru" / "demo.json").write_text('["demo"]')


def file_of_that_name(folder):
    folder.write_text("mine")


@pytest.mark.parametrize(
    "make", [foreign_repository, real_workspace, any_files, demo_of_0_1_0, somebody_elses_mark, file_of_that_name]
)
def test_what_no_tour_made_stays_as_it_is(make, tmp_path):
    place = tmp_path / "place"
    make(place)
    before = contents(tmp_path)

    done = CliRunner().invoke(app, ["demo", str(place)])

    assert isinstance(done.exception, WorkspaceError)
    assert "tru demo DIR" in str(done.exception) and "\n" not in str(done.exception)
    assert contents(tmp_path) == before


def test_a_link_is_not_followed_even_to_a_tour(toured):
    link = toured.root.with_name("link")
    link.symlink_to(toured.root)
    before = contents(toured.root)
    with pytest.raises(WorkspaceError, match="link"):
        demo.tour(link)
    assert link.is_symlink() and contents(toured.root) == before


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_tour_that_somebody_copied_or_moved_is_theirs(how, toured):
    place = toured.root.with_name("kept")
    how(str(toured.root), str(place))
    before = contents(place)
    with pytest.raises(WorkspaceError, match="no tour made it"):
        demo.tour(place)
    assert contents(place) == before


def put_a_file(ws):
    (ws.root / "thesis.txt").write_text("mine")


def put_a_hidden_folder(ws):
    (ws.root / ".notes").mkdir()


def put_a_file_among_the_metrics(ws):
    ws.metrics.mkdir(exist_ok=True)
    (ws.metrics / "mine.json").write_text("{}")


def put_a_file_into_the_data(ws):
    (ws.data / "mine.csv").write_text("a,b\n")


def change_the_settings(ws):
    ws.params.write_text(ws.params.read_text() + "\n")


def commit_changed_settings(ws):
    change_the_settings(ws)
    git(ws.root, "commit", "-qam", "Mine")


def commit_on_a_branch_and_go_back(ws):
    git(ws.root, "switch", "-qc", "mine")
    put_a_file(ws)
    git(ws.root, "add", "thesis.txt")
    git(ws.root, "commit", "-qm", "Mine")
    git(ws.root, "switch", "-q", "main")


def change_a_flow(ws):
    (ws.root / "flows" / "unlearn.py").write_text("# mine\n")


def put_a_flow(ws):
    (ws.root / "flows" / "mine.py").write_text("# mine\n")


def commit_a_flow(ws):
    put_a_flow(ws)
    git(ws.root, "add", "flows/mine.py")
    git(ws.root, "commit", "-qm", "Mine")


def import_data(ws):
    shutil.copytree(ws.data, ws.root.parent / "source")
    done = CliRunner().invoke(app, ["data", "import", str(ws.root.parent / "source"), "--workspace", str(ws.root)])
    assert done.exit_code == 0, done.output
    # The very same data: only the ledger knows. (An import of other data says so in the ledger in the same way.)
    open_ledger(ws).append("data", "imported/0/other", before=None, after="other", how="imported")


@pytest.mark.parametrize(
    "do",
    [
        *(put_a_file, put_a_hidden_folder, put_a_file_among_the_metrics, put_a_file_into_the_data),
        *(change_the_settings, commit_changed_settings, commit_on_a_branch_and_go_back, import_data),
        *(change_a_flow, put_a_flow, commit_a_flow),
    ],
)
def test_what_somebody_added_to_a_tour_keeps_all_of_it(do, toured):
    do(toured)
    before = contents(toured.root)
    with pytest.raises(WorkspaceError, match=r"what the tour did not make: .*delete the folder yourself"):
        demo.tour(toured.root)
    after = contents(toured.root)
    same = {name for name in before if not name.startswith((".dvc/tmp/", ".git/index"))}  # looked at by DVC and git
    assert {name: after.get(name) for name in same} == {name: before[name] for name in same}


def test_the_folder_of_a_tour_is_replaced_whatever_its_night_made(trained):
    """A whole night, a research loop and its links: all of it is the tour's."""
    mark = {"folder": str(trained.root)}
    (trained.root / demo.MARK).write_text(json.dumps(mark))
    file_requests(trained, subjects(trained))
    assert whole_night(trained)
    DataVersions(trained).reproduce()
    outside = trained.root.parent / "outside"
    any_files(outside)
    (trained.artifacts / "link").symlink_to(outside)
    (trained.root / ".git" / "info" / "exclude").write_text("/artifacts/link\n")

    demo.make_room(trained.root)

    assert list(contents(trained.root)) == [str(demo.MARK)]
    assert json.loads((trained.root / demo.MARK).read_text())["folder"] == str(trained.root)
    assert contents(outside) == {"notes.txt": b"mine"}


def test_an_empty_folder_and_a_new_one_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/new"):
        demo.make_room(tmp_path / name)
        assert list(contents(tmp_path / name)) == [str(demo.MARK)]
        demo.make_room(tmp_path / name)  # a tour that was killed here


@pytest.mark.parametrize("name", ["TRU_DATABASE_URL", "MLFLOW_TRACKING_URI"])
def test_it_keeps_out_of_a_database_that_others_use(name, tmp_path, monkeypatch):
    monkeypatch.setenv(name, f"sqlite:///{tmp_path}/production.db")
    with pytest.raises(WorkspaceError, match=f"env -u {name} tru demo"):
        demo.tour(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_the_mark_is_the_tours_alone(tmp_path):
    assert not (create(tmp_path / "shop").root / demo.MARK).exists()
    assert Workspace.find(tmp_path / "shop")


def printed(renderable):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text().splitlines()


@pytest.mark.parametrize("batch", [nights.fresh, nights.retrained, nights.licensed], ids=lambda one: one.__name__)
def test_the_gate_fits_a_terminal_with_a_line_for_each_check(batch):
    facts = batch().facts
    verdict = facts["retrain"] or facts["gate"]
    lines = printed(demo._verdict(verdict))
    measured = [row for row in verdict["table"] if not row["low"] == row["high"] == 0]
    assert len([line for line in lines if line.strip().endswith(("✓", "✗", "–"))]) == 1 + len(measured)
    assert any("left behind" in line and line.strip().endswith("✓") for line in lines)


def test_the_gate_says_what_was_left_behind():
    broken = nights.exact(nights.EXACT[0], 3)
    (line,) = [line for line in printed(demo._verdict(nights.verdict(broken))) if "left behind" in line]
    assert line.strip().endswith("✗ 1")


def test_commands_are_called_by_name_only_in_an_activated_environment(monkeypatch):
    program = Path(sys.executable).with_name("tru")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")  # as `make` does
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    assert demo._command("tru") == str(program)
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert demo._command("tru") == "tru"
