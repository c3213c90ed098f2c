"""The steps of ``unlearn-nightly``, one function each; Prefect only decides when they run (``flows/``).

Every step may be repeated: what it finished is recorded with the batch, and a step that is recorded returns its result
at once. A crash between two steps, or inside one, therefore costs only the unfinished step. Raw identifiers stay in the
inbox and in the batch's folder, destroyed when the batch closes; results hold ids of batches, numbers and words.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from tru import locks
from tru.baseline import forget_rows, latest
from tru.champion import crown
from tru.data.checks import check_cut, check_raw
from tru.data.forget import ForgetSet
from tru.data.forget import cut as cut_dataset
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import DataError, ModelError, RequestError, UnlearningError
from tru.evaluation.report import nested
from tru.night.aside import keep_for_erasure
from tru.night.judgement import baseline_ndcg, drift, drifted, in_full, refused, window
from tru.night.run import Run, best_effort, enter, seconds, short
from tru.release.registry import Registry
from tru.release.versions import DataVersions
from tru.report import write as write_report
from tru.requests.lifecycle import WAITING, State
from tru.requests.owner import this_owner
from tru.requests.store import open_inbox
from tru.settings import load_settings
from tru.stages import clear, flat
from tru.unlearning.base import make
from tru.workspace import Workspace

LEASE_SECONDS = 120.0
NOTHING = "nothing to forget: none of the batch's subjects is in the data"


def claim(ws: Workspace) -> str | None:
    """Take over the open batch, or open one from everything queued.

    Returns:
        The batch's id, or None if nothing is due.

    Raises:
        LeaseHeld: another run is at it.
        Busy: an erasure or a rollback is at work.
        ModelError: requests are waiting and there is no champion yet.
    """
    inbox = open_inbox(ws)
    if inbox.open_batch() is None and not any(inbox.counts()[state] for state in WAITING):
        return None
    if Registry(ws).champion() is None:  # asked before a batch is opened, which would be in the way of `tru train`
        raise ModelError("there is no champion to make forget anything. Train one first: `tru train`.")
    with locks.serving(ws):  # the batch must not open under the hands of an erasure or a rollback
        batch = inbox.claim(this_owner(), LEASE_SECONDS)
    return batch.id if batch else None


@contextmanager
def open_lease(ws: Workspace, batch: str) -> Iterator[None]:
    """Keep this run's lease on the batch alive while the block runs; let go of it afterwards."""
    over = threading.Event()

    def beat() -> None:
        inbox = open_inbox(ws)
        while not over.wait(LEASE_SECONDS / 4):
            try:
                inbox.renew(batch, this_owner(), LEASE_SECONDS)
            except RequestError:  # closed, held or taken over: the steps themselves will say so
                return

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        with suppress(RequestError):  # the batch is closed or held; there is no lease to give back
            open_inbox(ws).release(batch, this_owner())


def cut(ws: Workspace, batch: str) -> str:
    """Rewrite the data set without the batch and give it a version; close requests whose subject is not in it.

    Returns:
        The md5 of the new data.
    """
    run = Run(ws, batch)
    if run.is_done("cut"):
        return str(run.facts["data_md5_after"])
    md5_before = DataVersions(ws).md5()
    run.keep_before(md5_before)
    unknown = run.unknown()
    if unknown:
        run.inbox.not_found(batch, run.owner, unknown)
    versions = DataVersions(ws)
    if not run.forget.is_empty:
        save_dataset(cut_dataset(load_dataset(run.before), run.forget), ws.data)
    md5 = versions.add()
    versions.commit(f"Data without {batch}")
    sizes = {"forgotten": run.forget.size, "not_found": run.not_found}
    facts = {
        "data_md5_before": run.notes["data_md5"],
        "data_md5_after": md5,
        **sizes,
        "regimes": _sizes(run.forget),
        "started": run.notes["started"],
    }
    enter(ws, "data", batch, batch=batch, before=run.notes["data_md5"], after=md5, **sizes)
    run.finish("cut", State.CUT, **facts)
    return md5


def check(ws: Workspace, batch: str) -> dict[str, Any]:
    """Great Expectations on the new data: none of the batch left, no orphan, counts add up.

    Raises:
        CheckFailed: with a summary that names no identifier.
    """
    run = Run(ws, batch)
    if run.is_done("check"):
        return dict(run.facts["check"])
    after = load_dataset(ws.data)
    reports = [check_raw(after)]
    if not run.forget.is_empty:
        before = load_dataset(run.before)
        reports.append(check_cut(before, after, run.forget.known(before)))
    for report in reports:
        report.raise_if_failed()
    found = {"passed": True, "expectations": sum(len(r.expectations) for r in reports)}
    run.finish("check", None, check=found)
    return found


def unlearn(ws: Workspace, batch: str) -> dict[str, Any]:
    """Make the champion forget. Where the method cannot, say why; the gate then sends the batch to retraining."""
    run = Run(ws, batch)
    if run.is_done("unlearn"):
        return dict(run.facts["unlearn"])
    found: dict[str, Any] = {"method": "none", "seconds": None}
    if not run.forget.is_empty:
        settings = load_settings(ws)
        try:
            candidate = make(settings.unlearn, settings.train).unlearn(run.champion, run.after)
            candidate = drifted(run.champion, candidate)
            candidate.save(run.folder / "unlearned")
            found = {"method": settings.unlearn.method, "seconds": candidate.facts["seconds"]}
            found |= {
                "gamma": candidate.facts.get("gamma"),
                "drift": drift(candidate),
                "digest": run.digest("unlearned"),
            }
        except UnlearningError as error:
            found["reason"] = str(error)
    run.finish("unlearn", State.UNLEARNED, unlearn=found)
    return found


def evaluate(ws: Workspace, batch: str) -> dict[str, Any]:
    """Decide how the candidate is to be judged, retrain the baselines if so, and measure everything."""
    run = Run(ws, batch)
    if run.is_done("evaluate"):
        return dict(run.facts["evaluate"])
    found: dict[str, Any] = {"mode": "none", "models": {}, "seconds": {}}
    if not run.forget.is_empty:
        found = _measured(run, fresh=run.plan.mode == "fresh")
    run.finish("evaluate", None, evaluate=found)
    return found


def _measured(run: Run, *, fresh: bool) -> dict[str, Any]:
    started = time.monotonic()
    comparison = run.compare(fresh=fresh)
    models, took = comparison.models(), dict(comparison.seconds)
    if not fresh and (baseline := latest(run.ws)):
        models["baseline"] = nested(baseline.metrics[0])
    training = (took["retrain"] or 0.0) * len(comparison.retrained)
    took["audit"] = round(max(time.monotonic() - started - training, 0.0), 3)
    return {
        "mode": run.plan.mode,
        "plan": run.plan.to_dict(),
        "models": models,
        "seconds": took,
        "pairs": comparison.pairs,
        "profiles": comparison.profiles(),
    }


def gate(ws: Workspace, batch: str) -> dict[str, Any]:
    """Ask the gate about the candidate.

    Returns:
        The verdict (see :meth:`tru.evaluation.verdict.Verdict.to_dict`) with cost, licences and drift.
    """
    run = Run(ws, batch)
    if run.is_done("gate"):
        return dict(run.facts["gate"])
    if run.forget.is_empty:
        found: dict[str, Any] = {"verdict": "pass", "mode": "none", "reasons": [NOTHING], "table": [], "notes": []}
    elif run.facts["unlearn"]["method"] == "none":
        reason = run.facts["unlearn"]["reason"]
        found = {"verdict": "fail", "mode": "none", "reasons": [reason], "table": [], "notes": []}
    else:
        found = _verdict(run)
    _enter_verdict(run, "unlearned", found)
    run.finish("gate", State.GATED, gate=found, retrain=None, released=None)  # a retry forgets its earlier endings
    return found


def _verdict(run: Run) -> dict[str, Any]:
    params, drifted_by = load_settings(run.ws).gate, run.facts["unlearn"]["drift"]
    if not run.plan.can_judge:
        return refused(run.plan, drifted_by, params)
    past = window(run.ws, params)
    if run.plan.mode == "fresh":
        verdict = run.comparison.verdict(params, past)
    else:
        verdict = run.comparison.licensed_verdict(params, baseline_ndcg(latest(run.ws)), past)
    return in_full(verdict, run.plan, drifted_by, params)


def retrain(ws: Workspace, batch: str) -> dict[str, Any]:
    """The fallback: the retrained model becomes the candidate and faces the same gate, against the other baselines."""
    run = Run(ws, batch)
    if run.is_done("retrain"):
        return dict(run.facts["retrain"])
    measured = run.facts["evaluate"]
    if not _has_retrained(run):
        measured = {**_measured(run, fresh=True), "mode": measured["mode"]}
    found = run.comparison.fallback_verdict(load_settings(ws).gate).to_dict()
    _enter_verdict(run, "retrained", found)
    found["digest"] = run.calibrate()
    run.finish("retrain", State.GATED, retrain=found, evaluate=measured)
    return found


def _has_retrained(run: Run) -> bool:
    """Whether retrained models are measured: not if it was judged under a licence, or a crash damaged the record."""
    try:
        return bool(run.comparison.retrained)
    except DataError:
        return False


def promote(ws: Workspace, batch: str) -> str:
    """Register the model that passed and let it serve.

    Returns:
        The champion's version.
    """
    run = Run(ws, batch)
    registry = Registry(ws)
    if run.is_done("promote"):
        return str(run.facts["version"])
    verdict = run.facts["retrain"] or run.facts["gate"]
    released = run.facts.get("released")
    if verdict["verdict"] != "pass" and not released:
        raise ModelError(f"{batch} has not passed the gate, so nothing of it can be promoted.")
    champion = registry.champion()
    if run.forget.is_empty and champion is not None:
        if champion.version == run.notes["champion"]:  # another one may know them
            # Neither the data nor this model knows any of them, so it respects these requests too.
            registry.tag(champion.version, {"tru.deleted_through": str(run.batch.sequence)})
        run.finish("promote", None, version=champion.version, outcome="not found")
        return champion.version
    folder, method = run.passed()
    _refuse_swapped(run)
    report = best_effort(run.report)
    numbers = run.comparison.rows()["retrained" if method == "retrain" else "unlearned"]
    tags = {
        "tru.data_md5": run.facts["data_md5_after"],
        "tru.git_commit": DataVersions(ws).git_commit() or "none",
        "tru.batch": batch,
        "tru.method": method,
        "tru.verdict": "released" if released else "pass",
        "tru.deleted_through": str(run.batch.sequence),
        "tru.not_found": str(run.not_found),
    }
    outcome: Literal["unlearned", "retrained"] = "retrained" if method == "retrain" else "unlearned"
    why: Literal["unlearned", "retrained", "released"] = "released" if released else outcome
    run_id = registry.log_run(
        f"candidate {batch}",
        key=f"{run.key}/candidate-{method}",
        data_md5=run.facts["data_md5_after"],
        metrics={name: value for name, value in numbers.items() if value == value},
        params=flat(load_settings(ws).model_dump(include={"model", "train", "unlearn", "gate"})),
        tags=tags,
        model_dir=folder,
        artifacts=[report] if report else [],
    )
    version = registry.register(run_id, tags)
    crown(ws, version.version, why, batch=batch, mode=verdict.get("mode"))
    forget_rows(ws, run.forget.users)
    run.finish("promote", State.PROMOTED, version=version.version, outcome=outcome)
    return version.version


def close(ws: Workspace, batch: str) -> dict[str, Any]:
    """Set aside what the erasure needs, destroy the batch's intermediates, empty the inbox, end every request."""
    run = Run(ws, batch)
    keep_for_erasure(run)
    clear(run.folder)
    facts = run.facts
    outcome = facts["outcome"]
    said = (facts["retrain"] or facts["gate"])["verdict"]
    word: Literal["pass", "fail"] = "fail" if said == "fail" else "pass"  # a released model may have failed or passed
    verdict = None if outcome == "not found" else word
    took = seconds(facts)
    found = {"version": facts["version"], "size": run.batch.size, "not_found": run.not_found}
    enter(ws, "batch", f"{batch}/closed", batch=batch, outcome=outcome, verdict=verdict, **found)
    run.inbox.close(batch, run.owner, outcome, verdict, took)
    best_effort(lambda: write_report(ws, batch))
    return {"outcome": outcome, "verdict": verdict or "none", **found}


def _refuse_swapped(run: Run) -> None:
    """See that the model about to serve is the one that the gate judged; otherwise have it made anew."""
    if not run.is_swapped():
        return
    which = "retrained" if run.facts["retrain"] else "unlearned"
    for name in ("retrained", "comparison") if which == "retrained" else ("unlearned",):
        clear(run.folder / name)
    run.finish("check", None)
    raise ModelError(
        f"the {which} model of {run.id} is not the one that the gate judged, so nothing was promoted. Find out who "
        "changed its files; the next run makes it anew."
    )


def _enter_verdict(run: Run, candidate: str, found: dict[str, Any]) -> None:
    words = {name: found.get(name) for name in ("verdict", "mode", "reasons", "licences", "drift")}
    enter(run.ws, "verdict", f"{run.id}/{candidate}/{short(found)}", batch=run.id, candidate=candidate, **words)


def _sizes(forget: ForgetSet) -> dict[str, int]:
    sizes = {
        "users": len(forget.users),
        "items": len(forget.items),
        "interactions": len(forget.pairs),
        "modalities": len(forget.modalities),
    }
    return {name: n for name, n in sizes.items() if n}
