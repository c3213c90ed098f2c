"""Addresses of MLflow's pages: the one place that knows how its links are written."""

from __future__ import annotations

from tru.ops.release.names import VIEW
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import MODEL_NAME
from tru.ops.servers import services
from tru.ops.workspace import Workspace

# MLflow 3 opens on its tools for language models, where no run of ours is in sight.
_MODELS_IN_VIEW = "workflowType=machine_learning"


def mlflow_page(ws: Workspace) -> str | None:
    """Address of the MLflow page that shows the runs of ``ws``, without a slash at its end; None if none is running.

    It is the tracking server if there is one, else the page that `tru up` started.
    """
    if services.has_tracking_server(ws):
        return ws.tracking_uri.rstrip("/")
    running = services.load(ws)
    return running.address("mlflow") if running else None


def runs_page(ws: Workspace) -> str | None:
    """Link to the table of the workspace's runs; None if no page is running.

    The experiment is made if there is none yet, so that the link works before the first run.
    """
    page = mlflow_page(ws)
    # Without our view the table shows no number of any run.
    view = f"viewStateShareKey={VIEW}&{_MODELS_IN_VIEW}"
    return page and f"{page}/#/experiments/{Registry(ws).experiment_id()}/runs?{view}"


def run_page(ws: Workspace, run_id: str) -> str | None:
    """Link to one run; None if no page is running."""
    page = mlflow_page(ws)
    return page and f"{page}/#/experiments/{Registry(ws).experiment_id()}/runs/{run_id}?{_MODELS_IN_VIEW}"


def version_page(ws: Workspace, version: str) -> str | None:
    """Link to a registered version of the recommender; None if no page is running."""
    page = mlflow_page(ws)
    return page and f"{page}/#/models/{MODEL_NAME}/versions/{version}?{_MODELS_IN_VIEW}"
