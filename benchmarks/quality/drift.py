"""Many nights in a row: batch after batch is forgotten, and now and then the model meets one retrained on what is left.

Its cells are like all others; their ``fraction`` says how many nights of how many requests: ``5x20``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial, reduce

import numpy as np

from benchmarks.mixes import forget_set, mix
from benchmarks.quality.cells import Bench, Scene, attempt
from benchmarks.quality.grid import NOISE, REFERENCE, Cell, Course
from benchmarks.quality.pantry import Pantry, digest
from tru.data.forget import ForgetSet, cut, simulate
from tru.data.interactions import Dataset
from tru.data.params import ForgetParams
from tru.data.prepare import prepare
from tru.models.trained import TrainedModel
from tru.unlearning import base
from tru.unlearning.params import UnlearnParams


def batches(ds: Dataset, course: Course, forget_seed: int) -> Iterator[ForgetSet]:
    """What is requested night after night, drawn from what is left; the same for every seed and in every run.

    Args:
        ds: the data of the first morning.
        course: regime, size and seed.
        forget_seed: of the grid.
    """
    for night in range(1, max(course.nights) + 1):
        seed = [forget_seed, night]
        if course.regime == "mixed":
            found = forget_set(mix(ds, course.size, np.random.default_rng(seed))).known(ds)
        else:
            one = int(np.random.default_rng(seed).integers(2**31))
            words = {"regime": course.regime, "count": course.size, "seed": one}
            found = simulate(ds, ForgetParams.model_validate(words))
        yield found
        ds = cut(ds, found)


def joined(parts: Sequence[ForgetSet]) -> ForgetSet:
    """Everything that some batches name."""
    return ForgetSet(
        *(
            reduce(lambda a, b: a | b, (getattr(part, kind) for part in parts), frozenset())
            for kind in ("users", "items", "pairs", "modalities")
        )
    )


def work(bench: Bench, course: Course, todo: Sequence[Cell]) -> int:
    """Run the nights and measure the cells of the course that are not finished; how many failed.

    The model of each night that is measured is kept, so that a stopped course goes on from there.
    """
    pantry, failed = Pantry(bench.grid, bench.folder), 0
    parts = list(batches(pantry.dataset(course.dataset), course, bench.grid.forget_seed))
    for night in course.nights:
        here = [cell for cell in todo if cell.place == course.place(night)]
        scene = Scene(pantry, course.place(night), joined(parts[:night]))
        for cell in here:
            failed += attempt(bench, pantry, cell, partial(_measured, bench, scene, course, parts, night))
    return failed


def _measured(
    bench: Bench, scene: Scene, course: Course, parts: Sequence[ForgetSet], night: int, cell: Cell
) -> dict[str, float]:
    if cell.method in (REFERENCE, NOISE):
        model = scene.yardstick(cell.method)
        spent = {name: model.facts[name] for name in ("seconds", "cpu_seconds")}
        return scene.measured(model, spent, bench.grid.audits(cell))
    model = after(bench, scene, course, parts, night)
    spent = {"seconds": model.facts["night_seconds"], "cpu_seconds": model.facts["night_cpu_seconds"]}
    return scene.measured(model, spent, bench.grid.audits(cell))


def after(bench: Bench, scene: Scene, course: Course, parts: Sequence[ForgetSet], night: int) -> TrainedModel:
    """The model after so many nights; its facts say what the last of them cost.

    Nights of other code are not gone on from: unlike a training, what a method does is in no key but the commit.
    """
    params = bench.params(course.method, course.backbone)
    words = [scene.key, bench.commit, params.model_dump(mode="json"), course.regime, course.size]

    def key(n: int) -> str:
        return digest("night", *words, [part.to_dict() for part in parts[:n]])

    def make() -> TrainedModel:
        earlier = [n for n in course.nights if n < night and scene.pantry.model_folder(key(n)).exists()]
        start = max(earlier, default=0)
        model = scene.pantry.calibrated(scene.key, scene.original, params) if course.method == "tru" else scene.original
        model = TrainedModel.load(scene.pantry.model_folder(key(start))) if start else model
        return _nights(scene, course, params, model, parts, start, night)

    return scene.pantry.keep(key(night), make)


def _nights(
    scene: Scene,
    course: Course,
    params: UnlearnParams,
    model: TrainedModel,
    parts: Sequence[ForgetSet],
    start: int,
    end: int,
) -> TrainedModel:
    """Run the nights after ``start`` up to ``end``."""
    method = base.make(params, scene.pantry.grid.train(course.backbone, course.seed))
    ds = cut(scene.pantry.dataset(course.dataset), joined(parts[:start]))
    for part in parts[start:end]:
        ds = cut(ds, part)
        retained = prepare(ds, model.recipe.canary_rate)
        wall, processor = time.perf_counter(), time.process_time()
        model = method.unlearn(model, retained)
        spent = {"night_seconds": time.perf_counter() - wall, "night_cpu_seconds": time.process_time() - processor}
        model = model.with_facts(**spent)
    return model
