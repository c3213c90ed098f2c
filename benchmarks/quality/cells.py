"""One method at one place of the grid, measured: what is done with the models, and the numbers that come of it."""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.quality import results
from benchmarks.quality.grid import NOISE, ORIGINAL, PLANTED, REFERENCE, YARDSTICKS, Cell, Grid, Place
from benchmarks.quality.pantry import Pantry, digest
from tru.data.forget import ForgetSet, simulate
from tru.data.planted import Planted
from tru.data.prepare import Prepared
from tru.errors import DataError
from tru.evaluation.audits import Scores, Stage, ks_distance, last_vector_auc, vectors
from tru.evaluation.comparison import changed_lists, exact_checks
from tru.evaluation.evidence import Evidence, observe
from tru.evaluation.metrics import rank_metrics
from tru.evaluation.research.suite import audit
from tru.models.trained import TrainedModel
from tru.unlearning import base
from tru.unlearning.params import UNLEARNERS, UnlearnParams

TIMES, QUICK = 3, 10.0
"""How often a method runs, for the median of its seconds: most are soon done, and a first time is like no other. A
method that takes more seconds of processor time than this is not run again."""

Settings = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Method -> backbone -> changes of block ``unlearn``."""


@dataclass(frozen=True)
class Bench:
    """What every process of a run knows.

    Attributes:
        grid: what is measured.
        folder: the cache.
        commit: of the code.
        chosen: tuned settings.
    """

    grid: Grid
    folder: Path
    commit: str
    chosen: Settings

    def params(self, method: str, backbone: str) -> UnlearnParams:
        """Block ``unlearn`` of a method or ablation; ``NAME#k``: one of its tries.

        As tuned with this backbone, else as tuned with the first that was, else its defaults.
        """
        if "#" in method:
            name, _, number = method.partition("#")
            return UnlearnParams.model_validate({"method": name, **self.grid.tuning.tries[name][int(number)]})
        name, _, ablation = method.partition("/")
        tuned = self.chosen.get(name, {})
        words = {"method": name, **tuned.get(backbone, next(iter(tuned.values()), {}))}
        return UnlearnParams.model_validate(words | (self.grid.ablations[ablation] if ablation else {}))

    def settings(self, cell: Cell) -> dict[str, Any]:
        """What decides a cell beside its place: a yardstick has no settings."""
        if cell.method in YARDSTICKS:
            return {}
        return self.params(cell.method, cell.place.backbone).model_dump(mode="json")

    def cell_id(self, pantry: Pantry, cell: Cell) -> str:
        """Of everything that decides a cell's numbers but the code of methods and audits (``--again`` is for that)."""
        place, grid = cell.place, self.grid
        original = pantry.original_key(place.backbone, place.dataset, place.seed)
        words = [place.regime, place.fraction, grid.forget_seed, grid.noise_seed, cell.method, self.settings(cell)]
        words += [self.grid.audits(cell), grid.shadows(place)]
        return digest("cell", original, *words)


class Scene:
    """The models of one place, each trained or loaded when it is first needed.

    Args:
        pantry: where they are kept.
        place: which.
        forget: what is forgotten; drawn as the grid says if empty.
        validation: measure on the validation rows instead of the test rows.
    """

    def __init__(
        self, pantry: Pantry, place: Place, forget: ForgetSet | None = None, *, validation: bool = False
    ) -> None:
        self.pantry, self.place, self.validation = pantry, place, validation
        self._forget = forget

    @cached_property
    def key(self) -> str:
        """Of the original."""
        return self.pantry.original_key(self.place.backbone, self.place.dataset, self.place.seed)

    @cached_property
    def original(self) -> TrainedModel:
        """Trained on everything."""
        return self.pantry.original(self.place.backbone, self.place.dataset, self.place.seed)

    @cached_property
    def forget(self) -> ForgetSet:
        """What is to be forgotten."""
        if self._forget is not None:
            return self._forget
        if self.planted is not None:
            return self.planted.forget
        return simulate(self.pantry.dataset(self.place.dataset), self.place.forget(self.pantry.grid))

    @cached_property
    def planted(self) -> Planted | None:
        """Whom this place forgets if they never were, and what they pushed."""
        return self.pantry.planted(self.place.dataset) if self.place.regime == PLANTED else None

    @cached_property
    def retained(self) -> Prepared:
        """What may stay."""
        return self.pantry.retained(self.place, self.forget, self.original.recipe.canary_rate)

    @cached_property
    def stage(self) -> Stage:
        """Where the models are compared."""
        stage = Stage.of(self.original.data, self.retained)
        return replace(stage, after=replace(stage.after, test=stage.after.val)) if self.validation else stage

    @cached_property
    def reference(self) -> TrainedModel:
        """Retrained under the original's own dice."""
        return self.pantry.retrained(self.place, self.forget, self.original, self.retained)

    @cached_property
    def evidence(self) -> Evidence:
        """What the reference does."""
        return observe(self.reference, self.stage)

    @cached_property
    def noise(self) -> TrainedModel:
        """Retrained by the same recipe under other dice: what is nearer to the reference than this is as good as it.

        Not another seed's reference, which is trained anyway: that repeats another original, whose best epoch may be
        half as many away, and differs by far more than dice.
        """
        seed = self.pantry.grid.noise_seed + self.place.seed
        return self.pantry.retrained(self.place, self.forget, self.original, self.retained, seed=seed)

    def yardstick(self, name: str) -> TrainedModel:
        """One of the models that no method made."""
        return {ORIGINAL: lambda: self.original, REFERENCE: lambda: self.reference, NOISE: lambda: self.noise}[name]()

    def measured(
        self, model: TrainedModel, seconds: Mapping[str, float], parts: Sequence[str] = ()
    ) -> dict[str, float]:
        """All numbers of a model here; not finite ones are left out."""
        evidence = self.evidence if model is self.reference else observe(model, self.stage)
        found = {**evidence.metrics, **self._distances(model, evidence), **seconds}
        if np.isfinite(copies := self._copies(model)):
            found["last_vector_auc"] = copies
            found["distance/last_vector_auc"] = abs(copies - self._copies_reference)
        if model is not self.original:
            found["violations"] = float(sum(exact_checks(model, self.stage).values()))
        if seconds.get("cpu_seconds"):
            found["speedup"] = self.reference.facts["cpu_seconds"] / seconds["cpu_seconds"]
        found["forgotten_pairs"] = float(len(self.stage.forgotten))
        found["forgotten_share"] = len(self.stage.forgotten) / max(len(self.original.data.edges), 1)
        if parts and not self.validation:
            found |= self._audited(model, parts)
        return {name: float(value) for name, value in found.items() if np.isfinite(value)}

    @cached_property
    def _last(self) -> Scores:
        """Everybody's vectors before."""
        return vectors(self.original, self.stage)

    @cached_property
    def _copies_reference(self) -> float:
        return self._copies(self.reference)

    def _copies(self, model: TrainedModel) -> float:
        """What kept copies of vectors of users who are gone tell; NaN if nobody is."""
        return last_vector_auc(vectors(model, self.stage), self.stage, self._last)

    def _distances(self, model: TrainedModel, evidence: Evidence) -> dict[str, float]:
        """To the reference; a model compared with itself has none."""
        if model is self.reference:
            return {}
        own, other = evidence.metrics, self.evidence.metrics
        gaps = {
            "relative/ndcg@20": own["test/ndcg@20"] / other["test/ndcg@20"] if other["test/ndcg@20"] else np.nan,
            "distance/forget_recall@20": abs(own["forget/recall@20"] - other["forget/recall@20"]),
            "distance/membership_auc": abs(own["membership_auc"] - other["membership_auc"]),
            "distance/canary_auc": abs(own["canary_auc"] - other["canary_auc"]),
            "distance/lists": changed_lists(self.reference, model),
            "ks": ks_distance(_finite(evidence.ranks), _finite(self.evidence.ranks)),
        }
        both = np.isfinite(evidence.ranks) & np.isfinite(self.evidence.ranks)
        below = evidence.ranks[both] < self.evidence.ranks[both]
        if len(below):
            gaps["distance/ranks"] = float(np.abs(evidence.ranks[both] - self.evidence.ranks[both]).mean())
            gaps["over_forgotten"] = float(below.mean())
        return gaps

    def _audited(self, model: TrainedModel, parts: Sequence[str]) -> dict[str, float]:
        """What the audit suite says of a model, and how long it took.

        The suite takes two models that differ; a yardstick's rows are read off the audit of the independent retrain.
        """
        name = {id(self.original): "original", id(self.reference): "retrained-0"}.get(id(model), "unlearned")
        try:
            shadows = self.pantry.shadows(self.place) if "membership" in parts else []
            start = time.process_time()
            candidate = model if name == "unlearned" else self.noise
            models, targets = (self.original, candidate, [self.reference]), self.planted.targets if self.planted else ()
            rows = audit(*models, self.stage, shadows, targets=targets, parts=parts, only={name})
        except Exception:  # the cell's other numbers stand; the report shows that this part failed
            traceback.print_exc()
            return {"audit_failed": 1.0}
        found = {metric_name(f"audit/{row['metric']}/{row['group']}"): row["value"] for row in rows}
        return {**found, "audit_seconds": time.process_time() - start}


def registered() -> frozenset[str]:
    """The names of the unlearners there are."""
    return frozenset(UNLEARNERS)


def unlearned(scene: Scene, params: UnlearnParams) -> tuple[TrainedModel, dict[str, float]]:
    """A method's model, and what it cost: its own seconds, and those of its calibration, which is part of training."""
    original, spent = scene.original, {}
    if params.method == "tru":
        original = scene.pantry.calibrated(scene.key, original, params)
        spent["calibration_seconds"] = float(original.facts["calibration_seconds"])
    if params.method == "shards":
        original = scene.pantry.ensemble(scene.place, original, params)
    method = base.make(params, scene.pantry.grid.train(scene.place.backbone, scene.place.seed))
    _ = scene.retained  # not the method's to prepare
    found, timings = original, list[tuple[float, float]]()
    while len(timings) < TIMES and sum(processor for _, processor in timings) < QUICK:
        wall, processor = time.perf_counter(), time.process_time()
        found = method.unlearn(original, scene.retained)
        timings.append((time.perf_counter() - wall, time.process_time() - processor))
    spent["seconds"], spent["cpu_seconds"] = (median(column) for column in zip(*timings, strict=True))
    return found, spent


def produce(bench: Bench, scene: Scene, cell: Cell) -> dict[str, float]:
    """All numbers of one cell."""
    if cell.method in YARDSTICKS:
        model = scene.yardstick(cell.method)
        spent = {name: model.facts[name] for name in ("seconds", "cpu_seconds")}
        spent |= plain(model) if cell.method == ORIGINAL else {}
    else:
        model, spent = unlearned(scene, bench.params(cell.method, cell.place.backbone))
    return scene.measured(model, spent, bench.grid.audits(cell))


def plain(model: TrainedModel) -> dict[str, float]:
    """``backbone/…``: an original as a recommender, on all of its own validation and test rows; and its epochs."""
    found, data = model.embed(), model.data
    rows = {
        f"backbone/{part}/{name}": value
        for part, pairs in (("validation", data.val), ("test", data.test))
        for name, value in rank_metrics(found.users, found.items, data, pairs).items()
    }
    return {**rows, "backbone/epochs": model.recipe.epochs, "backbone/epochs_run": model.facts["epochs"]}


def work(bench: Bench, todo: Sequence[Cell]) -> int:
    """Measure cells of one place that are not finished, and keep each as soon as it is; how many failed."""
    pantry = Pantry(bench.grid, bench.folder)
    scene = Scene(pantry, todo[0].place, validation="#" in todo[0].method)
    return sum(attempt(bench, pantry, cell, lambda cell: produce(bench, scene, cell)) for cell in todo)


def attempt(bench: Bench, pantry: Pantry, cell: Cell, measure: Callable[[Cell], dict[str, float]]) -> int:
    """Measure one cell and keep it. A method that fails is a result as well: its row says so. 1 if it failed."""
    try:
        metrics, failed = measure(cell), 0
    except Exception:  # whatever a method under test may raise; the next cell is not its business
        traceback.print_exc()
        metrics, failed = {results.FAILED: 1.0}, 1
    results.keep(bench.folder, bench.cell_id(pantry, cell), cell, metrics, facts_of(bench, pantry, cell))
    return failed


def facts_of(bench: Bench, pantry: Pantry, cell: Cell) -> dict[str, Any]:
    """Where a cell's numbers come from."""
    settings = bench.settings(cell)
    return {"commit": bench.commit, "data_md5": pantry.stock(cell.place.dataset), "settings": settings}


def metric_name(name: str) -> str:
    """A name without what MLflow refuses (``@`` it respells itself), so that a metric is called the same everywhere."""
    return re.sub(r"[^\w\-. :/@]", "", name)


def load_tuning(file: Path) -> dict[str, Any]:
    """What ``tune`` wrote: how settings were chosen, and which; empty before it has run.

    Raises:
        DataError: the file is damaged.
    """
    if not file.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise DataError(f"{file} is damaged. Restore it from git, or remove it and run `tune`.") from error
    return found


def load_settings(file: Path) -> Settings:
    """The tuned settings; none before ``tune`` has run."""
    said = load_tuning(file).get("methods", {})
    return {method: {b: row["settings"] for b, row in per.items()} for method, per in said.items()}


def _finite(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values[np.isfinite(values)]
    return found
