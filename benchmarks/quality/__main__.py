"""The command line: ``python -m benchmarks.quality [run | drift | tune | gather | status | report] [options]``.

Progress goes to standard error. Whatever is stopped or killed goes on where it was with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.provenance import machine
from benchmarks.quality import cells, drift, pool, results, tuning
from benchmarks.quality.cells import Bench
from benchmarks.quality.grid import (
    CACHE,
    DOCS,
    GRID,
    NOISE,
    REFERENCE,
    RESULTS,
    SETTINGS,
    YARDSTICKS,
    Cell,
    load_grid,
    parse_only,
    wanted,
)
from benchmarks.quality.grid import cells as grid_cells
from benchmarks.quality.grid import courses as grid_courses
from benchmarks.quality.pantry import Pantry
from tru.errors import TruError
from tru.ops.allocator import keep_temporaries

WEIGHTS = {REFERENCE: 10.0, NOISE: 10.0}
"""Of a cell in the progress bar; a retraining takes about as long as ten methods with their audits."""


class Run:
    """One call of the command line, and what it does."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        grid = load_grid(given.grid)
        chosen = {} if given.command == "tune" else cells.load_settings(given.settings)
        self.bench = Bench(grid, given.cache, machine()["commit"], chosen)
        self.pantry = Pantry(grid, given.cache)
        self.known = cells.registered()
        self.ids: dict[Cell, str] = {}

    def todo(self, found: Sequence[Cell]) -> list[Cell]:
        """Those that were asked for and have a method; each once."""
        asked = list(dict.fromkeys(wanted(found, parse_only(self.given.only))))
        usable = [cell for cell in asked if self._can(cell.method)]
        if left := sorted({cell.method for cell in asked} - {cell.method for cell in usable}):
            _say(f"not registered, so their cells stay missing: {', '.join(left)}")
        self.ids |= {cell: self.bench.cell_id(self.pantry, cell) for cell in usable}
        return usable

    def _can(self, method: str) -> bool:
        return method in YARDSTICKS or method.partition("#")[0].partition("/")[0] in self.known

    def _open(self, found: Sequence[Cell]) -> list[Cell]:
        if self.given.again:
            results.forget(self.bench.folder, (self.ids[cell] for cell in found))
        return [cell for cell in found if not results.is_done(self.bench.folder, self.ids[cell])]

    def tasks(self, found: Sequence[Cell]) -> list[pool.Task]:
        """One process for the cells of each place that are not finished."""
        grouped = groupby(sorted(self._open(found), key=lambda c: found.index(c)), key=lambda cell: cell.place)
        return [self._task(place.name, cells.work, (), list(part)) for place, part in grouped]

    def nights(self, found: Sequence[Cell]) -> list[pool.Task]:
        """One process for each course of nights that is not finished."""
        left, tasks = self._open(found), []
        for course in grid_courses(self.bench.grid):
            part = [cell for cell in course.cells if cell in left]
            left = [cell for cell in left if cell not in part]  # courses of several methods share their yardsticks
            if part:
                tasks.append(self._task(course.name, drift.work, (course,), part))
        return tasks

    def _task(self, name: str, call: Any, arguments: tuple[Any, ...], part: list[Cell]) -> pool.Task:  # noqa: ANN401
        files = [self.bench.folder / "cells" / f"{self.ids[cell]}.json" for cell in part]
        results.forget(self.bench.folder, (self.ids[cell] for cell in part))  # those that failed before
        marks = tuple((file, WEIGHTS.get(cell.method, 1.0)) for file, cell in zip(files, part, strict=True))
        return pool.Task(name, call, (self.bench, *arguments, part), marks)

    def records(self) -> dict[str, dict[str, Any]]:
        """What is finished of all that was asked for."""
        found = {cell_id: results.read(self.bench.folder, cell_id) for cell_id in self.ids.values()}
        return {cell_id: record for cell_id, record in found.items() if record is not None}

    def run(self, tasks: Sequence[pool.Task], title: str) -> int:
        """Run the tasks, whatever becomes of each; 1 if any failed."""
        self.pantry.sweep()
        _say(f"{title}: {sum(len(t.marks) for t in tasks)} cells in {len(tasks)} processes to run")
        return int(bool(pool.run(tasks, self.given.jobs, self.bench.folder / "logs", title)))

    def measure(self) -> int:
        """The grid, the nights, or both; then the results file and MLflow."""
        grid, only_nights = self.bench.grid, self.given.command == "drift"
        nightly = self.todo([cell for course in grid_courses(grid) for cell in course.cells])
        plain = [] if only_nights else self.todo(grid_cells(grid))
        try:
            code = self.run([*self.tasks(plain), *self.nights(nightly)], "drift" if only_nights else "grid")
        finally:
            self.gather()
        return code

    def collect(self) -> int:
        """Only merge what is finished, as where a run was killed."""
        self.todo(self.everything())
        self.gather()
        return 0

    def everything(self) -> list[Cell]:
        """All cells of the grid and of the nights."""
        grid = self.bench.grid
        return [*grid_cells(grid), *(cell for course in grid_courses(grid) for cell in course.cells)]

    def gather(self) -> None:
        """Merge what is finished into the results file, and log it where that is asked for."""
        if found := self.records():
            frame = results.merge(self.given.results, list(found.values()))
            _say(f"{self.given.results}: {len(frame)} rows, {len(found)} cells of this run")
            if self.given.workspace:
                _say(f"MLflow: {results.log(self.bench.folder, self.given.workspace, found)} new runs")

    def tune(self) -> int:
        """Measure all tries, then write the settings that did best."""
        code = self.run(self.tasks(self.todo(tuning.tries(self.bench.grid))), "tuning")
        chosen = tuning.choose(self.bench, self.pantry, cells.load_tuning(self.given.settings))
        tuning.save(self.given.settings, chosen)
        for name in tuning.missing(self.bench.grid, chosen):
            _say(f"{name}: no setting chosen; not all tries were measured, or all failed")
        return code

    def status(self) -> int:
        """How much is finished, by backbone and data set."""
        counts: dict[tuple[str, str], list[int]] = {}
        for cell in self.todo(self.everything()):
            row = counts.setdefault((cell.place.backbone, cell.place.dataset), [0, 0])
            row[0] += results.is_done(self.bench.folder, self.ids[cell])
            row[1] += 1
        for (backbone, dataset), (done, of) in counts.items():
            print(f"{backbone:10} {dataset:16} {done:5} of {of:5} cells")
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if nothing failed."""
    keep_temporaries()
    given = _arguments(arguments)
    try:
        if given.command == "report":
            from benchmarks.quality import report  # Matplotlib takes a second

            report.write(given.results, given.docs, load_grid(given.grid), cells.load_tuning(given.settings))
            return 0
        run = Run(given)
        commands = {"run": run.measure, "drift": run.measure, "tune": run.tune, "gather": run.collect}
        return {**commands, "status": run.status}[given.command]()
    except TruError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here")
        return 130


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=str(__doc__).partition(":")[0])
    commands = ("run", "drift", "tune", "gather", "status", "report")
    parser.add_argument(
        "command",
        nargs="?",
        default="run",
        choices=commands,
        help="run: the grid and the nights; gather: only merge what is finished",
    )
    parser.add_argument("--only", action="append", default=[], metavar="AXIS=V[,V]", help="as in method=tru,cut")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at once (1)")
    parser.add_argument("--again", action="store_true", help="also what is finished, where --only says")
    parser.add_argument("--grid", type=Path, default=GRID, metavar="FILE", help="what to measure")
    parser.add_argument("--settings", type=Path, default=SETTINGS, metavar="FILE", help="tuned settings")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="the one tidy file")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="data, models and finished cells")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="log the runs into its MLflow as well")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR", help="where results.md is written")
    return parser.parse_args(given)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
