"""Held batches: put by for a person, let out of the way of others, and taken up again when the person has decided.

It is the part of the inbox (`tru.ops.requests.inbox`) that is about what a person decides, and what both parts stand
on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tru.errors import RequestError
from tru.ops.requests import moves
from tru.ops.requests.lifecycle import WAITING, WORKING, Batch, DeletionRequest, State, Verdict
from tru.ops.requests.rows import Rows
from tru.ops.requests.suppression import Key


def _now() -> datetime:
    return datetime.now(UTC)


class Transactions:
    """A storage with its key and its clock; each public method of a class that inherits it is one transaction."""

    def __init__(self, rows: Rows, key: Key, clock: Callable[[], datetime] = _now) -> None:
        """Take the storage into use.

        Raises:
            RequestError: the storage was filled under another suppression key.
        """
        self._rows, self._key, self._clock = rows, key, clock
        with rows.reading() as rows_now:
            check = rows_now.guard().key_check
        if check is None:
            with rows.writing() as rows_now:
                check = rows_now.guard().key_check or key.check
                rows_now.put_guard(replace(rows_now.guard(), key_check=check))
        key.refuse_unless_of(check)
        self._scrub()

    def _until(self, lease_seconds: float) -> datetime:
        return self._moment() + timedelta(seconds=lease_seconds)

    def _moment(self, given: datetime | None = None) -> datetime:
        if given is not None and given.tzinfo is None:
            raise RequestError("A time needs a time zone, as in 2026-11-23T02:30:00+00:00.")
        return (given or self._clock()).astimezone(UTC)

    def _scrub(self) -> None:
        """Clean the storage after endings; what cannot be done now is done when the inbox is next used so."""
        with self._rows.reading() as rows:
            guard = rows.guard()
        if guard.scrubbed < guard.endings and self._rows.scrub():
            with self._rows.writing() as rows:
                now = rows.guard()
                rows.put_guard(replace(now, scrubbed=max(now.scrubbed, guard.endings)))


class HeldBatches(Transactions):
    """What becomes of held batches."""

    def aside(self) -> Sequence[Batch]:
        """The batches that have stepped aside, oldest first: held ones, and decided ones that wait for their turn."""
        with self._rows.reading() as rows:
            return rows.aside()

    def held(self) -> Sequence[Batch]:
        """The batches that wait for a person to decide, oldest first."""
        with self._rows.reading() as rows:
            opened = rows.open_batch()
            found = [*rows.aside(), *([opened] if opened is not None else [])]
        return sorted((batch for batch in found if batch.is_held), key=lambda batch: batch.opened)

    def hold(
        self,
        batch: str,
        owner: str,
        verdict: Verdict | None,
        seconds: dict[str, float],
        **facts: Any,  # noqa: ANN401
    ) -> Batch:
        """Stop the batch for a person to decide: it stays open with its step, and no run picks it up by itself.

        Raises:
            LeaseHeld: the lease is no longer this owner's.
        """
        with self._rows.writing() as rows:
            found = moves.batch_of(rows, batch)
            if found.outcome == "held":
                return found
            found = moves.leased(rows, batch, owner)
            rows.update([replace(r, state=State.HELD) for r in rows.requests(batch=batch, states=WORKING)])
            held = moves.settled(found, "held", verdict, seconds, facts)
            rows.put_batch(held)
            return held

    def retry(
        self,
        batch: str,
        step: str | None = None,
        *,
        owner: str | None = None,
        lease_seconds: float = 120,
        **facts: Any,  # noqa: ANN401 - whatever JSON can hold
    ) -> Batch:
        """Take a held batch up again after ``step`` (default: the last step that finished), in the next run.

        What the last attempt found is forgotten. A batch that is aside waits for its turn and begins anew.

        Args:
            batch: which.
            step: the step that counts as finished.
            owner: who has the batch under a lease afterwards, unless it is aside; empty: nobody.
            lease_seconds: how long the lease lasts.
            facts: more to record with the batch.

        Raises:
            RequestError: the batch is not held.
        """
        with self._rows.writing() as rows:
            found = moves.held(rows, batch)
            changed = moves.again(rows, found, "claim" if found.is_aside else step or found.step, facts)
            if owner is None or found.is_aside:
                return changed
            return moves.lease(rows, changed, owner, self._until(lease_seconds))

    def take_out(self, batch: str, ids: Iterable[str], state: State, owner: str, lease_seconds: float = 120) -> Batch:
        """Take open requests out of a batch that is held or not begun; what is left in it begins anew.

        Args:
            batch: which; while it is the open one, ``owner`` has it under a lease afterwards.
            ids: of the requests.
            state: ``WITHDRAWN`` or ``REFUSED``, which ends them and lifts their suppression, or ``QUEUED``.
            owner: who asks.
            lease_seconds: how long the lease lasts.

        Returns:
            The batch; closed as "withdrawn" if nothing is left in it.

        Raises:
            LeaseHeld: a run has it.
            RequestError: it is closed or further than its beginning, or an id is not of an open request of it.
        """
        wanted = set(ids)
        with self._rows.writing() as rows:
            found = moves.batch_of(rows, batch)
            moves.refuse_if_begun(found, owner, self._moment())
            chosen = _chosen(rows.requests(batch=batch), wanted, batch)
            if state is State.QUEUED:
                rows.update([replace(r, state=State.QUEUED, batch=None) for r in chosen])
            else:
                moves.end(rows, chosen, state, None, lift=True)
            changed = moves.recounted(rows, moves.again(rows, found, "claim", {}))
            if not changed.size:
                changed = moves.emptied(changed, self._moment())
                rows.put_batch(changed)
            elif not changed.is_aside:
                changed = moves.lease(rows, changed, owner, self._until(lease_seconds))
        self._scrub()
        return changed

    def set_apart(self, batch: str, owner: str, ids: Iterable[str], reasons: Sequence[str]) -> Batch:
        """Put requests of the open batch into one of their own that is held, aside; the others go on without them.

        Returns:
            The new batch.

        Raises:
            LeaseHeld: the lease is no longer this owner's.
            RequestError: an id is not of an open request of the batch.
        """
        wanted = set(ids)
        with self._rows.writing() as rows:
            found = moves.leased(rows, batch, owner)
            chosen = _chosen(rows.requests(batch=batch), wanted, batch)
            apart = Batch(
                id=moves.new_id(rows, self._moment()),
                opened=self._moment(),
                step="claim",
                size=len(chosen),
                sequence=found.sequence,
                outcome="held",
                facts={"aside": True, "held": list(reasons), "apart_from": batch},
            )
            rows.put_batch(apart)
            rows.update([replace(r, state=State.HELD, batch=apart.id) for r in chosen])
            moves.recounted(rows, found)
            return apart

    def take_in(self, batch: str, owner: str, ids: Collection[str] | None = None) -> Batch:
        """Take other open requests into the open batch, those of batches that are aside included.

        A batch in which nothing is left then is closed as "withdrawn".

        Args:
            batch: the open one.
            owner: who has it.
            ids: of the requests; None: every one.

        Raises:
            LeaseHeld: the lease is no longer this owner's.
        """
        with self._rows.writing() as rows:
            found = moves.leased(rows, batch, owner)
            others = [r for r in rows.requests(states=WAITING | WORKING | {State.HELD}) if r.batch != batch]
            taken = [r for r in others if ids is None or r.id in ids]
            rows.update([replace(r, state=State.BATCHED, batch=batch) for r in taken])
            gone = {request.id for request in taken}
            left = {request.batch for request in others if request.id not in gone}
            for aside in rows.aside():
                if aside.id in left:
                    moves.recounted(rows, aside)
                else:
                    rows.put_batch(moves.emptied(aside, self._moment()))
            return moves.recounted(rows, found)

    def put_aside(self, batch: str) -> Batch:
        """Let a held batch step aside, so that others can be worked on; a person may decide about it all the same.

        Raises:
            RequestError: it is not held.
        """
        with self._rows.writing() as rows:
            found = moves.held(rows, batch)
            return found if found.is_aside else moves.aside(rows, found)

    def lift(self, batch: str, owner: str, lease_seconds: float = 120) -> Batch:
        """Take a held batch back under a lease, its requests gated: a person lets its model pass, so it can be closed.

        Raises:
            RequestError: the batch is not held.
        """
        with self._rows.writing() as rows:
            found = moves.taken_back(rows, batch, State.GATED)
            return moves.lease(rows, found, owner, self._until(lease_seconds))


def _chosen(requests: Sequence[DeletionRequest], wanted: set[str], batch: str) -> list[DeletionRequest]:
    chosen = [request for request in requests if request.id in wanted and request.is_open]
    if len(chosen) < len(wanted):
        raise RequestError(f"{len(wanted) - len(chosen)} of the requests are not open ones of batch {batch}.")
    return chosen
