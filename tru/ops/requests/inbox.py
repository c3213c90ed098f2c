"""The inbox: takes deletion requests in, hands them out in batches under a lease, and ends each of them exactly once.

The rules are here, once; where the rows lie is behind `Rows`. Every public method is one transaction, so a crash leaves
a request before or after a step, never in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from tru.errors import RequestError
from tru.ops.requests import filing, moves
from tru.ops.requests.held import HeldBatches
from tru.ops.requests.lifecycle import (
    WAITING,
    WORKING,
    Batch,
    BatchOutcome,
    Deadlines,
    DeletionRequest,
    Receipt,
    Regime,
    RequestOutcome,
    RequestParams,
    State,
    Subject,
    Verdict,
)
from tru.ops.requests.suppression import Suppression

if TYPE_CHECKING:
    from tru.data.forget import ForgetSet


class Inbox(HeldBatches):
    """The inbox over any storage; several processes may use the same one at the same time."""

    # -- filing ------------------------------------------------------------------------------------------------------

    def add(
        self,
        regime: Regime | str,
        *,
        user: str | None = None,
        item: str | None = None,
        modality: str | None = None,
        received: datetime | None = None,
    ) -> Receipt:
        """File one request; its subject is suppressed from here on.

        Raises:
            RequestError: it does not name what its regime takes.
        """
        return self.add_all([Subject.of(regime, user=user, item=item, modality=modality)], received=received)[0]

    def add_all(
        self,
        subjects: Sequence[Subject],
        *,
        received: datetime | Sequence[datetime | None] | None = None,
        references: Sequence[str | None] | None = None,
    ) -> Sequence[Receipt]:
        """File many requests, all or none; one receipt per subject, in order.

        Args:
            subjects: whom or what they name.
            received: when they were received, one moment for all or one each (None: now). Of a subject that asks twice
                the earlier moment counts, for an open request too.
            references: the case number of each, by which :meth:`filed_under` finds it again; kept as a keyed hash.

        Raises:
            RequestError: a moment lacks its zone, or lies in the future or more than ten years ago; or a case number is
                no line of text.
        """
        given = filing.checked(subjects, received, references, self._moment())
        with self._rows.writing() as rows:
            return filing.file(rows, self._key, given)

    def filed_under(self, reference: str) -> Sequence[DeletionRequest]:
        """The requests that were filed under a case number, in the order they came in; none if it is unknown."""
        with self._rows.reading() as rows:
            return rows.requests(ids=rows.referred(self._key.of_reference(reference.strip())))

    def list(
        self, state: State | str | Collection[State] | None = None, batch: str | None = None
    ) -> Sequence[DeletionRequest]:
        """Requests in the order they came in, with identifiers while they are open.

        Args:
            state: only those in this state, or in one of these.
            batch: only those of this batch.

        Raises:
            RequestError: an unknown state.
        """
        wanted = [state] if isinstance(state, str) else state
        states = None if wanted is None else [moves.state_of(one) for one in wanted]
        with self._rows.reading() as rows:
            return rows.requests(states=states, batch=batch)

    def get(self, id: str) -> DeletionRequest:
        """One request; see :meth:`get_all`."""
        return self.get_all([id])[0]

    def get_all(self, ids: Sequence[str]) -> Sequence[DeletionRequest]:
        """Several requests, in the order of ``ids``, each once.

        Raises:
            RequestError: there is none with one of the ids.
        """
        with self._rows.reading() as rows:
            return moves.requests_of(rows, ids)

    def withdraw(self, id: str) -> DeletionRequest:
        """Take back one request; see :meth:`withdraw_all`."""
        return self.withdraw_all([id])[0]

    def withdraw_all(self, ids: Sequence[str], state: State = State.WITHDRAWN) -> Sequence[DeletionRequest]:
        """End requests that no batch has taken up as withdrawn, or refused, all or none; lifts their suppression.

        Raises:
            RequestError: there is none with one of the ids, or one is past taking back.
        """
        with self._rows.writing() as rows:
            requests = moves.requests_of(rows, ids)
            late = next((request for request in requests if request.state not in WAITING), None)
            if late is not None:
                raise RequestError(
                    f"Request {late.id} is {late.state}; only one that waits, or whose batch is held, can be "
                    "withdrawn. What was forgotten is not put back: file the interactions anew if they are wanted."
                )
            ended = moves.end(rows, requests, state, None, lift=True)
        self._scrub()
        return ended

    def counts(self) -> dict[str, int]:
        """How many requests are in each state, every state named."""
        with self._rows.reading() as rows:
            found = rows.counts()
        return {state.value: found.get(state, 0) for state in State}

    def outcomes(self, batch: str | None = None) -> dict[str, int]:
        """How many requests ended with each outcome, every outcome named; of one batch, or all that ever ended."""
        with self._rows.reading() as rows:
            found = rows.outcomes(batch)
        return {outcome: found.get(outcome, 0) for outcome in get_args(RequestOutcome)}

    # -- a batch's life ----------------------------------------------------------------------------------------------

    def claim(self, owner: str, lease_seconds: float = 120) -> Batch | None:
        """Take the open batch up again, or open one from all that waits; None if nothing waits.

        An open batch is free when its lease was dropped, has run out, or its owner on this host is dead.

        Raises:
            LeaseHeld: a live run holds the open batch.
            RequestError: the open batch is held for a person to decide.
        """
        with self._rows.writing() as rows:
            batch = rows.open_batch() or moves.next_batch(rows, self._moment())
            if batch is None:
                return None
            if batch.is_held:
                raise RequestError(
                    f"Batch {batch.id} is held for a person to decide; until then the champion stays. "
                    "`tru status` says why, and what can be done."
                )
            moves.refuse_if_taken(batch, owner, self._moment())
            begun = replace(batch, facts={name: fact for name, fact in batch.facts.items() if name != "decided"})
            return moves.lease(rows, begun, owner, self._until(lease_seconds))

    def renew(self, batch: str, owner: str, lease_seconds: float = 120) -> None:
        """Keep the lease.

        Raises:
            LeaseHeld: it is no longer this owner's.
        """
        with self._rows.writing() as rows:
            moves.lease(rows, moves.leased(rows, batch, owner), owner, self._until(lease_seconds))

    def release(self, batch: str, owner: str) -> None:
        """Drop the lease; nothing happens if it is not this owner's."""
        with self._rows.writing() as rows:
            found = rows.batch(batch)
            if found is not None and found.owner == owner:
                rows.put_batch(replace(found, owner=None, lease_until=None))

    def forget_set(self, batch: str) -> ForgetSet:
        """What the batch's open requests ask to be forgotten (without those that were not found)."""
        from tru.data.forget import ForgetSet

        by_regime: dict[Regime, set[Any]] = {regime: set() for regime in Regime}
        for r in self.list(batch=batch):
            if r.is_open:
                named = tuple(part for part in (r.user, r.item, r.modality) if part is not None)
                by_regime[r.regime].add(named if len(named) > 1 else named[0])
        return ForgetSet(
            users=frozenset(by_regime[Regime.USER]),
            items=frozenset(by_regime[Regime.ITEM]),
            pairs=frozenset(by_regime[Regime.INTERACTION]),
            modalities=frozenset(by_regime[Regime.MODALITY]),
        )

    def advance(self, batch: str, owner: str, step: str, state: State | str | None = None, **facts: Any) -> Batch:  # noqa: ANN401
        """Record a finished step and its facts (JSON, no identifier), and move the open requests to ``state``.

        Saying it twice changes nothing.

        Raises:
            LeaseHeld: the lease is no longer this owner's.
            RequestError: the batch is closed or held, or ``state`` is none a batch works in.
        """
        target = None if state is None else moves.state_of(state)
        if target is not None and target not in WORKING:
            raise RequestError(f"A step cannot move requests to '{target}'; it is one of {', '.join(sorted(WORKING))}.")
        with self._rows.writing() as rows:
            found = moves.leased(rows, batch, owner)
            if target is not None:
                moving = [r for r in rows.requests(batch=batch, states=WORKING) if r.state != target]
                rows.update([replace(r, state=target) for r in moving])
            changed = replace(found, step=step, facts=moves.merged(found, facts))
            rows.put_batch(changed)
            return changed

    def not_found(self, batch: str, owner: str, ids: Iterable[str]) -> None:
        """Close requests of the batch whose subjects are not in the data; lifts their suppression.

        Raises:
            LeaseHeld: the lease is no longer this owner's.
            RequestError: an id is not of this batch.
        """
        wanted = set(ids)
        with self._rows.writing() as rows:
            moves.leased(rows, batch, owner)
            found = [request for request in rows.requests(batch=batch) if request.id in wanted]
            if len(found) < len(wanted):
                raise RequestError(f"{len(wanted) - len(found)} of the requests are not of batch {batch}.")
            moves.end(rows, [r for r in found if r.is_open], State.CLOSED, "not found", lift=True)
        self._scrub()

    def close(
        self,
        batch: str,
        owner: str,
        outcome: BatchOutcome,
        verdict: Verdict | None,
        seconds: dict[str, float],
        **facts: Any,  # noqa: ANN401 - whatever JSON can hold
    ) -> Batch:
        """End the batch and every request still open in it, exactly once; identifiers are erased.

        Outcome "not found" is for a batch none of whose subjects was in the data; verdict "fail" is for a model that a
        person let pass. Saying it twice changes nothing.

        Raises:
            LeaseHeld: the lease is no longer this owner's.
            RequestError: it was closed otherwise, is held, or the outcome does not fit its requests.
        """
        with self._rows.writing() as rows:
            found = moves.batch_of(rows, batch)
            if found.closed is None:
                found = moves.leased(rows, batch, owner)
                closed = replace(moves.settled(found, outcome, verdict, seconds, facts), closed=self._moment())
                moves.close(rows, self._key, closed)
                found = closed
            elif (found.outcome, found.verdict) != (outcome, verdict):
                raise RequestError(f"Batch {batch} is closed with outcome '{found.outcome}'; it cannot end twice.")
        self._scrub()
        return found

    def batch(self, id: str) -> Batch:
        """One batch, open or closed.

        Raises:
            RequestError: there is none with this id.
        """
        with self._rows.reading() as rows:
            return moves.batch_of(rows, id)

    def open_batch(self) -> Batch | None:
        """The batch that is worked on, waits for a run, or is held and not aside, if there is one."""
        with self._rows.reading() as rows:
            return rows.open_batch()

    def last_batch(self) -> Batch | None:
        """The newest batch that came to an outcome, "held" included."""
        with self._rows.reading() as rows:
            return rows.last_batch()

    def recent(self, n: int) -> Sequence[Batch]:
        """The ``n`` batches closed last, the newest first."""
        with self._rows.reading() as rows:
            return rows.recent(n)

    def overdue(self, params: RequestParams, now: datetime | None = None) -> Deadlines:
        """How many of the open requests are late, or soon will be.

        Raises:
            RequestError: ``now`` has no time zone.
        """
        moment = self._moment(now)
        with self._rows.reading() as rows:
            return rows.deadlines(params, moment)

    def completed_through(self) -> int:
        """How many requests have been completed, in order; never falls."""
        with self._rows.reading() as rows:
            return rows.guard().completed

    def suppression(self) -> Suppression:
        """Who and what serving must not show."""
        return Suppression(self._key, self._rows.lookup())
