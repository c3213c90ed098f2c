"""The flow ``unlearn-nightly``: make the champion forget everybody who asked, and erase whatever knew them.

By hand and without a server: ``tru run``, or ``python -m flows.unlearn --workspace DIR``.
"""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.states import Cancelled, Completed

from tru.errors import ReleaseError, TruError
from tru.ops import pipeline
from tru.ops.flows import approval, command_line, notices, tasks
from tru.ops.flows.outcomes import FAILED, NEITHER, UNAPPROVED, ended, waits_for_a_person
from tru.ops.flows.runs import dated, note_process
from tru.ops.pipeline.approval import is_released
from tru.ops.workspace import Workspace


@flow(name="unlearn-nightly", flow_run_name=dated("nightly"), persist_result=False, on_running=[note_process])
def unlearn_nightly(workspace: str | None = None) -> dict[str, Any] | State[dict[str, Any]]:
    """Forget what is due: one batch, from the claim to the close and the erasure. What a crash left is finished first.

    While another run is at it, this one ends at once as Cancelled.

    Args:
        workspace: the folder to work in; else ``$TRU_WORKSPACE``, else the current directory.

    Raises:
        TruError: a step refuses to go on, or a batch is held; the message says what a person has to do.
    """
    ws = Workspace.find(workspace)
    here = str(ws.root)

    tasks.deadlines(here)
    claimed = tasks.claim(here, return_state=True)
    if claimed.is_cancelled():
        return Cancelled(message=claimed.message)
    batch = claimed.result()
    if batch is None:
        erased = tasks.erase(here)["batches"]  # of earlier nights, whose time of grace is over now
        pipeline.remind(ws)
        return Completed(message="Nothing to do: no deletion request is due.", data={"batch": None, "erased": erased})

    with pipeline.open_lease(ws, batch):
        try:
            closed = _worked(ws, batch)
        except TruError as error:
            if (reasons := pipeline.failed(ws, batch, error)) is None:
                raise
            tasks.hold(here, batch, reasons)
            raise ReleaseError(waits_for_a_person(batch, FAILED, reasons)) from error
    done = {"batch": batch, **closed, "erased": tasks.erase(here)["batches"]}
    if held := pipeline.held(ws):  # of this night or earlier ones
        done["held"] = held
    notices.summary(ws, batch)
    return Completed(message=ended(done), data=done)


def _worked(ws: Workspace, batch: str) -> tasks.Facts:
    """The steps of one batch, from the cut to the close.

    Raises:
        TruError: a step refuses to go on, or the batch is held.
    """
    here = str(ws.root)
    tasks.cut(here, batch)
    tasks.check(here, batch)
    approval.refuse_without_a_page(ws, batch)
    tasks.unlearn(here, batch)
    tasks.evaluate(here, batch)
    verdict = tasks.gate(here, batch)
    if verdict["verdict"] != "pass":
        verdict = tasks.retrain(here, batch)
    if verdict["verdict"] != "pass" and not is_released(ws, batch):
        tasks.hold(here, batch)
        raise ReleaseError(waits_for_a_person(batch, NEITHER, verdict["reasons"]))
    refusal = approval.ask(ws, batch, verdict)
    if refusal is not None:
        tasks.hold(here, batch, refusal)
        raise ReleaseError(waits_for_a_person(batch, UNAPPROVED, [refusal]))
    tasks.promote(here, batch)
    return tasks.close(here, batch)


if __name__ == "__main__":
    command_line(unlearn_nightly)
