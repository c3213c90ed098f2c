"""What is to be measured: the grid as ``grid.yaml`` has it, and the cells that it is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, field_validator

from tru.data.params import ForgetParams, SyntheticParams
from tru.data.planted import PlantParams
from tru.errors import DataError
from tru.evaluation.research.suite import PARTS
from tru.models.params import ModelParams, TrainParams
from tru.params import Params
from tru.unlearning.baselines import settings as rivals

HERE = Path(__file__).resolve().parent
GRID = HERE / "grid.yaml"
SETTINGS = HERE / "settings.json"
RESULTS = HERE / "results.parquet"
CACHE = HERE.parent.parent / "build" / "quality"
DOCS = HERE.parent.parent / "docs"

ORIGINAL, REFERENCE, NOISE = "original", "reference", "retrain"
"""The model before; the one retrained under the same dice, which all are compared with; one under other dice."""
YARDSTICKS = (ORIGINAL, REFERENCE, NOISE)
PLANTED = "planted"
"""The regime that forgets the fake users of a data set in which some were planted."""
AXES = ("backbone", "dataset", "regime", "fraction", "seed", "method")


class BackboneSpec(Params):
    """One backbone of the grid: what differs from the defaults of ``params.yaml``."""

    model: dict[str, Any] = Field(default={})
    """Block ``model``; its name is the key in the grid unless it says another."""
    train: dict[str, Any] = Field(default={})
    """Block ``train``; the seed is the cell's."""


class PlantedSpec(Params):
    """A data set in which some users do not exist, and push certain items; the regime ``planted`` forgets them."""

    of: str
    """Name of the data set without them."""
    plant: PlantParams = PlantParams()
    """How many there are, and what they push."""


class Sweep(Params):
    """A full product of places."""

    backbones: list[str]
    """Names in ``Grid.backbones``."""
    datasets: list[str]
    """Names in ``Grid.datasets``."""
    regimes: list[str]
    """As in ``forget.regime``; ``user:popular`` names whom to choose as well, as in ``forget.choice``. And ``planted``,
    on a data set in which somebody is, all of them."""
    fractions: list[float | int]
    """Shares (``0.05``), or counts of single subjects (``20``)."""
    audits: list[str] = Field(default=list(PARTS))
    """Parts of the audit suite; ``relearning`` is the dear one, see ``Grid.relearning``."""
    shadows: NonNegativeInt = 0
    """Shadow models for the per-sample membership attacks, for each backbone, data set and kind of unit; 0: none."""
    methods: list[str] | None = None
    """Instead of the grid's methods and ablations, where fewer will do."""


class DriftSpec(Params):
    """Many nights in a row."""

    backbones: list[str]
    """Names in ``Grid.backbones``."""
    datasets: list[str]
    """Names in ``Grid.datasets``."""
    regimes: list[str] = Field(default=["user", "mixed"])
    """``user``: batches of users; ``mixed``: of all four kinds of requests, as they come in."""
    size: PositiveInt = 20
    """Requests a night."""
    nights: list[PositiveInt] = Field(default=[1, 5, 10, 20, 30])
    """After which nights the model is compared with one retrained on what is left."""
    methods: list[str] = Field(default=["tru"])
    """What runs every night."""
    seeds: list[int] | None = None
    """Of the originals and of the draws; the grid's if empty."""
    audits: list[str] = Field(default=["exact", "utility", "ranks"])
    """Parts of the audit suite."""


class TuningSpec(Params):
    """How settings are chosen."""

    backbones: list[str] = Field(default=[])
    """Those that settings are chosen for, each on its own."""
    datasets: list[str] = Field(default=[])
    """On these; all others are reported untuned."""
    regimes: list[str] = Field(default=["user", "item", "interaction"])
    """What is forgotten."""
    fraction: float | int = 0.05
    """How much."""
    seed: int = 100
    """Of the original and of the draw; no reported cell may have it."""
    tries: dict[str, list[dict[str, Any]]] = Field(default={})
    """Method -> changes of block ``unlearn``, equally many for each method; ``own``: those its module proposes."""

    @field_validator("tries", mode="before")
    @classmethod
    def _with_own(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
        if not isinstance(given, dict):
            return given
        return {method: _own_tries(method) if tries == "own" else tries for method, tries in given.items()}


def _own_tries(method: str) -> list[dict[str, Any]]:
    """The settings that ``tru.unlearning.baselines.settings`` proposes for a method."""
    return [{"rivals": {method: getattr(each, method).model_dump(mode="json")}} for each in rivals.grid(method)]


class Grid(Params):
    """All of ``grid.yaml``."""

    datasets: dict[str, str | SyntheticParams | PlantedSpec]
    """Name -> folder to import (relative to the repository), the built-in data of some size, or another data set and
    fake users."""
    backbones: dict[str, BackboneSpec]
    """Name -> what differs from the defaults."""
    seeds: list[int] = Field(default=[0, 1, 2])
    """Each has an original and a retrained model of its own, the reference; what is forgotten is the same for all, so
    that the reference of another seed is an independent retraining: it says how much two of them differ."""
    more_seeds: dict[str, list[int]] = Field(default={})
    """Data set -> seeds of its sweeps beside those, where retrains differ so much that a few say little."""
    forget_seed: int = 7
    """``forget.seed`` of the draw."""
    noise_seed: int = 1000
    """Of the independent retraining where there is one seed only, and of shadow models."""
    methods: list[str]
    """Unlearners by their registered names; one that is not registered is a missing cell, not an error."""
    ablations: dict[str, dict[str, Any]] = Field(default={})
    """Name -> changes of block ``unlearn``; measured as ``tru/NAME``."""
    ablation_audits: list[str] = Field(default=["exact", "utility", "ranks", "membership"])
    """Parts of the audit suite for ablations, of those that their sweep has."""
    relearning: list[str] = Field(default=[])
    """Methods and yardsticks for which the dearest audit is made, with the first seed only, where a sweep has it."""
    sweeps: list[Sweep]
    """What is measured."""
    drift: list[DriftSpec] = Field(default=[])
    """Many nights in a row."""
    tuning: TuningSpec = TuningSpec()
    """How settings are chosen."""

    def fakes(self, dataset: str) -> int:
        """How many users were planted in a data set."""
        spec = self.datasets[dataset]
        return spec.plant.users if isinstance(spec, PlantedSpec) else 0

    def rows(self, place: Place) -> list[str]:
        """All methods of a place, yardsticks first."""
        sweep = self.sweep(place)
        if sweep is not None and sweep.methods is not None:
            return [*YARDSTICKS, *sweep.methods]
        return [*YARDSTICKS, *self.methods, *(f"tru/{name}" for name in self.ablations)]

    def sweep(self, place: Place) -> Sweep | None:
        """The first sweep that a place is in; nights are in none."""
        for sweep in self.sweeps:
            graph = place.backbone in sweep.backbones and place.dataset in sweep.datasets
            if graph and place.regime in sweep.regimes and place.fraction in map(str, sweep.fractions):
                return sweep
        return None

    def seeds_of(self, dataset: str) -> list[int]:
        """With which the sweeps of a data set are measured."""
        return list(dict.fromkeys([*self.seeds, *self.more_seeds.get(dataset, [])]))

    def audits(self, cell: Cell) -> list[str]:
        """Parts of the audit suite for a cell."""
        few = self.ablation_audits if cell.method.startswith("tru/") else list(PARTS)
        sweep = self.sweep(cell.place)
        if sweep is not None:
            is_taught = cell.method in self.relearning and cell.place.seed == self.seeds[0]
            return [part for part in sweep.audits if part in few and (part != "relearning" or is_taught)]
        return next((spec.audits for spec in self.drift if cell.place.regime in spec.regimes), [])

    def shadows(self, place: Place) -> int:
        """How many shadow models there are for a place."""
        sweep = self.sweep(place)
        return 0 if sweep is None else sweep.shadows

    def model(self, backbone: str) -> ModelParams:
        """Block ``model`` of a backbone."""
        return ModelParams.model_validate({"name": backbone, **self.backbones[backbone].model})

    def train(self, backbone: str, seed: int) -> TrainParams:
        """Block ``train`` of a backbone."""
        return TrainParams.model_validate({**self.backbones[backbone].train, "seed": seed})


@dataclass(frozen=True, order=True)
class Place:
    """Where methods are compared: one original, one set of things to forget.

    Attributes:
        backbone: name in the grid.
        dataset: name in the grid.
        regime: what is forgotten.
        fraction: how much, in the words of the results: ``0.05``, ``20`` (single ones), ``5x20`` (nights of 20).
        seed: of the original and the reference.
    """

    backbone: str
    dataset: str
    regime: str
    fraction: str
    seed: int

    @property
    def name(self) -> str:
        """For logs and progress."""
        return f"{self.backbone}-{self.dataset}-{self.regime}-{self.fraction}-{self.seed}".replace("/", "_").replace(
            ":", "_"
        )

    def forget(self, grid: Grid) -> ForgetParams:
        """What is forgotten here."""
        whole = "." not in self.fraction
        amount = {"count": int(self.fraction)} if whole else {"fraction": float(self.fraction)}
        regime, _, choice = self.regime.partition(":")
        own = self.seed if self.seed == grid.tuning.seed else 0  # settings are not chosen on what is reported
        words = {"regime": regime, "choice": choice or "random", "seed": grid.forget_seed + own, **amount}
        return ForgetParams.model_validate(words)


@dataclass(frozen=True, order=True)
class Cell:
    """One method at one place."""

    place: Place
    method: str

    @property
    def axes(self) -> dict[str, Any]:
        """Its coordinates, as the results have them."""
        return {**{name: getattr(self.place, name) for name in AXES[:-1]}, "method": self.method}


def load_grid(file: Path = GRID) -> Grid:
    """Read and check the grid.

    Raises:
        DataError: it cannot be read, or says something that cannot be.
    """
    try:
        grid = Grid.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise DataError(f"{file}: {error}. Correct it and run again.") from error
    parts: list[Sweep | DriftSpec] = [*grid.sweeps, *grid.drift]
    strange = {b for part in parts for b in part.backbones} - set(grid.backbones)
    strange |= {*grid.more_seeds, *(d for part in parts for d in part.datasets)} - set(grid.datasets)
    planted = {name: spec for name, spec in grid.datasets.items() if isinstance(spec, PlantedSpec)}
    strange |= {spec.of for spec in planted.values()} - (set(grid.datasets) - set(planted))
    strange |= {m for part in parts for m in part.methods or ()} - {
        *grid.methods,
        *(f"tru/{a}" for a in grid.ablations),
    }
    if strange:
        raise DataError(f"{file}: {', '.join(sorted(strange))}: used, but not defined there. Define it, or drop it.")
    for part in (part for part in grid.sweeps if PLANTED in part.regimes):
        wrong = [d for d in part.datasets if d not in planted or part.fractions != [grid.fakes(d)]]
        if wrong:
            there = ", ".join(f"{dataset}: {grid.fakes(dataset)}" for dataset in wrong)
            raise DataError(
                f"{file}: planted users are forgotten all at once, so fractions must be their number: {there}."
            )
    if grid.tuning.seed in {*grid.seeds, *chain.from_iterable(grid.more_seeds.values())}:
        raise DataError(f"{file}: tuning.seed {grid.tuning.seed} is reported as well. Choose another.")
    tries = {len(settings) for settings in grid.tuning.tries.values()}
    if len(tries) > 1:
        raise DataError(f"{file}: tuning.tries: every method needs equally many settings, not {sorted(tries)}.")
    return grid


def places(grid: Grid) -> list[Place]:
    """All places of the sweeps, in order, each once."""
    found = (
        Place(backbone, dataset, regime, str(fraction), seed)
        for sweep in grid.sweeps
        for dataset in sweep.datasets
        for backbone in sweep.backbones
        for fraction in sweep.fractions
        for regime in sweep.regimes
        for seed in grid.seeds_of(dataset)
    )
    return list(dict.fromkeys(found))


def cells(grid: Grid) -> list[Cell]:
    """All cells of the sweeps."""
    return [Cell(place, method) for place in places(grid) for method in grid.rows(place)]


@dataclass(frozen=True, order=True)
class Course:
    """Many nights with one method, from one original.

    Attributes:
        backbone: name in the grid.
        dataset: name in the grid.
        regime: what is requested each night.
        size: requests a night.
        nights: after which the model is compared.
        seed: of the original and of the draws.
        method: what runs.
    """

    backbone: str
    dataset: str
    regime: str
    size: int
    nights: tuple[int, ...]
    seed: int
    method: str

    @property
    def name(self) -> str:
        """For logs and progress."""
        return f"{self.backbone}-{self.dataset}-{self.regime}-nights-{self.seed}-{self.method}".replace("/", "_")

    def place(self, night: int) -> Place:
        """Where the model is compared after a night."""
        return Place(self.backbone, self.dataset, self.regime, f"{night}x{self.size}", self.seed)

    @property
    def cells(self) -> list[Cell]:
        """What comes of it: the method, the independently shuffled retraining, and the reference, after each night."""
        return [Cell(self.place(n), m) for n in self.nights for m in (REFERENCE, NOISE, self.method)]


def courses(grid: Grid) -> list[Course]:
    """All courses of many nights."""
    found = (
        Course(backbone, dataset, regime, spec.size, tuple(spec.nights), seed, method)
        for spec in grid.drift
        for dataset in spec.datasets
        for backbone in spec.backbones
        for regime in spec.regimes
        for seed in (spec.seeds or grid.seeds)
        for method in spec.methods
    )
    return list(dict.fromkeys(found))


def parse_only(words: Sequence[str]) -> dict[str, set[str]]:
    """``["backbone=mgcn", "method=tru,cut"]`` as a filter.

    Raises:
        DataError: there is no such axis.
    """
    found: dict[str, set[str]] = {}
    for word in words:
        axis, _, values = word.partition("=")
        if axis not in AXES or not values:
            raise DataError(f"--only {word}: write AXIS=VALUE[,VALUE]; the axes are {', '.join(AXES)}.")
        found.setdefault(axis, set()).update(values.split(","))
    return found


def wanted(found: Sequence[Cell], only: Mapping[str, set[str]]) -> Iterator[Cell]:
    """The cells that pass the filter."""
    for cell in found:
        if all(str(cell.axes[axis]) in values for axis, values in only.items()):
            yield cell
