"""The planted cases: a candidate of known worth before the real gate, in every mode it has.

Modes: ``fresh`` and ``licensed``, each with the whole batch in one night, and with its subjects spread over a week of
nights that are too small to be judged alone and are pooled (``fresh, pooled``, ``licensed, pooled``).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.plants import Plant, plants, unlearned
from benchmarks.scenes import Scene
from tru.evaluation.comparison import exact_checks
from tru.evaluation.evidence import Evidence, Group, Reference, observe, own_reference
from tru.evaluation.gate import judge_fresh, judge_licensed
from tru.evaluation.verdict import SAME_MODEL, Night, Verdict
from tru.models.trained import TrainedModel

KINDS = ("honest", "under-forgotten", "over-forgotten", "utility", "swapped", "unchanged")
MODES = ("fresh", "licensed")  # licensed: faults of forgetting count where they are gross, see benchmarks/plants.py
NIGHTS = 5
"""Over so many nights a batch is spread where nights are pooled."""


@dataclass(frozen=True)
class Case:
    """One candidate before the gate.

    Attributes:
        kind: one of :data:`KINDS`.
        how: what the candidate is.
        scene: regime and draw of the batch.
        mode: how it was judged.
        fault: the reason the gate must name; None where it must pass.
        faults: the reasons it named.
        passed: whether it let the candidate pass.
    """

    kind: str
    how: str
    scene: str
    mode: str
    fault: str | None
    faults: tuple[str, ...]
    passed: bool

    @property
    def wrong(self) -> bool:
        """Whether the gate was: a good one refused, or a bad one let through or refused for another reason."""
        return not self.passed if self.fault is None else self.fault not in self.faults


def cases(scene: Scene) -> Iterator[Case | None]:
    """All cases of a scene; None for a plant that is not bad enough to be one."""
    for k, model in enumerate(scene.retrained):
        others = [seen for j, seen in enumerate(scene.seen) if j != k]
        for mode, verdicts in judged(scene, model, scene.seen[k], others):
            yield _case("honest", f"retrained, seed {k}", scene, mode, None, verdicts)
    for plant in plants(scene):
        if plant is None:
            yield None
            continue
        found = judged(
            scene, plant.model, plant.seen, scene.seen[:2], pooled=_is_gradual(plant), instead_of=plant.instead_of
        )
        for mode, verdicts in found:
            told = not mode.startswith("licensed") or plant.is_gross or not _is_gradual(plant)
            yield _case(plant.kind, plant.how, scene, mode, plant.fault, verdicts) if told else None


def judged(
    scene: Scene,
    model: TrainedModel,
    seen: Evidence,
    baselines: Sequence[Evidence],
    *,
    pooled: bool = True,
    instead_of: TrainedModel | None = None,
) -> Iterator[tuple[str, list[Verdict]]]:
    """What the gate says of a candidate in every mode, night by night.

    Args:
        scene: where.
        model: the candidate.
        seen: what was observed of it.
        baselines: what was observed of the models retrained tonight.
        pooled: also with the batch spread over several nights.
        instead_of: the model that was unlearned tonight, if it is not the candidate.
    """
    exact = exact_checks(model, scene.stage)
    exact[SAME_MODEL] = int(_files(model) != _files(instead_of or model))
    # Nights of a week share the reference of the whole batch: it is pair by pair, and takes the longest to measure.
    references = [None, own_reference(model, scene.stage, scene.groups)] if len(scene.stage.canary) else [None]
    for mode, reference in zip(MODES, references, strict=False):
        judge = _Judge(scene, seen, baselines, reference, exact)
        yield mode, [judge.night(scene.groups, ())]
        if pooled and scene.groups:
            yield f"{mode}, pooled", judge.week()


@dataclass(frozen=True)
class _Judge:
    """The gate, with everything about a candidate at hand."""

    scene: Scene
    seen: Evidence
    baselines: Sequence[Evidence]
    reference: Reference | None
    exact: Mapping[str, int]

    def night(self, groups: dict[str, Group], past: Sequence[Night]) -> Verdict:
        """One night's verdict."""
        scene, params = self.scene, self.scene.settings.gate
        if self.reference is None:
            return judge_fresh(self.seen, self.baselines, groups, self.exact, params, past)
        rest = (scene.champion_seen, scene.baseline, groups, self.exact, params, past)
        return judge_licensed(self.seen, self.reference, *rest)

    def week(self) -> list[Verdict]:
        """The verdicts of nights with a part of the subjects each."""
        found: list[Verdict] = []
        for part in spread(self.scene.groups, NIGHTS):
            found.append(self.night(part, [verdict.night for verdict in found]))
        return found


def spread(groups: Mapping[str, Group], nights: int) -> list[dict[str, Group]]:
    """The groups' subjects dealt out to several nights, each of its own subjects.

    Args:
        groups: of a whole batch.
        nights: how many.
    """
    out: list[dict[str, Group]] = []
    for night in range(nights):
        parts = {}
        for name, group in groups.items():
            _, number = np.unique(group.subjects, return_inverse=True)
            mine = number % nights == night
            if mine.any():
                parts[name] = Group(group.at[mine], group.subjects[mine], group.shares[mine])
        out.append(parts)
    return out


def _files(model: TrainedModel) -> str:
    """Hash of the model's parameters as they lie on disk; the night compares the same file."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save(Path(scratch))
        return hashlib.sha256((Path(scratch) / "arrays.npz").read_bytes()).hexdigest()


def _is_gradual(plant: Plant) -> bool:
    """Whether the fault is a matter of degree, so that nights can be pooled to see it."""
    return plant.fault in ("under-forgotten", "over-forgotten")


def _case(kind: str, how: str, scene: Scene, mode: str, fault: str | None, verdicts: Sequence[Verdict]) -> Case:
    """Several nights count as refused if one of them is."""
    faults = sorted({name for verdict in verdicts for name in verdict.faults})
    return Case(kind, how, scene.name, mode, fault, tuple(faults), all(verdict.passed for verdict in verdicts))


def passes_as_it_is(scene: Scene) -> Iterator[tuple[str, bool]]:
    """How TRU's own candidate fares in every mode; good or not, nobody planted it."""
    model = unlearned(scene)
    for mode, verdicts in judged(scene, model, observe(model, scene.stage), scene.seen[:2]):
        yield mode, all(verdict.passed for verdict in verdicts)
