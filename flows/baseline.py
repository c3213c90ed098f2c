"""The flow ``baseline-weekly``: fresh models on the current data to judge by, and a rehearsal for the licences.

By hand and without a server: ``tru baseline`` or ``python -m flows.baseline --workspace DIR``.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Cancelled

from flows import busy_if_cancelled, main, notices, tasks, use_workspace
from flows.runs import dated, note_process
from tru import weekly
from tru.baseline import exclusive
from tru.errors import Busy
from tru.prose import duration
from tru.weekly import snapshot as under_way
from tru.workspace import Workspace


@tasks.step
def snapshot(workspace: str) -> str:
    """Take the data as it is now, or go on with a run that was killed; what names the run."""
    return tasks._do("snapshot", lambda: under_way.snapshot(Workspace.find(workspace)), str)


@tasks.step
def train(workspace: str, id: str) -> tasks.Facts:
    """Train the seeds from scratch; the long part."""
    return tasks._do("train", lambda: weekly.train(Workspace.find(workspace), id), _trained)


@tasks.step
def measure(workspace: str, id: str) -> tasks.Facts:
    """Measure and log them, and register the first under alias ``baseline``."""
    return tasks._do("measure", lambda: weekly.measure(Workspace.find(workspace), id), _measured)


@tasks.step
def promote(workspace: str, id: str) -> tasks.Facts:
    """Let the baseline serve if it is better than the champion, or as good and the champion has drifted."""
    return tasks._do("promote", lambda: weekly.promote(Workspace.find(workspace), id), _promoted)


@tasks.step
def rehearse(workspace: str, id: str) -> tasks.Facts:
    """Forget a simulated batch, retrain without it, and grant licences where the two cannot be told apart."""
    return tasks._do("rehearse", lambda: weekly.rehearse(Workspace.find(workspace), id), _licensed)


@tasks.step
def finish(workspace: str, id: str) -> tasks.Facts:
    """Destroy the copy of the data and everything made from it."""
    return tasks._do("finish", lambda: weekly.finish(Workspace.find(workspace), id), lambda _: "cleared away")


@flow(name="baseline-weekly", flow_run_name=dated("baseline"), persist_result=False, on_running=[note_process])
def baseline_weekly(workspace: str | None = None) -> dict[str, Any] | State[dict[str, Any]]:
    """Make a baseline and licences; a run that was killed goes on where it stood.

    While another run is at it, this one ends at once as Cancelled.

    Args:
        workspace: the folder to work in; else ``$TRU_WORKSPACE``, else the current directory.

    Raises:
        TruError: a step refuses; the message says what a person has to do.
    """
    ws = Workspace.find(workspace)
    here = str(ws.root)
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(ws))
        except Busy as error:
            return Cancelled(message=str(error))
        id = snapshot(here)
        notices.name(id)
        train(here, id)
        measure(here, id)
        promote(here, id)
        rehearse(here, id)
        found = dict(finish(here, id))
    tasks.erase(here)  # what a night that came meanwhile had to leave for later
    lines = "\n".join(f"- {line}" for line in in_words(found))
    create_markdown_artifact(key="baseline", description="Baseline and licences", markdown=f"# {id}\n\n{lines}\n")
    return found


def run(ws: Workspace) -> dict[str, Any]:
    """Run the flow in this process, with or without a server; what `tru baseline` calls.

    Raises:
        Busy: another run is making a baseline.
    """
    use_workspace(ws)
    with busy_if_cancelled():
        return cast(dict[str, Any], baseline_weekly(workspace=str(ws.root)))  # Prefect unpacks the state


def in_words(found: dict[str, Any]) -> list[str]:
    """The result for a person, in lines."""
    serves = "is champion" if found["crowned"] else "is the baseline; the champion stays"
    return [f"Version {found['version']} {serves}: {found['words']}.", *(row["words"] for row in found["licences"])]


def _trained(found: tasks.Facts) -> str:
    return f"{len(found['seeds'])} models, each in {duration(found['seconds'])}"


def _measured(found: tasks.Facts) -> str:
    return f"registered as version {found['version']}"


def _promoted(found: tasks.Facts) -> str:
    return str(found["words"])


def _licensed(found: tasks.Facts) -> str:
    return "; ".join(row["words"] for row in found["licences"]) or "nothing to rehearse"


if __name__ == "__main__":
    main(run, "Make a baseline and licences, in this process.")
