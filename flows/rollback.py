"""The flow ``rollback``: an earlier version serves again, one under which nobody who was forgotten comes back.

By hand and without a server: ``tru rollback``.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import notices, tasks, use_workspace
from flows.runs import dated
from tru.workspace import Workspace


@flow(name="rollback", flow_run_name=dated("rollback"), persist_result=False)
def rollback(version: str | None = None, reason: str = "", workspace: str | None = None) -> dict[str, Any]:
    """Move the champion to an eligible version.

    Args:
        version: which; else the newest that is eligible and not champion.
        reason: why; the ledger keeps it for good, so it names nobody.
        workspace: the folder to work in; else ``$TRU_WORKSPACE``, else the current directory.

    Raises:
        TruError: it is refused; the message lists the versions that are eligible.
    """
    found = dict(tasks.rollback(str(Workspace.find(workspace).root), version, reason))
    notices.name(f"rollback to version {found['version']}")
    return found


def run(ws: Workspace, version: str | None = None, reason: str = "") -> dict[str, Any]:
    """Run the flow in this process, with or without a server."""
    use_workspace(ws)
    return rollback(version=version, reason=reason, workspace=str(ws.root))
