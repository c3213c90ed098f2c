"""The moves of which the inbox is made; each runs inside a transaction that `tru.ops.requests.inbox` has begun."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tru.errors import LeaseHeld, RequestError
from tru.ops.requests.lifecycle import (
    WAITING,
    Batch,
    BatchOutcome,
    DeletionRequest,
    RequestOutcome,
    State,
    Subject,
    Verdict,
)
from tru.ops.requests.owner import is_dead
from tru.ops.requests.rows import Transaction
from tru.ops.requests.suppression import Key, mark_of, revocation_of


def queued(subject: Subject, received: datetime) -> DeletionRequest:
    """A new request with a token that says nothing of its subject."""
    return DeletionRequest(
        id=f"req-{secrets.token_hex(8)}",
        regime=subject.regime,
        state=State.QUEUED,
        received=received,
        user=subject.user,
        item=subject.item,
        modality=subject.modality,
    )


def suppress(rows: Transaction, key: Key, requests: Iterable[DeletionRequest]) -> None:
    """Mark the subjects of new requests."""
    marks = [mark for request in requests if (mark := mark_of(key, request)) is not None]
    if marks:
        rows.mark(marks)
        guard = rows.guard()
        rows.put_guard(replace(guard, marks=guard.marks + 1))


def end(
    rows: Transaction,
    requests: Sequence[DeletionRequest],
    state: State,
    outcome: RequestOutcome | None,
    *,
    lift: bool = False,
) -> Sequence[DeletionRequest]:
    """The one place where requests end: their identifiers go, and it is noted that their remains need scrubbing."""
    ended = [replace(r, state=state, outcome=outcome, user=None, item=None, modality=None) for r in requests]
    rows.update(ended)
    if lift:
        rows.unmark([request.id for request in requests])
    guard = rows.guard()
    rows.put_guard(replace(guard, endings=guard.endings + 1, marks=guard.marks + int(lift)))
    return ended


def new_id(rows: Transaction, moment: datetime) -> str:
    """The next batch of the day."""
    day = f"batch-{moment:%Y%m%d}-"
    return f"{day}{rows.count_batches(day) + 1:02d}"


def open_batch(rows: Transaction, moment: datetime) -> Batch | None:
    """A new batch of all that waits; None if nothing does."""
    waiting = rows.requests(states=WAITING)
    if not waiting:
        return None
    id = new_id(rows, moment)
    # One open batch at a time, so what will be completed after it is known from the start.
    sequence = rows.guard().completed + len(waiting)
    batch = Batch(id=id, opened=moment, step="claim", size=len(waiting), sequence=sequence)
    rows.put_batch(batch)
    rows.update([replace(request, state=State.BATCHED, batch=id) for request in waiting])
    return batch


def next_batch(rows: Transaction, moment: datetime) -> Batch | None:
    """What is worked on next: a batch that is aside and decided, the oldest first; else a new one of all that waits."""
    decided = next((batch for batch in rows.aside() if not batch.is_held), None)
    return open_batch(rows, moment) if decided is None else back_in_turn(rows, decided)


def back_in_turn(rows: Transaction, batch: Batch) -> Batch:
    """A batch that was aside as the open one, from its beginning: other batches have changed the data since."""
    size = len(_counted(rows, batch.id))
    facts = {name: fact for name, fact in batch.facts.items() if name != "aside"}
    opened = replace(batch, step="claim", size=size, sequence=rows.guard().completed + size, facts=facts)
    rows.put_batch(opened)
    return opened


def aside(rows: Transaction, batch: Batch) -> Batch:
    """A held batch out of the way of others."""
    moved = replace(batch, step="claim", facts={**batch.facts, "aside": True})
    rows.put_batch(moved)
    return moved


def again(rows: Transaction, batch: Batch, step: str, facts: dict[str, Any]) -> Batch:
    """A batch as it is before its next attempt: at work again after ``step``, without what the last attempt found."""
    moving = [r for r in rows.requests(batch=batch.id) if r.is_open]
    rows.update([replace(request, state=State.BATCHED) for request in moving])
    kept = {name: fact for name, fact in batch.facts.items() if name not in _OF_AN_ATTEMPT}
    told = {"attempts": kept.get("attempts", 0) + 1, "decided": True, **facts}
    changed = replace(batch, outcome=None, verdict=None, step=step, facts=merged(replace(batch, facts=kept), told))
    rows.put_batch(changed)
    return changed


_OF_AN_ATTEMPT = frozenset(
    {"unlearn", "evaluate", "gate", "retrain", "released", "held", "failure", "version", "outcome"}
)


def recounted(rows: Transaction, batch: Batch) -> Batch:
    """A batch that requests have left, with its numbers as they are now."""
    size = len(_counted(rows, batch.id))
    # While a batch is open nothing else is completed, so what is completed now was so when it was opened.
    changed = replace(batch, size=size, sequence=rows.guard().completed + size)
    rows.put_batch(changed)
    return changed


def emptied(batch: Batch, moment: datetime) -> Batch:
    """A batch in which no open request is left, closed."""
    return replace(settled(batch, "withdrawn", None, {}, {"aside": False}), closed=moment)


def refuse_if_begun(batch: Batch, owner: str, moment: datetime) -> None:
    """Let a person change what is in a batch unless a run has it or its model may serve already.

    Raises:
        LeaseHeld: a run has it.
        RequestError: it is closed, or further than its beginning without being held.
    """
    if batch.closed is not None:
        raise RequestError(f"Batch {batch.id} is closed; what is forgotten stays so.")
    if batch.is_held or batch.is_aside:
        return
    if batch.step != "claim":
        raise RequestError(f"Batch {batch.id} is being worked on. Let it end first: `tru run`.")
    refuse_if_taken(batch, owner, moment)


def _counted(rows: Transaction, batch: str) -> list[DeletionRequest]:
    """The requests that a batch completes, those included that it has answered with "not found"."""
    return [r for r in rows.requests(batch=batch) if r.is_open or r.outcome == "not found"]


def refuse_if_taken(batch: Batch, owner: str, moment: datetime) -> None:
    """Let ``owner`` have the batch unless a live run has it.

    Raises:
        LeaseHeld: one has.
    """
    if batch.owner is None or batch.owner == owner or batch.lease_until is None:
        return
    left = (batch.lease_until - moment).total_seconds()
    if left > 0 and not is_dead(batch.owner):
        raise LeaseHeld(
            f"Batch {batch.id} is being worked on by {batch.owner}. Wait for that run to end; if it is gone, "
            f"its lease runs out in {left:.0f} s and the next run takes the batch over."
        )


def lease(rows: Transaction, batch: Batch, owner: str, until: datetime) -> Batch:
    """Give ``owner`` the batch."""
    held = replace(batch, owner=owner, lease_until=until)
    rows.put_batch(held)
    return held


def close(rows: Transaction, key: Key, closed: Batch) -> None:
    """End the requests left in a batch and count them as completed; what must not be imported again is marked.

    Raises:
        RequestError: the outcome does not fit what is left.
    """
    left = [request for request in rows.requests(batch=closed.id) if request.is_open]
    outcome = closed.outcome
    if outcome is None or outcome == "held" or outcome == "withdrawn" or (outcome == "not found") != (not left):
        raise RequestError(f"Batch {closed.id} with {len(left)} open requests cannot be closed as '{outcome}'.")
    rows.mark([mark for request in left if (mark := revocation_of(key, request)) is not None])
    end(rows, left, State.CLOSED, outcome)
    rows.put_guard(replace(rows.guard(), completed=closed.sequence))
    rows.put_batch(closed)


def settled(
    batch: Batch, outcome: BatchOutcome, verdict: Verdict | None, seconds: dict[str, float], facts: dict[str, Any]
) -> Batch:
    """The batch with its outcome, and without its lease."""
    return replace(
        batch,
        outcome=outcome,
        verdict=verdict,
        seconds={**batch.seconds, **seconds},
        facts=merged(batch, facts),
        owner=None,
        lease_until=None,
    )


def held(rows: Transaction, batch: str) -> Batch:
    """A batch that waits for a person.

    Raises:
        RequestError: it does not.
    """
    found = batch_of(rows, batch)
    if not found.is_held:
        raise RequestError(f"Batch {batch} is not held, so there is nothing to decide about it. See `tru status`.")
    return found


def taken_back(rows: Transaction, batch: str, state: State) -> Batch:
    """A held batch as it is when a person has decided: at work again, its requests in ``state``, without a verdict.

    Raises:
        RequestError: the batch is not held, or is aside, where its models are gone.
    """
    found = held(rows, batch)
    if found.is_aside:
        raise RequestError(
            f"{batch} stepped aside for others, and its models are gone. `tru batch accept` or `tru batch retry` lets "
            "it run again."
        )
    rows.update([replace(request, state=state) for request in rows.requests(batch=batch, states=[State.HELD])])
    return replace(found, outcome=None, verdict=None)


def merged(batch: Batch, facts: dict[str, Any]) -> dict[str, Any]:
    """All facts so far, as JSON would give them back: what cannot be stored fails here, in every storage alike."""
    known: dict[str, Any] = json.loads(json.dumps({**batch.facts, **facts}, allow_nan=False))
    return known


def state_of(state: State | str) -> State:
    """The state of that name, or a `RequestError` that lists the names."""
    try:
        return State(state)
    except ValueError:
        raise RequestError(f"Unknown state '{state}'; the known ones are {', '.join(State)}.") from None


def requests_of(rows: Transaction, ids: Sequence[str]) -> Sequence[DeletionRequest]:
    """The requests with these ids in their order, each once, or a `RequestError`."""
    there = {request.id: request for request in rows.requests(ids=set(ids))}
    unknown = len(set(ids) - set(there))
    if unknown:
        # What was typed is not repeated: it may be a person's identifier given by mistake.
        which = "this id" if len(set(ids)) == 1 else f"{unknown} of these ids, so nothing was done"
        raise RequestError(f"There is no request with {which}; `tru requests list` shows the ids.")
    return [there[id] for id in dict.fromkeys(ids)]


def batch_of(rows: Transaction, batch: str) -> Batch:
    """The batch with this id, or a `RequestError`."""
    found = rows.batch(batch)
    if found is None:
        raise RequestError(f"There is no batch {batch}.")
    return found


def leased(rows: Transaction, batch: str, owner: str) -> Batch:
    """The open batch if ``owner`` has it; a lease that ran out but was not taken over still counts.

    Raises:
        LeaseHeld: somebody else has it, or nobody.
        RequestError: the batch is closed or held.
    """
    found = batch_of(rows, batch)
    if found.closed is not None or found.outcome == "held":
        raise RequestError(f"Batch {batch} is {'closed' if found.closed else 'held'}; no step can change it.")
    if found.owner != owner:
        raise LeaseHeld(f"Batch {batch} is not leased to this run; another may have taken it over. Stop here.")
    return found
