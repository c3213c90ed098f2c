"""A run that a person has to help ends with its reason: once, last, and without the way through Prefect's engine."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workspaces import change, file_requests, subjects
from tru.errors import ReleaseError, TruError
from tru.ops.flows.engine_log import Brief

TASK, FLOW = "prefect.task_runs", "prefect.flow_runs"
FAILED = "Finished in state Failed"


@pytest.fixture
def by_worker(monkeypatch):
    monkeypatch.delenv("TRU_DEBUG", raising=False)
    monkeypatch.delenv("TRU_RUN_PID", raising=False)


@pytest.fixture
def by_hand(by_worker, monkeypatch):
    monkeypatch.setenv("TRU_RUN_PID", str(os.getpid()))


def record(name, message, *values, error=None):
    info = (type(error), error, None) if error else None
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, values, info)


def logged(line):
    """What is logged of it; None if nothing."""
    return logging.Formatter().format(line) if Brief().filter(line) else None


def raised(error):
    return record(FLOW, "Encountered exception during execution: %r", error, error=error)


def test_a_worker_logs_the_reason_and_no_traceback(by_worker):
    assert logged(raised(ReleaseError("batch-1 is held"))) == "batch-1 is held"


def test_by_hand_the_command_says_it_and_the_log_does_not(by_hand):
    assert logged(raised(ReleaseError("batch-1 is held"))) is None


def test_an_error_nobody_foresaw_keeps_all_it_has(by_hand):
    assert "ZeroDivisionError: one" in logged(raised(ZeroDivisionError("one")))


@pytest.mark.parametrize(
    ("name", "line", "short"),
    [
        (
            TASK,
            'Finished in state Failed("Task run encountered an exception ReleaseError: no")',
            "Finished in state Failed",
        ),
        (
            FLOW,
            'Finished in state Failed("Flow run encountered an exception: TruError: no")',
            "Finished in state Failed",
        ),
        (FLOW, "Finished in state Failed('Flow run encountered an exception: TruError: no')", FAILED),
        (FLOW, 'Finished in state Failed("Flow run encountered an exception: KeyError: no")', None),
        (TASK, "Finished in state Completed()", ""),
        (FLOW, "Finished in state Completed()", None),
        (TASK, "cut: data is now 1234 (2 s)", None),
    ],
)
def test_the_end_is_told_without_its_reason(by_hand, name, line, short):
    assert logged(record(name, line)) == (line if short is None else short or None)


def test_debugging_leaves_everything_as_it_is(by_hand, monkeypatch):
    monkeypatch.setenv("TRU_DEBUG", "1")
    assert "TruError: no" in logged(raised(TruError("no")))


def test_a_night_that_is_refused_ends_with_one_line(trained):
    """By the real command: the reason stands once, at the end, and nothing of the code is shown."""
    file_requests(trained, subjects(trained))
    change(trained, "gate", approval=True)  # and no page on which anybody could approve
    tru = Path(sys.executable).with_name("tru")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and k != "TRU_DEBUG"}
    done = subprocess.run([tru, "run"], cwd=trained.root, env=environment, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and lines[-1].startswith("Error: gate.approval is true")
    assert "Traceback" not in done.stderr and 'File "' not in done.stderr
    assert (done.stderr + done.stdout).count("gate.approval is true") == 1
