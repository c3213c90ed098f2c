"""How tonight's candidate is judged: against a retrain of tonight, or under a licence; and when a retraining is due.

A retrain of tonight is the better judge and the dearer one. Without it there are the latest baseline, the canaries and
a licence that a rehearsal earned. Whatever is missing of these, and a champion that has forgotten too much since it was
last fully trained, leads to retraining, and the verdict says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tru.data.forget import ForgetSet
from tru.evaluation.comparison import changed_lists
from tru.evaluation.evidence import FEWEST
from tru.evaluation.params import GateParams
from tru.evaluation.verdict import Night, Verdict
from tru.models.trained import TrainedModel
from tru.ops.judging.baseline import Baseline, Regime, latest, licence
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import Settings
from tru.ops.workspace import Workspace
from tru.prose import duration

_FULLY_TRAINED = ("trained", "retrained", "baseline", "rollback", "released")


@dataclass(frozen=True)
class Plan:
    """What the gate will do tonight.

    Attributes:
        mode: ``fresh`` or ``licensed``.
        words: why, and what it is expected to cost.
        expected_seconds: of retraining the baselines; None if nobody knows.
        budget_seconds: what ``auto`` may spend.
        licences: those that cover the batch.
        missing: why it cannot be judged without a retrain.
    """

    mode: str
    words: str
    expected_seconds: float | None
    budget_seconds: float
    licences: list[str]
    missing: list[str]

    @property
    def can_judge(self) -> bool:
        """Whether the unlearned model can be judged as planned."""
        return self.mode == "fresh" or not self.missing

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def plan(ws: Workspace, champion: TrainedModel, forget: ForgetSet, settings: Settings) -> Plan:
    """Choose the mode, and see what a judgement without a retrain would lack."""
    params, baseline, now = settings.gate, latest(ws), datetime.now(UTC)
    one = champion.facts.get("train_seconds") or (baseline.seconds if baseline else None)
    expected = None if one is None else round(params.baselines * float(one), 1)
    cheap = expected is None or expected <= params.budget_seconds
    mode = ("fresh" if cheap else "licensed") if params.mode == "auto" else params.mode
    cost = "takes an unknown time" if expected is None else f"takes about {duration(expected)}"
    budget = duration(params.budget_seconds)
    words = f"Retraining {params.baselines} baselines {cost}; the budget is {budget}: mode {mode}"
    words += " (set by gate.mode)." if params.mode != "auto" else "."
    if mode == "fresh":
        return Plan(mode, words, expected, params.budget_seconds, [], [])
    missing = _baseline_missing(ws, baseline, params, now)
    if len(np.unique(champion.data.train[champion.data.canary, 0])) < FEWEST:
        missing.append(
            f"the champion was trained with canaries of fewer than {FEWEST} users (train.canaries), so there is "
            "nothing to compare with"
        )
    held = {regime: licence(ws, regime, size, settings, now) for regime, size in _sizes(forget).items()}
    missing += [words for found, words in held.values() if found is None]
    licences = [found.id for found, _ in held.values() if found is not None]
    return Plan(mode, words, expected, params.budget_seconds, licences, missing)


def _baseline_missing(ws: Workspace, baseline: Baseline | None, params: GateParams, now: datetime) -> list[str]:
    if baseline is None:
        return ["there is no baseline yet: `tru baseline` makes one"]
    if (age := baseline.age_days(now)) > params.baseline_days:
        most = f"{params.baseline_days:.0f}"
        return [f"the baseline is {age:.0f} days old, more than {most}: `tru baseline` makes a new one"]
    if _followed(ws, baseline.data_md5) != DataVersions(ws).md5():
        return ["data was imported since the baseline was made: `tru train`, then `tru baseline`"]
    return []


def _followed(ws: Workspace, md5: str) -> str:
    """The version of the data that the nights since have made of this one."""
    for entry in open_ledger(ws).entries("data"):
        if "batch" in entry.facts and entry.facts["before"] == md5:
            md5 = entry.facts["after"]
    return md5


def _sizes(forget: ForgetSet) -> dict[Regime, int]:
    sizes: dict[Regime, int] = {
        "user": len(forget.users),
        "item": len(forget.items),
        "interaction": len(forget.pairs),
        "modality": len(forget.modalities),
    }
    return {regime: n for regime, n in sizes.items() if n}


def drifted(champion: TrainedModel, candidate: TrainedModel) -> TrainedModel:
    """The candidate with what it has drifted since the last full training, tonight included."""
    if candidate.facts.get("method") == "retrain":
        return candidate
    trained = champion.facts.get("forgotten_edges", 0) + len(champion.data.edges)
    before = drift(champion)
    return candidate.with_facts(
        nights=before["nights"] + 1,
        forgotten_share=round(candidate.facts.get("forgotten_edges", 0) / max(trained, 1), 6),
        distance=round(before["distance"] + changed_lists(champion, candidate), 6),
    )


def drift(model: TrainedModel) -> dict[str, Any]:
    """``nights``, ``forgotten_share`` and ``distance`` since the last full training; zero for a trained model."""
    return {name: model.facts.get(name, 0) for name in ("nights", "forgotten_share", "distance")}


def due(found: dict[str, Any], params: GateParams) -> list[str]:
    """Why a retraining is due, whatever the candidate is like; empty if none is."""
    reasons = []
    if found["forgotten_share"] > params.max_forgotten:
        reasons.append(
            f"a retraining is due: {found['forgotten_share']:.1%} of the trained pairs are forgotten since the last "
            f"full training, more than {params.max_forgotten:.0%} (gate.max_forgotten)"
        )
    if found["nights"] > params.max_nights:
        reasons.append(
            f"a retraining is due: {found['nights']} nights of unlearning since the last full training, more than "
            f"{params.max_nights} (gate.max_nights)"
        )
    if found["distance"] > params.max_distance:
        reasons.append(
            f"a retraining is due: {found['distance']:.0%} of the top-20 entries may have changed through unlearning "
            f"since the last full training, more than {params.max_distance:.0%} (gate.max_distance)"
        )
    return reasons


def warnings(found: dict[str, Any], params: GateParams) -> list[str]:
    """What a reader should know of the drift before a retraining is due."""
    if params.warn_forgotten < found["forgotten_share"] <= params.max_forgotten:
        return [
            f"{found['forgotten_share']:.1%} of the trained pairs are forgotten since the last full training; a "
            f"retraining is due at {params.max_forgotten:.0%}."
        ]
    return []


def window(ws: Workspace, params: GateParams) -> list[Night]:
    """What the nights since the last full training left to be pooled with tonight's numbers."""
    crowned = [e for e in open_ledger(ws).entries("champion") if e.facts["why"] in _FULLY_TRAINED]
    since = crowned[-1].at if crowned else datetime.min.replace(tzinfo=UTC)
    nights = open_inbox(ws).recent(4 * params.window_nights)
    recent = [b for b in nights if b.outcome == "unlearned" and b.closed is not None and b.closed > since]
    return [batch.facts["gate"].get("night", {}) for batch in recent[: params.window_nights - 1]]


def baseline_ndcg(found: Baseline | None) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the baseline's test users and their NDCG@20, the mean of its seeds."""
    if found is None:
        return np.zeros(0, dtype=str), np.zeros(0)
    return found.users, found.ndcg.mean(axis=0)


def in_full(verdict: Verdict, found: Plan, drifted_by: dict[str, Any], params: GateParams) -> dict[str, Any]:
    """The verdict for the record: with cost, licences and drift; refused where a retraining is due anyway."""
    if reasons := due(drifted_by, params):
        verdict = verdict.refused(*reasons)
    words = verdict.to_dict()
    cost = {"expected_seconds": found.expected_seconds, "budget_seconds": found.budget_seconds, "words": found.words}
    notes = [*words["notes"], *warnings(drifted_by, params)]
    return {**words, "notes": notes, "cost": cost, "licences": found.licences, "drift": drifted_by}


def refused(found: Plan, drifted_by: dict[str, Any], params: GateParams) -> dict[str, Any]:
    """A verdict without measurement: what is missing leads to retraining."""
    reasons = [f"it cannot be judged without a retrain: {words}" for words in found.missing]
    return in_full(Verdict(False, (), found.mode).refused(*reasons), found, drifted_by, params)
