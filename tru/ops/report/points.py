"""The nights as points: how far each unlearned model's forgetting was from the reference, and its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tru.ops.report.story import ending
from tru.ops.report.table import is_pooled
from tru.ops.report.words import finite
from tru.ops.requests.lifecycle import Batch

QUALITY, MEMBERSHIP = "test/ndcg@20", "membership_auc"


@dataclass(frozen=True)
class Point:
    """One night.

    Attributes:
        distance: |membership AUC − reference| of the unlearned model.
        quality: its test NDCG@20.
        served: whether the unlearned model passed and serves.
        judged: whether there were enough subjects to judge this distance by; otherwise it is mostly chance.
    """

    distance: float
    quality: float
    served: bool
    judged: bool = True


@dataclass(frozen=True)
class Tolerance:
    """What the gate allowed: at most this distance, at least this quality; None where it said nothing."""

    distance: float | None
    quality: float | None


def point(batch: Batch) -> Point | None:
    """The night as a point; None if either number is missing."""
    models = (batch.facts.get("evaluate") or {}).get("models") or {}
    quality = finite(((models.get("unlearned") or {}).get("test") or {}).get("ndcg@20"))
    distance = _distance(batch.facts, models)
    if quality is None or distance is None:
        return None
    judged = any(row.get("judged", True) for row in _membership(batch.facts))
    return Point(distance, quality, ending(batch) in ("unlearned", "passed"), judged)


def earlier(history: Sequence[Batch], tonight: Batch) -> list[Batch]:
    """Those that had ended when this one did; all that have ended, if it has not."""
    return [
        batch
        for batch in history
        if batch.id != tonight.id and batch.closed and (tonight.closed is None or batch.closed < tonight.closed)
    ]


def points(history: Sequence[Batch], tonight: Batch) -> list[Point]:
    """The nights before that have both numbers."""
    found = [point(batch) for batch in earlier(history, tonight)]
    return [p for p in found if p is not None]


def tolerance(batch: Batch) -> Tolerance:
    """What was allowed that night."""
    quality = next((row for row in _rows(batch.facts) if row.get("name") == QUALITY), {})
    margins = [finite(row.get("margin")) for row in _membership(batch.facts)]
    known = [margin for margin in margins if margin is not None]
    return Tolerance(max(known) if known else None, finite(quality.get("low")))


def _distance(facts: Mapping[str, Any], models: Mapping[str, Any]) -> float | None:
    """Of the group of pairs that is furthest off, by the verdict; by the models where the verdict has no such line."""
    gaps = [finite(row.get("difference")) for row in _membership(facts)]
    known = [abs(gap) for gap in gaps if gap is not None]
    if known:
        return max(known)
    mine = finite((models.get("unlearned") or {}).get(MEMBERSHIP))
    for name in ("retrained", "baseline"):
        theirs = finite((models.get(name) or {}).get(MEMBERSHIP))
        if mine is not None and theirs is not None:
            return abs(mine - theirs)
    return None


def _membership(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The verdict's lines on tonight's pairs: those that were judged, or any if none was."""
    rows = [row for row in _rows(facts) if row.get("name") == MEMBERSHIP and not is_pooled(row)]
    return [row for row in rows if row.get("judged", True)] or rows


def _rows(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((facts.get("gate") or {}).get("table") or [])
