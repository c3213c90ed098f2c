"""What goes to standard output, in what order commands are listed, and what a machine can read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tru as package
from tests.patience import HANG
from tru.cli.main import ORDER, app
from tru.cli.output import QUIET_VARIABLE

TRU = Path(sys.executable).with_name("tru")
NOISE = """
import os, subprocess, sys
from tru.cli.output import reserved_for_outcome
with reserved_for_outcome(quiet={quiet}):
    print("from Python")
    subprocess.run(["echo", "from another process"], check=True)
    print(os.environ.get("TRU_QUIET"), os.environ.get("PREFECT_LOGGING_LEVEL"), file=sys.stderr)
    print("a warning", file=sys.stderr)
    {end}
print("the outcome")
"""


def noisy(quiet, end="pass"):
    program = NOISE.format(quiet=quiet, end=end)
    environment = {k: v for k, v in os.environ.items() if k not in (QUIET_VARIABLE, "PREFECT_LOGGING_LEVEL")}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG, env=environment
    )


def test_standard_output_holds_the_outcome_only():
    done = noisy(quiet=False)
    assert done.stdout == "the outcome\n"
    assert sorted(done.stderr.splitlines()) == ["None None", "a warning", "from Python", "from another process"]


def test_quiet_leaves_warnings_and_the_outcome():
    done = noisy(quiet=True)
    assert done.stdout == "the outcome\n" and done.stderr == "1 WARNING\na warning\n"


def test_standard_output_comes_back_when_the_work_fails():
    done = noisy(quiet=True, end="sys.excepthook = lambda *_: print('failed'); raise ValueError")
    assert done.stdout == "failed\n"


def test_the_commands_are_listed_in_the_order_of_use():
    words = CliRunner().invoke(app, ["--help"], catch_exceptions=False).output
    listed = [line.split()[1] for line in words.splitlines() if line.startswith("│ ") and line[2] not in " -"]
    assert listed == list(ORDER)
    assert words.index("To begin with") < words.index("Every day") < words.index("When a person") < words.index("Resea")


def test_the_version_is_said():
    done = subprocess.run([TRU, "--version"], capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stdout) == (0, f"tru {package.__version__}\n")


def test_the_shell_can_complete(tmp_path):
    environment = {**os.environ, "_TRU_COMPLETE": "complete_bash", "COMP_WORDS": "tru req", "COMP_CWORD": "1"}
    done = subprocess.run([TRU], capture_output=True, text=True, timeout=HANG, env=environment)
    assert done.stdout.split() == ["requests"]


def test_a_night_with_nothing_to_do_in_json(trained):
    done = CliRunner().invoke(app, ["run", "--json", "--workspace", str(trained.root)], catch_exceptions=False)
    assert json.loads(done.stdout) == {"batch": None, "erased": []}


def test_a_decision_in_json(trained, monkeypatch):
    from tru.ops import pipeline

    monkeypatch.setattr(pipeline, "split", lambda *_, **__: {"batch": "batch-20261124-01", "stay": 2, "back": 3})
    words = ["batch", "split", "--workspace", str(trained.root)]
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout) == {"batch": "batch-20261124-01", "stay": 2, "back": 3}
    assert "2 requests stay, 3 back in the queue" in CliRunner().invoke(app, words, catch_exceptions=False).stdout


def test_nothing_to_stop_in_json(trained):
    done = CliRunner().invoke(app, ["down", "--json", "--workspace", str(trained.root)], catch_exceptions=False)
    assert json.loads(done.stdout) == {"stopped_processes": 0}


@pytest.mark.parametrize("command", [["train"], ["run"], ["baseline"], ["erase"], ["up"]])
def test_what_takes_long_can_be_quiet_and_speak_json(command):
    words = CliRunner().invoke(app, [*command, "--help"], catch_exceptions=False).output
    assert "--quiet" in words and "--json" in words
