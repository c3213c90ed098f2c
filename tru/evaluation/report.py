"""Original, unlearned and retrained models side by side: the same numbers under the same names for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tru.evaluation.audits import Stage, evaluate, listed_strangers
from tru.evaluation.gate import GateParams, Verdict, judge
from tru.models.trained import TrainedModel

Metrics = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """What was measured, without any identifier.

    Attributes:
        original: metrics of the model that had seen everything.
        unlearned: of the candidate; empty if there is none.
        retrained: of each baseline, the one with the original's own dice first.
        exact: check in words -> violations, of the candidate.
        exact_retrained: the same for the first baseline.
        pairs: number of forgotten train pairs.
        independent: the smaller of the numbers of users and of items in them: pairs of one subject share its vector
            and so do not count as separate evidence.
        seconds: ``train``, ``unlearn``, ``retrain`` (one retraining, the median).
        seeds: of the baselines.
    """

    original: Metrics
    unlearned: Metrics
    retrained: list[Metrics]
    exact: dict[str, int]
    exact_retrained: dict[str, int]
    pairs: int
    independent: int
    seconds: dict[str, float | None]
    seeds: list[int] = field(default_factory=list)

    def verdict(self, params: GateParams) -> Verdict:
        """The gate's word on the unlearned model."""
        return judge(self.unlearned, self.retrained, self.exact, self.independent, params)

    def fallback_verdict(self, params: GateParams) -> Verdict:
        """The gate's word on the first retrained model, against the others."""
        return judge(self.retrained[0], self.retrained[1:], self.exact_retrained, self.independent, params)

    def models(self) -> dict[str, dict[str, Any]]:
        """The table's three rows; ``retrained`` is the first baseline."""
        return {
            name: nested(row)
            for name, row in (
                ("original", self.original),
                ("unlearned", self.unlearned),
                ("retrained", self.retrained[0]),
            )
            if row
        }


def compare(
    stage: Stage, original: TrainedModel, unlearned: TrainedModel | None, retrained: list[TrainedModel]
) -> Comparison:
    """Measure all models on the same pairs.

    Args:
        stage: the data before and after.
        original: trained on everything.
        unlearned: the candidate, if there is one.
        retrained: baselines trained on what stays; at least two.
    """
    return Comparison(
        original=evaluate(original, stage),
        unlearned=evaluate(unlearned, stage) if unlearned else {},
        retrained=[evaluate(model, stage) for model in retrained],
        exact=exact_checks(unlearned, stage) if unlearned else {},
        exact_retrained=exact_checks(retrained[0], stage),
        pairs=len(stage.forgotten),
        independent=min(len(np.unique(stage.forgotten[:, side])) for side in (0, 1)),
        seconds={
            "train": original.facts.get("train_seconds"),
            "unlearn": unlearned.facts["seconds"] if unlearned else None,
            "retrain": float(np.median([m.facts["seconds"] for m in retrained])),
        },
        seeds=[m.recipe.seed for m in retrained],
    )


def exact_checks(model: TrainedModel, stage: Stage) -> dict[str, int]:
    """What must be exactly zero in a model that may serve: check in words -> number of violations."""
    gone_users = np.setdiff1d(stage.before.users, stage.after.users)
    gone_items = np.setdiff1d(stage.before.items, stage.after.items)
    found = model.embed()
    numbers = [found.users.numpy(), found.items.numpy(), *model.arrays.values()]
    return {
        "deleted users in the model": int(np.isin(model.data.users, gone_users).sum()),
        "deleted items in the model": int(np.isin(model.data.items, gone_items).sum()),
        "forgotten pairs in the model's graph": _edges_beyond(model, stage),
        "revoked modalities in the model": _revoked(model, stage),
        "deleted items in a top-20 list": listed_strangers(model, gone_items),
        "numbers that are not finite": int(sum((~np.isfinite(a)).sum() for a in numbers)),
    }


def _edges_beyond(model: TrainedModel, stage: Stage) -> int:
    """Rows of the model's data that the retained data does not have."""
    ids = {(u, i) for u, i in _named(stage.after)}
    return sum(pair not in ids for pair in _named(model.data))


def _named(data: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a Prepared
    return list(zip(data.users[data.train[:, 0]].tolist(), data.items[data.train[:, 1]].tolist(), strict=True))


def _revoked(model: TrainedModel, stage: Stage) -> int:
    """Items with features in the model that the retained data does not have any more."""
    count = 0
    for m in model.data.modalities:
        allowed = stage.after.items[stage.after.present[m]]
        count += int((~np.isin(model.data.items[model.data.present[m]], allowed)).sum())
    return count


def nested(row: Metrics) -> dict[str, Any]:
    """``{"test/x": 1}`` as ``{"test": {"x": 1}}``, rounded to six digits; NaN becomes null."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        group, _, metric = name.rpartition("/")
        (out.setdefault(group, {}) if group else out)[metric] = None if value != value else round(value, 6)
    return out
