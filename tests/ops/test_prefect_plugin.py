"""The plug-in's decisions, and the real command where no server runs; with one, see test_services.py."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prefect.plugins import HookContext

from tru.cli.init import PREFECT
from tru.ops.servers.prefect_plugin import asks_our_server, setup_environment, with_full_name

ADDRESS = "http://127.0.0.1:4999"
QUIET = {"DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
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
        ("deployment run somebody-elses", "deployment run somebody-elses"),
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
    (tmp_path / "params.yaml").touch()
    monkeypatch.setenv("TRU_WORKSPACE", str(tmp_path))
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    return write_state(tmp_path, psutil.Process().create_time())


def write_state(root, started):
    server = {"name": "prefect-server", "pid": os.getpid(), "started": started, "address": ADDRESS}
    (root / ".tru" / "services.json").write_text(json.dumps({"token": "t", "members": [server], "complete": True}))
    return root


def call(api_url=None):
    return setup_environment(ctx=HookContext("3", api_url, logging.getLogger))


def test_the_command_finds_the_server_of_the_workspace(running, monkeypatch):
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call().env == {"PREFECT_API_URL": f"{ADDRESS}/api", **QUIET}


def test_the_workspace_may_be_the_current_directory(running, monkeypatch):
    monkeypatch.delenv("TRU_WORKSPACE")
    monkeypatch.chdir(running)
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call().env == {"PREFECT_API_URL": f"{ADDRESS}/api", **QUIET}


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

    assert call(api_url="http://prefect.internal/api").env == QUIET


def test_who_wants_telemetry_has_it(running, monkeypatch):
    monkeypatch.setattr("sys.argv", [*COMMAND])
    monkeypatch.setenv("DO_NOT_TRACK", "false")

    assert call().env["DO_NOT_TRACK"] == "false"


def test_a_program_that_merely_imports_prefect_is_left_alone(running, monkeypatch):
    argv = ["/somewhere/report.py", "deployment", "run", "train"]
    monkeypatch.setattr("sys.argv", argv)

    assert call() is None
    assert argv[-1] == "train"


@pytest.mark.parametrize(
    ("typed", "asks"),
    [
        ("deployment run unlearn-nightly", True),
        ("deployment run train/train", True),
        ("--no-prompt deployment run --watch rollback", True),
        ("deployment ls", True),
        ("flow-run ls", True),
        ("deploy", True),
        ("worker start --pool tru", True),
        ("deployment run somebody-elses", False),
        ("deployment run their-flow/nightly", False),
        ("deployment run --help", False),
        ("deployment", False),
        ("--profile theirs deployment ls", False),
        ("-p theirs deployment ls", False),
        ("config view", False),
        ("profile ls", False),
        ("server start", False),
        ("cloud login", False),
        ("version", False),
        ("--version", False),
        ("", False),
    ],
)
def test_commands_that_would_ask_our_server(typed, asks):
    assert asks_our_server(typed.split()) is asks


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A workspace as `tru init` makes it, where nothing runs; a terminal of somebody who never used Prefect."""
    root, home = tmp_path / "shop", tmp_path / "home"
    (root / ".tru").mkdir(parents=True)
    home.mkdir()
    shutil.copy(Path(__file__).parents[2] / "params.yaml", root)
    (root / "prefect.toml").write_text(PREFECT)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_", *QUIET))}
    return root, kept | {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def prefect(stopped, *words, **environment):
    root, terminal = stopped
    return subprocess.run(
        ["prefect", *words], cwd=root, env=terminal | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("deployment run unlearn-nightly", ", or `tru run`, which needs no server"),
        ("deployment run train/train", ", or `tru train`, which needs no server"),
        ("flow-run ls", ""),
    ],
)
def test_where_no_server_runs_a_command_says_so_in_one_line_and_makes_nothing(stopped, typed, instead):
    root, terminal = stopped
    done = prefect(stopped, *typed.split())

    line = f"Error: no Prefect server runs for the workspace {root}: `tru up` first{instead}.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
    assert list(Path(terminal["HOME"]).iterdir()) == []


def test_who_has_a_prefect_of_their_own_keeps_it(stopped):
    _, terminal = stopped
    theirs = Path(terminal["HOME"]) / ".prefect" / "profiles.toml"
    theirs.parent.mkdir()
    theirs.write_text('active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')

    for asked in (prefect(stopped, "flow-run", "ls"), prefect(stopped, "deployment", "run", "train")):
        assert asked.returncode == 1 and "ConnectError" in asked.stderr + asked.stdout  # nobody listens there
        assert "tru up" not in asked.stderr + asked.stdout
    seen = prefect(stopped, "config", "view").stdout
    assert "PREFECT_PROFILE='mine'" in seen and "PREFECT_SERVER_ANALYTICS_ENABLED='false'" in seen
    assert [file.name for file in theirs.parent.iterdir()] == ["profiles.toml"]
    other = prefect(stopped, "config", "view", PREFECT_API_URL="http://127.0.0.1:8/api").stdout
    assert "PREFECT_API_URL='http://127.0.0.1:8/api' (from env)" in other


def test_a_folder_that_is_no_workspace_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TRU_WORKSPACE", str(tmp_path))
    monkeypatch.setattr("sys.argv", [*COMMAND])

    assert call() is None


def test_a_server_that_is_gone_is_not_offered(running, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [*COMMAND])
    write_state(running, psutil.Process().create_time() - 3600)  # our pid had another owner an hour ago

    with pytest.raises(SystemExit) as end:
        call()
    assert end.value.code == 1
    assert f"no Prefect server runs for the workspace {running}: `tru up` first" in capsys.readouterr().err


def test_what_asks_nobody_goes_on_without_a_server(running, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/prefect", "config", "view"])
    write_state(running, psutil.Process().create_time() - 3600)

    assert call().env == QUIET
