"""A held batch, and what a person may decide about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tru.errors import ModelError, RequestError
from tru.ops import locks
from tru.ops.pipeline.lease import LEASE_SECONDS, open_lease
from tru.ops.pipeline.nightly import close, promote
from tru.ops.pipeline.record import Run, enter, short
from tru.ops.pipeline.undo import take_back, take_back_strays
from tru.ops.release.registry import Registry
from tru.ops.requests.lifecycle import Batch, DeletionRequest, Regime, State
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox
from tru.ops.stages import clear
from tru.ops.workspace import Workspace


def retry(ws: Workspace, batch: str | None = None) -> str:
    """Let a held batch run again from the step that failed, with data and settings as they are now.

    After a failed cut or check the cut is taken back, so that data can be imported before the next run; otherwise only
    the candidates are made anew.

    Args:
        ws: the workspace.
        batch: which; empty: the one that is held.

    Returns:
        The batch's id.

    Raises:
        RequestError: no batch is held, or several are and none is named.
    """
    held = _held(ws, batch)
    if held.is_aside or held.step in ("claim", "cut"):
        return _anew(ws, held).id
    for name in ("unlearned", "retrained", "comparison"):
        clear(ws.batches / held.id / name)
    Run(ws, held.id).start_from(Registry(ws).champion())
    return open_inbox(ws).retry(held.id, step="check").id


def accept(ws: Workspace, reason: str, batch: str | None = None) -> dict[str, Any]:
    """A person decides that a held batch is right as it is, and is to be finished.

    What was cut stays cut, however little is left; the next run goes on from there. If the unlearned model cannot be
    made or judged, the retrained one serves, and statistics that it fails, or that cannot be had, are what the person
    answers for. Exact checks cannot be overruled. Where such a model stands ready already, it serves at once.

    Args:
        ws: the workspace.
        reason: for the ledger (:func:`tru.ops.release.champion.checked_reason`).
        batch: which; empty: the one that is held.

    Returns:
        ``batch``, and what :func:`release` returns if a model serves now.

    Raises:
        RequestError: no batch is held, or several are and none is named; or the reason is empty.
    """
    _refuse_silence(reason)
    held = _held(ws, batch)
    if not held.is_aside and _fault(Run(ws, held.id)) is None:
        return release(ws, reason, held.id)
    _enter(ws, held, "accepted", reason)
    return {"batch": _anew(ws, held, accepted=reason).id}


def withdraw(ws: Workspace, ids: Sequence[str]) -> Sequence[DeletionRequest]:
    """Take back requests that wait, or whose batch is held; their subjects are no longer suppressed.

    What is left of a batch is cut anew in the next run; what was already cut is put back.

    Raises:
        LeaseHeld: a run has their batch.
        RequestError: there is none of an id, one has gone too far, or they are of several batches.
    """
    return _ended(ws, ids, State.WITHDRAWN)


def refuse(ws: Workspace, ids: Sequence[str], reason: str) -> Sequence[DeletionRequest]:
    """End requests that wait, or whose batch is held, as refused; their subjects are no longer suppressed.

    Args:
        ws: the workspace.
        ids: of the requests.
        reason: for the ledger (:func:`tru.ops.release.champion.checked_reason`), and for the subject, who must be told.

    Raises:
        LeaseHeld: a run has their batch.
        RequestError: see :func:`withdraw`; or the reason is empty.
    """
    _refuse_silence(reason)
    found = open_inbox(ws).get_all(ids)
    is_over = all(request.state is State.REFUSED for request in found)  # a killed command, typed again
    refused = found if is_over else _ended(ws, ids, State.REFUSED)
    # The ids say nothing of anybody; hashed, the ledger does not even hold them, and is written once.
    enter(ws, "request", f"refused/{short(sorted(ids))}", outcome="refused", count=len(refused), reasons=[reason])
    return refused


def split(
    ws: Workspace, batch: str | None = None, *, regime: Regime | None = None, ids: Sequence[str] = ()
) -> dict[str, Any]:
    """Let a part of a held batch go back to the queue; what stays is cut anew in the next run.

    Args:
        ws: the workspace.
        batch: which; empty: the one that is held.
        regime: what goes back: requests of this regime.
        ids: what goes back: these requests. Without ``regime`` and ``ids`` it is the newer half.

    Returns:
        ``batch``, ``stay`` and ``back`` (how many requests).

    Raises:
        RequestError: no batch is held, or several are and none is named; or nothing, or everything, would go back.
    """
    held = _held(ws, batch)
    requests = [r for r in open_inbox(ws).list(batch=held.id) if r.is_open]
    back = _parted(requests, regime, ids)
    if not 0 < len(back) < len(requests):
        raise RequestError(
            f"{len(back)} of the {len(requests)} requests of {held.id} would go back to the queue. Some must go back "
            "and some must stay; `tru requests withdraw` and `tru requests refuse` end single ones."
        )
    words = f"{len(back)} of {len(requests)} requests went back to the queue"
    _enter(ws, held, "split", words)
    _take_out(ws, held.id, back, State.QUEUED)
    return {"batch": held.id, "stay": len(requests) - len(back), "back": len(back)}


def _parted(requests: Sequence[DeletionRequest], regime: Regime | None, ids: Sequence[str]) -> list[str]:
    if ids:
        return list(dict.fromkeys(ids))
    if regime is not None:
        return [request.id for request in requests if request.regime == regime]
    oldest_first = sorted(requests, key=lambda request: request.received)
    return [request.id for request in oldest_first[(len(requests) + 1) // 2 :]]


def _ended(ws: Workspace, ids: Sequence[str], state: State) -> Sequence[DeletionRequest]:
    inbox = open_inbox(ws)
    batches = {r.batch if r.is_open else None for r in inbox.get_all(ids)}
    if len(batches) > 1:
        raise RequestError("These requests are not all of one batch, so nothing was done. Name those of one at a time.")
    batch = batches.pop()
    if batch is None:
        return inbox.withdraw_all(ids, state)
    _take_out(ws, batch, ids, state)
    return inbox.get_all(ids)


def _take_out(ws: Workspace, batch: str, ids: Sequence[str], state: State) -> Batch:
    """Take requests out of a batch; its cut, if there is one, is taken back."""
    with locks.serving(ws):
        left = open_inbox(ws).take_out(batch, ids, state, this_owner())
    if left.closed is not None:
        take_back_strays(ws)
    elif not left.is_aside:
        with open_lease(ws, batch):
            take_back(ws, batch)
    return left


def _anew(ws: Workspace, held: Batch, **facts: Any) -> Batch:  # noqa: ANN401 - whatever JSON can hold
    """Let the next run begin a held batch anew. A cut that a kill keeps from being taken back is by that run."""
    with locks.serving(ws):
        changed = open_inbox(ws).retry(held.id, "claim", owner=this_owner(), **facts)
    if not changed.is_aside:
        with open_lease(ws, held.id):
            take_back(ws, held.id)
    return changed


def _enter(ws: Workspace, batch: Batch, outcome: str, reason: str, **facts: Any) -> None:  # noqa: ANN401
    """What a person has decided about a batch, for good."""
    key = f"{batch.id}/{outcome}/{short([reason, batch.facts.get('attempts', 0)])}"
    enter(ws, "batch", key, batch=batch.id, outcome=outcome, reasons=[reason], **facts)


def release(ws: Workspace, reason: str, batch: str | None = None) -> dict[str, Any]:
    """A person takes it on themselves: the held batch's model serves although the gate, or another person, said no.

    It is the retrained model, whose forgetting is exact by construction; where the unlearned one had passed the gate
    and only its approval was refused, it is that one. The exact checks cannot be overruled.

    Raises:
        RequestError: no batch is held, or several are and none is named; or the reason is empty.
        Busy: an erasure or a rollback is at work.
        ModelError: there is no such model, or it violates an exact check.
    """
    _refuse_silence(reason)
    held = _held(ws, batch)
    if held.is_aside:
        raise ModelError(
            f"{held.id} stepped aside for others, and its models are gone. `tru batch accept` lets the next run make "
            "one and lets it serve."
        )
    run = Run(ws, held.id)
    if fault := _fault(run):
        raise ModelError(fault)
    with locks.serving(ws):
        run.inbox.lift(held.id, run.owner, LEASE_SECONDS)
    with open_lease(ws, held.id):
        _enter(ws, held, "released", reason)
        Run(ws, held.id).finish("retrain" if run.facts["retrain"] else "gate", None, released=reason)
        promote(ws, held.id)
        return {"batch": held.id, **close(ws, held.id)}


def _fault(run: Run) -> str | None:
    """Why no model of a held batch can serve as it is; None if one can."""
    batch, again = run.id, "Let it run again: `tru batch retry`, `tru run`."
    verdict = (run.facts.get("retrain") or run.facts["gate"]) if run.is_done("gate") else {}
    if verdict.get("verdict") != "pass" and not run.facts.get("retrain"):
        return f"{batch} has no retrained model to release. {again}"
    exact = run.comparison.exact_retrained if run.facts["retrain"] else run.comparison.exact
    if broken := [words for words, count in exact.items() if count]:
        return f"{batch} cannot be released: {'; '.join(broken)}. {again}"
    if run.is_swapped():
        return (
            f"the model of {batch} is not the one that the gate judged, so it cannot be released. Find out who changed "
            "its files, and let it run again: `tru batch retry`, `tru run`."
        )
    return None


def _refuse_silence(reason: str) -> None:
    if not reason.strip():
        raise RequestError("say why: the ledger keeps the reason, together with what it overrules.")


def _held(ws: Workspace, batch: str | None) -> Batch:
    held = {found.id: found for found in open_inbox(ws).held()}
    if batch is not None and batch in held:
        return held[batch]
    if batch is not None and held:
        raise RequestError(f"{batch} is not held. Held: {', '.join(held)}.")
    if len(held) > 1:
        raise RequestError(f"Several batches are held: {', '.join(held)}. Name the one that you mean.")
    if not held:
        raise RequestError("no batch is held. See `tru status`.")
    return next(iter(held.values()))
