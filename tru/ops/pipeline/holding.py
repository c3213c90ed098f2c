"""When a step fails for good: the batch is held for a person, and others do not wait behind it.

*For good* is an error that another run would meet again: data that fail a check, a model that cannot be trained or
measured. Whatever may pass by itself (a store that does not answer, a lease, a full disk) is left to the next run; an
error that nobody foresaw is given one more run.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Any

from tru.errors import DataError, EvaluationError, ModelError, NothingLeft, RequestError, TruError, UnlearningError
from tru.ops import locks
from tru.ops.pipeline.record import Run, best_effort, enter, seconds, short
from tru.ops.pipeline.undo import take_back_strays
from tru.ops.report import write as write_report
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import WAITING, Batch
from tru.ops.requests.store import open_inbox
from tru.ops.tracking.runs import show_report
from tru.ops.workspace import Workspace

FOR_GOOD = (DataError, UnlearningError, EvaluationError, ModelError)
"""What a step raises where only a person can help: with data, with settings, or with a decision."""
RETIRES = "if that is accepted, no model serves any more, and all data and models here are destroyed"
_FOLLOWS = {"claim": "cut", "cut": "check", "check": "unlearn", "unlearn": "evaluate", "evaluate": "gate"}
"""Step that finished -> the one that fails then."""


def hold(ws: Workspace, batch: str, reasons: str | Sequence[str] | None = None) -> dict[str, Any]:
    """The champion stays, suppression protects the subjects, a person is called.

    Args:
        ws: the workspace.
        batch: which.
        reasons: why, if not because both candidates failed.
    """
    run = Run(ws, batch)
    judged = (run.facts.get("retrain") or run.facts.get("gate") or {}) if run.is_done("gate") else {}
    words = [reasons] if isinstance(reasons, str) else list(reasons or judged["reasons"])
    enter(ws, "batch", f"{batch}/held/{short([*words, _attempts(run)])}", batch=batch, outcome="held", reasons=words)
    # A candidate that passed and was not approved is held as well; a batch that never came so far has no verdict.
    verdict = judged.get("verdict") if judged else None
    run.inbox.hold(batch, run.owner, verdict, seconds(run.facts), held=words)
    best_effort(lambda: write_report(ws, batch))
    show_report(ws, batch)
    return {"outcome": "held", "reasons": words}


def failed(ws: Workspace, batch: str, error: Exception) -> list[str] | None:
    """Why the batch has to be held after this error of one of its steps; None if the next run may try again.

    An unforeseen error is noted with the batch, by type and place; if the same step fails so in the next run as well,
    that is for good. After the gate nothing is held: what is left to do then has nothing to decide about.
    """
    step = _step(ws, batch)
    if step is None:
        return None
    if isinstance(error, FOR_GOOD):
        reasons = [" ".join(reason.split()) for reason in getattr(error, "reasons", [str(error)])]
        return [*reasons, *([RETIRES] if isinstance(error, NothingLeft) else [])]
    place = getattr(error, "place", None)  # of an error that was met in a Prefect task, which says no more of it
    if isinstance(error, TruError) and place is None:
        return None
    run, place = Run(ws, batch), place or place_of(error)
    if (run.facts.get("failure") or {}).get("step") == step:
        return [f"the step {step!r} stopped in two runs on an error that nobody foresaw, the last time on {place}"]
    run.note(failure={"step": step, "place": place})
    return None


def place_of(error: Exception) -> str:
    """Type and place of an unforeseen error.

    The error's own words stay out, because a KeyError or a database error quotes the value it stumbled over, which may
    be somebody's id.
    """
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}site-packages{os.sep}" not in f.filename
    ]
    place = f"{os.path.relpath(frames[-1].filename)}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"


def make_way(ws: Workspace) -> None:
    """Let a held batch step aside if other requests wait behind it; its cut is taken back.

    Raises:
        Busy: an erasure or a rollback is at work, or another run is at it.
    """
    inbox = open_inbox(ws)
    opened = inbox.open_batch()
    if opened is not None and opened.is_held and is_awaited(inbox):
        with locks.serving(ws):
            inbox.put_aside(opened.id)
    take_back_strays(ws)


def is_awaited(inbox: Inbox) -> bool:
    """Whether anything could be worked on if no batch were open."""
    return any(inbox.counts()[state] for state in WAITING) or any(not batch.is_held for batch in inbox.aside())


def held(ws: Workspace) -> list[str]:
    """Ids of the batches that wait for a person."""
    return [batch.id for batch in open_inbox(ws).held()]


def remind(ws: Workspace) -> None:
    """End a run that has nothing to do with an error while a batch waits for a person: that needs a look.

    Raises:
        RequestError: one does.
    """
    if waiting := held(ws):
        raise RequestError(
            f"{_listed(waiting)} held for a person to decide. `tru status` says why, and what can be done: "
            "`tru batch accept`, `tru batch retry` and others."
        )


def _listed(batches: Sequence[str]) -> str:
    return f"{batches[0]} is" if len(batches) == 1 else f"{', '.join(batches)} are"


def _step(ws: Workspace, batch: str) -> str | None:
    """The step that has failed if the last one finished, before anything can be promoted; None after that."""
    opened: Batch | None = open_inbox(ws).open_batch()
    if opened is None or opened.id != batch or opened.is_held:
        return None
    if opened.step == "gate" and opened.facts["gate"]["verdict"] != "pass":
        return "retrain"
    return _FOLLOWS.get(opened.step)


def _attempts(run: Run) -> int:
    """How often the batch was cut before: a batch that is held again for the same reasons has an entry of its own."""
    return int(run.facts.get("attempts", 0))
