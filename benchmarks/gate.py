"""How often the gate is wrong: ``python -m benchmarks.gate [--json] [--quick] [--data PATH] [--folder DIR]``.

Real models are trained, good and bad candidates are made of them, and the real gate judges each in every mode it has.
A good one that is refused is a *false alarm*; a bad one that passes, or is refused for another reason than what is
wrong with it, is a *miss*. Progress goes to standard error, the result alone to standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.cases import KINDS, Case, cases, passes_as_it_is
from benchmarks.provenance import provenance
from benchmarks.scenes import BASELINES, RETRAINED, Scene, batches, scenes
from benchmarks.trainings import Trainings
from tru.data.importers import import_dataset
from tru.data.interactions import Dataset
from tru.data.params import DataParams, SyntheticParams
from tru.data.synthetic import generate
from tru.errors import TruError
from tru.ops.allocator import keep_temporaries
from tru.ops.settings import Settings

LARGER = SyntheticParams(users=2000, items=800)
"""The built-in data set with as many users as a twentieth of them can fill a licence with."""
DRAWS = 2
"""Batches of each kind; ``--quick`` has one of each but the mixed one."""
QUICK = ("user", "item", "interaction")


@dataclass
class Tally:
    """What is counted.

    Attributes:
        cases: everything that was judged.
        not_bad: how many plants did not get bad enough to be cases.
        unlearned: mode -> how TRU's own candidates did, passed and all; they count nowhere else.
    """

    cases: list[Case] = field(default_factory=list)
    not_bad: int = 0
    unlearned: dict[str, list[int]] = field(default_factory=dict)

    def add(self, scene: Scene) -> None:
        """Judge all candidates of a scene."""
        for case in cases(scene):
            if case is None:
                self.not_bad += 1
            else:
                self.cases.append(case)
        for mode, passed in passes_as_it_is(scene):
            count = self.unlearned.setdefault(mode, [0, 0])
            count[0] += passed
            count[1] += 1

    def to_dict(self) -> dict[str, Any]:
        """The result."""
        honest = [case for case in self.cases if case.fault is None]
        planted = [case for case in self.cases if case.fault is not None]
        return {
            "cases": len(self.cases),
            "false_alarm_rate": _rate(honest),
            "miss_rate": _rate(planted),
            "by_kind": {kind: _counted([c for c in self.cases if c.kind == kind]) for kind in KINDS},
            "by_mode": {mode: _by_mode(self.cases, mode) for mode in sorted({c.mode for c in self.cases})},
            "wrong": [asdict(case) for case in self.cases if case.wrong],
            "not_bad_enough": self.not_bad,
            "unlearned_passes": {mode: {"passed": n, "of": of} for mode, (n, of) in self.unlearned.items()},
        }


def measure(ds: Dataset, settings: Settings, folder: Path, wanted: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Train what is missing in ``folder``, judge all cases, count.

    Args:
        ds: the data set.
        settings: model, training, unlearning and gate.
        folder: where trained models are kept; a run that was stopped goes on from there.
        wanted: kind and draw of each batch.
    """
    start, tally = time.monotonic(), Tally()
    shelf = Trainings.of(folder, ds, settings)
    _say(f"{1 + BASELINES + RETRAINED * len(wanted)} models to train, if {ds.name} was not trained here before")
    for scene in _watched(scenes(ds, settings, shelf, wanted), len(wanted)):
        tally.add(scene)
    seconds = round(time.monotonic() - start, 1)
    return {**tally.to_dict(), "trained": shelf.made, "seconds": seconds, **provenance(ds)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if both rates are at most 5 %."""
    keep_temporaries()
    given = _arguments(arguments)
    settings = Settings(data=DataParams(synthetic=LARGER))
    try:
        ds = import_dataset(given.data, seed=0) if given.data else generate(settings.data.synthetic)
        wanted = batches(1, QUICK) if given.quick else batches(given.draws)
        with tempfile.TemporaryDirectory() as scratch:
            found = measure(ds, settings, given.folder or Path(scratch), wanted)
    except TruError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(found, indent=2) if given.json else _words(found))
    return int(max(found["false_alarm_rate"], found["miss_rate"]) > 0.05)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=str(__doc__).partition(":")[0])
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--quick", action="store_true", help="one batch of each kind; a few minutes")
    parser.add_argument("--data", type=Path, metavar="PATH", help="a data set to import (default: the built-in one)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the trained models here, and go on from them")
    parser.add_argument("--draws", type=int, default=DRAWS, metavar="N", help=f"batches of each kind ({DRAWS})")
    return parser.parse_args(given)


def _words(found: dict[str, Any]) -> str:
    """The result for a person."""
    lines = [
        f"{found['cases']} cases on {found['data']}: {found['false_alarm_rate']:.1%} false alarms, "
        f"{found['miss_rate']:.1%} misses ({found['seconds']:.0f} s)",
        f"{'kind':16} {'cases':>6} {'wrong':>6}  reasons named",
    ]
    for kind, row in found["by_kind"].items():
        reasons = ", ".join(f"{name} {n}" for name, n in row["reasons"].items()) or "none"
        lines.append(f"{kind:16} {row['cases']:6} {row['wrong']:6}  {reasons}")
    return "\n".join(lines)


def _counted(found: Sequence[Case]) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for case in found:
        for name in case.faults:
            reasons[name] = reasons.get(name, 0) + 1
    return {"cases": len(found), "wrong": sum(case.wrong for case in found), "reasons": reasons}


def _by_mode(found: Sequence[Case], mode: str) -> dict[str, Any]:
    here = [case for case in found if case.mode == mode]
    honest, planted = [c for c in here if c.fault is None], [c for c in here if c.fault is not None]
    return {"cases": len(here), "false_alarm_rate": _rate(honest), "miss_rate": _rate(planted)}


def _rate(found: Sequence[Case]) -> float:
    return round(sum(case.wrong for case in found) / len(found), 4) if found else 0.0


def _watched(found: Iterator[Scene], total: int) -> Iterator[Scene]:
    """The scenes, with a progress bar on standard error; plain lines where nobody watches a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    found = chain([next(found)], found)  # the models are trained for the first one, under progress bars of their own
    if console.is_terminal:
        yield from track(found, "batches judged", total=total, console=console)
        return
    for k, scene in enumerate(found, start=1):
        yield scene
        _say(f"batch {k} of {total} judged")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
