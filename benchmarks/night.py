"""What a licensed night costs: ``python -m benchmarks.night [--data PATH] [--requests 20] [--folder DIR]``.

A fresh workspace is filled, trained and given a baseline. Then one night of a few requests runs in ``gate.mode:
licensed``, and after it one model is retrained on the same data on the same machine. The cost of the night is all that
happened from the claim of the batch to its close, as the batch's own record has it. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import CommandFailed, Tru, fresh_workspace, parse_settings
from benchmarks.mixes import mix, write
from benchmarks.provenance import provenance
from tru.data.interactions import load_dataset
from tru.data.prepare import prepare
from tru.errors import TruError
from tru.models.trained import TrainedModel
from tru.ops.allocator import keep_temporaries
from tru.ops.release.registry import Registry
from tru.ops.requests.lifecycle import Regime
from tru.ops.requests.store import open_inbox
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace
from tru.training import refit

GOAL = 0.2
"""Share of one retraining that a night may cost."""
STEP = re.compile(r"\b(claim|cut|check|unlearn|evaluate|gate|retrain|promote|close): .*\((\d+\.\d) s\)")


def measure(
    folder: Path,
    data: Path | None,
    requests: int,
    settings: dict[str, object],
    *,
    seed: int = 0,
    regimes: Sequence[Regime] = tuple(Regime),
) -> dict[str, Any]:
    """Run the night and the retraining.

    Args:
        folder: where everything is kept.
        data: what to import; None for the built-in data.
        requests: how many to file.
        settings: changes of ``params.yaml``.
        seed: of the random mix.
        regimes: to draw the requests from.

    Raises:
        CommandFailed: a command did not work.
    """
    ws, tru = Workspace(folder.resolve() / "workspace"), Tru(folder.resolve() / "workspace", folder / "logs")
    fresh_workspace(tru, data, {"gate.mode": "licensed", **settings})
    for command in ("train", "baseline"):
        _say(f"{command} …")
        tru.do(command, log=command)
    before = load_dataset(ws.data)
    plan = folder / "requests.json"
    write(plan, mix(before, requests, np.random.default_rng(seed), regimes))
    tru.do("requests", "import", str(plan), log="file")
    _say(f"a night of {requests} requests …")
    started = time.monotonic()
    if code := tru.call("run", log="run"):
        raise CommandFailed(f"`tru run` ended with {code}: {tru.said('run')}")
    process = time.monotonic() - started
    _say("one retraining …")
    return {**_night(ws, tru, process, _retraining(ws)), "requests": requests, **provenance(before)}


def _retraining(ws: Workspace) -> float:
    """Seconds of one retraining on the data as it is after the night; the training loop alone."""
    version = Registry(ws).champion()
    if version is None:
        raise CommandFailed("there is no champion after the night.")
    champion = TrainedModel.load(Registry(ws).model_dir(version.version))
    retained = prepare(load_dataset(ws.data), champion.recipe.canary_rate)
    return float(refit(retained, champion, load_settings(ws).train, seed=champion.recipe.seed + 50).facts["seconds"])


def _night(ws: Workspace, tru: Tru, process: float, retraining: float) -> dict[str, Any]:
    batch = open_inbox(ws).last_batch()
    if batch is None:
        raise CommandFailed("the night closed no batch.")
    total, facts = batch.seconds["total"], batch.facts
    log = (tru.logs / "run.err").read_text(errors="replace")
    mode, ratio = facts["gate"]["mode"], total / retraining
    return {
        "passed": mode == "licensed" and batch.outcome == "unlearned" and ratio <= GOAL,
        "ratio": round(ratio, 4),
        "goal": GOAL,
        "night_seconds": total,
        "retraining_seconds": round(retraining, 3),
        "process_seconds": round(process, 1),
        "steps": {name: float(seconds) for name, seconds in STEP.findall(log)},
        "mode": mode,
        "verdict": facts["gate"]["verdict"],
        "outcome": batch.outcome,
        "reasons": facts["gate"]["reasons"],
        "regimes": facts["regimes"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the night was cheap enough."""
    keep_temporaries()
    given = _arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder, settings = given.folder or Path(scratch), parse_settings(given.set)
            found = measure(folder, given.data, given.requests, settings, seed=given.seed, regimes=given.regimes)
    except TruError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(found, indent=2))
    return int(not found["passed"])


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night", description=str(__doc__).partition(":")[0])
    parser.add_argument("--data", type=Path, metavar="PATH", help="a data set to import (default: the built-in one)")
    parser.add_argument("--requests", type=int, default=20, help="how many (20)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="an empty folder to keep everything in")
    parser.add_argument("--seed", type=int, default=0, help="of the random mix (0)")
    parser.add_argument("--regimes", nargs="+", type=Regime, default=list(Regime), choices=list(Regime), help="all")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in unlearn.strength=1.5")
    return parser.parse_args(given)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
