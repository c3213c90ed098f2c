"""What the gate says: findings with every number, its allowed range and the reason in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Fault = Literal["exact", "swapped", "utility", "under-forgotten", "over-forgotten"]
Night = Mapping[str, Mapping[str, float]]
"""What a night leaves for the window: claim -> its moments and the reference's own error."""

SAME_MODEL = "model files that differ from what was unlearned"
SWAPPED = frozenset({SAME_MODEL, "retained pairs missing from the model"})
"""Exact checks that say: this is another model than the one that was made tonight."""


@dataclass(frozen=True)
class Finding:
    """One line of the verdict; numbers are None where they have no meaning.

    Attributes:
        name: the metric, or an exact check in words.
        group: see :class:`Claim`; ``window`` for a test pooled over nights.
        value: the candidate's.
        reference: what it should be.
        difference: value minus reference.
        interval: of the difference; one-sided bounds at ``alpha`` each.
        low: least value that is inside the margin.
        high: most.
        margin: as used, perhaps wider than set.
        n: independent subjects.
        judged: whether the verdict rests on it.
        passed: whether it is inside; True where it is not judged.
        fault: what is wrong if it is not.
        words: the same for a person.
    """

    name: str
    passed: bool
    words: str
    group: str | None = None
    value: float | None = None
    reference: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    n: int = 0
    judged: bool = True
    fault: Fault | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        passed: whether the candidate may serve.
        findings: one per check.
        mode: what it was compared with.
        night: for the window of the nights to come.
        notes: what a reader should know besides.
    """

    passed: bool
    findings: tuple[Finding, ...]
    mode: str = "fresh"
    night: Night = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """``pass`` or ``fail``."""
        return "pass" if self.passed else "fail"

    @property
    def reasons(self) -> list[str]:
        """Why it failed, or why it passed."""
        return [f.words for f in self.findings if f.passed == self.passed]

    @property
    def faults(self) -> set[str]:
        """What is wrong with the candidate."""
        return {f.fault for f in self.findings if f.fault is not None}

    def to_dict(self) -> dict[str, Any]:
        """For JSON; no identifier in it. What is not finite becomes null."""
        rows = [{k: _plain(v) for k, v in asdict(f).items()} for f in self.findings]
        words = {"verdict": self.word, "mode": self.mode, "reasons": self.reasons, "table": rows}
        return {**words, "notes": list(self.notes), "night": {k: dict(v) for k, v in self.night.items()}}

    def refused(self, *reasons: str) -> Verdict:
        """The same verdict, but no, for reasons of its own."""
        said = tuple(Finding(reason, False, reason) for reason in reasons)
        return replace(self, passed=False, findings=(*said, *self.findings))


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a finding holds
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
