"""Certificates as a page: an A4 sheet each, in one document that loads nothing, for a file of paper or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tru.ops.certificates import words
from tru.ops.certificates.envelope import opened
from tru.ops.certificates.statement import Facts

WIDTH, TOP, BOTTOM, EDGE = 720.0, 9.0, 84.0, 46.0
"""Of the timeline, in its own units; and how far its first and last point are from the sides."""


@dataclass(frozen=True)
class Step:
    """A point of the timeline.

    Attributes:
        x: from the left.
        lines: what happened, in lines that fit.
        day: when; "" where it is the day of the point before.
        clock: the time, UTC.
    """

    x: float
    lines: list[str]
    day: str
    clock: str


def render(envelope: bytes, verified: bool | None) -> str:
    """The page of one certificate: a self-contained HTML document that prints on A4.

    Args:
        envelope: the certificate, as :func:`tru.ops.certificates.envelope.issue` wrote it.
        verified: whether its signature was found genuine; None if nobody checked.

    Returns:
        The same text for the same arguments.

    Raises:
        CertificateError: it is no certificate.
    """
    return render_all([(envelope, verified)])


def render_all(certificates: Sequence[tuple[bytes, bool | None]]) -> str:
    """One document of several certificates, each on a sheet of its own; arguments and errors as for :func:`render`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheet, sheets, requests = environment.get_template("sheet.html.j2"), [], []
    for envelope, verified in certificates:
        facts, keyid = opened(envelope)
        seal = _seal(verified, keyid, development=facts.key == "development")
        sheets.append(Markup(sheet.render(**_content(facts, keyid), seal=seal)))
        requests.append(facts.request)
    of = requests[0] if len(requests) == 1 else f"{len(requests)} requests"
    title = f"Certificate of erasure · {of}" if len(requests) == 1 else f"Certificates of erasure · {of}"
    return environment.get_template("page.html.j2").render(title=title, sheets=sheets)


def _content(facts: Facts, keyid: str) -> dict[str, Any]:
    # The report's tables say the same numbers in the same words; its package takes a moment to load.
    from tru.ops.report.table import blocks, exact_rows

    table = {"table": facts.table}
    measured = blocks(table, {})
    exact = exact_rows(table)
    return {
        "facts": facts,
        "day": words.day(facts.times.get("certified") or facts.times["erased"]),
        "summary": words.summary(facts),
        "steps": timeline(facts),
        "hidden": _hidden(facts),
        "suppressed": words.SUPPRESSED.get(facts.regime, ""),
        "size": (WIDTH, TOP, BOTTOM, EDGE),
        "tested": words.tested(facts),
        "passed": facts.verdict["verdict"] == "pass",
        "rows": [(block.measure.title, row) for block in measured for row in block.rows],
        "meanings": words.meanings([block.name for block in measured]),
        "none_of": [name for name, _, passed in exact if passed],
        "some_of": [(name, found) for name, found, passed in exact if not passed],
        "reasons": [] if measured or exact else facts.verdict.get("reasons") or [],
        "notes": facts.verdict.get("notes") or [],
        "destroyed": [(row["store"], words.size(row)) for row in facts.erasure],
        "searched": [(row["store"], row["state"] == "not found", row.get("why", "")) for row in facts.scan],
        "unreachable": facts.unreachable,
        "limits": words.limits(facts),
        "fingerprints": words.fingerprints(facts, keyid),
        "report": words.report(facts),
    }


def timeline(facts: Facts) -> list[Step]:
    """The points of the timeline, evenly spaced: seconds and weeks would not fit one scale."""
    found = words.steps(facts)
    gap = (WIDTH - 2 * EDGE) / max(len(found) - 1, 1)
    steps, before = [], ""
    for n, (what, at) in enumerate(found):
        day = words.day(at)
        steps.append(Step(round(EDGE + n * gap, 1), _wrapped(what), "" if day == before else day, words.clock(at)))
        before = day
    return steps


def _hidden(facts: Facts) -> float | None:
    """From which point on the subject was in no recommendation."""
    return timeline(facts)[1].x if "suppressed" in facts.times and facts.regime in words.SUPPRESSED else None


def _wrapped(text: str, longest: int = 15) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > longest and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _seal(verified: bool | None, keyid: str, *, development: bool) -> tuple[str, str, str]:
    """Tone, sign and words about the signature."""
    if verified is False:
        return "no", "✗", "This certificate is NOT genuine. Its signature does not fit: nothing below can be relied on."
    checked = (
        "Signature checked: genuine and unchanged, signed" if verified else "Signature not checked; it says: signed"
    )
    short = f"{keyid[:8]} {keyid[8:16]}…"
    if development:
        return "no", "!", f"{checked} with a development key ({short}): for trials, worth nothing to an outsider."
    return "yes" if verified else "wait", "✓" if verified else "?", f"{checked} with key {short}"
