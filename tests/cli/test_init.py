import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tru import templates
from tru.cli import init
from tru.cli.main import app
from tru.errors import TruError, WorkspaceError
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox
from tru.ops.settings import Settings, load_settings
from tru.ops.status import as_words, read
from tru.ops.workspace import Workspace

ROOT = Path(__file__).parents[2]
FLOWS = ("flows/baseline.py", "flows/rollback.py", "flows/train.py", "flows/unlearn.py")


def git(root, *words):
    return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout


def test_a_folder_becomes_a_workspace_under_git_and_dvc(tmp_path):
    ws = init.create(tmp_path / "a" / "shop")

    assert Workspace.find(ws.root) == ws
    assert git(ws.root, "status", "--porcelain") == ""
    tracked = set(git(ws.root, "ls-files").split())
    assert {"params.yaml", "dvc.yaml", "prefect.yaml", ".gitignore", "prefect.toml", ".dvc/config", *FLOWS} <= tracked
    for name in ("params.yaml", "dvc.yaml", "prefect.yaml", *FLOWS):  # of which the repository keeps the only copy
        assert (ws.root / name).read_text() == (ROOT / name).read_text() and not (ws.root / name).is_symlink()
    assert isinstance(load_settings(ws), Settings)
    assert open_inbox(ws).list() == []
    assert (ws.state / "inbox.db").stat().st_mode & 0o077 == 0
    assert (ws.state / "suppression.key").stat().st_mode & 0o077 == 0
    assert "train one: `tru train`" in as_words(read(ws))


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "params.yaml").write_text("train: {seed: 5}\n")
    (tmp_path / "thesis.txt").write_text("mine")
    ws = init.create(tmp_path)
    first = git(tmp_path, "rev-parse", "HEAD")
    open_inbox(ws).add("user", user="somebody")

    again = init.create(tmp_path)

    assert load_settings(again).train.seed == 5
    assert len(open_inbox(again).list()) == 1
    assert git(tmp_path, "rev-parse", "HEAD") == first
    assert git(tmp_path, "status", "--porcelain").split() == ["??", "params.yaml", "??", "thesis.txt"]


def test_inside_another_repository_it_is_one_of_its_own(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    ws = init.create(tmp_path / "demo")
    assert git(ws.root, "rev-parse", "--show-toplevel").strip() == str(ws.root)


def test_nothing_that_names_people_can_slip_into_git(tmp_path):
    ws = init.create(tmp_path)
    for name in ("data", "data.new-7", "data.old-7", ".tru/batches", "mlartifacts"):
        (ws.root / name).mkdir(parents=True, exist_ok=True)
        (ws.root / name / "people.txt").write_text("somebody")
    (ws.root / "mlflow.db").write_text("somebody")
    assert git(ws.root, "status", "--porcelain") == ""


def test_flows_of_somebodys_own_are_left_alone(tmp_path):
    root = mine(tmp_path / "thesis")
    (root / "flows").mkdir()
    (root / "flows" / "train.py").write_text("mine")
    init.create(root)
    assert [file.name for file in (root / "flows").iterdir()] == ["train.py"]
    assert not (root / "prefect.yaml").exists() and pending(root)["flows/"] == "??"
    assert init.is_complete(root)


def test_a_workspace_of_version_0_1_0_gets_flows_when_it_is_asked_for(tmp_path):
    root = init.create(tmp_path / "shop").root
    git(root, "rm", "-rq", "flows", "prefect.yaml")
    git(root, *AUTHOR, "commit", "-qm", "As version 0.1.0 left it")
    assert not init.is_complete(root)
    init.create(root)
    assert set(FLOWS) <= set(git(root, "ls-files").split()) and git(root, "status", "--porcelain") == ""
    assert init.is_complete(root)


def mine(root):
    """A repository of somebody's, with work that is staged, changed and new."""
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "thesis.txt").write_text("first\n")
    (root / ".gitignore").write_text("*.aux\n")
    git(root, "add", "-A")
    git(root, *AUTHOR, "commit", "-qm", "Mine")
    (root / "thesis.txt").write_text("second\n")
    (root / ".gitignore").write_text("*.aux\n*.log\n")
    (root / "staged.txt").write_text("staged\n")
    git(root, "add", "staged.txt")
    (root / "metrics").mkdir()
    (root / "metrics" / "mine.json").write_text("{}")
    return root


AUTHOR = ("-c", "user.name=me", "-c", "user.email=me@example.org")


def pending(root):
    return {line[3:]: line[:2] for line in git(root, "status", "--porcelain").splitlines()}


def everything(root):
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}


def test_only_files_that_it_wrote_itself_are_committed(tmp_path):
    root = mine(tmp_path / "thesis")
    before = pending(root)
    (root / ".dvcignore").write_text("*.bak\n")  # mine, and new

    init.create(root)

    assert pending(root) == {**before, ".dvcignore": "??"}
    committed = set(git(root, "show", "--name-only", "--format=", "HEAD").split())
    settings = {"params.yaml", "dvc.yaml", "prefect.yaml", "prefect.toml"}
    assert committed == {*settings, ".dvc/config", ".dvc/.gitignore", *FLOWS}
    assert (root / "thesis.txt").read_text() == "second\n" and (root / ".gitignore").read_text() == "*.aux\n*.log\n"


def test_settings_of_dvc_that_are_there_stay(tmp_path):
    root = mine(tmp_path / "thesis")
    (root / ".dvc" / "cache").mkdir(parents=True)
    (root / ".dvc" / "cache" / "object").write_text("mine")
    init.create(root)
    assert (root / ".dvc" / "cache" / "object").read_text() == "mine"

    words = "[core]\n    autostage = true\n"
    (root / ".dvc" / "config").write_text(words)
    (root / "prefect.toml").unlink()
    ws = init.create(root)
    assert (root / ".dvc" / "config").read_text() == words
    ws.data.mkdir()
    (ws.data / "a.txt").write_text("a")
    DataVersions(ws).add()
    assert pending(root)["data.dvc"] == "??"  # not staged by DVC, whatever its settings say


def test_a_workspace_is_not_made_twice(tmp_path):
    root = init.create(tmp_path / "shop").root
    (root / "thesis.txt").write_text("mine")
    git(root, "add", "thesis.txt")
    (root / "params.yaml").write_text((root / "params.yaml").read_text() + "\n")
    (root / ".git" / "index").touch()
    before = everything(root)

    done = CliRunner().invoke(app, ["init", str(root)], catch_exceptions=False)

    assert done.output == f"{root} is a workspace already; nothing was changed.\n"
    assert everything(root) == before


def test_a_clone_of_a_workspace_gets_what_git_does_not_carry(tmp_path):
    root = init.create(tmp_path / "shop").root
    git(tmp_path, "clone", "-q", str(root), str(tmp_path / "clone"))
    ws = init.create(tmp_path / "clone")
    assert open_inbox(ws).list() == [] and git(ws.root, "status", "--porcelain") == ""
    assert git(ws.root, "rev-parse", "HEAD") == git(root, "rev-parse", "HEAD")


def without_git(monkeypatch, tmp_path, root):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def without_templates(monkeypatch, tmp_path, root):
    monkeypatch.setattr(templates, "_FOLDER", tmp_path / "nothing")


def without_a_database(monkeypatch, tmp_path, root):
    monkeypatch.setenv("TRU_DATABASE_URL", f"sqlite:///{tmp_path}/file/inbox.db")


def where_git_refuses_to_commit(monkeypatch, tmp_path, root):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(hooks))


def where_dvc_refuses(monkeypatch, tmp_path, root):
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc"))
    (tmp_path / "dvc").mkdir()
    (tmp_path / "dvc" / "config").write_text("[core\n")


FAULTS = [without_git, without_templates, without_a_database, where_git_refuses_to_commit, where_dvc_refuses]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_leaves_nothing(fault, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    root = tmp_path / "a" / "shop"
    fault(monkeypatch, tmp_path, root)
    with pytest.raises(TruError):
        init.create(root)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("fault", [without_templates, without_a_database, where_git_refuses_to_commit])
def test_what_fails_leaves_what_was_there(fault, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    root = mine(tmp_path / "thesis")
    before, status = everything(root), git(root, "status", "--porcelain")
    fault(monkeypatch, tmp_path, root)
    with pytest.raises(TruError):
        init.create(root)
    monkeypatch.undo()
    assert git(root, "status", "--porcelain") == status
    same = {name: content for name, content in before.items() if not name.startswith(".git/")}
    assert {name: content for name, content in everything(root).items() if not name.startswith(".git/")} == same


def test_a_place_that_is_no_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/shop"):
        with pytest.raises(WorkspaceError, match="cannot be made a workspace"):
            init.create(tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"
