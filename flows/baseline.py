"""The flow ``baseline-weekly``: fresh models on the current data to judge by, and a rehearsal for the licences.

By hand and without a server: ``tru baseline``, or ``python -m flows.baseline --workspace DIR``.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Cancelled

from tru.errors import Busy
from tru.ops.flows import command_line, notices, tasks, weekly_tasks
from tru.ops.flows.outcomes import of_baseline
from tru.ops.flows.runs import dated, note_process
from tru.ops.judging.baseline import exclusive
from tru.ops.workspace import Workspace


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
        id = weekly_tasks.snapshot(here)
        notices.name(id)
        weekly_tasks.train(here, id)
        weekly_tasks.measure(here, id)
        weekly_tasks.promote(here, id)
        weekly_tasks.rehearse(here, id)
        made = dict(weekly_tasks.finish(here, id))
    tasks.erase(here)  # what a night that came meanwhile had to leave for later
    lines = "\n".join(f"- {line}" for line in of_baseline(made))
    create_markdown_artifact(key="baseline", description="Baseline and licences", markdown=f"# {id}\n\n{lines}\n")
    return made


if __name__ == "__main__":
    command_line(baseline_weekly)
