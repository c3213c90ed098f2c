"""Logs what was measured: one run per model under one parent, with plots; later the verdict, the report, the end."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tru.evaluation.comparison import Comparison
from tru.models.trained import TrainedModel
from tru.ops.release.names import PARENT, Span
from tru.ops.release.registry import Registry
from tru.ops.report import compose
from tru.ops.requests.store import open_inbox
from tru.ops.settings import Settings
from tru.ops.tracking.card import verdict_note
from tru.ops.tracking.groups import Group
from tru.ops.tracking.settings import span_of, used
from tru.ops.workspace import Workspace

_log = logging.getLogger(__name__)

REPORT = "report.html"
"""The artifact that a batch's report becomes."""


def named(
    original: TrainedModel, unlearned: TrainedModel | None, retrained: Sequence[TrainedModel]
) -> dict[str, TrainedModel]:
    """The models of a comparison under the names that their runs have."""
    found = {"original": original} | ({"unlearned": unlearned} if unlearned else {})
    return found | {"retrained" if k == 0 else f"retrained-{k}": model for k, model in enumerate(retrained)}


def log_group(registry: Registry, group: Group, began: datetime | None = None) -> str:
    """The parent of a group, made if it is not there yet; its id."""
    now = datetime.now(UTC)
    return registry.log_run(
        group.name,
        key=f"{group.key}/{PARENT}",
        data_md5=group.data_md5,
        metrics={},
        params=group.params,
        tags={**group.tags, **group.own},
        span=Span(began or now, now),
    )


def log_comparison(
    ws: Workspace,
    found: Comparison,
    models: Mapping[str, TrainedModel],
    group: Group,
    settings: Settings,
    began: datetime,
) -> str:
    """One run per model, same metric names on the same data, so that the compare page lines them up.

    Args:
        ws: the workspace.
        found: what was measured.
        models: as :func:`named` names them.
        group: what they belong to.
        settings: as they are now.
        began: when the work on the group did (aware).

    Returns:
        The id of the parent, which gets the plots, and the candidate's numbers.
    """
    registry = Registry(ws)
    parent = log_group(registry, group, began)
    rows = _numbers(found, models)
    for name, model in models.items():
        is_original = name == "original"
        registry.log_run(
            name,
            key=f"{group.key}/{name}",
            data_md5=group.data_md5,
            metrics=rows[name],
            params=used(
                model,
                settings,
                trained=name.startswith("retrained") or (is_original and group.own.get("tru.kind") == "experiment"),
                unlearned=name == "unlearned",
            ),
            tags={**group.tags, "tru.role": name, "tru.method": model.facts.get("method")},
            parent=parent,
            span=span_of(model, training=is_original),
        )
    with tempfile.TemporaryDirectory(dir=_scratch(ws)) as scratch:
        plots = _plotted(Path(scratch) / "plots", rows, found.profiles())
        registry.amend_run(parent, metrics=rows.get("unlearned", {}), artifacts=plots, ended=datetime.now(UTC))
    return parent


def log_verdict(ws: Workspace, parent: str, verdict: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Let a parent say what the gate said, in its tags and its description.

    Args:
        ws: the workspace.
        parent: its id.
        verdict: of the gate.
        metrics: of the model that was judged, flat.
    """
    Registry(ws).amend_run(
        parent,
        metrics={name: value for name, value in metrics.items() if value == value},
        tags={"tru.verdict": verdict["verdict"], "tru.mode": verdict.get("mode")},
        note=verdict_note(verdict),
        ended=datetime.now(UTC),
    )


def show_report(ws: Workspace, batch: str) -> None:
    """Keep a batch's report, as it is true now, with its parent and its candidate; it replaces the one they have.

    One that cannot be kept changes nothing: it is no reason to keep anybody's data a night longer.
    """
    try:
        registry = Registry(ws)
        runs = [
            *registry.find_runs({"tru.batch": batch, "tru.kind": "batch"}),
            *registry.find_runs({"tru.batch": batch, "tru.role": "candidate"}),
        ]
        if not runs:
            return
        tags = {"tru.outcome": open_inbox(ws).batch(batch).outcome}
        with tempfile.TemporaryDirectory(dir=_scratch(ws)) as scratch:
            file = Path(scratch) / REPORT
            file.write_text(compose(ws, batch), encoding="utf-8")
            for run in runs:
                registry.amend_run(run, tags=tags, artifacts=[file])
    except Exception as error:  # its words stay out: they may quote what it stumbled over
        _log.warning("the report could not be kept in MLflow (%s)", type(error).__name__)


def _numbers(found: Comparison, models: Mapping[str, TrainedModel]) -> dict[str, dict[str, float]]:
    """What was measured of each model, and how long it took to make; what is not a number is left out."""
    retrained = {"retrained" if k == 0 else f"retrained-{k}": row for k, row in enumerate(found.retrained)}
    evidence = {"original": found.original, "unlearned": found.unlearned, **retrained}
    rows = {}
    for name, model in models.items():
        observed = evidence[name]
        took = model.facts.get("train_seconds" if name == "original" else "seconds")
        row = {**(observed.metrics if observed else {}), **({} if took is None else {"seconds": float(took)})}
        rows[name] = {metric: value for metric, value in row.items() if value == value}
    return rows


def _plotted(folder: Path, rows: Mapping[str, Mapping[str, float]], profiles: Mapping[str, Any]) -> list[Path]:
    """The folder with the plots; none if they cannot be drawn, which is no reason to stop a night."""
    from tru.ops.report.plots import write_plots  # matplotlib

    try:
        write_plots(folder, rows, profiles)
    except Exception as error:  # its words stay out: they may quote what it stumbled over
        _log.warning("the plots could not be drawn (%s)", type(error).__name__)
    return [folder] if folder.is_dir() else []


def _scratch(ws: Workspace) -> Path:
    """A folder that every erasure empties."""
    place = ws.state / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    return place
