"""The flow ``train``: the first champion of a workspace.

By hand and without a server: ``python -m flows.train --workspace DIR``.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import main, notices, tasks, use_workspace
from flows.runs import dated
from tru.workspace import Workspace


@flow(name="train", flow_run_name=dated("train"), persist_result=False)
def train(workspace: str | None = None) -> dict[str, Any]:
    """Reproduce the training stages, measure the model, register it and make it the champion.

    Args:
        workspace: the folder to work in; else ``$TRU_WORKSPACE``, else the current directory.

    Raises:
        TruError: the data, the training or the registry refuses; the message says what a person has to do.
    """
    found = dict(tasks.train(str(Workspace.find(workspace).root)))
    notices.name(f"train version {found['version']}")
    return found


def run(ws: Workspace) -> dict[str, Any]:
    """Run the flow in this process, with or without a server; what `tru train` and the demo call."""
    use_workspace(ws)
    return train(workspace=str(ws.root))


if __name__ == "__main__":
    main(run, "Train the first champion, in this process.")
