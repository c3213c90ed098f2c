"""Links to MLflow's pages."""

import json
import os

import psutil
import pytest
from mlflow import MlflowClient

from tru.ops import pages
from tru.ops.release.registry import Registry
from tru.ops.workspace import Workspace

ADDRESS = "http://127.0.0.1:5999"
MODELS = "workflowType=machine_learning"


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / ".tru").mkdir()
    return Workspace(tmp_path)


@pytest.fixture
def running(workspace):
    """A workspace whose state file names a living process (this one) as its MLflow page."""
    page = {"name": "mlflow", "pid": os.getpid(), "started": psutil.Process().create_time(), "address": ADDRESS}
    (workspace.state / "services.json").write_text(json.dumps({"token": "t", "members": [page], "complete": True}))
    return workspace


def test_the_page_of_runs_shows_models_and_is_there_before_the_first_run(running):
    link = pages.runs_page(running)

    view = "viewStateShareKey=tru&workflowType=machine_learning"
    assert link == f"{ADDRESS}/#/experiments/{Registry(running).experiment_id()}/runs?{view}"
    client = MlflowClient(running.tracking_uri)
    assert "mlflow.sharedViewState.tru" in client.get_experiment(Registry(running).experiment_id()).tags


def test_a_run_and_a_version_have_links_of_their_own(running):
    experiment = Registry(running).experiment_id()

    assert pages.run_page(running, "abc") == f"{ADDRESS}/#/experiments/{experiment}/runs/abc?{MODELS}"
    assert pages.version_page(running, "3") == f"{ADDRESS}/#/models/tru-recommender/versions/3?{MODELS}"


def test_where_no_page_runs_there_is_no_link_and_nothing_is_made(workspace):
    assert pages.runs_page(workspace) is None
    assert pages.run_page(workspace, "abc") is None
    assert pages.version_page(workspace, "3") is None
    assert not (workspace.root / "mlflow.db").exists()


def test_a_tracking_server_is_its_own_page(running, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example/")

    assert pages.version_page(running, "3") == f"https://mlflow.example/#/models/tru-recommender/versions/3?{MODELS}"
