"""What very many requests cost: ``python -m benchmarks.inbox [--quick] [--sizes N ...] [--json]``.

An inbox of its own is filled with n requests of all regimes, read in every way there is, claimed, worked on and closed;
then the same with ten times as many, and again. Each step's seconds stand side by side. *Growth* is how much longer one
request takes among the most of them than among ten times fewer: 1 is linear, 10 would be quadratic. Steps that are over
in a moment (`SHORTEST`) are not judged by it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from benchmarks.commands import CommandFailed, Tru
from tru.errors import TruError
from tru.ops.requests.filing import Filing
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.intake import read_requests
from tru.ops.requests.lifecycle import Regime, RequestParams, State
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

SIZES = (1_000, 10_000, 100_000)
QUICK = (200, 2_000)
HIGHEST_GROWTH = 3.0
"""Beyond this a step is not linear; a busy machine and larger tables take some of it."""
SHORTEST = 0.2
"""Seconds below which a step says nothing about growth."""

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Seconds by step, in the order in which the steps were taken."""

    seconds: dict[str, float] = field(default_factory=dict)

    def take(self, step: str, work: Callable[[], T]) -> T:
        """Do something and note how long it took."""
        started = time.perf_counter()
        result = work()
        self.seconds[step] = round(time.perf_counter() - started, 4)
        return result


def measure(folder: Path, size: int) -> dict[str, float]:
    """File, read, claim and close ``size`` requests in a workspace in ``folder``; seconds by step.

    Raises:
        CommandFailed: a command did not work.
    """
    ws, watch = Workspace(folder / "workspace"), Stopwatch()
    ws.root.mkdir(parents=True)
    ws.params.touch()
    tru, csv = Tru(ws.root, folder / "logs"), folder / "requests.csv"
    csv.write_text(_list_of(size), encoding="utf-8")
    filings = watch.take("read the file", lambda: read_requests(csv))
    inbox = watch.take("open", lambda: open_inbox(ws))
    subjects, received = [one.subject for one in filings], [one.received for one in filings]
    watch.take("file", lambda: inbox.add_all(subjects, received=received))
    watch.take("file again", lambda: inbox.add_all(subjects, received=received))
    _read(inbox, watch, "waiting")
    _commands(tru, csv, watch)
    _batch(inbox, filings, watch)
    _read(inbox, watch, "closed")
    return watch.seconds


def _list_of(size: int) -> str:
    """A CSV file of requests of all regimes, no two alike, received within the last six weeks."""
    now, rows = datetime.now(UTC), []
    for n in range(size):
        user, item, modality = [(f"u{n}", "", ""), ("", f"i{n}", ""), (f"v{n}", "j", ""), ("", f"k{n}", "image")][n % 4]
        rows.append(f"{user},{item},{modality},{(now - timedelta(minutes=n % 60_000)).isoformat()}\n")
    return "user,item,modality,received\n" + "".join(rows)


def _read(inbox: Inbox, watch: Stopwatch, when: str) -> None:
    requests = watch.take(f"list, {when}", inbox.list)
    watch.take(f"list one state, {when}", lambda: inbox.list(state=State.HELD))
    watch.take(f"count, {when}", inbox.counts)
    watch.take(f"count outcomes, {when}", inbox.outcomes)
    watch.take(f"deadlines, {when}", lambda: inbox.overdue(RequestParams()))
    watch.take(f"show one, {when}", lambda: inbox.get(requests[len(requests) // 2].id))
    watch.take(f"open batch, {when}", inbox.open_batch)
    watch.take(f"suppressed users, {when}", lambda: inbox.suppression().users_among(["u0", "a stranger"]))


def _commands(tru: Tru, csv: Path, watch: Stopwatch) -> None:
    watch.take("tru requests import (again)", lambda: tru.do("requests", "import", str(csv), log="import"))
    watch.take("tru requests list", lambda: tru.do("requests", "list", log="list"))
    watch.take("tru requests list --json", lambda: tru.ask("requests", "list", log="list-json"))


def _batch(inbox: Inbox, filings: Sequence[Filing], watch: Stopwatch) -> None:
    """A batch of all that waits: a tenth of it is not in the data, the rest is forgotten."""
    claimed = watch.take("claim", lambda: inbox.claim("benchmark"))
    if claimed is None or claimed.size != len(filings):
        raise CommandFailed("the batch does not hold what was filed.")
    batch = claimed.id
    watch.take("forget set", lambda: inbox.forget_set(batch))
    unknown = [request.id for request in inbox.list(batch=batch)[::10]]
    watch.take("not found", lambda: inbox.not_found(batch, "benchmark", unknown))
    watch.take("advance", lambda: inbox.advance(batch, "benchmark", "cut", State.CUT))
    watch.take("renew the lease", lambda: inbox.renew(batch, "benchmark"))
    watch.take("hold", lambda: inbox.hold(batch, "benchmark", "fail", {}))
    watch.take("retry", lambda: inbox.retry(batch))
    inbox.claim("benchmark")
    watch.take("close", lambda: inbox.close(batch, "benchmark", "unlearned", "pass", {}))
    watch.take("count outcomes of the batch", lambda: inbox.outcomes(batch))


def growth(smaller: float, larger: float, ratio: float) -> float | None:
    """How much longer one request takes among ``ratio`` times as many; None where it is over in a moment."""
    return None if larger < SHORTEST else round(larger / max(smaller, 1e-4) / ratio, 2)


def summary(found: dict[int, dict[str, float]]) -> dict[str, object]:
    """The growth of each step from the second largest size to the largest, and whether all are linear."""
    (small, before), (large, after) = list(found.items())[-2:]
    rates = {step: growth(before[step], seconds, large / small) for step, seconds in after.items()}
    steep = [step for step, rate in rates.items() if rate is not None and rate > HIGHEST_GROWTH]
    return {"passed": not steep, "growth": rates, "seconds": {str(size): seconds for size, seconds in found.items()}}


def _table(found: dict[int, dict[str, float]], rates: dict[str, float | None]) -> str:
    lines = ["step".ljust(32) + "".join(f"{size:>11,}" for size in found) + "     growth"]
    for step, rate in rates.items():
        lines.append(
            step.ljust(32)
            + "".join(f"{seconds[step]:11.3f}" for seconds in found.values())
            + f"{'-' if rate is None else rate:>11}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if every step is linear."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inbox", description=str(__doc__).partition(":")[0])
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(map(str, QUICK))} requests")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="how many requests, at least two sizes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    sizes = sorted(set(given.sizes or (QUICK if given.quick else SIZES)))
    if len(sizes) < 2 or sizes[0] < len(Regime):
        parser.error(f"growth needs at least two sizes of at least {len(Regime)} requests.")
    found: dict[int, dict[str, float]] = {}
    try:
        for size in sizes:
            print(f"{size:,} requests …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                found[size] = measure(Path(folder), size)
    except TruError as error:
        sys.exit(f"Error: {error}")
    said = summary(found)
    print(json.dumps(said, indent=2) if given.json else _table(found, said["growth"]))  # type: ignore[arg-type]
    return int(not said["passed"])


if __name__ == "__main__":
    sys.exit(main())
