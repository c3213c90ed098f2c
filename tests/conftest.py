"""What the tests of the roof share: one trained tiny workspace per test session, copied for each test."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tru.cli.main import QUIET

os.environ.update(QUIET)
for _name in ("TRU_WORKSPACE", "TRU_DATABASE_URL", "TRU_SUPPRESSION_KEY", "TRU_CRASH_AFTER", "MLFLOW_TRACKING_URI"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory) -> Path:
    """A workspace with a champion, never changed; workers of pytest-xdist share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "trained-workspace"
    with FileLock(shared / "trained-workspace.lock"):
        if not (shared / "trained-workspace.done").exists():
            from tests.workspaces import make
            from tru.night import train

            shutil.rmtree(root, ignore_errors=True)
            train(make(root))
            (shared / "trained-workspace.done").touch()
    return root


@pytest.fixture
def trained(trained_template, tmp_path):
    """A workspace of one's own with tiny data and a champion."""
    from tests.workspaces import copy

    return copy(trained_template, tmp_path / "trained")
