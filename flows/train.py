"""The flow ``train``: the first champion of a workspace.

By hand and without a server: ``python -m flows.train --workspace DIR``.
"""

from __future__ import annotations

from typing import Any, cast

from prefect import State, flow
from prefect.states import Cancelled

from flows import busy_if_cancelled, main, notices, tasks, use_workspace
from flows.runs import dated, note_process
from tru.workspace import Workspace


@flow(name="train", flow_run_name=dated("train"), persist_result=False, on_running=[note_process])
def train(workspace: str | None = None) -> dict[str, Any] | State[dict[str, Any]]:
    """Reproduce the training stages, measure the model, register it and make it the champion.

    While another run is at it, this one ends at once as Cancelled.

    Args:
        workspace: the folder to work in; else ``$TRU_WORKSPACE``, else the current directory.

    Raises:
        TruError: the data, the training or the registry refuses; the message says what a person has to do.
    """
    trained = tasks.train(str(Workspace.find(workspace).root), return_state=True)
    if trained.is_cancelled():
        return Cancelled(message=trained.message)
    found = dict(trained.result())
    notices.name(f"train version {found['version']}")
    return found


def run(ws: Workspace) -> dict[str, Any]:
    """Run the flow in this process, with or without a server; what `tru train` and the demo call.

    Raises:
        Busy: another run is training.
    """
    use_workspace(ws)
    with busy_if_cancelled():
        return cast(dict[str, Any], train(workspace=str(ws.root)))  # Prefect unpacks the state


if __name__ == "__main__":
    main(run, "Train the first champion, in this process.")
