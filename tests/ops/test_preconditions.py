"""A mistake that can be seen beforehand is said in one line, at once: before Prefect, DVC or torch are loaded."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.test_imports import ROOT, TOOLS
from tests.workspaces import file_requests, subjects
from tru.cli.init import create
from tru.errors import DataError, ModelError, ReleaseError, RequestError, WorkspaceError
from tru.ops import preconditions
from tru.ops.requests.lifecycle import State
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox

COMMANDS = {
    "train": preconditions.of_training,
    "run": preconditions.of_a_night,
    "baseline": preconditions.of_a_baseline,
}


@pytest.fixture
def empty(tmp_path):
    """A workspace without data, and a request that waits, so that `tru run` has something to do."""
    ws = create(tmp_path / "empty")
    open_inbox(ws).add("user", user="ann")
    return ws


def begun(ws):
    """A batch whose run stopped when the data was cut."""
    inbox = open_inbox(ws)
    file_requests(ws, subjects(ws))
    batch = inbox.claim(this_owner()).id
    inbox.advance(batch, this_owner(), "cut", State.CUT)
    inbox.release(batch, this_owner())
    return batch


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_wrong_with_a_workspace_that_is_ready(trained, command):
    COMMANDS[command](trained)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_data(empty, command):
    with pytest.raises(DataError, match=r"has no data yet.*`tru data import PATH`"):
        COMMANDS[command](empty)


@pytest.mark.parametrize("command", COMMANDS)
def test_data_that_is_named_and_not_there(trained, command):
    open_inbox(trained).add("user", user="ann")
    shutil.rmtree(trained.data)
    with pytest.raises(DataError, match=r"is missing or not whole, though data\.dvc names it.*`dvc checkout`"):
        COMMANDS[command](trained)


@pytest.mark.parametrize("command", ["train", "baseline"])
def test_an_open_batch(trained, command):
    batch = begun(trained)
    with pytest.raises(RequestError, match=rf"{batch} is open.*`tru run`"):
        COMMANDS[command](trained)


def test_a_night_goes_on_with_an_open_batch(trained):
    begun(trained)
    preconditions.of_a_night(trained)


@pytest.mark.parametrize("command", ["run", "baseline"])
def test_no_champion(trained, command):
    open_inbox(trained).add("user", user="ann")
    (trained.root / "mlflow.db").unlink()
    with pytest.raises(ModelError, match=r"there is no champion .*`tru train`"):
        COMMANDS[command](trained)


@pytest.mark.parametrize("command", ["run", "baseline"])
def test_a_champion_without_files(trained, command):
    open_inbox(trained).add("user", user="ann")
    shutil.rmtree(trained.model_store)
    with pytest.raises(ModelError, match="version 1 is champion, but its files are gone"):
        COMMANDS[command](trained)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_store_that_does_not_answer(trained, command, monkeypatch):
    open_inbox(trained).add("user", user="ann")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(ReleaseError, match=r"http://127\.0\.0\.1:1 does not answer"):
        COMMANDS[command](trained)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "words",
    ["model: {name: mgnc}", "unlearn: {method: tur}", "forget: {fraction: 5}", "trian: {}", "gate:\n\tmode: auto"],
)
def test_wrong_settings(empty, command, words):
    empty.params.write_text(words)
    with pytest.raises(WorkspaceError, match=r"params\.yaml"):
        COMMANDS[command](empty)


def test_a_night_that_only_erases_needs_no_champion(tmp_path):
    preconditions.of_a_night(create(tmp_path / "new"))


@pytest.mark.parametrize(
    ("command", "params", "said"),
    [
        ("train", "", "has no data yet"),
        ("run", "", "has no data yet"),
        ("baseline", "", "has no data yet"),
        ("train", "model: {name: mgnc}", "did you mean mgcn?"),
        ("run", "unlearn: {method: tur}", "did you mean tru?"),
        ("baseline", "forget: {fraction: 5}", "forget.fraction: Input should be less than 1"),
        ("status", "gate: {approvel: true}", "did you mean gate.approval?"),
        ("stage train", "train:\n\tepochs: 3", "line 2 is indented with a tab"),
    ],
)
def test_the_command_says_it_in_one_line_and_has_loaded_nothing(empty, command, params, said):
    empty.params.write_text(params)
    program = f"""
import sys
sys.argv = {["tru", *command.split()]!r}
from tru.cli import main
try:
    main()
finally:
    print("loaded:", *[name for name in {TOOLS!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=empty.root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == "loaded:\n"
    (line,) = done.stderr.splitlines()
    assert re.match("Error: .*", line) and said in line
