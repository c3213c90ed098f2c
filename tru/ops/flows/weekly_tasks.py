"""The steps of ``baseline-weekly`` as Prefect tasks."""

from __future__ import annotations

from tru.ops.flows.tasks import Facts, perform, step
from tru.ops.pipeline import snapshot as under_way
from tru.ops.pipeline import weekly
from tru.ops.workspace import Workspace
from tru.prose import duration


@step
def snapshot(workspace: str) -> str:
    """Take the data as it is now, or go on with a run that was killed; what names the run."""
    return perform("snapshot", lambda: under_way.snapshot(Workspace.find(workspace)), str)


@step
def train(workspace: str, id: str) -> Facts:
    """Train the seeds from scratch; the long part."""
    return perform("train", lambda: weekly.train(Workspace.find(workspace), id), _trained)


@step
def measure(workspace: str, id: str) -> Facts:
    """Measure and log them, and register the first under alias ``baseline``."""
    return perform("measure", lambda: weekly.measure(Workspace.find(workspace), id), _measured)


@step
def promote(workspace: str, id: str) -> Facts:
    """Let the baseline serve if it is better than the champion, or as good and the champion has drifted."""
    return perform("promote", lambda: weekly.promote(Workspace.find(workspace), id), _promoted)


@step
def rehearse(workspace: str, id: str) -> Facts:
    """Forget a simulated batch, retrain without it, and grant licences where the two cannot be told apart."""
    return perform("rehearse", lambda: weekly.rehearse(Workspace.find(workspace), id), _licensed)


@step
def finish(workspace: str, id: str) -> Facts:
    """Destroy the copy of the data and everything made from it."""
    return perform("finish", lambda: weekly.finish(Workspace.find(workspace), id), lambda _: "cleared away")


def _trained(made: Facts) -> str:
    return f"{len(made['seeds'])} models, each in {duration(made['seconds'])}"


def _measured(made: Facts) -> str:
    return f"registered as version {made['version']}"


def _promoted(made: Facts) -> str:
    return str(made["words"])


def _licensed(made: Facts) -> str:
    return "; ".join(row["words"] for row in made["licences"]) or "nothing to rehearse"
