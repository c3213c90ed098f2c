"""Many nights in a row: ``python -m benchmarks.soak --folder DIR [--data PATH] [--nights 30] [--json]``.

A fresh workspace is filled, trained and given a baseline. Then every night files a random mix of requests and runs the
real ``tru run``: every fifth night it is killed after a random step and run again, every seventh two of them overlap,
and once a week there is a new baseline. At the end everything that must hold is checked (``benchmarks/endings.py``).

It may be stopped and started again. What happened is in ``DIR/nights.jsonl``, one line per night. The requests in
``DIR/nights/`` name their subjects, because the end is checked against them: use public data only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import endings
from benchmarks.commands import CommandFailed, Tru, fresh_workspace, parse_settings
from benchmarks.folders import claim
from benchmarks.mixes import forget_set, mix, write
from benchmarks.provenance import provenance
from tru.data.forget import ForgetSet
from tru.data.interactions import load_dataset
from tru.errors import TruError
from tru.ops.allocator import keep_temporaries
from tru.ops.pipeline.record import STEPS
from tru.ops.requests.lifecycle import Batch
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

LARGEST = 60
"""Most requests of one night, unless the command line says otherwise."""
KILLED, OVERLAPPING, WEEK = 5, 7, 7
"""Every how many nights."""
PAUSE = 20.0
"""Seconds before a run that should not be needed."""
ATTEMPTS = 6
"""Runs after which a night that does not end is a failure."""
ALWAYS = tuple(step for step in STEPS if step != "retrain")
"""Steps that every night comes to, to be killed after."""


@dataclass
class Soak:
    """One soak and where it keeps everything.

    Attributes:
        folder: of the soak.
        data: what to import; None for the built-in data.
        seed: of the random mixes.
        settings: changes of ``params.yaml``.
        largest: most requests of one night.
    """

    folder: Path
    data: Path | None = None
    seed: int = 0
    settings: dict[str, object] = field(default_factory=dict)
    largest: int = LARGEST

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.ws = Workspace(self.folder / "workspace")
        self.start = self.folder / "start"
        self.plans = self.folder / "nights"
        self.tru = Tru(self.ws.root, self.folder / "logs")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What happened, one entry per finished night."""
        file = self.folder / "nights.jsonl"
        whole = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in whole]

    def set_up(self) -> None:
        """The workspace, its data, a champion, a baseline; each once."""
        if not (self.folder / "filled.done").exists():
            claim(self.folder)
        self.plans.mkdir(parents=True, exist_ok=True)
        self._once("filled", self._fill)
        self._once("trained", lambda: self.tru.do("train", log="train"))
        self._once("baseline", lambda: self.tru.do("baseline", log="baseline-0"))

    def _fill(self) -> None:
        shutil.rmtree(self.ws.root, ignore_errors=True)
        shutil.rmtree(self.start, ignore_errors=True)
        fresh_workspace(self.tru, self.data, self.settings)
        shutil.copytree(self.ws.data, self.start)

    def _once(self, name: str, work: Any) -> None:  # noqa: ANN401 - a function of nothing
        if not (self.folder / f"{name}.done").exists():
            say(f"{name} …")
            work()
            (self.folder / f"{name}.done").touch()

    def night(self, number: int) -> dict[str, Any]:
        """One night, from the filing of its requests to their end; then the week's baseline, if it is time.

        Raises:
            CommandFailed: the night does not end.
        """
        started = time.monotonic()
        ids = self._filed(number)
        runs = self._runs(number)
        while not self._ended(ids):
            if len(runs) >= ATTEMPTS:
                raise CommandFailed(f"night {number} does not end: {runs[-1]['said']}. See {self.tru.logs}.")
            if self._held():
                runs.append(self._decided(number, len(runs)))
            else:
                time.sleep(PAUSE)  # a run that this soak started before it was itself stopped may still be at it
                runs.append(self._run(number, len(runs), "one more"))
        line = {
            "night": number,
            "event": ", ".join(dict.fromkeys(run["event"] for run in runs)),
            **self._told(ids),
            "runs": runs,
        }
        line["wall"] = round(time.monotonic() - started, 1)
        if number % WEEK == 0:
            self._once(f"baseline-{number}", lambda: self._baseline(number))
            line["baseline"] = json.loads((self.folder / f"baseline-{number}.json").read_text())
        with (self.folder / "nights.jsonl").open("a") as out:
            out.write(json.dumps(line) + "\n")
        return line

    def _filed(self, number: int) -> list[str]:
        """File the night's requests; their ids. The plan is written first, so that a restart files the same."""
        plan, filed = self.plans / f"{number:02}.json", self.plans / f"{number:02}-filed.json"
        if not plan.exists():
            draw = np.random.default_rng([self.seed, number])
            write(plan, mix(load_dataset(self.ws.data), int(draw.integers(1, self.largest + 1)), draw))
        if not filed.exists():
            receipts = self.tru.ask("requests", "import", str(plan), log=f"{number:02}-file")
            write(filed, [receipt["id"] for receipt in receipts])
        return list(json.loads(filed.read_text()))

    def _runs(self, number: int) -> list[dict[str, Any]]:
        """The runs that belong to the night by plan."""
        runs: list[dict[str, Any]] = []
        if number % KILLED == 0:
            step = ALWAYS[np.random.default_rng([self.seed, number, 1]).integers(len(ALWAYS))]
            runs.append(self._run(number, 0, f"killed after {step}", TRU_CRASH_AFTER=step))
        if number % OVERLAPPING == 0:
            return runs + self._overlapping(number, len(runs))
        return [*runs, self._run(number, len(runs), "finished" if runs else "plain")]

    def _run(self, number: int, k: int, event: str, **environment: str) -> dict[str, Any]:
        log = f"{number:02}-run-{k}"
        code = self.tru.call("run", log=log, **environment)
        return _ran(event, code, self.tru.said(log))

    def _overlapping(self, number: int, k: int) -> list[dict[str, Any]]:
        logs = [f"{number:02}-run-{k}", f"{number:02}-run-{k + 1}"]
        running = [self.tru.start("run", log=log) for log in logs]
        codes = [process.wait() for process in running]
        return [_ran("overlapping", code, self.tru.said(log)) for code, log in zip(codes, logs, strict=True)]

    def _held(self) -> bool:
        batch = open_inbox(self.ws).open_batch()
        return batch is not None and batch.outcome == "held"

    def _decided(self, number: int, k: int) -> dict[str, Any]:
        """A held batch needs a person; this one releases the retrained model."""
        log = f"{number:02}-run-{k}"
        code = self.tru.call("batch", "release", "--reason", "decided in a soak", log=log)
        return _ran("released", code, self.tru.said(log))

    def _ended(self, ids: Sequence[str]) -> bool:
        inbox = open_inbox(self.ws)
        return inbox.open_batch() is None and not any(inbox.get(id).is_open for id in ids)

    def _told(self, ids: Sequence[str]) -> dict[str, Any]:
        """What the record says of the night."""
        inbox = open_inbox(self.ws)
        batches = sorted({batch for id in ids if (batch := inbox.get(id).batch)})
        return {"requests": len(ids), "batches": batches, **_summary(inbox.batch(batches[-1]))}

    def _baseline(self, number: int) -> None:
        started = time.monotonic()
        found = self.tru.ask("baseline", log=f"{number:02}-baseline")
        plain = {name: value for name, value in found.items() if isinstance(value, str | int | float | list)}
        write(self.folder / f"baseline-{number}.json", {**plain, "wall": round(time.monotonic() - started, 1)})

    def forgotten(self) -> ForgetSet:
        """Everybody and everything that was requested, all nights together."""
        found = ForgetSet()
        for plan in sorted(self.plans.glob("[0-9][0-9].json")):
            one = forget_set(json.loads(plan.read_text()))
            found = ForgetSet(
                found.users | one.users,
                found.items | one.items,
                found.pairs | one.pairs,
                found.modalities | one.modalities,
            )
        return found

    def filed(self) -> list[str]:
        """The ids of all requests of all nights."""
        return [id for file in sorted(self.plans.glob("*-filed.json")) for id in json.loads(file.read_text())]


def _ran(event: str, code: int, said: str) -> dict[str, Any]:
    """One run; what it said is kept where it ended by itself and not well."""
    return {"event": event, "code": code, "said": said if code > 0 else ""}


def _summary(batch: Batch) -> dict[str, Any]:
    facts = batch.facts
    gate, retrain = facts.get("gate") or {}, facts.get("retrain") or {}
    return {
        "regimes": facts.get("regimes", {}),
        "mode": gate.get("mode"),
        "verdict": gate.get("verdict"),
        "outcome": batch.outcome,
        "reasons": gate.get("reasons", []) if gate.get("verdict") == "fail" else [],
        "fallback": retrain.get("verdict"),
        "drift": gate.get("drift"),
        "version": facts.get("version"),
        "seconds": batch.seconds,
    }


def summary(soak: Soak, checks: Sequence[endings.Check]) -> dict[str, Any]:
    """The result of a whole soak."""
    lines = soak.lines
    ran = [run for line in lines for run in line["runs"]]
    return {
        "passed": all(check.passed for check in checks),
        "nights": len(lines),
        "requests": sum(line["requests"] for line in lines),
        "checks": [vars(check) for check in checks],
        "modes": _counts(line["mode"] for line in lines),
        "outcomes": _counts(line["outcome"] for line in lines),
        "retrained": [
            {"night": line["night"], "mode": line["mode"], "reasons": line["reasons"]}
            for line in lines
            if line["outcome"] == "retrained"
        ],
        "released": [line["night"] for line in lines if any(run["event"] == "released" for run in line["runs"])],
        "killed": sum(run["code"] == -signal.SIGKILL for run in ran),
        "overlapping": sum(run["event"] == "overlapping" for run in ran) // 2,
        "one_more_run": [line["night"] for line in lines if any(run["event"] == "one more" for run in line["runs"])],
        "wall": round(sum(line["wall"] for line in lines), 1),
        **provenance(load_dataset(soak.start)),
    }


def _counts(words: Any) -> dict[str, int]:  # noqa: ANN401 - an iterable of words
    found: dict[str, int] = {}
    for word in words:
        found[str(word)] = found.get(str(word), 0) + 1
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if everything held."""
    keep_temporaries()
    given = _arguments(arguments)
    try:
        soak = Soak(given.folder, given.data, given.seed, parse_settings(given.set), given.largest)
        soak.set_up()
        for number in range(len(soak.lines) + 1, given.nights + 1):
            say(json.dumps(soak.night(number)))
        found = summary(soak, endings.check(soak.ws, soak.tru, soak.start, soak.filed(), soak.forgotten()))
    except TruError as error:
        sys.exit(f"Error: {error}")
    write(soak.folder / "soak.json", found)
    print(json.dumps(found, indent=2) if given.json else _words(found))
    return int(not found["passed"])


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=str(__doc__).partition(":")[0])
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="where everything is kept")
    parser.add_argument("--data", type=Path, metavar="PATH", help="a data set to import (default: the built-in one)")
    parser.add_argument("--nights", type=int, default=30, help="how many (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the random mixes (0)")
    parser.add_argument("--largest", type=int, default=LARGEST, help=f"most requests of one night ({LARGEST})")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in gate.mode=licensed")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser.parse_args(given)


def _words(found: dict[str, Any]) -> str:
    lines = [f"{found['nights']} nights, {found['requests']} requests, outcomes {found['outcomes']}"]
    lines += [f"{'ok    ' if check['passed'] else 'FAILED'} {check['words']}" for check in found["checks"]]
    lines += [f"night {row['night']} retrained: {'; '.join(row['reasons'])}" for row in found["retrained"]]
    return "\n".join(lines)


def say(words: str) -> None:
    """A line on standard error."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
