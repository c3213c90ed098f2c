"""Which requests of a batch can go on tonight: those that would leave too little do not hold up the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from tru.data.forget import ForgetSet
from tru.data.interactions import load_dataset
from tru.data.left import Left, fitting
from tru.ops.erasure.search.scan import forget_set
from tru.ops.pipeline.record import Run, best_effort, enter, short
from tru.ops.report import write as write_report
from tru.ops.requests.lifecycle import WAITING, Batch, DeletionRequest, Regime, State
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

Filing = tuple[datetime, Regime, str]
"""Requests that came together and ask for the same kind of thing: when, what, and of modalities which."""


def arrange(run: Run) -> None:
    """Part the batch before it is cut, where what it would leave lacks something that there was.

    What came together (a list, a supplier's pictures) goes on together or waits for a person together, in a batch of
    its own that is aside. Filings have a claim by their size, the smallest first, so that somebody who asked alone does
    not wait for the decision about a list. If no filing can go on, or there is only one, the batch stays as it is; the
    check will hold it. What is forgotten along with the batch anyway (an interaction of a user, a picture of an item)
    goes on with it. Where a person has accepted that nothing is left, that is every other open request.
    """
    whole = load_dataset(run.ws.data)
    before, requests = Left.of(whole), [r for r in run.inbox.list(batch=run.id) if r.is_open]
    left = Left.of(whole, _named(requests))
    lacking = left.lacks(before) if run.accepted is None else []
    if lacking:
        filings = _filings(requests)
        going = fitting(filings, lambda some: not Left.of(whole, _named(_all(some))).lacks(before))
        if 0 < len(going) < len(filings):
            go = {request.id for request in _all(going)}
            run.set_apart([request.id for request in requests if request.id not in go], lacking)
            lacking = []
    if not lacking:
        run.take_in(_covered(run) if left.carries_a_model or run.accepted is None else None)
    _write_down(run)


def _covered(run: Run) -> list[str]:
    """Open requests elsewhere for what is forgotten with a user or an item of this batch.

    The erasure of this batch searches for the user everywhere; it must not meet them in a request that waits.
    """
    named = run.inbox.forget_set(run.id)
    states = [*WAITING, State.HELD, State.BATCHED]
    others = [
        r for r in run.inbox.list(state=states) if r.batch != run.id and r.regime not in (Regime.USER, Regime.ITEM)
    ]
    return [r.id for r in others if r.user in named.users or r.item in named.items]


def apart_from(ws: Workspace, batch: str) -> list[Batch]:
    """The held batches whose requests were parted from this one."""
    return [held for held in open_inbox(ws).held() if held.facts.get("apart_from") == batch]


def _write_down(run: Run) -> None:
    """Enter what was parted, also what a run that was killed had parted already; may be repeated."""
    for held in apart_from(run.ws, run.id):
        reasons = list(held.facts["held"])
        key = f"{held.id}/held/{short([*reasons, held.facts.get('attempts', 0)])}"
        enter(run.ws, "batch", key, batch=held.id, outcome="held", reasons=reasons, apart_from=run.id)
        best_effort(partial(write_report, run.ws, held.id))


def answer_all(ws: Workspace, lease_seconds: float) -> None:
    """Answer what waits where nobody was left to recommend to and nothing was imported since: there is nobody to find.

    May be repeated.
    """
    inbox, owner = open_inbox(ws), this_owner()
    batch = inbox.claim(owner, lease_seconds)
    if batch is None:
        return
    inbox.not_found(batch.id, owner, [r.id for r in inbox.list(batch=batch.id) if r.is_open])
    closed = {"outcome": "not found", "verdict": None, "size": batch.size, "version": None}
    enter(ws, "batch", f"{batch.id}/closed", batch=batch.id, **closed)
    inbox.close(batch.id, owner, "not found", None, {})


def _filings(requests: Iterable[DeletionRequest]) -> list[list[DeletionRequest]]:
    """The requests by filing, in the order in which the filings have a claim."""
    found: dict[Filing, list[DeletionRequest]] = defaultdict(list)
    for request in requests:
        found[request.received, request.regime, request.modality or ""].append(request)
    return [found[filing] for filing in sorted(found, key=lambda filing: (len(found[filing]), *filing))]


def _named(requests: Iterable[DeletionRequest]) -> ForgetSet:
    return forget_set([request.subject for request in requests])


def _all(filings: Iterable[Sequence[DeletionRequest]]) -> list[DeletionRequest]:
    return [request for filing in filings for request in filing]
