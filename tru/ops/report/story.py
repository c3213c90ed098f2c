"""What happened to a batch: how it ended or where it stands, and the way it took from request to champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tru.ops.report.sequel import Sequel
from tru.ops.report.words import duration, finite, several
from tru.ops.requests.lifecycle import Batch

Ending = Literal[
    "unlearned",
    "retrained",
    "released",
    "held",
    "declined",
    "stopped",
    "not found",
    "retired",
    "withdrawn",
    "passed",
    "open",
]
Mark = Literal["done", "refused", "next", "off"]

MAIN = ("requested", "batched", "cut", "unlearned", "gate", "promoted", "closed")
_NEXT = {"claim": "cut", "cut": "cut", "check": "unlearned", "unlearn": "gate", "evaluate": "gate"}
"""Step before the gate that finished -> the station that is worked on."""
_MADE_BY = {"unlearn": ("unlearn",), "evaluate": ("evaluate",), "gate": ("gate", "retrain")}
"""Step -> the facts it leaves."""


def current(batch: Batch) -> Batch:
    """The batch without facts of an earlier attempt: a batch that was held and runs again still has its old verdict."""
    if batch.outcome is not None or batch.step not in _NEXT:
        return batch
    steps = list(_NEXT)
    done = steps[: steps.index(batch.step) + 1]
    old = {key for step, keys in _MADE_BY.items() if step not in done for key in keys}
    return replace(batch, facts={key: value for key, value in batch.facts.items() if key not in old})


def ending(batch: Batch) -> Ending:
    """How the batch ended; of an open one, whether it has passed the gate."""
    last = last_verdict(batch.facts)
    if batch.outcome is None:
        return "passed" if last.get("verdict") == "pass" and batch.facts.get("forgotten") else "open"
    if batch.outcome == "held" and not batch.facts.get("retrain") and last.get("verdict") != "pass":
        return "stopped"
    if batch.outcome == "held":
        return "declined" if last.get("verdict") == "pass" else "held"
    if batch.outcome in ("retired", "withdrawn"):
        return batch.outcome
    if batch.facts.get("released") or batch.verdict == "fail":  # what a person let pass may have passed the gate too
        return "released"
    return batch.outcome


def last_verdict(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The gate's last word: on the retrained model if it came to that; empty before the gate."""
    return facts.get("retrain") or facts.get("gate") or {}


def is_retrained(facts: Mapping[str, Any]) -> bool:
    """Whether the candidate in the end is the retrained model."""
    return bool(facts.get("retrain"))


@dataclass(frozen=True)
class Way:
    """The way through the picture.

    Attributes:
        stations: in the order they were reached.
        marks: station -> how it went; a station not in it was not reached.
        labels: station -> a few words below its name.
        branches: arrows that some of the requests took on their own.
    """

    stations: Sequence[str]
    marks: Mapping[str, Mark]
    labels: Mapping[str, str] = field(default_factory=dict)
    branches: Sequence[tuple[str, str]] = ()

    @property
    def steps(self) -> set[tuple[str, str]]:
        """Which arrows were taken."""
        return {*zip(self.stations, self.stations[1:], strict=False), *self.branches}


def way(batch: Batch, sequel: Sequel | None = None) -> Way:
    """The batch's way: a list of stations, and for each how it went; ``sequel``: what came after its close."""
    sequel = sequel or Sequel()
    end, marks, turns = ending(batch), _after(_marks(batch), sequel), []
    if end == "released" and last_verdict(batch.facts).get("verdict") == "pass":
        turns = ["promoted"]  # not approved at first, so it was there before
    stations = list(marks)
    at = stations.index("held") if "held" in stations else 0
    branches = []
    if not_found(batch) and "nobody" not in marks:
        marks, branches = {**marks, "nobody": "done"}, [("batched", "nobody")]
    return Way([*stations[:at], *turns, *stations[at:]], marks, _labels(batch, marks, sequel), branches)


def not_found(batch: Batch) -> int:
    """How many of its requests named nobody and nothing in the data; 0 as long as nobody has looked."""
    facts = batch.facts
    if "not_found" in facts:
        return int(facts["not_found"])
    # Batches of version 0.1.0 say only how many were found.
    forgotten = facts.get("forgotten")
    return max(batch.size - forgotten, 0) if isinstance(forgotten, int) else 0


def _marks(batch: Batch) -> dict[str, Mark]:
    end = ending(batch)
    if end == "not found":
        return {"requested": "done", "batched": "done", "nobody": "done"}
    if end == "withdrawn":
        return {"requested": "done", "batched": "done"}
    if end == "retired":
        return {"requested": "done", "batched": "done", "cut": "done", "closed": "done"}
    if end == "stopped":
        return {**_stopped(batch), "held": "refused"}
    if end == "open" or end == "passed":
        return _so_far(batch)
    marks: dict[str, Mark] = {**dict.fromkeys(MAIN[:4], "done"), **_judged(batch.facts)}
    if end == "held":
        return {**marks, "held": "refused"}
    if end == "declined":
        return {**marks, "promoted": "refused", "held": "refused"}
    between: dict[str, Mark] = {"held": "done"} if end == "released" else {}
    return {**marks, **between, "promoted": "done", "closed": "done"}


def _after(marks: dict[str, Mark], sequel: Sequel) -> dict[str, Mark]:
    """With what follows when the batch is closed: what knew its subjects is destroyed, then it is certified."""
    if marks.pop("closed", None) is None:
        return marks
    if sequel.erasure is None:
        return {**marks, "erased": "next"}
    return {**marks, "erased": "done", "certified": "done" if sequel.certificates else "next"}


def _stopped(batch: Batch) -> dict[str, Mark]:
    """Up to the station whose step failed."""
    here = MAIN.index(_NEXT.get(batch.step, "gate"))
    return {**dict.fromkeys(MAIN[:here], "done"), MAIN[here]: "refused"}


def _judged(facts: Mapping[str, Any]) -> dict[str, Mark]:
    """The gate, and where it said no, the retrained model and its own gate."""
    first, second = facts.get("gate") or {}, facts.get("retrain") or {}
    marks: dict[str, Mark] = {"gate": "refused" if first.get("verdict") == "fail" else "done"}
    if (facts.get("unlearn") or {}).get("method") == "none":
        marks = {"unlearned": "refused", **marks}
    if second:
        marks |= {"retrained": "done", "gate again": "refused" if second.get("verdict") == "fail" else "done"}
    return marks


def _so_far(batch: Batch) -> dict[str, Mark]:
    """An open batch: what is done, and the station that is worked on or waits."""
    facts, step = batch.facts, batch.step
    if step in _NEXT or not facts.get("gate"):
        here = MAIN.index(_NEXT.get(step, "cut"))
        return {**dict.fromkeys(MAIN[:here], "done"), MAIN[here]: "next"}
    marks: dict[str, Mark] = {**dict.fromkeys(MAIN[:4], "done"), **_judged(facts)}
    if step in ("promote", "close"):
        return {**marks, "promoted": "done", "closed": "next"}
    if last_verdict(facts).get("verdict") == "pass":
        return {**marks, "promoted": "next"}
    return {**marks, "held": "next"} if is_retrained(facts) else {**marks, "retrained": "next"}


_PLAIN = {
    "batched": "taken together",
    "cut": "data rewritten",
    "gate": "judges",
    "retrained": "from scratch",
    "gate again": "judges",
    "promoted": "serves",
    "erased": "what knew them",
    "certified": "to be checked",
    "held": "a person decides",
    "nobody": "not in the data",
}
"""What stands below a station's name where there is nothing to say of tonight."""


def _labels(batch: Batch, marks: Mapping[str, Mark], sequel: Sequel) -> dict[str, str]:
    facts = batch.facts
    unlearn, seconds = facts.get("unlearn") or {}, (facts.get("evaluate") or {}).get("seconds") or {}
    tonight = {
        "requested": several(batch.size, "request", "requests"),
        "unlearned": "not possible" if unlearn.get("method") == "none" else _took(unlearn),
        "gate": _said(facts.get("gate") or {}),
        "retrained": _took({"seconds": seconds.get("retrain")}),
        "gate again": _said(facts.get("retrain") or {}),
        "nobody": several(n, "request", "requests") if (n := not_found(batch)) else "",
        "erased": several(sequel.erasure.count, "object", "objects") if sequel.erasure else "",
        "certified": several(len(sequel.certificates), "request", "requests") if sequel.certificates else "",
        "promoted": "not approved" if ending(batch) == "declined" else _version(facts),
    }
    return _PLAIN | {name: words for name, words in tonight.items() if words and name in marks}


def _took(step: Mapping[str, Any]) -> str:
    return duration(step["seconds"]) if finite(step.get("seconds")) is not None else ""


def _version(facts: Mapping[str, Any]) -> str:
    return f"version {facts['version']}" if facts.get("version") else ""


def _said(verdict: Mapping[str, Any]) -> str:
    return {"pass": "said yes", "fail": "said no"}.get(str(verdict.get("verdict")), "")
