"""The steps of the night as Prefect tasks; retries are here and nowhere else.

A task takes and returns ids, numbers and plain words, never a row: what passes through Prefect ends in its database.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Cancelled

from tru.errors import Busy, LeaseHeld, TruError
from tru.ops import pipeline
from tru.ops.allocator import keep_temporaries
from tru.ops.erasure import eraser
from tru.ops.flows import engine_log, notices
from tru.ops.release import champion
from tru.ops.report.brief import gate_line
from tru.ops.report.words import listed, several
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace
from tru.prose import duration

P = ParamSpec("P")
R = TypeVar("R")
Facts = Mapping[str, Any]


engine_log.shorten()


class StepFailed(TruError):
    """A step met an error nobody foresaw; the message names the place in the code, not the error's own words.

    Attributes:
        place: type and place of the error.
    """

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


def is_worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed step is tried again: a locked file may pass, an error that a person has to solve will not."""
    return isinstance(state.data, StepFailed)


def step(work: Callable[P, R]) -> Task[P, R]:
    """Make ``work`` a task of its own name: tried three times, its result neither cached nor stored."""
    return task(
        name=work.__name__,
        task_run_name=work.__name__,
        retries=2,
        retry_delay_seconds=[2, 20],
        retry_condition_fn=is_worth_retrying,
        persist_result=False,
        cache_policy=NO_CACHE,
    )(work)


@step
def deadlines(workspace: str) -> None:
    """Shout about requests whose day has passed or comes near."""
    perform("deadlines", lambda: notices.deadlines(Workspace.find(workspace)), str)


@step
def claim(workspace: str) -> str | None:
    """Take over the open batch, or open one from everything queued; None if nothing is due.

    Cancelled, where another run is at it.
    """
    ws = Workspace.find(workspace)
    batch = _or_cancelled(lambda: perform("claim", lambda: pipeline.claim(ws), _batch))
    if isinstance(batch, str):
        notices.begin(ws, batch)
    return batch


@step
def cut(workspace: str, batch: str) -> str | None:
    """Rewrite the data set without the batch, or without what of it can go on; the md5 of the new data."""
    ws = Workspace.find(workspace)
    md5 = perform("cut", lambda: pipeline.cut(ws, batch), lambda md5: f"data is now {md5 or 'gone, nothing is left'}")
    notices.label(ws, batch)
    for held in pipeline.apart_from(ws, batch):
        notices.held(held.id, held.facts["held"])
    return md5


@step
def check(workspace: str, batch: str) -> Facts:
    """Have Great Expectations look over the cut data."""
    return perform("check", lambda: pipeline.check(Workspace.find(workspace), batch), _checked)


@step
def unlearn(workspace: str, batch: str) -> Facts:
    """Make the candidate out of the champion."""
    return perform("unlearn", lambda: pipeline.unlearn(Workspace.find(workspace), batch), _unlearned)


@step
def evaluate(workspace: str, batch: str) -> Facts:
    """Measure everything, against models retrained tonight or the latest baseline: the long part of the night."""
    return perform("evaluate", lambda: pipeline.evaluate(Workspace.find(workspace), batch), _measured)


@step
def gate(workspace: str, batch: str) -> Facts:
    """Judge the candidate, and show the verdict on the Prefect page."""
    ws = Workspace.find(workspace)
    verdict = perform("gate", lambda: pipeline.gate(ws, batch), gate_line)
    notices.verdict("verdict", f"Verdict on the unlearned model of {batch}", verdict)
    notices.label(ws, batch)
    return verdict


@step
def retrain(workspace: str, batch: str) -> Facts:
    """The way out when the gate says no: a model trained from scratch becomes the candidate and is judged."""
    ws = Workspace.find(workspace)
    verdict = perform("retrain", lambda: pipeline.retrain(ws, batch), gate_line)
    notices.verdict("verdict-retrained", f"Verdict on the retrained model of {batch}", verdict)
    notices.label(ws, batch)
    return verdict


@step
def promote(workspace: str, batch: str) -> str | None:
    """Make the candidate the champion; its version. None where nobody is left to recommend to."""
    return perform("promote", lambda: pipeline.promote(Workspace.find(workspace), batch), _champion)


@step
def close(workspace: str, batch: str) -> Facts:
    """End every request of the batch with its outcome and destroy the identifiers."""
    ws = Workspace.find(workspace)
    found = perform("close", lambda: pipeline.close(ws, batch), _closed)
    notices.label(ws, batch)
    return found


@step
def erase(workspace: str) -> Facts:
    """Destroy what knew the forgotten whose time of grace is over, search for what is left, sign the certificates."""
    ws = Workspace.find(workspace)
    if not load_settings(ws).erasure.automatic:
        return {"batches": []}
    say = get_run_logger().info
    found = perform("erase", lambda: eraser.erase(ws, graceful=True, say=lambda words: say("%s", words)), _erased)
    notices.erased(ws, found)
    return found


@step
def hold(workspace: str, batch: str, reasons: str | list[str] | None = None) -> Facts:
    """Keep the champion, keep the batch for a person to look at, and call one."""
    ws = Workspace.find(workspace)
    found = perform("hold", lambda: pipeline.hold(ws, batch, reasons), _words)
    notices.held(batch, found["reasons"])
    notices.label(ws, batch)
    notices.summary(ws, batch)
    return found


@step
def train(workspace: str) -> Facts:
    """Train, measure and promote the first champion; Cancelled, where another run is at it."""
    return _or_cancelled(lambda: perform("train", lambda: pipeline.train(Workspace.find(workspace)), _trained))


@step
def rollback(workspace: str, version: str | None, reason: str) -> Facts:
    """Let an earlier version serve again; Cancelled, where an erasure or another rollback is at work."""
    return _or_cancelled(
        lambda: perform("rollback", lambda: _rolled_back(Workspace.find(workspace), version, reason), _words)
    )


def _or_cancelled(work: Callable[[], R]) -> R:
    """What ``work`` returns; the state Cancelled if another run is at the same work already.

    Nothing failed then, nothing was changed, and nobody has to do anything: the other run does it.
    """
    try:
        return work()
    except (Busy, LeaseHeld) as error:
        return cast(R, Cancelled(message=str(error)))  # Prefect takes a state for the task's own, not for its result


def _rolled_back(ws: Workspace, version: str | None, reason: str) -> Facts:
    found = champion.rollback(ws, version, reason)
    return {"version": found.version, "data_md5": found.tags.get("tru.data_md5")}


def _champion(version: str | None) -> str:
    return f"champion is version {version}" if version else "no model serves any more"


def _erased(found: Facts) -> str:
    if not found["batches"]:
        return "nothing is due"
    count = sum(row["count"] for row in found["destroyed"])
    clean = sum(row["state"] == "not found" for row in found["scan"])
    return (
        f"{', '.join(found['batches'])}: {several(count, 'object', 'objects')} destroyed, nothing left in the "
        f"{several(clean, 'store', 'stores')} searched, {several(found['certificates'], 'certificate', 'certificates')}"
    )


def perform(name: str, work: Callable[[], R], tell: Callable[[R], str]) -> R:
    """Run one step and log one line about it."""
    started = time.monotonic()
    keep_temporaries()
    try:
        result = work()
    except TruError:
        raise  # written for people, free of identifiers
    except Exception as error:
        if os.environ.get("TRU_DEBUG"):
            raise
        raise StepFailed(_where(name, error), pipeline.place_of(error)) from None
    _crash_if_asked(name)
    get_run_logger().info("%s: %s (%s)", name, tell(result), duration(time.monotonic() - started))
    return result


def _where(name: str, error: Exception) -> str:
    """What is said of an unforeseen error: type and place; not its own words, for Prefect keeps messages for good."""
    return (
        f"step {name!r} stopped on {pipeline.place_of(error)}. No request is lost; the next run goes on from "
        "here. To see the whole error, which may name people, run `TRU_DEBUG=1 tru run` by hand."
    )


def _crash_if_asked(name: str) -> None:
    """Die like a machine that lost power if ``TRU_CRASH_AFTER`` names this step.

    It exists for the crash tests: only a real SIGKILL, between a step's end and whatever would come next, shows that
    the next run finishes the batch from what is on disk. Nothing may tidy up on the way out: no exception will do.
    """
    if os.environ.get("TRU_CRASH_AFTER") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def _batch(batch: str | None) -> str:
    return batch or "nothing to do"


def _checked(found: Facts) -> str:
    return f"all {found['expectations']} expectations met" if found.get("passed") else _words(found)


def _unlearned(found: Facts) -> str:
    if found.get("seconds") is None:
        return "; ".join(["not unlearned", *([str(found["reason"])] if found.get("reason") else [])])
    return f"by {found['method']} in {duration(found['seconds'])}"


def _measured(found: Facts) -> str:
    return f"measured {listed(list(found['models']))}" if found.get("models") else "nothing to measure"


def _closed(found: Facts) -> str:
    return f"{found['outcome']}; version {found.get('version')} serves"


def _trained(found: Facts) -> str:
    return f"version {found['version']} is champion, test NDCG@20 {found['test/ndcg@20']:.4f}"


def _words(facts: Facts) -> str:
    """The plain values of a step's answer on one line; tables and lists have their own page."""
    plain = {k: _plain(k, v) for k, v in facts.items() if v is not None and not isinstance(v, dict | list)}
    return ", ".join(f"{key} {value}" for key, value in plain.items()) or "done"


def _plain(key: str, value: object) -> str:
    if isinstance(value, int | float) and key == "seconds":
        return duration(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
