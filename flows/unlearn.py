"""The flow ``unlearn-nightly``: make the champion forget everybody who asked, and erase whatever knew them.

By hand and without a server: ``python -m flows.unlearn --workspace DIR``.
"""

from __future__ import annotations

from typing import Any, cast

from prefect import State, flow
from prefect.states import Cancelled, Completed

from flows import approval, busy_if_cancelled, main, notices, tasks, use_workspace
from flows.runs import dated, note_process
from tru import night
from tru.errors import ReleaseError, TruError
from tru.night.approval import is_released
from tru.workspace import Workspace

NEITHER = "neither the unlearned nor the retrained model passed the gate"
FAILED = "a step failed that would fail again"
UNAPPROVED = "its candidate passed the gate, but has no approval"


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
        night.remind(ws)
        return Completed(message="Nothing to do: no deletion request is due.", data={"batch": None, "erased": erased})

    with night.open_lease(ws, batch):
        try:
            closed = _worked(ws, batch)
        except TruError as error:
            if (reasons := night.failed(ws, batch, error)) is None:
                raise
            tasks.hold(here, batch, reasons)
            raise ReleaseError(_call_a_person(batch, FAILED, reasons)) from error
    done = {"batch": batch, **closed, "erased": tasks.erase(here)["batches"]}
    if held := night.held(ws):  # of this night or earlier ones
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
        raise ReleaseError(_call_a_person(batch, NEITHER, verdict["reasons"]))
    refusal = approval.ask(ws, batch, verdict)
    if refusal is not None:
        tasks.hold(here, batch, refusal)
        raise ReleaseError(_call_a_person(batch, UNAPPROVED, [refusal]))
    tasks.promote(here, batch)
    return tasks.close(here, batch)


def ended(done: dict[str, Any]) -> str:
    """How a batch ended, in words; ``done`` is what the flow returns."""
    serves = f"version {done['version']} is champion" if done["version"] else "nobody is left, so no model serves"
    words = f"{done['batch']}: {done['outcome']}; {serves}."
    if done["not_found"]:
        words += (
            f" {done['not_found']} of {done['size']} requests named nobody and nothing in the data: closed as "
            "“not found”, see `tru requests list --state closed`."
        )
    if done.get("held"):
        words += f" Held for a person to decide: {', '.join(done['held'])}, see `tru status`."
    return words


def run(ws: Workspace) -> dict[str, Any]:
    """Run the flow in this process, with or without a server; what `tru run` and the demo call.

    Returns:
        ``{"batch": id, ...}`` with the summary of the closed batch, or ``{"batch": None}`` if nothing was due.

    Raises:
        Busy: another run is at it.
        TruError: as the flow.
    """
    use_workspace(ws)
    with busy_if_cancelled():
        return cast(dict[str, Any], unlearn_nightly(workspace=str(ws.root)))  # Prefect unpacks the state


def _call_a_person(batch: str, what: str, reasons: list[str]) -> str:
    return (
        f"{batch} is held: {what} ({'; '.join(reasons)}). The champion keeps serving and the subjects stay suppressed. "
        "Other requests do not wait for it. `tru status` says what a person can do: `tru batch accept`, "
        "`tru batch release` or `tru batch retry`, `tru batch split`, or take single requests out."
    )


if __name__ == "__main__":
    main(run, "Run unlearn-nightly once, in this process.")
