"""Data sets and trained models, kept by content: whatever decides what a training gives is in the name of its folder.

Two processes that want the same model do not train it twice: the second waits for the first one's lock, which the
system releases even if its holder is killed. A folder appears whole or not at all.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.provenance import ROOT
from benchmarks.quality.grid import Grid, Place, PlantedSpec
from tru.data.forget import ForgetSet, cut
from tru.data.importers import import_dataset
from tru.data.interactions import Dataset, load_dataset, save_dataset
from tru.data.planted import Planted, plant
from tru.data.prepare import Prepared, prepare
from tru.data.synthetic import generate
from tru.evaluation.research.shadows import shadow_data
from tru.models.base import builder
from tru.models.trained import TrainedModel
from tru.training import fit, refit
from tru.unlearning.baselines.shards import ensemble
from tru.unlearning.closed_form.calibration import calibrated
from tru.unlearning.params import Strength, UnlearnParams
from tru.unlearning.retrain import Retrain

CODE = (
    "tru.randomness",
    "tru.data.prepare",
    "tru.models.base",
    "tru.models.sampling",
    "tru.models.params",
    "tru.models.graph",
    "tru.models.hash_ring",
    "tru.models.trained",
    "tru.training",
)
"""Modules that decide, with the backbone's own, what a training gives."""


class Pantry:
    """What is kept in one cache folder for one grid.

    Args:
        grid: says what the names mean.
        folder: where it is kept; it holds data of people, so keep it out of git and backups.
    """

    def __init__(self, grid: Grid, folder: Path) -> None:
        self.grid, self.folder = grid, folder
        self._data: dict[str, Dataset] = {}
        self._md5: dict[str, str] = {}

    # -- data ---------------------------------------------------------------------------------------------------------

    def stock(self, dataset: str) -> str:
        """Import a data set if it is not there yet; its md5, the same that ``data.dvc`` has for it."""
        if dataset in self._md5:
            return self._md5[dataset]
        place, note = self.folder / "data" / dataset, self.folder / "data" / f"{dataset}.md5"
        with self._lock(f"data-{dataset}"):
            source = self.grid.datasets[dataset]
            said = source if isinstance(source, str) else source.model_dump_json()
            if not note.exists() or note.read_text().split("\n")[1] != said:
                place.parent.mkdir(parents=True, exist_ok=True)
                save_dataset(self._imported(dataset), place)
                write_whole(note, f"{folder_md5(place)}\n{said}\n")
        self._md5[dataset] = note.read_text().split("\n")[0]
        return self._md5[dataset]

    def dataset(self, dataset: str) -> Dataset:
        """The raw data."""
        if dataset not in self._data:
            self.stock(dataset)
            self._data[dataset] = load_dataset(self.folder / "data" / dataset)
        return self._data[dataset]

    def _imported(self, dataset: str) -> Dataset:
        source = self.grid.datasets[dataset]
        if isinstance(source, str):
            return import_dataset((ROOT / source).resolve())
        return self.planted(dataset).dataset if isinstance(source, PlantedSpec) else generate(source)

    def planted(self, dataset: str) -> Planted:
        """The fake users of a data set that has some, and what they push."""
        spec = self.grid.datasets[dataset]
        assert isinstance(spec, PlantedSpec), f"{dataset} has no planted users"
        return plant(self.dataset(spec.of), spec.plant)

    # -- models -------------------------------------------------------------------------------------------------------

    def original_key(self, backbone: str, dataset: str, seed: int) -> str:
        """Of everything that decides what the original is."""
        model, train = self.grid.model(backbone), self.grid.train(backbone, seed)
        words = [self.stock(dataset), model.model_dump(mode="json"), train.model_dump(mode="json")]
        return digest("original", *words, code_digest(model.name))

    def retrained_key(self, place: Place, forget: ForgetSet, seed: int) -> str:
        """Of everything that decides what a retrained model is."""
        original = self.original_key(place.backbone, place.dataset, place.seed)
        return digest("retrained", original, forget.to_dict(), seed)

    def original(self, backbone: str, dataset: str, seed: int) -> TrainedModel:
        """Trained on everything."""
        model, train = self.grid.model(backbone), self.grid.train(backbone, seed)
        key = self.original_key(backbone, dataset, seed)
        title = f"{backbone} {dataset} original {seed}"
        return self.keep(key, lambda: fit(self.dataset(dataset), model, train, title=title))

    def retained(self, place: Place, forget: ForgetSet, canary_rate: float) -> Prepared:
        """What may stay."""
        return prepare(cut(self.dataset(place.dataset), forget), canary_rate)

    def retrained(
        self, place: Place, forget: ForgetSet, original: TrainedModel, retained: Prepared, seed: int | None = None
    ) -> TrainedModel:
        """Trained from scratch on what may stay, with the recipe of the place's original; its own dice, or a seed's.

        The original is given, so that its training cannot be in the time that this one takes.
        """
        seed = place.seed if seed is None else seed
        method = Retrain(self.grid.train(place.backbone, place.seed), seed=seed)
        return self.keep(self.retrained_key(place, forget, seed), lambda: method.unlearn(original, retained))

    def shadows(self, place: Place) -> list[TrainedModel]:
        """Trained like the first seed's original on known halves of the data; shared by all seeds and fractions."""
        count = self.grid.shadows(place)
        if not count:
            return []
        first = self.grid.seeds[0]
        original = self.original(place.backbone, place.dataset, first)
        key = self.original_key(place.backbone, place.dataset, first)
        kind = place.regime.partition(":")[0]
        unit: Any = kind if kind in ("user", "item") else "pair"
        train = self.grid.train(place.backbone, first)

        def make(k: int) -> TrainedModel:
            data = shadow_data(original.data, count, unit=unit)[k]
            return refit(data, original, train, seed=self.grid.noise_seed + 500 + k, title=f"{place.name} shadow {k}")

        return [self.keep(digest("shadow", key, unit, count, k), partial(make, k)) for k in range(count)]

    def ensemble(self, place: Place, original: TrainedModel, params: UnlearnParams) -> TrainedModel:
        """A shard ensemble of the original's recipe, which the method ``shards`` needs in place of the original."""
        train, words = self.grid.train(place.backbone, place.seed), params.model_dump(mode="json")
        key = digest("ensemble", self.original_key(place.backbone, place.dataset, place.seed), words)
        return self.keep(key, lambda: ensemble(original, original.data, params.rivals.shards, train))

    def keep(self, key: str, make: Callable[[], TrainedModel]) -> TrainedModel:
        """The model of that key, made if it is not there; its facts say how long that took (processor seconds)."""
        place = self.model_folder(key)
        if not place.exists():
            with self._lock(key):
                if not place.exists():
                    self._make(place, make)
        return TrainedModel.load(place)

    def model_folder(self, key: str) -> Path:
        """Where a model is, once it is there."""
        return self.folder / "models" / key

    def calibrated(self, key: str, model: TrainedModel, params: UnlearnParams) -> TrainedModel:
        """The model with its strength for these settings, computed once for each original and settings."""
        words = params.model_dump(mode="json")
        file = self.folder / "strengths" / f"{digest(key, words)}.json"
        bare = model.with_facts(gamma=None)
        if not file.exists():
            start = time.process_time()
            found = calibrated(bare, params).facts.get("gamma")
            write_whole(file, json.dumps({"gamma": found, "seconds": time.process_time() - start}))
        known = json.loads(file.read_text())
        gamma = None if known["gamma"] is None else Strength.model_validate(known["gamma"]).model_dump(mode="json")
        return bare.with_facts(gamma=gamma, train_seconds=model.facts["seconds"], calibration_seconds=known["seconds"])

    def _make(self, place: Path, make: Callable[[], TrainedModel]) -> None:
        start = time.process_time()
        model = make()
        beside = place.with_name(f"{place.name}.new-{os.getpid()}")
        model.with_facts(cpu_seconds=round(time.process_time() - start, 3)).save(beside)
        beside.rename(place)

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Only one process at a time; whoever dies lets go."""
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def sweep(self) -> None:
        """Remove what killed processes left half-written; only while nobody else is at work here."""
        made = [*self.folder.glob("models/*.new-*")]
        made += [part for name in ("cells", "data", "strengths") for part in self.folder.glob(f"{name}/*.part-*")]
        for left in (path for path in made if path.suffix.rpartition("-")[2].isdigit()):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def folder_md5(folder: Path) -> str:
    """The md5 that DVC gives a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {str(f.relative_to(folder)): hashlib.md5(f.read_bytes(), usedforsecurity=False).hexdigest() for f in files}
    rows = [{"md5": named[name], "relpath": name} for name in sorted(named)]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def digest(*words: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """A short hash of some words."""
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:20]


@cache
def code_digest(backbone: str) -> str:
    """Of the code that trains a backbone; comments and docstrings do not count."""
    modules = [*CODE, builder(backbone).__module__]
    files = [importlib.import_module(name).__file__ for name in modules]
    return digest(*(_meaning(Path(str(file)).read_text()) for file in files))


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not (_is_text(line) or _is_for_unlearning(line))]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_for_unlearning(line: ast.stmt) -> bool:
    """What a backbone tells an unlearner decides nothing about its training."""
    return isinstance(line, ast.FunctionDef) and line.name in ("item_bases",)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def write_whole(file: Path, text: str) -> None:
    """Write a file, whole or not at all, even if the process is killed or another one writes the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part-{os.getpid()}")
    part.write_text(text)
    part.replace(file)
