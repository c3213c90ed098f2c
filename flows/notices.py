"""What Prefect's page and its automations are told beyond logs: events, verdicts, what is overdue. All best effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from tru import server, status
from tru.workspace import Workspace

Facts = Mapping[str, Any]

_COLUMNS = ("name", "group", "value", "reference", "difference", "interval", "low", "high", "margin", "n")


def held(batch: str, reasons: Sequence[str]) -> None:
    """Tell Prefect's automations that a batch waits for a person."""
    _emit(server.HELD, f"tru.batch.{batch}", {"batch": batch, "reasons": list(reasons)})


def deadlines(ws: Workspace) -> None:
    """Shout about requests whose day has passed or comes near: in the log, and as an event."""
    found = status.deadlines(ws)
    if not found["overdue"] and not found["soon"]:
        return
    words = " ".join(status.deadline_words(found))
    logger = get_run_logger()
    (logger.error if found["overdue"] else logger.warning)("%s", words)
    _emit(server.OVERDUE, "tru.requests", {**found, "words": words})


def verdict(key: str, title: str, found: Facts) -> None:
    """Put a verdict on the Prefect page: the numbers as a table, everything else as text."""
    try:
        table = [_row(row) for row in found.get("table", ())]
        create_table_artifact(key=key, description=title, table=table)
        create_markdown_artifact(key=f"{key}-reasons", description=title, markdown=in_words(title, found))
    except Exception as error:  # a page that cannot be written is no reason to stop the night
        get_run_logger().warning("the verdict could not be put on the page (%s)", type(error).__name__)


def in_words(title: str, found: Facts) -> str:
    """A verdict as markdown: what was decided and why, how it was judged, at what cost, and the drift."""
    lines = [f"# {title}: {found['verdict']}", ""]
    lines += _listed(found["reasons"] or ["every margin is kept"])
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
    if cost := found.get("cost"):
        lines.append(str(cost.get("words") or f"expected cost {_cell(cost['expected_seconds'])} s"))
    if licences := found.get("licences"):
        lines.append(f"under licence {', '.join(licences)}")
    if drift := found.get("drift"):
        lines.append(f"drift since the last full training: {status.drift_words(drift)}")
    return [*lines, *found.get("notes", ())]


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _row(row: Facts) -> dict[str, object]:
    """A row as a person reads it: the numbers, then what they come to."""
    shown = {name: _cell(row[name]) for name in _COLUMNS if name in row}
    shown["judgement"] = _judgement(row)
    return shown


def _judgement(row: Facts) -> str:
    if row.get("judged", True):
        word = "passed" if row.get("passed") else f"refused: {row.get('fault') or 'out of range'}"
    else:
        word = "not judged"
    return f"{word}. {row['words']}" if row.get("words") else word


def _cell(value: object) -> object:
    """A number as a person reads it; JSON knows neither NaN nor numpy's types."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return f"{' to '.join(str(_cell(v)) for v in value)}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _emit(event: str, resource: str, payload: dict[str, Any]) -> None:
    """Send an event; a page that cannot take it is no reason to stop the night."""
    about = {"prefect.resource.id": resource, "prefect.resource.name": resource}
    try:
        emit_event(event, resource=about, payload=payload)
    except Exception as error:
        get_run_logger().warning("the event %s could not be sent (%s)", event, type(error).__name__)
