"""The plug-in's decisions. That Prefect really calls it is tested with a real server in test_services.py."""

import json
import logging
import os

import psutil
import pytest
from prefect.plugins import HookContext

from tru.prefect_plugin import setup_environment, with_full_name

ADDRESS = "http://127.0.0.1:4999"
COMMAND = ["/somewhere/bin/prefect", "deployment", "run", "unlearn-nightly"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("deployment run unlearn-nightly", "deployment run unlearn-nightly/unlearn-nightly"),
        ("deployment run train --watch", "deployment run train/train --watch"),
        ("deployment run --watch -p a=1 train", "deployment run --watch -p a=1 train/train"),
        ("--no-prompt deployment run train", "--no-prompt deployment run train/train"),
        ("deployment inspect train", "deployment inspect train/train"),
        ("deployment run train/train", "deployment run train/train"),
        ("deployment run --id 3f1c", "deployment run --id 3f1c"),
        ("deployment run", "deployment run"),
        ("deployment run --help", "deployment run --help"),
        ("deployment ls", "deployment ls"),
        ("flow-run ls", "flow-run ls"),
        ("", ""),
    ],
)
def test_a_bare_deployment_name_becomes_a_full_one(typed, read):
    assert with_full_name(typed.split()) == read.split()


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A workspace whose state file names a living process (this one) as its Prefect server."""
    (tmp_path / ".tru").mkdir()
    monkeypatch.setenv("TRU_WORKSPACE", str(tmp_path))
    return write_state(tmp_path, psutil.Process().create_time())


def write_state(root, started):
    server = {"name": "prefect-server", "pid": os.getpid(), "started": started, "address": ADDRESS}
    (root / ".tru" / "services.json").write_text(json.dumps({"token": "t", "members": [server], "complete": True}))
    return root


def call(api_url=None):
    return setup_environment(ctx=HookContext("3", api_url, logging.getLogger))


def test_the_command_finds_the_server_of_the_workspace(running, monkeypatch):
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call().env == {"PREFECT_API_URL": f"{ADDRESS}/api"}


def test_the_workspace_may_be_the_current_directory(running, monkeypatch):
    monkeypatch.delenv("TRU_WORKSPACE")
    monkeypatch.chdir(running)
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call().env == {"PREFECT_API_URL": f"{ADDRESS}/api"}


def test_the_name_is_rewritten_where_prefect_reads_it(running, monkeypatch):
    argv = [*COMMAND]
    monkeypatch.setattr("sys.argv", argv)
    call()

    assert argv[1:] == ["deployment", "run", "unlearn-nightly/unlearn-nightly"]


def test_python_m_prefect_is_the_command_too(running, monkeypatch):
    monkeypatch.setattr("sys.argv", ["-m", "deployment", "run", "train"])
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "prefect", "deployment", "run", "train"])

    assert call() is not None


def test_an_address_the_user_gave_is_kept(running, monkeypatch):
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call(api_url="http://prefect.internal/api") is None


def test_a_program_that_merely_imports_prefect_is_left_alone(running, monkeypatch):
    argv = ["/somewhere/report.py", "deployment", "run", "train"]
    monkeypatch.setattr("sys.argv", argv)

    assert call() is None
    assert argv[-1] == "train"


def test_a_server_that_is_gone_is_not_offered(running, monkeypatch):
    monkeypatch.setattr("sys.argv", [*COMMAND])
    write_state(running, psutil.Process().create_time() - 3600)  # our pid had another owner an hour ago

    assert call() is None


def test_a_folder_where_nothing_runs_is_fine(tmp_path, monkeypatch):
    monkeypatch.setenv("TRU_WORKSPACE", str(tmp_path))
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call() is None
