"""A held batch, and what a person may decide about it."""

from __future__ import annotations

from typing import Any

from tru import locks
from tru.errors import ModelError, RequestError
from tru.night.run import Run, best_effort, enter, seconds, short
from tru.night.steps import LEASE_SECONDS, close, open_lease, promote
from tru.release.registry import Registry
from tru.report import write as write_report
from tru.requests.lifecycle import Batch
from tru.requests.store import open_inbox
from tru.stages import clear
from tru.workspace import Workspace


def hold(ws: Workspace, batch: str, reason: str | None = None) -> dict[str, Any]:
    """The champion stays, suppression protects the subjects, a person is called.

    Args:
        ws: the workspace.
        batch: which.
        reason: why, if not because both candidates failed.
    """
    run = Run(ws, batch)
    reasons = [reason] if reason else list((run.facts["retrain"] or run.facts["gate"])["reasons"])
    enter(ws, "batch", f"{batch}/held/{short(reasons)}", batch=batch, outcome="held", reasons=reasons)
    # A candidate that passed and was not approved is held as well.
    said = (run.facts.get("retrain") or run.facts.get("gate") or {}).get("verdict")
    run.inbox.hold(batch, run.owner, "pass" if said == "pass" else "fail", seconds(run.facts), held=reasons)
    best_effort(lambda: write_report(ws, batch))
    return {"outcome": "held", "reasons": reasons}


def retry(ws: Workspace) -> str:
    """Let a held batch run again from unlearning on, with the settings as they are now; its candidates are made anew.

    Returns:
        The batch's id.

    Raises:
        RequestError: no batch is held.
    """
    opened = _held(ws)
    for name in ("unlearned", "retrained", "comparison"):
        clear(ws.batches / opened.id / name)
    Run(ws, opened.id).start_from(Registry(ws).champion())
    return open_inbox(ws).retry(opened.id, step="check").id


def release(ws: Workspace, reason: str) -> dict[str, Any]:
    """A person takes it on themselves: the held batch's model serves although the gate, or another person, said no.

    It is the retrained model, whose forgetting is exact by construction; where the unlearned one had passed the gate
    and only its approval was refused, it is that one. The exact checks cannot be overruled.

    Raises:
        RequestError: no batch is held, or the reason is empty.
        Busy: an erasure or a rollback is at work.
        ModelError: there is no such model, or it violates an exact check.
    """
    if not reason.strip():
        raise RequestError("say why: the ledger keeps the reason, together with the gate's no.")
    batch = _held(ws).id
    run = Run(ws, batch)
    verdict = run.facts["retrain"] or run.facts["gate"]
    if verdict["verdict"] != "pass" and not run.facts["retrain"]:
        raise ModelError(f"{batch} has no retrained model to release. Let it run again: `tru batch retry`, `tru run`.")
    exact = run.comparison.exact_retrained if run.facts["retrain"] else run.comparison.exact
    if broken := [words for words, count in exact.items() if count]:
        raise ModelError(f"{batch} cannot be released: {'; '.join(broken)}. Let it run again: `tru batch retry`.")
    if run.is_swapped():
        raise ModelError(
            f"the model of {batch} is not the one that the gate judged, so it cannot be released. Find out who changed "
            "its files, and let it run again: `tru batch retry`, `tru run`."
        )
    with locks.serving(ws):
        run.inbox.lift(batch, run.owner, LEASE_SECONDS)
    with open_lease(ws, batch):
        enter(ws, "batch", f"{batch}/released/{short([reason])}", batch=batch, outcome="released", reasons=[reason])
        Run(ws, batch).finish("retrain" if run.facts["retrain"] else "gate", None, released=reason)
        promote(ws, batch)
        return {"batch": batch, **close(ws, batch)}


def _held(ws: Workspace) -> Batch:
    opened = open_inbox(ws).open_batch()
    if opened is None or opened.outcome != "held":
        raise RequestError("no batch is held. See `tru status`.")
    return opened
