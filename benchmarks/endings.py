"""What must hold after a soak, each looked at from outside: commands, the record, the models themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import Tru
from tru.data.forget import ForgetSet
from tru.data.interactions import load_dataset
from tru.data.prepare import prepare
from tru.evaluation.audits import Stage
from tru.evaluation.comparison import exact_checks
from tru.evaluation.evidence import groups, observe
from tru.evaluation.gate import judge_fresh
from tru.models.trained import TrainedModel
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import ModelVersion
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.ops.stages import retrained
from tru.ops.workspace import Workspace

SEEDS = 2
"""Fresh retrains that the last champion is compared with."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: in short.
        passed: whether it does.
        words: what was found.
        table: numbers, where there are some.
    """

    name: str
    passed: bool
    words: str
    table: list[dict[str, Any]] = field(default_factory=list)


def check(ws: Workspace, tru: Tru, start: Path, filed: Sequence[str], forgotten: ForgetSet) -> list[Check]:
    """Everything that must hold.

    Args:
        ws: the workspace at the end.
        tru: the command in it.
        start: the data before the first night.
        filed: ids of all requests.
        forgotten: everything that was requested.
    """
    found = [closed_once(ws, filed), recorded_once(ws), ledger_verified(tru), data_clean(ws, forgotten)]
    end = tru.root.parent / f"end-{len(filed)}"  # of this end: the soak may go on to another one
    return [*found, rollbacks(ws, tru, forgotten), distance(ws, start, end)]


def closed_once(ws: Workspace, filed: Sequence[str]) -> Check:
    """Every request is closed, in one batch, and none was made up."""
    inbox = open_inbox(ws)
    there = inbox.list()
    faults = (
        [f"{len(set(filed) ^ {r.id for r in there})} requests were lost or made up"] if _differ(filed, there) else []
    )
    not_closed = [r for r in there if r.state != "closed" or r.outcome is None or r.batch is None]
    faults += [f"{len(not_closed)} requests are not closed"] if not_closed else []
    if inbox.completed_through() != len(filed):
        faults.append(f"{inbox.completed_through()} requests are marked as completed, not {len(filed)}")
    return Check("closed once", not faults, "; ".join(faults) or f"all {len(filed)} requests closed exactly once")


def _differ(filed: Sequence[str], there: Sequence[Any]) -> bool:
    return len(there) != len(filed) or set(filed) != {r.id for r in there}


def recorded_once(ws: Workspace) -> Check:
    """The ledger ends each batch once, and the sizes add up."""
    closed = [e for e in open_ledger(ws).entries("batch") if e.key.endswith("/closed")]
    inbox = open_inbox(ws)
    batches = {request.batch for request in inbox.list() if request.batch}
    sizes = sum(int(entry.facts["size"]) for entry in closed)
    passed = sorted(e.facts["batch"] for e in closed) == sorted(batches) and sizes == len(inbox.list())
    words = f"{len(closed)} endings of {len(batches)} batches in the ledger, {sizes} requests in them"
    return Check("recorded once", passed, words)


def ledger_verified(tru: Tru) -> Check:
    """``tru ledger verify --against`` finds nothing."""
    code = tru.call("ledger", "verify", "--against", log="end-ledger")
    said = (tru.logs / "end-ledger.out").read_text().strip()
    return Check("ledger verified", code == 0, said or tru.said("end-ledger"))


def data_clean(ws: Workspace, forgotten: ForgetSet) -> Check:
    """Nothing that was to be forgotten is in the data."""
    left = forgotten.known(load_dataset(ws.data)).size
    return Check("data clean", left == 0, f"{left} of {forgotten.size} forgotten subjects are in the data")


def rollbacks(ws: Workspace, tru: Tru, forgotten: ForgetSet) -> Check:
    """Each version that does not respect every deletion is refused; the others know nobody who was forgotten."""
    registry = Registry(ws)
    champion, faults, refused = _champion(registry), [], 0
    completed = open_inbox(ws).completed_through()
    versions = registry.list_versions()
    for version in versions:
        if _respects(version, completed):
            faults += _knows(registry, version, forgotten)
            continue
        code = tru.call(
            "rollback", version.version, "--reason", "tried in a soak", log=f"end-rollback-{version.version}"
        )
        refused += code != 0
        if code == 0 or _champion(registry) != champion:
            faults.append(f"version {version.version} was accepted")
    served = {str(entry.facts["version"]) for entry in open_ledger(ws).entries("champion")}
    gone = len(served - {version.version for version in versions})
    words = f"{refused} of {len(versions)} versions refused, the others respect every deletion; {gone} are destroyed"
    return Check("no ineligible rollback", not faults and refused + gone > 0, "; ".join(faults) or words)


def _champion(registry: Registry) -> str | None:
    found = registry.champion()
    return found.version if found else None


def _respects(version: ModelVersion, completed: int) -> bool:
    """By the tag itself, not by the code that is tried here."""
    refused = version.tags.get("tru.verdict") == "fail"
    return int(version.tags.get("tru.deleted_through") or 0) >= completed and not refused


def _knows(registry: Registry, version: ModelVersion, forgotten: ForgetSet) -> list[str]:
    data = TrainedModel.load(registry.model_dir(version.version)).data
    users = np.isin(data.users, np.array(sorted(forgotten.users), dtype=str)).sum()
    items = np.isin(data.items, np.array(sorted(forgotten.items), dtype=str)).sum()
    named = zip(data.users[data.train[:, 0]].tolist(), data.items[data.train[:, 1]].tolist(), strict=True)
    pairs = sum(pair in forgotten.pairs for pair in named)
    return [f"version {version.version} may serve and knows a forgotten subject"] if users + items + pairs else []


def distance(ws: Workspace, start: Path, folder: Path) -> Check:
    """The champion against models retrained now, on everything that was forgotten since the start."""
    registry, settings = Registry(ws), load_settings(ws)
    champion = TrainedModel.load(registry.model_dir(str(_champion(registry))))
    rate = champion.recipe.canary_rate
    after = prepare(load_dataset(ws.data), rate)
    stage = Stage.of(prepare(load_dataset(start), rate), after)
    fresh = [observe(model, stage) for model in retrained(champion, after, settings.train, SEEDS, folder)]
    verdict = judge_fresh(
        observe(champion, stage), fresh, groups(stage), exact_checks(champion, stage), settings.gate
    ).to_dict()
    why = "" if verdict["verdict"] == "pass" else f": {'; '.join(verdict['reasons'])}"
    words = f"the champion against {SEEDS} fresh retrains, all nights together: {verdict['verdict']}{why}"
    return Check("distance to a fresh retrain", verdict["verdict"] == "pass", words, verdict["table"])
