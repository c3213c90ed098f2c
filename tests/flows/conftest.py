"""A workspace for flows: an empty inbox, and Prefect's temporary server, which all tests of the session share."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tru.ops.flows import use_workspace
from tru.ops.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    shutil.copy(ROOT / "params.yaml", root)
    yield Workspace(root)
    if "prefect" in sys.modules:  # by itself it ends after pytest, and logs to a stream that is closed by then
        from prefect.server.api.server import SubprocessASGIServer

        SubprocessASGIServer().stop()


@pytest.fixture
def workspace(empty_workspace):
    """The workspace, with Prefect in this process pointed at it; the environment is put back afterwards."""
    before = dict(os.environ)
    use_workspace(empty_workspace)
    yield empty_workspace
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def environment(tmp_path):
    """What a command starts with: none of the settings of this process, a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_"))}
    return kept | {"HOME": str(tmp_path), "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
