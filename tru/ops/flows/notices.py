"""What Prefect's page and its automations are told beyond logs: events, verdicts, what is overdue. All best effort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from tru.ops import pipeline, report, status
from tru.ops.flows import runs
from tru.ops.report.brief import gate_line
from tru.ops.report.table import allowed, is_exact, is_reason
from tru.ops.report.words import FAULTS, count, decimal, several
from tru.ops.servers import prefect_api
from tru.ops.workspace import Workspace
from tru.prose import size

Facts = Mapping[str, Any]

_COLUMNS = ("judgement", "measured", "on", "new model", "reference", "allowed")
"""Of the table: few enough that none is out of sight; everything else stands in the words beside it."""


def name(name: str, *tags: str) -> None:
    """Call the run so on Prefect's page, with these tags."""
    _best_effort("the run could not be named", lambda: runs.rename(name, tags))


def begin(ws: Workspace, batch: str) -> None:
    """Name the run after its batch, and note with the batch which run works on it, so that the pages can link."""
    label(ws, batch)
    run = runs.present()
    if run is not None:
        _best_effort("the run could not be noted with its batch", lambda: pipeline.note_run(ws, batch, run))


def label(ws: Workspace, batch: str) -> None:
    """Tag the run with what is known of its batch by now: its name, regimes, verdict, outcome."""
    _best_effort("the run could not be named", lambda: runs.rename(batch, pipeline.labels(ws, batch)))


def held(batch: str, reasons: Sequence[str]) -> None:
    """Tell Prefect's automations that a batch waits for a person."""
    _emit(prefect_api.HELD, f"tru.batch.{batch}", {"batch": batch, "reasons": list(reasons)})


def deadlines(ws: Workspace) -> str:
    """Warn of requests whose day has passed or comes near, in the log and as an event; how many, in a few words."""
    found = status.deadlines(ws)
    if not found["overdue"] and not found["soon"]:
        return "none is near"
    words = " ".join(status.deadline_words(found))
    logger = get_run_logger()
    (logger.error if found["overdue"] else logger.warning)("%s", words)
    _emit(prefect_api.OVERDUE, "tru.ops.requests", {**found, "words": words})
    return f"{found['overdue']} overdue, {found['soon']} due soon"


def verdict(key: str, title: str, found: Facts) -> None:
    """Put a verdict on the Prefect page: the numbers as a table, everything else as text."""

    def write() -> None:
        table = [_row(row) for row in found.get("table", ())]
        create_table_artifact(key=key, description=title, table=table)
        create_markdown_artifact(key=f"{key}-reasons", description=title, markdown=in_words(title, found))

    _best_effort("the verdict could not be put on the page", write)


def erased(ws: Workspace, found: Facts) -> None:
    """Put on the Prefect page what was destroyed and searched, and how many certificates were signed."""
    if not found["batches"]:
        return
    batches = ", ".join(found["batches"])

    def write() -> None:
        rows = [("destroyed", row["store"], _amount(row)) for row in found["destroyed"]]
        rows += [("searched", row["store"], _sought(row)) for row in found["scan"]]
        table = [dict(zip(("done", "store", "result"), row, strict=True)) for row in rows]
        create_table_artifact(key="erasure", description=f"Erasure after {batches}", table=table)
        signed = several(found["certificates"], "certificate", "certificates")
        words = [
            f"# {signed} signed for {batches}",
            "",
            f"- In `{ws.certificates}`, one file a request: `tru certificate list`, `tru certificate verify FILE`",
            "",
            "## What nobody could reach, as each of them says",
            "",
            *_listed(found["unreachable"]),
            "",
        ]
        create_markdown_artifact(key="certificates", description=f"{signed} signed", markdown="\n".join(words))

    _best_effort("the erasure could not be put on the page", write)


def _amount(row: Facts) -> str:
    """Objects and bytes; a database that was written anew has no objects."""
    parts = [several(row["count"], "object", "objects")] if row["count"] or not row.get("bytes") else []
    return ", ".join([*parts, *([size(row["bytes"])] if row.get("bytes") else [])])


def _sought(row: Facts) -> str:
    return "nothing found" if row["state"] == "not found" else f"could not be searched: {row.get('why') or 'unknown'}"


def summary(ws: Workspace, batch: str) -> None:
    """Put on the Prefect page what came of a batch, and where its report, its model and its certificates are."""

    def write() -> None:
        create_markdown_artifact(key="night", description=f"What came of {batch}", markdown=report.summary(ws, batch))

    _best_effort("what came of the batch could not be put on the page", write)


def in_words(title: str, found: Facts) -> str:
    """A verdict as markdown: what was decided and why, every line of it, how it was judged, at what cost, the drift."""
    lines = [f"# {title}: {found['verdict']}", "", gate_line(found)]
    rows = [row for row in found.get("table", ()) if row.get("words")]
    told = {row["words"] for row in rows}
    if reasons := [reason for reason in found["reasons"] if found["verdict"] != "pass" or reason not in told]:
        lines += ["", "## Why", "", *_listed(reasons)]
    if rows:
        lines += ["", "## Line by line", "", *_listed([f"{_judgement(row)}. {row['words']}" for row in rows])]
    judged = _judged(found)
    if judged:
        lines += ["", "## How it was judged", "", *_listed(judged)]
    return "\n".join([*lines, ""])


def _judged(found: Facts) -> list[str]:
    modes = {
        "fresh": "against models retrained tonight (mode `fresh`)",
        "licensed": "without retraining: against the latest baseline and the canaries (mode `licensed`)",
    }
    lines = [modes[found["mode"]]] if found.get("mode") in modes else []
    if words := (found.get("cost") or {}).get("words"):
        lines.append(str(words))
    if licences := found.get("licences"):
        lines.append(f"under licence {', '.join(licences)}")
    if drift := found.get("drift"):
        lines.append(f"drift since the last full training: {status.drift_words(drift)}")
    return [*lines, *found.get("notes", ())]


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _row(row: Facts) -> dict[str, object]:
    """A row as it fits a screen: what was said of it, and the numbers that it was said of."""
    if is_reason(row):
        return dict(zip(_COLUMNS, (_judgement(row), row["name"], "", "", "", ""), strict=True))
    exact = is_exact(row)
    numbers = (count(row.get("value")), "", "none") if exact else (*_pair(row), allowed(row))
    return dict(zip(_COLUMNS, (_judgement(row), row["name"], row.get("group") or "", *numbers), strict=True))


def _pair(row: Facts) -> tuple[str, str]:
    return decimal(row.get("value")), decimal(row.get("reference"))


def _judgement(row: Facts) -> str:
    if not row.get("passed"):
        return f"refused: {FAULTS.get(str(row.get('fault')), 'out of range')}"
    return "passed" if row.get("judged", True) else "not judged"


def _emit(event: str, resource: str, payload: dict[str, Any]) -> None:
    """Send an event."""
    about = {"prefect.resource.id": resource, "prefect.resource.name": resource}
    _best_effort(f"the event {event} could not be sent", lambda: emit_event(event, resource=about, payload=payload))


def _best_effort(trouble: str, work: Callable[[], object]) -> None:
    """Tell the page something; one that cannot take it is no reason to stop the night."""
    try:
        work()
    except Exception as error:
        # Its words stay out: an unforeseen error quotes the value it stumbled over.
        get_run_logger().warning("%s (%s)", trouble, type(error).__name__)
