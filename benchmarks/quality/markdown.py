"""Numbers and tables as the results page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmarks.quality.tables import QUOTA, Match, Night, Spot, Summary, Target

MISSING = "missing"


def number(value: Summary, digits: int) -> str:
    """A median, and half the range of several."""
    spread = f" ±{value.half:.{digits}f}" if value.count > 1 else ""
    return f"{value.median:.{digits}f}{spread}"


def plain(value: float, digits: int) -> str:
    """A number, if there is one."""
    return f"{value:.{digits}f}" if np.isfinite(value) else MISSING


def signed(value: float) -> str:
    """A difference, if there is one."""
    return f"{value:+.4f}" if np.isfinite(value) else MISSING


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, with an empty line before it."""
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines that open on a click."""
    yield from ("", f"<details><summary>{title}</summary>")
    yield from lines
    yield from ("", "</details>")


def state_of(night: Night) -> str:
    """Which targets a night misses, and which of them by no more than two retrains differ."""
    if all(target.word == "missing" for target in night.targets):
        return MISSING
    failed = [target.name for target in night.limits if target.word == "FAILED"]
    near = [target.name for target in night.targets if target.word == "FAILED" and target.name not in failed]
    words = [f"{word}: {', '.join(names)}" for word, names in (("FAILED", failed), ("within noise", near)) if names]
    return "; ".join(words) or "met"


def heading(spot: Spot) -> str:
    """A place in words."""
    backbone, dataset, regime, fraction = spot
    amount = f"{float(fraction):.0%}" if "." in fraction else fraction
    return f"{backbone} on {dataset}, {regime}, {amount}"


def tally(words: Sequence[str], order: Sequence[str]) -> str:
    """How often each word is there, in this order."""
    return ", ".join(f"{words.count(word)} {word}" for word in order if words.count(word)) or "none"


def quota(words: Sequence[str]) -> str:
    """How TRU fares against its rivals, and whether that is what the issue asks for."""
    known = [word for word in words if word != "missing"]
    told = tally(words, ("best", "tied", "WORSE", "CATASTROPHIC", "missing"))
    if not known:
        return told
    share = sum(word in ("best", "tied") for word in known) / len(known)
    goal = "met" if share >= QUOTA and "CATASTROPHIC" not in known else "FAILED"
    return f"{told}; best or tied in {share:.0%} of those measured (target {QUOTA:.0%}: {goal})"


def named(word: str, places: Sequence[tuple[Spot, str]]) -> Iterator[str]:
    """Below a line of a list: the places that it counts, and what was found at each; nothing if there are none."""
    if places:
        yield f"  - {word}: {'; '.join(f'{heading(spot)} ({found})' for spot, found in places)}."


def reached(target: Target) -> str:
    """What was reached against what should be; empty if it was not measured."""
    if target.word == MISSING:
        return ""
    sign, digits = "≥" if target.at_least else "≤", 3 if target.bound < 1 else 1  # shares, and times faster
    return f"{number(target.found, digits)} {sign} {plain(target.bound, digits)}"


def duel(match: Match) -> str:
    """TRU's value, the best rival's and its name, and the noise."""
    return f"{plain(match.own, 4)} / {plain(match.best, 4)} {match.rival} / {plain(match.noise, 4)}"
