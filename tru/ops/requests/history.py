"""The ledger for people: who was champion from when to when, and each entry in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any

from tru.ops.requests.ledger import Entry
from tru.prose import several

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Reign:
    """How long one version served.

    Attributes:
        version: of the model.
        since: when it became champion.
        until: when another did; None while it serves.
        why: how it came to serve.
        batch: the batch it came out of, if any.
    """

    version: str
    since: datetime
    until: datetime | None
    why: str
    batch: str | None

    def public(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        until = None if self.until is None else self.until.isoformat(timespec="seconds")
        since = self.since.isoformat(timespec="seconds")
        return {"version": self.version, "from": since, "until": until, "why": self.why, "batch": self.batch}


def reigns(entries: Iterable[Entry]) -> list[Reign]:
    """Who served when, oldest first; entries of other kinds are passed over."""
    crowned = [entry for entry in entries if entry.kind == "champion"]
    return [
        Reign(
            str(entry.facts.get("version", "?") or "none"),
            entry.at,
            None if after is None else after.at,
            str(entry.facts.get("why", "?")),
            entry.facts.get("batch"),
        )
        for entry, after in zip_longest(crowned, crowned[1:])
    ]


def in_words(entry: Entry) -> str:
    """What an entry says, on one line and without its date and kind."""
    say = _WORDS.get(entry.kind, _plainly)
    try:
        return say(entry.facts)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ):  # an entry of another shape, of a later tru or changed by hand
        return _plainly(entry.facts)


def _champion(facts: Facts) -> str:
    if facts["version"] is None:
        return f"none any more ({_listed(facts['why'], facts.get('batch'))})" + _because(facts.get("reason"))
    return _listed(
        f"version {facts['version']} ({_listed(facts['why'], facts.get('batch'))})",
        _of(facts, "after version {previous}"),
        _of(facts, "deletions through {deleted_through}"),
    ) + _because(facts.get("reason"))


def _data(facts: Facts) -> str:
    before, after = facts["before"], facts["after"]
    after = after[:12] if after else "nothing"
    change = f"{before[:12]} became {after}" if before else after
    left_out = _number(facts.get("left_out") or {}, "subjects", "subject", " forgotten before left out")
    return _listed(
        change, facts.get("how"), left_out, _number(facts, "forgotten", "subject", " forgotten"), facts.get("batch")
    )


def _baseline(facts: Facts) -> str:
    seeds = f"{len(facts['seeds'])} seeds"
    return _listed(f"version {facts['version']}", seeds, _of(facts, "deletions through {deleted_through}"))


def _licence(facts: Facts) -> str:
    if not facts["passed"]:
        return f"none for regime {facts['regime']}" + _because(facts.get("reasons"))
    on = _listed(facts.get("method"), _of(facts, "on {backbone}"), _of(facts, "data {data}"))
    return f"regime {facts['regime']} up to {facts['size']} subjects, until {facts['expires'][:10]} ({on})"


def _verdict(facts: Facts) -> str:
    mode = _of(facts, " ({mode})") or ""
    why = facts.get("reasons") if facts["verdict"] == "fail" else None
    return f"{facts['verdict']}: {_listed(facts['batch'], facts.get('candidate'))}{mode}" + _because(why)


def _batch(facts: Facts) -> str:
    size, version = _number(facts, "size", "request"), _of(facts, "version {version}")
    return _listed(f"{facts['batch']} {facts['outcome']}", size, version) + _because(facts.get("reasons"))


def _rollback(facts: Facts) -> str:
    came = _of(facts, "from version {previous}")
    return _listed(f"to version {facts['version']}", came) + _because(facts.get("reason"))


def _approval(facts: Facts) -> str:
    return _listed(f"{facts['batch']} {facts['answer']}", facts.get("candidate")) + _because(facts.get("words"))


def _erasure(facts: Facts) -> str:
    objects = sum(row["count"] for row in facts["destroyed"])
    searched = sum(row["state"] == "not found" for row in facts["scan"])
    return f"{facts['batch']}, {objects} objects destroyed; nothing left in {searched} stores searched"


def _restore(facts: Facts) -> str:
    found = ", ".join(f"{n} {regime}" for regime, n in facts["found"].items() if n)
    return f"forgotten before and there again: {found}; {facts['filed']} requests filed"


def _request(facts: Facts) -> str:
    return f"{facts['count']} {facts['outcome']}" + _because(facts.get("reasons"))


_WORDS: dict[str, Callable[[Facts], str]] = {
    "champion": _champion,
    "data": _data,
    "baseline": _baseline,
    "licence": _licence,
    "verdict": _verdict,
    "batch": _batch,
    "rollback": _rollback,
    "approval": _approval,
    "erasure": _erasure,
    "restore": _restore,
    "request": _request,
}


def _plainly(facts: Facts) -> str:
    """Every fact that fits on a line."""
    short = {name: value for name, value in facts.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{name} {_one_line(str(value))}" for name, value in short.items()) or "no more is said"


def _of(facts: Facts, words: str) -> str | None:
    """``words`` with the fact they name; None where it is not known."""
    name = words.partition("{")[2].partition("}")[0]
    return None if facts.get(name) is None else words.format_map(facts)


def _number(facts: Facts, name: str, one: str, after: str = "") -> str | None:
    """How many there are of something; None where it is not known."""
    return None if facts.get(name) is None else several(facts[name], one) + after


def _listed(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _because(reasons: str | Sequence[str] | None) -> str:
    if not reasons:
        return ""
    return ": " + _one_line(reasons if isinstance(reasons, str) else "; ".join(reasons))


def _one_line(text: str) -> str:
    return " ".join(text.split())
