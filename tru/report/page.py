"""The page itself: gathers what the template prints, and writes it where `tru report` finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tru.errors import RequestError
from tru.report import sentences
from tru.report.picture import pictures
from tru.report.points import point, points, tolerance
from tru.report.story import current, ending, not_found, way
from tru.report.table import STRIP, Block, Reason, blocks, exact_rows, reasons, side_by_side
from tru.report.words import MISSING, day, decimal, duration, finite, moment, several, subjects
from tru.requests.lifecycle import Batch
from tru.requests.store import open_inbox
from tru.workspace import Workspace

NIGHTS = 60
"""How many earlier nights the scatter shows."""


def newest(ws: Workspace) -> str:
    """The newest batch that there is something to say of, open or not.

    Raises:
        RequestError: no batch has come that far.
    """
    inbox = open_inbox(ws)
    opened = inbox.open_batch()
    found = [opened] if opened is not None and opened.facts else list(inbox.recent(1))
    if not found:
        raise RequestError(
            "no batch has come far enough to report on. File a request (`tru requests add`), then `tru run`."
        )
    return found[0].id


def write(ws: Workspace, batch: str) -> Path:
    """Write the batch's page anew; whoever has it open never sees half of it.

    Returns:
        The file, in ``.tru/reports``.

    Raises:
        RequestError: there is no such batch.
    """
    inbox = open_inbox(ws)
    text = render(inbox.batch(batch), inbox.recent(NIGHTS))
    folder = ws.state / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    file, half = folder / f"{batch}.html", folder / f".{batch}.{os.getpid()}"
    half.write_text(text, encoding="utf-8")
    half.replace(file)
    return file


def render(batch: Batch, history: Sequence[Batch]) -> str:
    """The page: one HTML document that loads nothing, runs nothing and names nobody.

    Args:
        batch: the night; closed, held or open.
        history: batches before it, for the scatter; it may be among them.

    Returns:
        The same text for the same arguments.
    """
    batch = current(batch)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = _coded
    charts = {name: Markup(svg or "") for name, svg in _charts(batch, history).items()}
    page = environment.get_template("page.html.j2")
    return page.render(**_content(batch), charts=charts, strip_size=STRIP, missing=MISSING)


def _coded(words: str) -> Markup:
    """``words`` made safe for a page, what stands between backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(words.split("`"))
    )


def _charts(batch: Batch, history: Sequence[Batch]) -> dict[str, str | None]:
    from tru.report.charts import profile, scatter  # matplotlib; those who only ask for a page's place need none

    profiles = (batch.facts.get("evaluate") or {}).get("profiles") or {}
    tonight = point(batch)
    # A night without numbers of its own has no place among the others.
    nights = scatter(points(history, batch), tonight, tolerance(batch)) if tonight else None
    return {"profile": profile(profiles), "scatter": nights}


def _content(batch: Batch) -> dict[str, Any]:
    end = ending(batch)
    return {
        "batch": batch,
        "date": day(batch.opened),
        "tone": sentences.TONES[end],
        "sign": sentences.SIGNS[end],
        "headline": sentences.HEADLINES[end],
        "sentence": sentences.verdict_sentence(batch),
        "to_do": sentences.to_do(batch),
        "tiles": _tiles(batch),
        "pictures": pictures(way(batch)),
        "verdicts": _verdicts(batch.facts) if end != "not found" else [],
        "has_retrained": bool(((batch.facts.get("evaluate") or {}).get("profiles") or {}).get("retrained")),
        "side": side_by_side(batch.facts.get("evaluate") or {}),
        "how": sentences.how(batch) if end != "not found" else [],
        "limits": sentences.limits(batch),
        "glossary": sentences.GLOSSARY,
        "origin": _origin(batch),
    }


@dataclass(frozen=True)
class Judgement:
    """One verdict of the gate, ready to print.

    Attributes:
        title: of which model.
        candidate: how its column is called.
        reference: how the column is called that it is compared with.
        has_original: whether the old model's numbers stand beside.
        passed: what the gate said.
        reasons: for it.
        exact: words, found, passed.
        blocks: what was measured.
    """

    title: str
    candidate: str
    reference: str
    has_original: bool
    passed: bool
    reasons: list[Reason]
    exact: list[tuple[str, int | None, bool]]
    blocks: list[Block]


def _verdicts(facts: Mapping[str, Any]) -> list[Judgement]:
    """The gate's word on the unlearned model, and on the retrained one if it came to that."""
    models = (facts.get("evaluate") or {}).get("models") or {}
    found = []
    first, second = facts.get("gate"), facts.get("retrain")
    if first:
        reference = "reference" if first.get("mode") == "licensed" else "retrained"
        found.append(_judgement(first, models, "The unlearned model", "unlearned", reference))
    if second:
        found.append(_judgement(second, {}, "The retrained model", "retrained", "others retrained"))
    return found


def _judgement(
    verdict: Mapping[str, Any], models: Mapping[str, Any], title: str, candidate: str, reference: str
) -> Judgement:
    return Judgement(
        title=title,
        candidate=candidate,
        reference=reference,
        has_original=bool(models.get("original")),
        passed=verdict.get("verdict") == "pass",
        reasons=reasons(verdict),
        exact=exact_rows(verdict),
        blocks=blocks(verdict, models),
    )


def _tiles(batch: Batch) -> list[tuple[str, str, str]]:
    """The night at a glance: name, value, remark."""
    facts = batch.facts
    seconds = (facts.get("evaluate") or {}).get("seconds") or {}
    asked = subjects(facts.get("regimes") or {}) if facts.get("regimes") else ""
    absent = not_found(batch)
    missing = f"{several(absent, 'request', 'requests')} not found" if absent > 0 else ""
    unlearned = f"unlearning {duration(seconds['unlearn'])}" if finite(seconds.get("unlearn")) else ""
    whole = f"one retraining {duration(seconds['retrain'])}" if finite(seconds.get("retrain")) else ""
    total = batch.seconds.get("total")
    return [
        ("Asked for", several(batch.size, "request", "requests"), "; ".join(part for part in (asked, missing) if part)),
        ("Took", duration(total) if total else MISSING, "; ".join(part for part in (unlearned, whole) if part)),
        ("Serving now", *_serving(batch)),
        ("Taken up", f"{batch.opened:%H:%M} UTC", f"{day(batch.opened)}; {_until(batch)}"),
    ]


def _serving(batch: Batch) -> tuple[str, str]:
    version = batch.facts.get("version")
    if ending(batch) in ("unlearned", "retrained", "released") and version:
        return f"version {version}", f"respects the first {several(batch.sequence, 'deletion', 'deletions')}"
    return "the old champion", "nothing was replaced"


def _until(batch: Batch) -> str:
    return f"closed {batch.closed:%H:%M}" if batch.closed else "not closed yet"


def _origin(batch: Batch) -> list[tuple[str, str]]:
    """What the page was made from, to look it up elsewhere."""
    facts = batch.facts
    checks = facts.get("check") or {}
    method = facts.get("unlearn") or {}
    found = [
        ("Batch", batch.id),
        ("Taken up", moment(batch.opened)),
        ("Closed", moment(batch.closed) if batch.closed else None),
        ("Data before (DVC md5)", facts.get("data_md5_before")),
        ("Data after (DVC md5)", facts.get("data_md5_after")),
        ("Checks of the new data", f"{checks['expectations']} expectations, all met" if checks.get("passed") else None),
        ("Method", f"{method['method']}{_strength(method)}" if method.get("method") not in (None, "none") else None),
        ("Model (MLflow)", f"version {facts['version']}" if facts.get("version") else None),
        ("Deletions through", str(batch.sequence) if batch.closed else None),
    ]
    return [(name, str(value)) for name, value in found if value]


def _strength(method: Mapping[str, Any]) -> str:
    """How much was taken back of what was attributed, as calibrated: for users' rows and for items'."""
    gamma = method.get("gamma")
    if not isinstance(gamma, Mapping):
        return ""
    gone = [decimal(scale, 2) for scale in gamma.get("gone") or ()]
    words = f", {min(gone)} to {max(gone)} for users who are gone" if gone else ""
    return f", strength {decimal(gamma['users'], 2)} for users, {decimal(gamma['items'], 2)} for items{words}"
