"""What belongs together on MLflow's page: the runs of one batch, experiment or weekly baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tru.ops.judging.baseline import REGIMES
from tru.ops.requests.lifecycle import Batch
from tru.ops.settings import Settings
from tru.ops.tracking.settings import flat

_SINGULAR: dict[str, str] = {many: one for one, many in REGIMES.items()}


@dataclass(frozen=True)
class Group:
    """Runs that are shown below one parent.

    Attributes:
        name: the parent's.
        key: how the idempotency keys of all of them begin.
        data_md5: DVC's md5 of the data that the models were measured on.
        tags: of the parent and of every run below it.
        own: tags of the parent alone.
        params: settings that concern all of it, such as the gate's; of the parent alone.
    """

    name: str
    key: str
    data_md5: str
    tags: Mapping[str, Any]
    own: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


def of_batch(batch: Batch, settings: Settings, key: str, share: float | None = None) -> Group:
    """A night.

    Args:
        batch: whose step ``cut`` is done.
        settings: as they are now.
        key: of the batch and its settings.
        share: of the training pairs that were forgotten.
    """
    facts = batch.facts
    md5 = str(facts["data_md5_after"])
    regimes = [_SINGULAR.get(name, name) for name in facts.get("regimes", {})]
    tags = {"tru.batch": batch.id, "tru.regime": "+".join(regimes) or None, "tru.fraction": _fraction(share)}
    own = {
        "tru.kind": "batch",
        "tru.method": settings.unlearn.method,
        "tru.forgotten": facts.get("forgotten"),
        "tru.data_md5": md5,
        "tru.deleted_through": batch.sequence,
        "tru.prefect_run": prefect_run(batch),
    }
    params = {"data": {"name": settings.data.name}, "gate": settings.gate.model_dump(mode="json")}
    return Group(batch.id, key, md5, tags, own, flat(params))


def prefect_run(batch: Batch) -> str | None:
    """The id of the last Prefect run that worked on the batch, if it is known."""
    known = batch.facts.get("prefect_runs") or []
    return str(known[-1]) if known else None


def of_experiment(settings: Settings, data_md5: str, key: str, share: float, through: str | None) -> Group:
    """One `dvc repro`.

    Args:
        settings: of the experiment.
        data_md5: of the data before the simulated batch.
        key: of the data and the settings.
        share: of the training pairs that were forgotten; said where no fraction was asked for.
        through: how many completed deletions the data respects; None if that is not known.
    """
    forget = settings.forget
    # Not "user 5": an erasure that looks for an id would take the number for one.
    size = f"{forget.count}" if forget.count is not None else f"{100 * forget.fraction:.4g} % of"
    method = settings.unlearn.method
    name = f"{size} {REGIMES[forget.regime]}, seed {forget.seed}, {method}"
    fraction = _fraction(share if forget.count is not None else forget.fraction)
    tags = {"tru.regime": forget.regime, "tru.fraction": fraction, "tru.deleted_through": through}
    own = {"tru.kind": "experiment", "tru.method": method, "tru.data_md5": data_md5}
    params = {
        "data": {"name": settings.data.name},
        "forget": forget.model_dump(mode="json", exclude_none=True),
        "gate": settings.gate.model_dump(mode="json"),
    }
    return Group(name, key, data_md5, tags, own, flat(params))


def of_baseline(id: str, data_md5: str, tags: Mapping[str, Any]) -> Group:
    """A weekly baseline; ``tags`` are those that its version gets as well."""
    return Group(id, id, data_md5, tags, {"tru.kind": "baseline"})


def _fraction(share: float | None) -> str | None:
    return None if share is None else f"{share:.4g}"
