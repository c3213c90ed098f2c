"""The flow ``train``: the first champion of a workspace.

By hand and without a server: ``tru train``, or ``python -m flows.train --workspace DIR``.
"""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.states import Cancelled

from tru.ops.flows import command_line, notices, tasks
from tru.ops.flows.runs import dated, note_process
from tru.ops.workspace import Workspace


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


if __name__ == "__main__":
    command_line(train)
