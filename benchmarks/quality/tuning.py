"""Fair settings: every method gets the same number of tries, and one criterion, read on validation, decides.

A try is measured with an original and a draw of forgotten subjects of its own seed, which no reported cell has, and on
the validation rows; test rows are not looked at. The loss of a try is

    max(0, 1 - NDCG@20 / retrained NDCG@20) + KS(forgotten rank percentiles) + |membership AUC - retrained|,

its mean over data sets and regimes decides, one setting per method and backbone. All three terms are two-sided or
relative to a model retrained under the same dice, and every method pays for what it harms and for what it leaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.quality import results
from benchmarks.quality.cells import Bench
from benchmarks.quality.grid import Cell, Grid, Place
from benchmarks.quality.markdown import MISSING, table
from benchmarks.quality.pantry import Pantry, write_whole

CRITERION = "max(0, 1 - relative ndcg@20) + ks + |membership_auc - retrained|, on validation; mean, lowest wins"


def tries(grid: Grid) -> list[Cell]:
    """All tries of all methods, as cells ``METHOD#k``."""
    spec = grid.tuning
    return [
        Cell(Place(backbone, dataset, regime, str(spec.fraction), spec.seed), f"{method}#{k}")
        for dataset in spec.datasets
        for backbone in spec.backbones
        for regime in spec.regimes
        for method, settings in spec.tries.items()
        for k in range(len(settings))
    ]


def loss(metrics: Mapping[str, float]) -> float:
    """Of one try at one place; infinite if it failed or a term is missing."""
    try:
        harm = max(0.0, 1 - metrics["relative/ndcg@20"])
        return harm + metrics["ks"] + metrics["distance/membership_auc"]
    except KeyError:
        return math.inf


def choose(bench: Bench, pantry: Pantry, known: Mapping[str, Any]) -> dict[str, Any]:
    """The best try of each method on each backbone, of those that are measured everywhere.

    A method with a try that was not run yet is left out, or keeps what is known: fewer tries would not be fair.

    Args:
        bench: what every process of a run knows.
        pantry: where the tries are.
        known: chosen before, maybe on another machine; it counts if it was chosen in the same way.
    """
    spec = bench.grid.tuning
    way = {
        "criterion": CRITERION,
        "regimes": spec.regimes,
        "fraction": spec.fraction,
        "seed": spec.seed,
        "data_md5": {dataset: pantry.stock(dataset) for dataset in spec.datasets},
    }
    is_alike = {name: known.get(name) for name in way} == way
    methods: dict[str, Any] = {}
    for method, settings in spec.tries.items():
        for backbone in spec.backbones:
            before = known["methods"].get(method, {}).get(backbone) if is_alike else None
            if before and before["settings"] in settings and before["tries"] == len(settings):
                methods.setdefault(method, {})[backbone] = before
            found = [_losses(bench, pantry, backbone, f"{method}#{k}") for k in range(len(settings))]
            if any(None in losses for losses in found):
                continue
            means = [fmean(x for x in losses if x is not None) for losses in found]
            best = min(range(len(means)), key=means.__getitem__)
            if math.isfinite(means[best]):
                said = [round(mean, 5) if math.isfinite(mean) else None for mean in means]
                row = {"settings": settings[best], "loss": said[best], "tries": len(said), "losses": said}
                methods.setdefault(method, {})[backbone] = {**row, "commit": bench.commit}
    return {**way, "methods": methods}


def _losses(bench: Bench, pantry: Pantry, backbone: str, method: str) -> list[float | None]:
    """At all places; None where it was not run."""
    cells = [cell for cell in tries(bench.grid) if cell.place.backbone == backbone and cell.method == method]
    records = [results.read(bench.folder, bench.cell_id(pantry, cell)) for cell in cells]
    return [None if record is None else loss(record["metrics"]) for record in records]


def save(file: Path, chosen: Mapping[str, Any]) -> None:
    """Write the file that is committed."""
    write_whole(file, json.dumps(chosen, indent=2) + "\n")


def missing(grid: Grid, chosen: Mapping[str, Any]) -> Sequence[str]:
    """Methods without a chosen setting on some backbone."""
    wanted = [(method, backbone) for method in grid.tuning.tries for backbone in grid.tuning.backbones]
    return [f"{m} on {b}" for m, b in wanted if b not in chosen["methods"].get(m, {})]


def lines(chosen: Mapping[str, Any]) -> Iterator[str]:
    """The results page's section on what the rivals were set to, and what else was tried."""
    yield "## Settings of the rivals"
    yield ""
    if not chosen.get("methods"):
        yield "None were chosen: each method had its defaults."
        return
    where = ", ".join(f"{name} {md5}" for name, md5 in chosen["data_md5"].items())
    yield (
        "Each rival got the same number of tries on each backbone, on validation rows, with an original and a draw "
        f"of forgotten subjects that are reported nowhere (seed {chosen['seed']}; "
        f"{', '.join(chosen['regimes'])}; {chosen['fraction']}). What did best there is used on all data "
        f"sets. Loss: {chosen['criterion']}. TRU was given no settings; its strength it finds itself, for "
        "each original, without anything that is to be forgotten."
    )
    rows, commits = [], set()
    for method, found in chosen["methods"].items():
        for backbone, row in found.items():
            words = row["settings"].get("rivals", {}).get(method, row["settings"])
            losses = (MISSING if loss is None else f"{loss:.3f}" for loss in row["losses"])
            settings = ", ".join(f"{name} {value:g}" for name, value in words.items())
            rows.append([method, backbone, settings, f"{row['loss']:.3f}", " ".join(losses)])
            commits.add(row["commit"])
    yield from table(["rival", "backbone", "chosen", "its loss", "of all tries"], rows)
    yield f"\n<sub>commit {', '.join(sorted(commits))} · data md5 {where}</sub>"
