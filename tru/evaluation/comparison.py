"""Original, unlearned and retrained models side by side: the same numbers under the same names for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tru import randomness
from tru.errors import DataError
from tru.evaluation import display
from tru.evaluation.audits import Stage, listed_strangers
from tru.evaluation.evidence import (
    BINS,
    Evidence,
    Group,
    Reference,
    canary_profile,
    groups,
    observe,
    own_reference,
    profile,
)
from tru.evaluation.gate import judge_fresh, judge_licensed
from tru.evaluation.metrics import top_items
from tru.evaluation.params import GateParams
from tru.evaluation.verdict import Night, Verdict
from tru.models.trained import TrainedModel

Metrics = dict[str, float]
_GROUP = ("at", "subjects", "shares")
SAMPLE = 4096
"""Users whose lists are compared between two models; ranking for everybody took a third of a night on amazon-sports."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """What was observed; ids of test users are in it, so it stays in the batch's folder.

    Printed, or shown in a notebook, it is a table of the models and the gate's word by the default margins.

    Attributes:
        original: of the model that had seen everything.
        unlearned: of the candidate; None if there is none.
        retrained: of each baseline, the one with the original's own dice first; empty if none was retrained.
        reference: what forgotten pairs should look like without a retrain; None if one was.
        groups: the forgotten pairs by why they went.
        exact: check in words -> violations, of the candidate.
        exact_retrained: the same for the first baseline.
        pairs: number of forgotten train pairs.
        seconds: ``train``, ``unlearn``, ``retrain`` (one retraining, the median).
        seeds: of the baselines.
        canaries: profile of their rank percentiles in the candidate (in the original, where there is none).
    """

    original: Evidence
    unlearned: Evidence | None
    retrained: list[Evidence]
    groups: dict[str, Group]
    exact: dict[str, int]
    exact_retrained: dict[str, int]
    pairs: int
    seconds: dict[str, float | None]
    seeds: list[int] = field(default_factory=list)
    reference: Reference | None = None
    canaries: list[float] = field(default_factory=list)

    def __repr__(self) -> str:
        """Short, and without the ids that are in it."""
        return f"<Comparison of {', '.join(self.rows())} on {self.pairs} forgotten pairs>"

    def __str__(self) -> str:
        """The models side by side, what the gate looked at, and what it says."""
        return display.as_text(*self._shown())

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return display.as_html(*self._shown())

    def _shown(self) -> tuple[list[list[display.Row]], str]:
        table = display.measured(self.rows(), self.seconds)
        if self.unlearned is None or not self.retrained:
            return [table], "The gate was not asked: it needs an unlearned model and a retrained one."
        verdict = self.verdict()
        return [table, display.checked(verdict)], display.sentence(verdict, len(self.retrained))

    def verdict(self, params: GateParams | None = None, past: Sequence[Night] = ()) -> Verdict:
        """The gate's word on the unlearned model, against the retrained ones; by the default margins if none given."""
        params = params or GateParams()
        return judge_fresh(self._candidate, self.retrained, self.groups, self.exact, params, past)

    def licensed_verdict(
        self, params: GateParams, baseline: tuple[np.ndarray, np.ndarray], past: Sequence[Night] = ()
    ) -> Verdict:
        """The gate's word on the unlearned model without a retrain; ``baseline``: user ids and their NDCG@20."""
        if self.reference is None:
            raise DataError("nothing was measured to judge by without a retrain. Run the step `evaluate` again.")
        return judge_licensed(
            self._candidate, self.reference, self.original, baseline, self.groups, self.exact, params, past
        )

    def fallback_verdict(self, params: GateParams) -> Verdict:
        """The gate's word on the first retrained model, against the others."""
        return judge_fresh(self.retrained[0], self.retrained[1:], self.groups, self.exact_retrained, params)

    @property
    def _candidate(self) -> Evidence:
        if self.unlearned is None:
            raise DataError("there is no unlearned model to judge. Run the step `unlearn` again.")
        return self.unlearned

    def rows(self) -> dict[str, Metrics]:
        """Flat metrics by model; ``retrained`` is the first baseline."""
        found = {"original": self.original, "unlearned": self.unlearned}
        found |= {"retrained": self.retrained[0]} if self.retrained else {}
        return {name: evidence.metrics for name, evidence in found.items() if evidence is not None}

    def models(self) -> dict[str, dict[str, Any]]:
        """The table's rows, ready for JSON."""
        return {name: nested(row) for name, row in self.rows().items()}

    def profiles(self) -> dict[str, list[float]]:
        """Histograms of rank percentiles of the forgotten pairs, and of the canaries beside them."""
        found = {"edges": [round(k / BINS, 4) for k in range(BINS + 1)], "original": profile(self.original.ranks)}
        if self.unlearned is not None:
            found["unlearned"] = profile(self.unlearned.ranks)
        if self.retrained:
            found["retrained"] = profile(self.retrained[0].ranks)
        return found | ({"canaries": self.canaries} if self.canaries else {})

    def save(self, folder: Path) -> None:
        """Write it to a folder; :meth:`load` reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        last = folder / "comparison.json"  # it says that all is there, so it goes first and comes last
        last.unlink(missing_ok=True)
        named = {"original": self.original, "unlearned": self.unlearned}
        named |= {f"retrained-{k}": evidence for k, evidence in enumerate(self.retrained)}
        for name, evidence in named.items():
            if evidence is not None:
                evidence.save(folder / f"{name}.npz")
        arrays: dict[str, Any] = {
            f"{name}/{part}": getattr(group, part) for name, group in self.groups.items() for part in _GROUP
        }
        errors = None
        if self.reference is not None:
            arrays |= {"wins": self.reference.wins, "hits": self.reference.hits}
            errors = [self.reference.wins_error, self.reference.hits_error]
        np.savez(folder / "groups.npz", **arrays)
        plain = ("exact", "exact_retrained", "pairs", "seconds", "seeds", "canaries")
        words = {name: getattr(self, name) for name in plain}
        words |= {"errors": errors, "models": [name for name, evidence in named.items() if evidence is not None]}
        beside = last.with_name(last.name + ".new")
        beside.write_text(json.dumps(words, indent=1) + "\n")
        beside.replace(last)

    @classmethod
    def load(cls, folder: Path) -> Comparison:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: it is missing or damaged.
        """
        try:
            words = json.loads((folder / "comparison.json").read_text())
            with (folder / "groups.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            return cls._of(words, arrays, folder)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise DataError(f"{folder} is missing or damaged. Run the step `evaluate` again.") from error

    @classmethod
    def _of(cls, words: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> Comparison:
        models = {name: Evidence.load(folder / f"{name}.npz") for name in words.pop("models")}
        names = [name.removesuffix("/at") for name in arrays if name.endswith("/at")]
        errors = words.pop("errors")
        return cls(
            original=models.pop("original"),
            unlearned=models.pop("unlearned", None),
            retrained=list(models.values()),
            groups={name: Group(*(arrays[f"{name}/{part}"] for part in _GROUP)) for name in names},
            reference=None if errors is None else Reference(arrays["wins"], arrays["hits"], *errors),
            **words,
        )


def compare(
    stage: Stage,
    original: TrainedModel,
    unlearned: TrainedModel | None,
    retrained: Sequence[TrainedModel],
    *,
    own: bool = False,
) -> Comparison:
    """Observe all models on the same pairs.

    Args:
        stage: the data before and after.
        original: trained on everything.
        unlearned: the candidate, if there is one.
        retrained: baselines trained on what stays; two or more, or none.
        own: also measure what the candidate gives to pairs it cannot know, to be judged without a retrain.

    Raises:
        DataError: ``own`` is asked for, and the model has no canaries.
    """
    found = groups(stage)
    seconds = [model.facts["seconds"] for model in retrained if model.facts.get("seconds") is not None]
    reference = own_reference(unlearned, stage, found) if own and unlearned else None
    return Comparison(
        original=observe(original, stage),
        unlearned=observe(unlearned, stage) if unlearned else None,
        retrained=[observe(model, stage) for model in retrained],
        groups=found,
        exact=exact_checks(unlearned, stage) if unlearned else {},
        exact_retrained=exact_checks(retrained[0], stage) if retrained else {},
        pairs=len(stage.forgotten),
        seconds={
            "train": original.facts.get("train_seconds"),
            "unlearn": unlearned.facts.get("seconds") if unlearned else None,
            "retrain": float(np.median(seconds)) if seconds else None,
        },
        seeds=[model.recipe.seed for model in retrained],
        reference=reference,
        canaries=canary_profile(unlearned or original, stage) if len(stage.canary) else [],
    )


def exact_checks(model: TrainedModel, stage: Stage) -> dict[str, int]:
    """What must be exactly zero in a model that may serve: check in words -> number of violations."""
    gone_users = np.setdiff1d(stage.before.users, stage.after.users)
    gone_items = np.setdiff1d(stage.before.items, stage.after.items)
    found = model.embed()
    numbers = [found.users.numpy(), found.items.numpy(), *model.arrays.values()]
    allowed, own = _named(stage.after), _named(model.data)
    return {
        "deleted users in the model": int(np.isin(model.data.users, gone_users).sum()),
        "deleted items in the model": int(np.isin(model.data.items, gone_items).sum()),
        "forgotten pairs in the model's graph": len(own - allowed),
        "retained pairs missing from the model": len(allowed - own),
        "revoked modalities in the model": _revoked(model, stage),
        "deleted items in a top-20 list": listed_strangers(model, gone_items),
        "numbers that are not finite": int(sum((~np.isfinite(a)).sum() for a in numbers)),
    }


def changed_lists(before: TrainedModel, after: TrainedModel) -> float:
    """Share of the entries of the top-20 lists that differ between two models, over the users whom both know.

    The share is a metric (half the symmetric difference of two sets), so summed over nights it bounds how far the last
    model can be from the first. Of many users it takes SAMPLE, the same ones every night as long as they stay; the
    standard error of that is at most 0.8 %.
    """
    both = np.intersect1d(before.data.users, after.data.users)
    drawn = both[
        np.argsort(randomness.mix(randomness.of_ids(both), randomness.of_word("lists")), kind="stable")[:SAMPLE]
    ]
    lists = [_lists(model, drawn) for model in (before, after)]
    same = [np.isin(new, old).mean() for old, new in zip(*lists, strict=True)]
    return float(1 - np.mean(same)) if same else 0.0


def _lists(model: TrainedModel, users: np.ndarray) -> list[np.ndarray]:
    """The item ids shown to each user."""
    found, who = model.embed(), np.flatnonzero(np.isin(model.data.users, users))
    chunks = top_items(found.users, found.items, model.data.train, who, 20)
    return [model.data.items[row] for _, top in chunks for row in top]


def _named(data: Any) -> set[tuple[str, str]]:  # noqa: ANN401 - a Prepared
    pairs = data.train
    return set(zip(data.users[pairs[:, 0]].tolist(), data.items[pairs[:, 1]].tolist(), strict=True))


def _revoked(model: TrainedModel, stage: Stage) -> int:
    """Items with features in the model that the retained data does not have any more."""
    count = 0
    for m in model.data.modalities:
        # A modality that no item has any more is not in the data at all.
        allowed = stage.after.items[stage.after.present[m]] if m in stage.after.present else stage.after.items[:0]
        count += int((~np.isin(model.data.items[model.data.present[m]], allowed)).sum())
    return count


def nested(row: Metrics) -> dict[str, Any]:
    """``{"test/x": 1}`` as ``{"test": {"x": 1}}``, rounded to six digits; NaN becomes null."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        group, _, metric = name.rpartition("/")
        (out.setdefault(group, {}) if group else out)[metric] = None if value != value else round(value, 6)
    return out
