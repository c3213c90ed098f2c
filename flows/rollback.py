"""The flow ``rollback``: an earlier version serves again, one under which nobody who was forgotten comes back.

By hand and without a server: ``tru rollback``, or ``python -m flows.rollback --workspace DIR``.
"""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.states import Cancelled

from tru.ops.flows import command_line, notices, tasks
from tru.ops.flows.runs import dated, note_process
from tru.ops.workspace import Workspace


@flow(name="rollback", flow_run_name=dated("rollback"), persist_result=False, on_running=[note_process])
def rollback(
    version: str | None = None, reason: str = "", workspace: str | None = None
) -> dict[str, Any] | State[dict[str, Any]]:
    """Move the champion to an eligible version; Cancelled, where an erasure or another rollback is at work.

    Args:
        version: which; else the newest that is eligible and not champion.
        reason: why; the ledger keeps it for good, so it names nobody.
        workspace: the folder to work in; else ``$TRU_WORKSPACE``, else the current directory.

    Raises:
        TruError: it is refused; the message lists the versions that are eligible.
    """
    moved = tasks.rollback(str(Workspace.find(workspace).root), version, reason, return_state=True)
    if moved.is_cancelled():
        return Cancelled(message=moved.message)
    found = dict(moved.result())
    notices.name(f"rollback to version {found['version']}")
    return found


if __name__ == "__main__":
    command_line(rollback)
