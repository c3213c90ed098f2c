"""The page itself: gathers what the template prints, and writes it where `tru report` finds it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tru.errors import RequestError
from tru.ops.report import sentences
from tru.ops.report.brief import outline
from tru.ops.report.picture import pictures
from tru.ops.report.points import earlier, point, points, tolerance
from tru.ops.report.record import aftermath, origin
from tru.ops.report.sequel import Sequel, look_up
from tru.ops.report.story import current, ending, not_found, way
from tru.ops.report.table import STRIP, Block, Reason, blocks, exact_rows, reasons, side_by_side
from tru.ops.report.words import MISSING, day, duration, finite, moment, several, subjects
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import Batch
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

_log = logging.getLogger(__name__)
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
    text = compose(ws, batch)
    ws.reports.mkdir(parents=True, exist_ok=True)
    file, half = ws.reports / f"{batch}.html", ws.reports / f".{batch}.{os.getpid()}"
    half.write_text(text, encoding="utf-8")
    half.replace(file)
    return file


def rewrite(ws: Workspace, batch: str) -> None:
    """Write it anew after something else has happened; a page that cannot be written stops nothing."""
    try:
        write(ws, batch)
    except Exception as error:
        # Its words stay out: an unforeseen error quotes the value it stumbled over.
        _log.warning("the report could not be written (%s)", type(error).__name__)


def summary(ws: Workspace, batch: str) -> str:
    """The batch in a few lines of markdown, as it is true now; the place of its report is this machine's."""
    found = open_inbox(ws).batch(batch)
    return outline(found, look_up(ws, found), str(ws.reports / f"{batch}.html"))


def compose(ws: Workspace, batch: str) -> str:
    """The batch's page as it is true now.

    Raises:
        RequestError: there is no such batch.
    """
    inbox = open_inbox(ws)
    found = inbox.batch(batch)
    return render(found, _nights_before(inbox, found), look_up(ws, found))


def _nights_before(inbox: Inbox, batch: Batch) -> list[Batch]:
    """The last ``NIGHTS`` batches that had ended when this one did, newest first."""
    asked = NIGHTS
    while True:
        recent = inbox.recent(asked)
        found = earlier(recent, batch)
        if len(found) >= NIGHTS or len(recent) < asked:
            return found[:NIGHTS]
        asked *= 4  # the batch is an old one


def render(batch: Batch, history: Sequence[Batch], sequel: Sequel | None = None) -> str:
    """The page: one HTML document that loads nothing, runs nothing and names nobody.

    Args:
        batch: the night; closed, held or open.
        history: other batches, for the scatter; those that ended later are left out.
        sequel: what is known beyond the batch's own record; nothing by default.

    Returns:
        The same text for the same arguments.
    """
    batch, sequel = current(batch), sequel or Sequel()
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
    return page.render(**_content(batch, sequel), charts=charts, strip_size=STRIP, missing=MISSING)


def _coded(words: str) -> Markup:
    """``words`` made safe for a page, what stands between backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(words.split("`"))
    )


def _charts(batch: Batch, history: Sequence[Batch]) -> dict[str, str | None]:
    from tru.ops.report.charts import profile, scatter  # matplotlib; those who only ask for a page's place need none

    profiles = (batch.facts.get("evaluate") or {}).get("profiles") or {}
    tonight = point(batch)
    # A night without numbers of its own has no place among the others.
    nights = scatter(points(history, batch), tonight, tolerance(batch)) if tonight else None
    return {"profile": profile(profiles), "scatter": nights}


def _content(batch: Batch, sequel: Sequel) -> dict[str, Any]:
    end = ending(batch)
    return {
        "batch": batch,
        "date": day(batch.opened),
        "tone": sentences.TONES[end],
        "sign": sentences.SIGNS[end],
        "headline": sentences.HEADLINES[end],
        "sentence": sentences.verdict_sentence(batch, sequel),
        "to_do": sentences.to_do(batch),
        "tiles": _tiles(batch, sequel),
        "pictures": pictures(way(batch, sequel)),
        "verdicts": _verdicts(batch.facts) if end not in ("not found", "retired") else [],
        "has_retrained": bool(((batch.facts.get("evaluate") or {}).get("profiles") or {}).get("retrained")),
        "side": side_by_side(batch.facts.get("evaluate") or {}),
        "how": sentences.how(batch) if end != "not found" else [],
        "limits": sentences.limits(batch, sequel),
        "glossary": sentences.GLOSSARY,
        "aftermath": aftermath(batch, sequel),
        "origin": origin(batch, sequel),
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


def _tiles(batch: Batch, sequel: Sequel) -> list[tuple[str, str, str]]:
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
        ("Serving now", *_serving(batch, sequel)),
        ("Taken up", f"{batch.opened:%H:%M} UTC", f"{day(batch.opened)}; {_until(batch)}"),
    ]


def _serving(batch: Batch, sequel: Sequel) -> tuple[str, str]:
    """Who serves when the page is written, and how that has to do with this batch."""
    version = batch.facts.get("version")
    own = version if version and ending(batch) in ("unlearned", "retrained", "released") else None
    now = sequel.serving or own
    if ending(batch) == "retired":
        return (f"version {now}", "none served when this night ended") if now else ("no model", "nobody is left")
    if now is None:
        return "the old champion", "nothing was replaced"
    if now == own:
        return f"version {now}", f"respects the first {several(batch.sequence, 'deletion', 'deletions')}"
    if own:
        until = f" until {moment(sequel.until)}" if sequel.until else ""
        return f"version {now}", f"version {own} of this night served{until}"
    if sequel.served in (None, now):
        return f"version {now}", "nothing was replaced"
    return f"version {now}", f"version {sequel.served} served that night"


def _until(batch: Batch) -> str:
    return f"closed {batch.closed:%H:%M}" if batch.closed else "not closed yet"
