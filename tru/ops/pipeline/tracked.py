"""What a night shows on MLflow's pages: the verdict, the candidate with its model card, the report, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from tru.data.interactions import load_dataset
from tru.errors import DataError
from tru.models.trained import TrainedModel
from tru.ops.pipeline.record import Run
from tru.ops.release.registry import ModelVersion, Registry
from tru.ops.report import sentences
from tru.ops.report.words import subjects
from tru.ops.requests.store import open_ledger
from tru.ops.settings import load_settings
from tru.ops.tracking.card import Card, in_markdown
from tru.ops.tracking.groups import prefect_run
from tru.ops.tracking.runs import log_group, log_verdict, show_report
from tru.ops.tracking.settings import span_of, used
from tru.ops.workspace import Workspace

_MADE_BY = {"original": "train", "unlearned": "unlearn", "retrained": "retrain"}
"""Model -> the word under which the step ``evaluate`` recorded how long it took to make."""


def show_verdict(run: Run, name: str, verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Let the batch's parent say what the gate said of a model; ``measured``: what the step ``evaluate`` recorded."""
    parent, rows = run.parent, dict[str, dict[str, float]]()
    with suppress(DataError):  # nothing is measured where nothing is left to measure, or a crash damaged the record
        rows = _measured(run, measured)
    if parent is not None:
        log_verdict(run.ws, parent, verdict, rows.get(name, {}))


def register_candidate(run: Run, verdict: Mapping[str, Any], tags: Mapping[str, Any]) -> ModelVersion:
    """Log the model that passed, below the batch's parent and with the report, and register it with its model card."""
    ws, registry, settings = run.ws, Registry(run.ws), load_settings(run.ws)
    folder, method = run.passed()
    measured, model = run.facts["evaluate"], TrainedModel.load(folder)
    name = "retrained" if method == "retrain" else "unlearned"
    group, numbers = run.group(measured.get("share")), _measured(run, measured)
    links = {"tru.prefect_run": prefect_run(run.batch), "tru.ops.report": _report_place(run.id)}
    tags = {**group.tags, **tags, **links}
    others = {other: row for other, row in numbers.items() if other != name}
    card = in_markdown(_card(run, verdict, method, {"this version": numbers[name], **others}))
    parent = log_group(registry, group)
    run_id = registry.log_run(
        f"candidate {run.id}",
        key=f"{run.key}/candidate-{method}",
        data_md5=group.data_md5,
        metrics=numbers[name],
        params=used(model, settings, trained=name == "retrained", unlearned=name == "unlearned"),
        tags={**tags, "tru.role": "candidate"},
        model_dir=folder,
        parent=parent,
        span=span_of(model),
        note=card,
    )
    version = registry.register(run_id, tags, card)
    own = {"tru.verdict": tags.get("tru.verdict"), "tru.version": version.version, **links}
    registry.amend_run(parent, metrics=numbers[name], tags=own, ended=datetime.now(UTC))
    show_report(ws, run.id)
    return version


def _measured(run: Run, recorded: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The flat metrics of each model, and how long it took to make; ``recorded``: by the step ``evaluate``."""
    took = recorded.get("seconds") or {}
    rows = {name: {**row, "seconds": took.get(_MADE_BY[name])} for name, row in run.comparison.rows().items()}
    return {name: {k: float(v) for k, v in row.items() if v is not None and v == v} for name, row in rows.items()}


def _card(run: Run, verdict: Mapping[str, Any], method: str, metrics: Mapping[str, Mapping[str, float]]) -> Card:
    facts, batch = run.facts, run.batch
    how = (
        "Trained from scratch"
        if method == "retrain"
        else f"Unlearned by `{method}` from version {run.notes['champion']}"
    )
    let = " The gate had not let it serve; a person did, and the ledger keeps why." if facts.get("released") else ""
    return Card(
        made=f"{how} in {batch.id}, which forgot {subjects(facts.get('regimes') or {})}.{let}",
        data_md5=facts["data_md5_after"],
        summary=load_dataset(run.ws.data).summary(),
        requests=batch.sequence,
        batches=closed_batches(run.ws) + 1,
        metrics=metrics,
        verdict=verdict,
        limits=sentences.limits(batch),
        links=[
            "the report: artifact `report.html` of the source run and of its parent, also "
            f"`{_report_place(run.id)}` in the workspace",
            "certificates of the requests: `tru certificate list`",
            "who served when, and why: `tru ledger show`; the entry of this version carries `tru.ledger`",
            *([f"the Prefect run: {id}" for id in [prefect_run(batch)] if id]),
        ],
    )


def closed_batches(ws: Workspace) -> int:
    """How many batches of deletions have ended so far, other than as not found."""
    ended = [entry for entry in open_ledger(ws).entries("batch") if entry.key.endswith("/closed")]
    return sum(entry.facts.get("outcome") != "not found" for entry in ended)


def _report_place(batch: str) -> str:
    return f".tru/reports/{batch}.html"
