"""The stages on which candidates are judged: a champion, a batch of deletions, and models retrained without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.trainings import Trainings
from tru.data.forget import ForgetSet, cut
from tru.data.interactions import Dataset
from tru.data.prepare import Prepared, prepare
from tru.evaluation.audits import Stage
from tru.evaluation.evidence import Evidence, Group, groups, observe
from tru.evaluation.params import RehearsalParams
from tru.models.trained import TrainedModel
from tru.ops.judging.baseline import REGIMES
from tru.ops.judging.rehearsal import draw as rehearsed
from tru.ops.settings import Settings
from tru.training import fit, refit
from tru.unlearning.closed_form.calibration import calibrated

KINDS_OF_BATCH = ("user", "item", "interaction", "mixed")
SHARE = 20
"""At most one in so many users, items or interactions goes in one batch."""
RETRAINED = 3
"""Seeds per batch: each stands once as the honest candidate against the other two."""
BASELINES = 2
"""Seeds of the weekly baseline that the licensed mode compares with."""


@dataclass(frozen=True)
class Scene:
    """One batch of deletions and everything that its cases share.

    Attributes:
        name: regime and number of the draw; it names nobody.
        settings: of the workspace it stands for.
        champion: trained on everything.
        stage: the data before and after.
        retrained: models trained on the data after, by seed; exact by construction.
        elsewhere: a model that is right for another batch.
        baseline: ids of the weekly baseline's test users, and their mean NDCG@20.
    """

    name: str
    settings: Settings
    champion: TrainedModel
    stage: Stage
    retrained: list[TrainedModel]
    elsewhere: TrainedModel
    baseline: tuple[np.ndarray, np.ndarray] = field(repr=False)

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The forgotten pairs by why they went."""
        return groups(self.stage)

    @cached_property
    def seen(self) -> list[Evidence]:
        """What was observed of the retrained models."""
        return [observe(model, self.stage) for model in self.retrained]

    @cached_property
    def champion_seen(self) -> Evidence:
        """What was observed of the champion."""
        return observe(self.champion, self.stage)

    def damage(self, evidence: Evidence) -> dict[str, float]:
        """How far a model is from the retrained ones, in units of the gate's margins; positive numbers are bad.

        Measured against the mean of all of them, and by nothing of the gate: this is what says that a planted model is
        really bad. Groups of fewer than ``gate.min_subjects`` are left out, since no number says anything there.
        """
        gate = self.settings.gate
        out = {"utility": self._loss(evidence) / gate.utility_margin, "under-forgotten": 0.0, "over-forgotten": 0.0}
        for group in (g for g in self.groups.values() if g.size >= gate.min_subjects):
            for name, margin in (("wins", gate.membership_margin), ("hits", gate.forget_margin)):
                own, mean = (_mean(x[group.at], group.shares) for x in (getattr(evidence, name), self._mean(name)))
                out["under-forgotten"] = max(out["under-forgotten"], (own - mean) / margin)
                out["over-forgotten"] = max(out["over-forgotten"], (mean - own) / margin)
        return out

    def _loss(self, evidence: Evidence) -> float:
        retrained = float(self._mean("ndcg").mean())
        return (retrained - float(evidence.ndcg.mean())) / retrained

    def _mean(self, name: str) -> np.ndarray:
        found: np.ndarray = np.mean([getattr(e, name) for e in self.seen], axis=0)
        return found


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    usable = np.isfinite(values)
    return float(np.average(values[usable], weights=weights[usable])) if usable.any() else 0.0


def batches(draws: int, regimes: Sequence[str] = KINDS_OF_BATCH) -> list[tuple[str, int]]:
    """The batches to plant cases in: regime and seed of the draw."""
    return [(regime, seed) for seed in range(1, draws + 1) for regime in regimes]


def scenes(ds: Dataset, settings: Settings, shelf: Trainings, wanted: Sequence[tuple[str, int]]) -> Iterator[Scene]:
    """The scenes one after the other; all models that the shelf does not have are trained first.

    Args:
        ds: the data set that the champion is trained on.
        settings: model, training, unlearning and gate.
        shelf: where the trained models are kept.
        wanted: regime and seed of each batch; at least two, as each borrows a model of the next.
    """
    champion = shelf.get("champion", lambda checkpoint: _original(ds, settings, checkpoint))
    baseline = _baseline(champion, settings, shelf)
    sizes = settings.baseline.rehearsal
    afters = {name: prepare(cut(ds, draw(champion.data, sizes, *name)), champion.recipe.canary_rate) for name in wanted}
    for name, after in afters.items():
        for k in range(RETRAINED):
            _retrained(shelf, name, k, champion, after, settings)
    for (name, after), other in zip(afters.items(), (*wanted[1:], wanted[0]), strict=True):
        yield Scene(
            name="-".join(map(str, name)),
            settings=settings,
            champion=champion,
            stage=Stage.of(champion.data, after),
            retrained=[_retrained(shelf, name, k, champion, after, settings) for k in range(RETRAINED)],
            elsewhere=_retrained(shelf, other, 0, champion, afters[other], settings),
            baseline=baseline,
        )


def _original(ds: Dataset, settings: Settings, checkpoint: Path) -> TrainedModel:
    return calibrated(fit(ds, settings.model, settings.train, checkpoint=checkpoint), settings.unlearn)


def _retrained(
    shelf: Trainings, name: tuple[str, int], k: int, champion: TrainedModel, after: Prepared, settings: Settings
) -> TrainedModel:
    """The k-th model retrained on the data after; the first repeats the champion's dice."""
    title, seed = f"{name[0]}-{name[1]}-{k}", champion.recipe.seed + k
    return shelf.get(
        title, lambda file: refit(after, champion, settings.train, seed=seed, checkpoint=file, title=title)
    )


def trainings(wanted: Sequence[tuple[str, int]]) -> int:
    """How many models have to be trained for these batches."""
    return 1 + BASELINES + RETRAINED * len(wanted)


def draw(data: Prepared, params: RehearsalParams, regime: str, seed: int) -> ForgetSet:
    """A batch as large as a licence is good for, and no larger than a twentieth of what there is.

    ``mixed`` has as many of every kind. It is drawn as rehearsals are.
    """
    sizes = {
        "users": min(params.users, len(data.users) // SHARE),
        "items": min(params.items, len(data.items) // SHARE),
        "interactions": min(params.interactions, len(data.edges) // SHARE),
        "modalities": params.modalities,
    }
    if regime != "mixed":
        sizes = {name: n if name == REGIMES[regime] else 0 for name, n in sizes.items()}  # type: ignore[index]
    return rehearsed(data, RehearsalParams(**sizes), f"planted {seed}")


def _baseline(champion: TrainedModel, settings: Settings, shelf: Trainings) -> tuple[np.ndarray, np.ndarray]:
    """The weekly baseline: other seeds on the champion's own data; ids of the test users and their mean NDCG@20."""
    stage = Stage.of(champion.data, champion.data)
    found = []
    for seed in range(100, 100 + BASELINES):
        title = f"baseline-{seed}"

        def train(file: Path, seed: int = seed, title: str = title) -> TrainedModel:
            return refit(champion.data, champion, settings.train, seed=seed, checkpoint=file, title=title)

        found.append(observe(shelf.get(title, train), stage))
    return found[0].users, np.mean([e.ndcg for e in found], axis=0)
