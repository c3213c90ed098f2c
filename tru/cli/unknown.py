"""What is said of requests that name nobody and nothing in the data, when they are filed by hand.

It rests on the present data set alone, never on who is suppressed or was forgotten: somebody who was never here and
somebody who was forgotten get the same words. It is no part of `Inbox.add_all`, so that a channel that may only file
learns nothing from it. Nothing is refused: the champion may know somebody whom an import has left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from tru.requests.lifecycle import Regime, Subject
from tru.requests.spelling import cause, other_spellings

MOST_PLACES = 10
"""So many rows, or ranges of rows, are listed."""
EXAMINED = 10_000
"""Of so many requests the spelling is looked into."""

_WORDS = {
    Regime.USER: "no such user",
    Regime.ITEM: "no such item",
    Regime.INTERACTION: "no interaction of such a user with such an item",
    Regime.MODALITY: "no such modality of such an item",
}


def known(data: Path, subjects: Sequence[Subject]) -> list[bool] | None:
    """Whether each of ``subjects`` is in the data set in the folder ``data``; None if there is none to be read."""
    from tru.data.presence import Named, present

    named: dict[Regime, set[Any]] = {regime: set() for regime in Regime}
    for subject in subjects:
        named[subject.regime].add(_names(subject))
    there = present(data, Named(*(frozenset(named[regime]) for regime in _ORDER)))
    if there is None:
        return None
    among = dict(zip(_ORDER, (there.users, there.items, there.pairs, there.modalities), strict=True))
    return [_names(subject) in among[subject.regime] for subject in subjects]


_ORDER = (Regime.USER, Regime.ITEM, Regime.INTERACTION, Regime.MODALITY)


def _names(subject: Subject) -> str | tuple[str, ...]:
    names = tuple(name for name in (subject.user, subject.item, subject.modality) if name is not None)
    return names if len(names) > 1 else names[0]


def warn(data: Path, subjects: Sequence[Subject], found: Sequence[bool] | None, places: Sequence[int | str]) -> None:
    """Say on standard error which requests name nobody and nothing in the data, and why that may be.

    Args:
        data: the folder of the data set.
        subjects: whom or what the requests name.
        found: what :func:`known` said of them.
        places: the number of the row in which each of them stands, or the id of the request.
    """
    if found is None:
        _say("Note: there is no data set here that could be read, so it is open whether the data knows what is named.")
        return
    missing = [number for number, is_there in enumerate(found) if not is_there]
    if not missing:
        return
    causes = _causes(data, [subjects[number] for number in missing[:EXAMINED]])
    if len(subjects) == 1:
        perhaps = f" Perhaps the data spells it otherwise: {', '.join(causes)}. {_REMEDY}" if causes else ""
        _say(f"Warning: the data set has {_WORDS[subjects[0].regime]}; {_LIKELY}{perhaps}")
        return
    where = listed([places[number] for number in missing])
    _say(f"Warning: {len(missing)} of {len(subjects)} name nobody and nothing in the data set ({where}); {_LIKELY}")
    if causes:
        of = [f"{c} ({listed([places[missing[number]] for number in which])})" for c, which in causes.items()]
        _say(f"  Perhaps the data spells some of them otherwise: {', '.join(of)}. {_REMEDY}")


_LIKELY = "unless the champion still knows it, a night closes such a request as “not found”."
_REMEDY = "Then `tru requests withdraw`, and file it as the data spells it."


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
