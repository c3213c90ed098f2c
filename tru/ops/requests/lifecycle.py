"""What a deletion request and a batch are, the states they pass, and what makes a request valid.

::

    queued ─► batched ─► cut ─► unlearned ─► gated ─► promoted ─► closed
      └► withdrawn, refused     any of these ─► held (a person is called) ─► released as gated; or again batched,
                                                  queued, withdrawn or refused, when the cut is taken back

A held batch that others wait behind steps *aside*: it is no longer the open batch, and keeps its requests until a
person has decided; then it is worked on in its turn.

``received`` and ``refused`` belong to channels that take a request in before they can judge it; the channels of today
judge first, so what they take in is queued at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from tru import identifiers
from tru.errors import RequestError
from tru.params import Params

# GDPR Art. 12(3) gives one month; 30 days is the shortest month that is always safe to promise.
MONTH = timedelta(days=30)
LONGEST_ID = identifiers.LONGEST

# "retired": nothing was left to recommend from, so no model serves; "withdrawn": no request was left in the batch.
RequestOutcome = Literal["unlearned", "retrained", "retired", "not found"]
BatchOutcome = Literal["unlearned", "retrained", "retired", "not found", "withdrawn", "held"]
FULFILLED: tuple[RequestOutcome, ...] = ("unlearned", "retrained", "retired")
"""Outcomes after which the subject is forgotten."""
Verdict = Literal["pass", "fail"]


class RequestParams(Params):
    """How long a request may take. GDPR Art. 12(3) gives a month; your law, or your own promise, may give less."""

    due_days: int = Field(default=30, gt=0)
    """Days from receipt to the answer."""
    warn_days: int = Field(default=7, ge=0)
    """So many days before that, status and logs begin to warn."""


class Regime(StrEnum):
    """What is to be forgotten."""

    USER = "user"
    ITEM = "item"
    INTERACTION = "interaction"
    MODALITY = "modality"


class State(StrEnum):
    """Where a request stands."""

    RECEIVED = "received"
    QUEUED = "queued"
    BATCHED = "batched"
    CUT = "cut"
    UNLEARNED = "unlearned"
    GATED = "gated"
    PROMOTED = "promoted"
    CLOSED = "closed"
    HELD = "held"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


WAITING = frozenset({State.RECEIVED, State.QUEUED})
WORKING = frozenset({State.BATCHED, State.CUT, State.UNLEARNED, State.GATED, State.PROMOTED})
ENDED = frozenset({State.CLOSED, State.WITHDRAWN, State.REFUSED})

# Which of user, item and modality each regime takes: exactly these.
_NEEDS = {
    Regime.USER: ("user",),
    Regime.ITEM: ("item",),
    Regime.INTERACTION: ("user", "item"),
    Regime.MODALITY: ("item", "modality"),
}


@dataclass(frozen=True)
class Subject:
    """Whom or what a request names. Its ``repr`` shows no identifier, so a stray log line cannot leak one."""

    regime: Regime
    user: str | None = field(default=None, repr=False)
    item: str | None = field(default=None, repr=False)
    modality: str | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        regime: Regime | str | None = None,
        *,
        user: str | None = None,
        item: str | None = None,
        modality: str | None = None,
    ) -> Subject:
        """A checked subject; without ``regime`` it follows from what is named.

        Raises:
            RequestError: an unknown regime, too little or too much named, or an unusable identifier.
        """
        given = {"user": user, "item": item, "modality": modality}
        named = {key: _clean(key, value) for key, value in given.items() if value is not None}
        chosen = _regime(regime, tuple(named))
        if tuple(named) != _NEEDS[chosen]:
            raise RequestError(
                f"A request of regime '{chosen}' names {_words(_NEEDS[chosen])} and nothing else; "
                f"this one names {_words(tuple(named))}."
            )
        return cls(chosen, **named)


def _regime(regime: Regime | str | None, named: tuple[str, ...]) -> Regime:
    if regime is not None:
        try:
            return Regime(regime)
        except ValueError:
            # The word is not repeated: in a file with shifted columns it may be a person's identifier.
            raise RequestError(f"Unknown regime; the known ones are {_words(tuple(Regime))}.") from None
    for known, needs in _NEEDS.items():
        if named == needs:
            return known
    raise RequestError(
        "A request names a user, an item, a user and an item, or an item and a modality; "
        f"this one names {_words(named)}."
    )


def _clean(key: str, value: object) -> str:
    """The identifier without surrounding blanks, or an error that does not repeat it."""
    if not isinstance(value, str):
        raise RequestError(f"The {key} must be text; write the identifier in quotes.")
    text = value.strip()
    if not text:
        raise RequestError(f"The {key} is empty; give the identifier used in interactions.parquet.")
    if fault := identifiers.fault(text):
        raise RequestError(f"The {key} {fault}.")
    return text


def _words(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "nothing"


@dataclass(frozen=True)
class DeletionRequest:
    """One request. ``user``, ``item`` and ``modality`` are None once it has ended: nothing of the subject is kept.

    Attributes:
        id: a random token that says nothing of the subject.
        outcome: how it ended, when it is closed.
        received: when the subject asked (aware); the month runs from here. It may be filed later.
        batch: the batch that works on it or worked on it.
    """

    id: str
    regime: Regime
    state: State
    received: datetime
    user: str | None = field(default=None, repr=False)
    item: str | None = field(default=None, repr=False)
    modality: str | None = field(default=None, repr=False)
    outcome: RequestOutcome | None = None
    batch: str | None = None

    @property
    def due(self) -> datetime:
        """The day by which the subject must have an answer, where nothing else is promised."""
        return self.due_in(MONTH.days)

    def due_in(self, days: int) -> datetime:
        """The day by which the subject must have an answer, so many days after receipt."""
        return self.received + timedelta(days=days)

    @property
    def is_open(self) -> bool:
        """Whether it still waits or is worked on."""
        return self.state not in ENDED

    @property
    def subject(self) -> Subject:
        """Whom it names; meaningful while it is open."""
        return Subject(self.regime, self.user, self.item, self.modality)

    def public(self, days: int = MONTH.days) -> dict[str, str | None]:
        """What may be shown: no identifier of a person, an item or a modality. ``days``: see ``requests.due_days``."""
        return {
            "id": self.id,
            "regime": self.regime.value,
            "state": self.state.value,
            "outcome": self.outcome,
            "received": self.received.isoformat(timespec="seconds"),
            "due": self.due_in(days).isoformat(timespec="seconds"),
            "batch": self.batch,
        }


@dataclass(frozen=True)
class Receipt:
    """The answer to a filing: the request, and whether it is new (False: an open one named the same subject)."""

    request: DeletionRequest
    added: bool


@dataclass(frozen=True)
class Deadlines:
    """What the open requests demand.

    Attributes:
        overdue: requests whose answer is late.
        soon: requests due within the warning time and not yet late.
        next_due: the earliest due time of all, None if nothing is open.
    """

    overdue: int = 0
    soon: int = 0
    next_due: datetime | None = None

    @classmethod
    def of(cls, received: Iterable[datetime], params: RequestParams, now: datetime) -> Deadlines:
        """The deadlines of open requests received then (all times aware)."""
        due = [moment + timedelta(days=params.due_days) for moment in received]
        overdue = sum(moment < now for moment in due)
        near = sum(moment <= now + timedelta(days=params.warn_days) for moment in due)
        return cls(overdue, max(near - overdue, 0), min(due, default=None))


@dataclass(frozen=True)
class Batch:
    """The requests one nightly run works on together.

    Attributes:
        id: day and number, such as ``batch-20261123-01``.
        opened: when it was claimed first.
        step: the last step that finished.
        size: how many requests it was opened with.
        sequence: how many requests will have been completed, ever, once this batch is closed (``tru.deleted_through``).
        outcome: how it ended, or "held"; None while it is worked on.
        verdict: what the gate said of the model that came out.
        seconds: what took how long.
        facts: whatever the steps recorded for their successors; JSON, no identifier.
        closed: when it ended; None while it is open (a held batch is open).
        owner: who holds the lease.
        lease_until: how long the lease lasts unless it is renewed.
    """

    id: str
    opened: datetime
    step: str
    size: int
    sequence: int
    outcome: BatchOutcome | None = None
    verdict: Verdict | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    closed: datetime | None = None
    owner: str | None = None
    lease_until: datetime | None = None

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person to decide."""
        return self.outcome == "held"

    @property
    def is_aside(self) -> bool:
        """Whether it is out of the way of others: it is neither closed nor the open batch."""
        return self.closed is None and bool(self.facts.get("aside"))
