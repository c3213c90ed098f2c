"""What is said of requests that name nobody and nothing in the data, when they are filed by hand.

It rests on the present data set and the champion alone, never on who is suppressed or was forgotten: somebody who was
never here and somebody who was forgotten get the same words. It is no part of `Inbox.add_all`, so that a channel that
may only file learns nothing from it. Nothing is refused: the data may have changed when the night comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tru.errors import TruError
from tru.ops.requests.lifecycle import Regime, Subject
from tru.ops.requests.spelling import cause, other_spellings
from tru.ops.workspace import Workspace

if TYPE_CHECKING:
    from tru.data.presence import Named

MOST_PLACES = 10
"""So many rows, or ranges of rows, are listed."""
EXAMINED = 10_000
"""Of so many requests the spelling is looked into."""

_WORDS = {
    Regime.USER: "there is no such user",
    Regime.ITEM: "there is no such item",
    Regime.INTERACTION: "there is no interaction of such a user with such an item",
    Regime.MODALITY: "there is no such modality of such an item",
}
_ORDER = (Regime.USER, Regime.ITEM, Regime.INTERACTION, Regime.MODALITY)
_REMEDY = "Then `tru requests withdraw`, and file it as the data spells it."


@dataclass(frozen=True)
class Knowledge:
    """What is known of the subjects of some requests.

    Attributes:
        known: of each whether the data set or the champion knows it; None if there is no data set that can be read.
        asked_champion: whether the champion was asked as well: not where it is kept on a server, or there is none.
    """

    known: Sequence[bool] | None
    asked_champion: bool = False


def look_up(ws: Workspace, subjects: Sequence[Subject]) -> Knowledge:
    """Look the subjects up in the data set, and those it does not have in the champion."""
    from tru.data.presence import present

    known = _among(subjects, present(ws.data, _named(subjects)))
    if known is None or all(known):
        return Knowledge(known)
    missing = [subject for subject, is_there in zip(subjects, known, strict=True) if not is_there]
    served = _among(missing, _in_champion(ws, _named(missing)))
    if served is None:
        return Knowledge(known)
    left = iter(served)
    return Knowledge([is_there or next(left) for is_there in known], asked_champion=True)


def _in_champion(ws: Workspace, named: Named) -> Named | None:
    """What the champion knows; None if there is none, or it is not to be had without MLflow, which takes seconds."""
    from tru.data.presence import present_in_model
    from tru.ops.release import registry_reader

    if not ws.tracking_uri.startswith("sqlite:///"):
        return None
    try:
        champion = registry_reader.champion(ws)
        return None if champion is None else present_in_model(registry_reader.model_dir(ws, champion.version), named)
    except TruError:
        return None


def _named(subjects: Sequence[Subject]) -> Named:
    from tru.data.presence import Named

    names: dict[Regime, set[Any]] = {regime: set() for regime in _ORDER}
    for subject in subjects:
        names[subject.regime].add(_name(subject))
    return Named(*(frozenset(names[regime]) for regime in _ORDER))


def _among(subjects: Sequence[Subject], there: Named | None) -> list[bool] | None:
    if there is None:
        return None
    names = dict(zip(_ORDER, (there.users, there.items, there.pairs, there.modalities), strict=True))
    return [_name(subject) in names[subject.regime] for subject in subjects]


def _name(subject: Subject) -> str | tuple[str, ...]:
    names = tuple(name for name in (subject.user, subject.item, subject.modality) if name is not None)
    return names if len(names) > 1 else names[0]


def warn(ws: Workspace, subjects: Sequence[Subject], found: Knowledge, places: Sequence[int | str]) -> None:
    """Say on standard error which requests name nobody and nothing, and why that may be.

    Args:
        ws: the workspace.
        subjects: whom or what the requests name.
        found: what :func:`look_up` found of them.
        places: the number of the row in which each of them stands, or the id of the request.
    """
    if found.known is None:
        _say("Note: there is no data set here that could be read, so it is open whether it knows what is named.")
        return
    missing = [number for number, is_known in enumerate(found.known) if not is_known]
    if not missing:
        return
    causes = _causes(ws.data, [subjects[number] for number in missing[:EXAMINED]])
    where = "in the data set or the champion" if found.asked_champion else "in the data set"
    proviso = "as things stand" if found.asked_champion else "unless the champion still knows it"
    likely = f"{proviso}, a night closes such a request as “not found”."
    if len(subjects) == 1:
        perhaps = f" Perhaps the data spells it otherwise: {', '.join(causes)}. {_REMEDY}" if causes else ""
        _say(f"Warning: {_WORDS[subjects[0].regime]} {where}; {likely}{perhaps}")
        return
    rows = listed([places[number] for number in missing])
    _say(f"Warning: {len(missing)} of {len(subjects)} name nobody and nothing {where} ({rows}); {likely}")
    if causes:
        of = [f"{c} ({listed([places[missing[number]] for number in which])})" for c, which in causes.items()]
        _say(f"  Perhaps the data spells some of them otherwise: {', '.join(of)}. {_REMEDY}")


def _causes(data: Path, subjects: Sequence[Subject]) -> dict[str, list[int]]:
    """What may have happened to identifiers that the data does not have: cause -> numbers of the subjects."""
    from tru.data.presence import Named, present

    users = {name for subject in subjects if (name := subject.user) is not None}
    items = {name for subject in subjects if (name := subject.item) is not None}
    asked = Named(users=_spellings(users), items=_spellings(items))
    there = present(data, asked) or Named()
    causes: dict[str, list[int]] = {}
    for number, subject in enumerate(subjects):
        of_user = cause(subject.user, there.users) if subject.user is not None else None
        of_item = cause(subject.item, there.items) if subject.item is not None else None
        if found := of_user or of_item:
            causes.setdefault(found, []).append(number)
    return causes


def _spellings(names: Collection[str]) -> frozenset[str]:
    return frozenset(names) | {spelling for name in names for spelling, _ in other_spellings(name)}


def listed(places: Sequence[int | str]) -> str:
    """Numbers of rows, neighbours as ranges, or ids of requests; what is too much is counted."""
    rows = [place for place in places if isinstance(place, int)]
    parts = list(_ranges(rows)) if rows else [str(place) for place in places]
    more = len(parts) - MOST_PLACES
    shown = ", ".join(parts[:MOST_PLACES]) + (f" and {more} more" if more > 0 else "")
    return f"row{'s' if len(rows) > 1 else ''} {shown}" if rows else shown


def _ranges(rows: Sequence[int]) -> Iterator[str]:
    first = last = rows[0]
    for row in [*rows[1:], -1]:
        if row == last + 1:
            last = row
            continue
        yield str(first) if first == last else f"{first}-{last}"
        first = last = row


def _say(words: str) -> None:
    typer.secho(words, err=True, fg=typer.colors.YELLOW)
