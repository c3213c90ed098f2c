"""How the report says things: numbers, subjects, moments and measures in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tru import prose

MISSING = "—"

# Singular and plural of what a batch can forget.
_SUBJECTS = {
    "users": ("person", "people"),
    "items": ("item", "items"),
    "interactions": ("single interaction", "single interactions"),
    "modalities": ("modality of an item", "modalities of items"),
}
_GROUPS = {
    "users": "pairs of people who went",
    "items": "pairs of items that went",
    "interactions": "single interactions",
    "champion": "against the old champion",
    "baseline": "against the baseline",
}
FAULTS = {
    "exact": "something was left in",
    "under-forgotten": "still remembered",
    "over-forgotten": "pushed down too far, which betrays it as well",
    "utility": "worse for those who stay",
    "swapped": "not this batch's model",
}


@dataclass(frozen=True)
class Measure:
    """What a metric means.

    Attributes:
        title: in a few words.
        meaning: in a sentence.
    """

    title: str
    meaning: str


_MEASURES = {
    "test/ndcg@20": Measure(
        "Quality for those who stay", "NDCG@20 on their test rows; higher is better, so only a lower end is set"
    ),
    "test/ndcg@10": Measure("NDCG@10, those who stay", "higher is better"),
    "test/recall@10": Measure("Recall@10, those who stay", "higher is better"),
    "test/recall@20": Measure("Recall@20, those who stay", "higher is better"),
    "forget/recall@20": Measure(
        "Forgotten pairs in a top 20",
        "share of them that the model would recommend; right is what a model gives that never saw them",
    ),
    "membership_auc": Measure(
        "Forgotten pairs against pairs never seen",
        "how often the forgotten one ranks higher (AUC); right, again, is what a model gives that never saw them",
    ),
    "canary_auc": Measure("Canaries against never seen", "the same for pairs withheld from training on purpose"),
}


def measure(name: str) -> Measure:
    """What the metric ``name`` means; an unknown one stands for itself."""
    return _MEASURES.get(name, Measure(name, ""))


def group(name: object, metric: str) -> str:
    """Which part a line of ``metric`` is about."""
    if name is None:
        return "all who stay" if metric.startswith("test/") else "all forgotten pairs"
    part, _, pooled = str(name).partition(", ")
    if part == "window":
        return "with the nights before"
    return f"{_GROUPS.get(part, part)}{', with the nights before' if pooled else ''}"


def finite(value: object) -> float | None:
    """``value`` as a number, or None if it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def decimal(value: object, digits: int = 4) -> str:
    """A number with ``digits`` digits; a dash where there is none."""
    number = finite(value)
    return MISSING if number is None else f"{number:.{digits}f}".replace("-", "−")


def signed(value: object) -> str:
    """A difference, with its sign."""
    number = finite(value)
    return MISSING if number is None else f"{number:+.4f}".replace("-", "−")


def count(value: object) -> str:
    """A whole number with thin groups of three."""
    number = finite(value)
    return MISSING if number is None else f"{round(number):,}".replace(",", "\u202f")


def percent(value: object) -> str:
    """A share as a percentage."""
    number = finite(value)
    return MISSING if number is None else f"{100 * number:.3g} %"


def duration(seconds: object) -> str:
    """How long something took, as a person says it; a dash where nobody knows."""
    number = finite(seconds)
    return MISSING if number is None else prose.duration(number)


def several(number: int, one: str, many: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{count(number)} {one if number == 1 else many}"


def subjects(regimes: Mapping[str, int]) -> str:
    """``40 people, 2 items and 20 single interactions``; ``nothing`` if there are none."""
    parts = [several(n, *_SUBJECTS.get(name, (name, name))) for name, n in regimes.items() if n]
    return listed(parts) or "nothing"


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def moment(at: datetime | None) -> str:
    """Day and time, UTC."""
    return MISSING if at is None else f"{day(at)}, {at:%H:%M} UTC"


def day(at: datetime) -> str:
    """``23 November 2026``, whatever the machine's language."""
    return f"{at.day} {_MONTHS[at.month]} {at.year}"


_MONTHS = {
    **{1: "January", 2: "February", 3: "March", 4: "April", 5: "May", 6: "June", 7: "July", 8: "August"},
    **{9: "September", 10: "October", 11: "November", 12: "December"},
}
