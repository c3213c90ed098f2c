"""The verdict's lines as rows of a table: numbers, allowed range, interval and a strip that shows both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tru.ops.report.words import (
    FAULTS,
    MISSING,
    Measure,
    count,
    decimal,
    duration,
    finite,
    group,
    listed,
    measure,
    signed,
)

Result = Literal["passed", "refused", "not judged", "reported"]
SIGNS: dict[Result, str] = {"passed": "✓", "refused": "✗", "not judged": "–", "reported": "·"}
STRIP = (132.0, 22.0)
"""Width and height of a strip."""

# The metrics that every model has, in the order of the page.
METRICS = (
    *("test/recall@10", "test/recall@20", "test/ndcg@10", "test/ndcg@20"),
    *("forget/recall@20", "membership_auc", "canary_auc"),
)


@dataclass(frozen=True)
class Strip:
    """A difference to the reference, drawn: the allowed band, the interval, the value, and where "no difference" is.

    All are places from left to right, in units of the drawing. Without a judgement there is no band.
    """

    zero: float
    band: tuple[float, float] | None
    interval: tuple[float, float] | None
    value: float


@dataclass(frozen=True)
class Row:
    """One line of the verdict, ready to print."""

    part: str
    original: str
    value: str
    reference: str
    difference: str
    interval: str
    allowed: str
    n: str
    strip: Strip | None
    result: Result
    fault: str

    @property
    def sign(self) -> str:
        """The result as one character."""
        return SIGNS[self.result]


@dataclass(frozen=True)
class Block:
    """A measure and its lines: for all of it, or for each part."""

    name: str
    measure: Measure
    rows: list[Row]


def is_exact(row: Mapping[str, Any]) -> bool:
    """Whether a line counts what must be exactly zero, rather than measuring something."""
    return row.get("low") == row.get("high") == 0


def is_reason(row: Mapping[str, Any]) -> bool:
    """Whether a line is a reason in words alone, without a number, such as that a retraining is due."""
    return row.get("name") == row.get("words")


def is_pooled(row: Mapping[str, Any]) -> bool:
    """Whether a line is about several nights together."""
    return "window" in str(row.get("group"))


def blocks(verdict: Mapping[str, Any], models: Mapping[str, Any]) -> list[Block]:
    """The lines of a verdict that measure something, by measure.

    Args:
        verdict: what the gate said.
        models: metrics of the models it is about; ``original`` stands beside its own numbers, and where the verdict has
            only lines for parts, the models' numbers for all pairs come first. Empty: neither.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in verdict.get("table") or []:
        if not is_exact(row) and not is_reason(row):
            found.setdefault(str(row.get("name")), []).append(row)
    return [
        Block(name, measure(name), [*_whole(name, lines, models), *(_row(line, models) for line in lines)])
        for name, lines in found.items()
    ]


def _whole(name: str, lines: Sequence[Mapping[str, Any]], models: Mapping[str, Any]) -> list[Row]:
    """The models' numbers for all pairs, for information, unless the verdict has a line for them."""
    if any(line.get("group") in _ALL for line in lines) or pick(models.get("original") or {}, name) is None:
        return []
    value = pick(models.get("unlearned") or {}, name)
    reference = pick(models.get("retrained") or models.get("baseline") or {}, name)
    line = {"name": name, "value": value, "reference": reference, "passed": True, "judged": False}
    return [replace(_row(line, models), result="reported")]


def exact_rows(verdict: Mapping[str, Any]) -> list[tuple[str, int | None, bool]]:
    """The checks that must be exactly zero: words, what was found, whether it passed."""
    found = []
    for row in verdict.get("table") or []:
        if is_exact(row):
            value = finite(row.get("value"))
            found.append((str(row.get("name")), None if value is None else round(value), bool(row.get("passed"))))
    return found


_ALL = (None, "champion")
"""Groups of lines on whatever the model as a whole was measured on."""


def _row(row: Mapping[str, Any], models: Mapping[str, Any]) -> Row:
    name, ends, alone = str(row.get("name")), _ends(row), not is_pooled(row)
    original = pick(models.get("original") or {}, name) if row.get("group") in _ALL else None
    return Row(
        part=group(row.get("group"), name),
        original=decimal(original),
        value=decimal(row.get("value") if alone else None),
        reference=decimal(row.get("reference") if alone else None),
        difference=signed(row.get("difference")),
        interval=f"{signed(ends[0])} to {signed(ends[1])}" if ends else "",
        allowed=allowed(row),
        n=count(row["n"]) if row.get("n") else "",
        strip=_strip(row),
        result=result(row),
        fault=FAULTS.get(str(row.get("fault")), "") if not row.get("passed") else "",
    )


@dataclass(frozen=True)
class Reason:
    """Why the gate said what it said: in plain words, and below them the gate's own with the numbers."""

    result: Result
    plain: str
    words: str


def reasons(verdict: Mapping[str, Any]) -> list[Reason]:
    """The verdict's reasons, without those on exact checks that passed; what was not judged is one of them."""
    lines = {row.get("words"): row for row in verdict.get("table") or []}
    default: Result = "passed" if verdict.get("verdict") == "pass" else "refused"
    few: dict[str, str] = {}
    found: list[Reason] = []
    for words in verdict.get("reasons") or []:
        row = lines.get(words)
        if row is None or is_reason(row):
            found.append(Reason(default, str(words), ""))
        elif is_exact(row):
            fault = FAULTS.get(str(row.get("fault")), "")
            found += [] if row.get("passed") else [Reason("refused", str(words), fault)]
        elif result(row) == "not judged":
            few[group(row.get("group"), str(row.get("name")))] = count(row.get("n"))
        else:
            found.append(Reason(result(row), _plainly(row), str(words)))
    if few:
        parts = listed([f"{part} ({n})" for part, n in few.items()])
        found.append(Reason("not judged", f"Too few tonight to be judged by themselves: {parts}", ""))
    return found


def _plainly(row: Mapping[str, Any]) -> str:
    name = str(row.get("name"))
    said = {
        "passed": "no worse than allowed" if name.startswith("test/") else "like a model that never saw them",
        "refused": FAULTS.get(str(row.get("fault")), "not as it should be"),
    }
    part = "" if row.get("group") is None else f", {group(row['group'], name)}"
    return f"{measure(name).title}{part}: {said[result(row)]}"


def result(row: Mapping[str, Any]) -> Result:
    """How a line came out; one that was not judged can still be refused, where it shows something impossible."""
    if not row.get("passed"):
        return "refused"
    return "passed" if row.get("judged", True) else "not judged"


def allowed(row: Mapping[str, Any]) -> str:
    """The range in which a value had to be; a dash where none was set."""
    low, high = finite(row.get("low")), finite(row.get("high"))
    if not row.get("judged", True) or (low is None and high is None):
        return MISSING
    if is_pooled(row):
        return f"±{decimal(row.get('margin'))}"
    if high is None:
        return f"at least {decimal(low)}"
    if low is None:
        return f"at most {decimal(high)}"
    return f"{decimal(max(low, 0.0))} to {decimal(high)}"


def _ends(row: Mapping[str, Any]) -> tuple[float, float] | None:
    found = [finite(end) for end in row.get("interval") or []]
    return (found[0], found[1]) if len(found) == 2 and found[0] is not None and found[1] is not None else None


def _strip(row: Mapping[str, Any]) -> Strip | None:
    """None where there is no difference to draw."""
    value, reference = finite(row.get("difference")), finite(row.get("reference"))
    low, high, ends = finite(row.get("low")), finite(row.get("high")), _ends(row)
    if value is None or reference is None:
        return None
    if not row.get("judged", True):
        low = high = None
    if low is None and high is None and ends is None:
        return None
    marks = [value, *(bound - reference for bound in (low, high) if bound is not None), *(ends or ())]
    reach = 1.15 * max([abs(mark) for mark in marks] + [1e-9])

    def place(difference: float) -> float:
        return float(round(STRIP[0] * (difference + reach) / (2 * reach), 2))

    left = 0.0 if low is None else place(low - reference)
    right = STRIP[0] if high is None else place(high - reference)
    band = None if low is None and high is None else (left, right)
    return Strip(place(0.0), band, (place(ends[0]), place(ends[1])) if ends else None, place(value))


def pick(model: Mapping[str, Any], name: str) -> object:
    """The metric ``name`` of a model's nested metrics; None if it is missing."""
    outer, _, inner = name.rpartition("/")
    found = (model.get(outer) or {}) if outer else model
    return found.get(inner) if isinstance(found, Mapping) else None


@dataclass(frozen=True)
class Side:
    """The models side by side: their names and one row of printed numbers per metric and for the time."""

    models: list[str]
    rows: list[tuple[Measure, str, list[str]]]


def side_by_side(evaluate: Mapping[str, Any]) -> Side | None:
    """Every metric of every model; None where nothing was measured."""
    models: Mapping[str, Any] = {name: row for name, row in (evaluate.get("models") or {}).items() if row}
    if not models:
        return None
    lines = []
    for name in METRICS:
        values = [pick(model, name) for model in models.values()]
        if any(value is not None for value in values):
            lines.append((measure(name), name, [decimal(value) for value in values]))
    seconds = evaluate.get("seconds") or {}
    took = {"original": "train", "unlearned": "unlearn", "retrained": "retrain", "baseline": "retrain"}
    times = [duration(seconds.get(took.get(name, name))) for name in models]
    lines.append((Measure("Time to make it", "training or unlearning, audits not included"), "seconds", times))
    return Side(list(models), lines)
