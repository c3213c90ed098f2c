import subprocess

import pytest

from tru import init
from tru.errors import WorkspaceError
from tru.requests.store import open_inbox
from tru.settings import Settings, load_settings
from tru.status import as_words, read
from tru.workspace import Workspace


def git(root, *words):
    return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout


def test_a_folder_becomes_a_workspace_under_git_and_dvc(tmp_path):
    ws = init.create(tmp_path / "a" / "shop")

    assert Workspace.find(ws.root) == ws
    assert git(ws.root, "status", "--porcelain") == ""
    tracked = set(git(ws.root, "ls-files").split())
    assert {"params.yaml", "dvc.yaml", ".gitignore", "prefect.toml", ".dvc/config"} <= tracked
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
    assert git(tmp_path, "status", "--porcelain").split() == ["??", "thesis.txt"]


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


def test_without_the_checkout_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(init, "TEMPLATES", tmp_path / "nowhere")
    with pytest.raises(WorkspaceError, match="Install tru from its checkout"):
        init.create(tmp_path / "shop")
