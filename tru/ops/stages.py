"""The stages of ``dvc.yaml``: the research loop, one function each, no server needed.

Each runs in a process of its own and loads only what it needs: `prepare` waits for no torch.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tru.errors import TruError
from tru.models.params import TrainParams
from tru.ops.allocator import keep_temporaries
from tru.ops.settings import Settings, load_settings
from tru.ops.tracking.settings import finished
from tru.ops.workspace import Workspace

if TYPE_CHECKING:
    from tru.data.prepare import Prepared
    from tru.evaluation.comparison import Comparison
    from tru.models.trained import TrainedModel


def prepare_stage(ws: Workspace, _: Settings) -> None:
    """Validate the raw data and count it."""
    from tru.data.interactions import load_dataset

    write_json(ws.metrics / "data.json", load_dataset(ws.data).summary())


def check_stage(ws: Workspace, _: Settings) -> None:
    """Great Expectations on the raw data; a failing expectation stops the run."""
    from tru.data.interactions import load_dataset
    from tru.ops.checks import check_raw

    report = check_raw(load_dataset(ws.data))
    write_json(ws.metrics / "check.json", report.to_dict())
    report.raise_if_failed()


def train_stage(ws: Workspace, settings: Settings) -> None:
    """Train the original and calibrate the strength of unlearning on its canaries."""
    from tru.data.interactions import load_dataset
    from tru.ops.report.plots import write_training
    from tru.training import fit
    from tru.unlearning.closed_form.calibration import calibrated

    checkpoint = ws.state / "checkpoints" / "train.npz"
    model = fit(load_dataset(ws.data), settings.model, settings.train, checkpoint=checkpoint)
    calibrated(model, settings.unlearn).save(ws.artifacts / "original")
    rows = [(k + 1, score) for k, score in enumerate(model.facts["validation"])]
    write_csv(ws.metrics / "training.csv", ["epoch", "validation_ndcg"], rows)
    if _owns(ws, "artifacts/training.png"):
        write_training(ws.artifacts / "training.png", model.facts["validation"])
    checkpoint.unlink(missing_ok=True)  # it holds a copy of everybody


def forget_stage(ws: Workspace, settings: Settings) -> None:
    """Draw a batch by ``params.yaml`` and write the data set without it."""
    from tru.data.forget import cut, simulate
    from tru.data.interactions import load_dataset, save_dataset

    ds = load_dataset(ws.data)
    forget = simulate(ds, settings.forget)
    forget.save(ws.artifacts / "forget.json")
    save_dataset(cut(ds, forget), ws.artifacts / "retained")


def retrain_stage(ws: Workspace, settings: Settings) -> None:
    """Train the baselines."""
    from tru.models.trained import TrainedModel

    original = TrainedModel.load(ws.artifacts / "original")
    folder = ws.artifacts / "retrained"
    retrained(original, _retained(ws, original), settings.train, settings.gate.baselines, folder)


def unlearn_stage(ws: Workspace, settings: Settings) -> None:
    """Make the original forget."""
    from tru.models.trained import TrainedModel
    from tru.unlearning.base import make

    original = TrainedModel.load(ws.artifacts / "original")
    unlearned = make(settings.unlearn, settings.train).unlearn(original, _retained(ws, original))
    finished(unlearned).save(ws.artifacts / "unlearned")


def evaluate_stage(ws: Workspace, settings: Settings) -> None:
    """Measure all models on the same pairs, ask the gate, write ``metrics/evaluate.json`` and log the runs."""
    from tru.evaluation.audits import Stage
    from tru.evaluation.comparison import compare
    from tru.models.trained import TrainedModel
    from tru.ops.report.plots import write_plots

    began = datetime.now(UTC)
    original = TrainedModel.load(ws.artifacts / "original")
    unlearned = TrainedModel.load(ws.artifacts / "unlearned")
    baselines = [TrainedModel.load(folder) for folder in sorted((ws.artifacts / "retrained").iterdir())]
    stage = Stage.of(original.data, _retained(ws, original))
    found = compare(stage, original, unlearned, baselines)
    verdict = found.verdict(settings.gate)
    words: dict[str, Any] = {**found.models(), "seconds": found.seconds, "verdict": verdict.word, "seeds": found.seeds}
    words["gate"] = verdict.to_dict()
    seeds = [evidence.metrics for evidence in found.retrained]
    words["retrained_seeds"] = [{k: v if v == v else None for k, v in row.items()} for row in seeds]
    words["forgotten_pairs"] = found.pairs
    write_json(ws.metrics / "evaluate.json", words)
    for name, row in found.models().items():
        write_json(ws.metrics / f"{name}.json", _headline(row, verdict.word if name == "unlearned" else None))
    rows = [(name, row["membership_auc"]) for name, row in found.models().items()]
    write_csv(ws.metrics / "models.csv", ["model", "value"], rows)
    if _owns(ws, "artifacts/plots"):
        write_plots(ws.artifacts / "plots", found.rows(), found.profiles())
    _log_experiment(ws, found, (original, unlearned, baselines), settings, began)


def _log_experiment(
    ws: Workspace,
    found: Comparison,
    models: tuple[TrainedModel, TrainedModel, list[TrainedModel]],
    settings: Settings,
    began: datetime,
) -> None:
    from tru.ops.release.versions import DataVersions
    from tru.ops.tracking.groups import of_experiment
    from tru.ops.tracking.runs import log_comparison, log_verdict, named

    md5, original = DataVersions(ws).md5(), models[0]
    share = found.pairs / max(len(original.data.edges), 1)
    through = _respected(ws, md5) if stands_on(ws, original) else None
    group = of_experiment(settings, md5, f"research/{md5}/{digest(settings)}", share, through)
    parent = log_comparison(ws, found, named(*models), group, settings, began)
    log_verdict(ws, parent, found.verdict(settings.gate).to_dict(), found.rows()["unlearned"])


def _respected(ws: Workspace, md5: str) -> str | None:
    """How many completed deletions the present data respects, by what the champion on the same data says; else None."""
    from tru.ops.release import registry_reader

    champion = registry_reader.champion(ws)
    if champion is None or champion.tags.get("tru.data_md5") != md5:
        return None
    return champion.tags.get("tru.deleted_through")


def stands_on(ws: Workspace, model: TrainedModel) -> bool:
    """Whether a model was trained on the data that is there now."""
    import numpy as np

    from tru.data.interactions import load_dataset
    from tru.data.prepare import prepare

    mine, theirs = model.data.arrays(), prepare(load_dataset(ws.data), model.recipe.canary_rate).arrays()
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def _headline(row: Mapping[str, Any], verdict: str | None) -> dict[str, Any]:
    """What `dvc metrics show` prints of a model: so few numbers that a table of the models fits a terminal."""
    numbers = {
        "ndcg@20": row["test"]["ndcg@20"],  # without "test/", which would make the table wider than 80 columns
        "forget": {"recall@20": row["forget"]["recall@20"]},
        "membership_auc": row["membership_auc"],
    }
    return numbers if verdict is None else {**numbers, "verdict": verdict}


STAGES: dict[str, Callable[[Workspace, Settings], None]] = {
    "prepare": prepare_stage,
    "check": check_stage,
    "train": train_stage,
    "forget": forget_stage,
    "retrain": retrain_stage,
    "unlearn": unlearn_stage,
    "evaluate": evaluate_stage,
}


def run(ws: Workspace, name: str) -> None:
    """Run one stage.

    Raises:
        TruError: there is none of that name, or it fails.
    """
    if name not in STAGES:
        raise TruError(f"no stage is called {name!r}. There are: {', '.join(STAGES)}.")
    ws.metrics.mkdir(exist_ok=True)
    ws.artifacts.mkdir(exist_ok=True)
    keep_temporaries()
    STAGES[name](ws, load_settings(ws))


def retrained(
    original: TrainedModel, retained: Prepared, train: TrainParams, count: int, folder: Path
) -> list[TrainedModel]:
    """At least two by :func:`tru.unlearning.retrain.retrained`, which loads torch, here only when it is needed."""
    from tru.unlearning import retrain

    return retrain.retrained(original, retained, train, max(count, 2), folder)


def write_json(file: Path, words: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write JSON that a person can read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(file.name + ".new")
    beside.write_text(json.dumps(words, indent=2) + "\n")
    beside.replace(file)


def write_csv(file: Path, header: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Write a small table."""
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])


def clear(folder: Path) -> None:
    """Remove a folder and everything in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def _owns(ws: Workspace, output: str) -> bool:
    """Whether a stage of ``dvc.yaml`` owns ``output``; an erasure destroys nothing that none owns, as in 0.1.0."""
    return output in (ws.root / "dvc.yaml").read_text()


def _retained(ws: Workspace, original: TrainedModel) -> Prepared:
    from tru.data.interactions import load_dataset
    from tru.data.prepare import prepare

    return prepare(load_dataset(ws.artifacts / "retained"), original.recipe.canary_rate)


def digest(settings: Settings) -> str:
    """A short hash of all settings; names runs that must not be mixed up."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
