"""The steps of ``unlearn-nightly``, one function each; Prefect only decides when they run (``flows/``).

Every step may be repeated: what it finished is recorded with the batch, and a step that is recorded returns its result
at once. A crash between two steps, or inside one, therefore costs only the unfinished step. Raw identifiers stay in the
inbox and in the batch's folder, destroyed when the batch closes; results hold ids of batches, numbers and words.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from tru.data.forget import ForgetSet
from tru.data.forget import cut as cut_dataset
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import DataError, ModelError, NothingLeft, UnlearningError
from tru.evaluation.comparison import nested
from tru.ops.checks import CheckReport, check_cut, check_raw
from tru.ops.judging.baseline import discard, forget_rows, latest
from tru.ops.judging.plan import baseline_ndcg, drift, drifted, in_full, refused, window
from tru.ops.pipeline.arrangement import arrange
from tru.ops.pipeline.handoff import keep_for_erasure
from tru.ops.pipeline.record import Run, best_effort, enter, seconds, short
from tru.ops.pipeline.tracked import register_candidate, show_verdict
from tru.ops.pipeline.undo import enter_data, take_back
from tru.ops.release.champion import crown, retire
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.report import write as write_report
from tru.ops.requests.lifecycle import State
from tru.ops.settings import load_settings
from tru.ops.stages import clear
from tru.ops.tracking.runs import show_report
from tru.ops.tracking.settings import finished
from tru.ops.workspace import Workspace
from tru.unlearning.base import make

NOTHING = "nothing to forget: none of the batch's subjects is in the data"
RETIRED = "nothing is left to learn from, so no model serves any more, as a person has accepted"


def cut(ws: Workspace, batch: str) -> str | None:
    """Rewrite the data set without the batch and give it a version; close requests whose subject is not in it.

    Requests without which too little would be left wait for a person in a batch of their own; the others go on.

    Returns:
        The md5 of the new data; None if nothing is left, and a person has accepted that.

    Raises:
        NothingLeft: nothing would be left.
    """
    run = Run(ws, batch)
    if run.is_done("cut"):
        return run.facts["data_md5_after"]  # type: ignore[no-any-return]
    take_back(ws, batch)  # of an attempt that was killed, or that a person has had done again
    arrange(run)
    md5_before = DataVersions(ws).md5()
    run.keep_before(md5_before)
    unknown = run.unknown()
    if unknown:
        run.inbox.not_found(batch, run.owner, unknown)
    md5 = _without(run)
    sizes = {"forgotten": run.forget.size, "not_found": run.not_found}
    facts = {
        "data_md5_before": run.notes["data_md5"],
        "data_md5_after": md5,
        **sizes,
        "regimes": _sizes(run.forget),
        "started": run.notes["started"],
    }
    enter_data(ws, batch, run.notes["data_md5"], md5, **sizes)
    run.finish("cut", State.CUT, **facts)
    return md5


def _without(run: Run) -> str | None:
    """The data set without the batch, as a version: its md5. None if there is none any more."""
    versions = DataVersions(run.ws)
    md5: str | None = None
    try:
        if not run.forget.is_empty:
            save_dataset(cut_dataset(load_dataset(run.before), run.forget), run.ws.data)
        md5 = versions.add()
    except NothingLeft:
        if run.accepted is None:
            raise
        versions.remove()
    versions.commit(f"Data without {run.id}")
    return md5


def check(ws: Workspace, batch: str) -> dict[str, Any]:
    """Great Expectations on the new data: none of the batch left, no orphan, counts add up, and enough is left.

    A person may have accepted that little is left (`tru batch accept`); nobody can accept that somebody is.

    Raises:
        CheckFailed: with a summary that names no identifier.
    """
    run = Run(ws, batch)
    if run.is_done("check"):
        return dict(run.facts["check"])
    reports = _reports(run) if not run.is_retired else []
    found = {"passed": True, "expectations": sum(len(r.expectations) for r in reports)}
    run.finish("check", None, check=found)
    return found


def _reports(run: Run) -> list[CheckReport]:
    after = load_dataset(run.ws.data)
    reports = [check_raw(after)]
    reports[0].raise_if_failed(
        overruled=True
    )  # what is lacking now was lacking before, or the check of the cut says so
    if not run.forget.is_empty:
        before = load_dataset(run.before)
        reports.append(check_cut(before, after, run.forget.known(before)))
        reports[1].raise_if_failed(overruled=run.accepted is not None)
    return reports


def unlearn(ws: Workspace, batch: str) -> dict[str, Any]:
    """Make the champion forget. Where the method cannot, say why; the gate then sends the batch to retraining."""
    run = Run(ws, batch)
    if run.is_done("unlearn"):
        return dict(run.facts["unlearn"])
    found: dict[str, Any] = {"method": "none", "seconds": None}
    if run.needs_a_model:
        settings = load_settings(ws)
        try:
            candidate = make(settings.unlearn, settings.train).unlearn(run.champion, run.after)
            candidate = drifted(run.champion, finished(candidate))
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
    if run.needs_a_model:
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
        "share": comparison.pairs / max(len(run.champion.data.edges), 1),
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
    if not run.needs_a_model:
        why = RETIRED if run.is_retired else NOTHING
        found: dict[str, Any] = {"verdict": "pass", "mode": "none", "reasons": [why], "table": [], "notes": []}
    elif run.facts["unlearn"]["method"] == "none":
        reason = run.facts["unlearn"]["reason"]
        found = {"verdict": "fail", "mode": "none", "reasons": [reason], "table": [], "notes": []}
    else:
        found = _verdict(run)
    _enter_verdict(run, "unlearned", found)
    show_verdict(run, "unlearned", found, run.facts["evaluate"])
    released = run.accepted if run.is_retired else None
    run.finish("gate", State.GATED, gate=found, retrain=None, released=released)  # a retry forgets its earlier endings
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
    """The fallback: the retrained model becomes the candidate and faces the same gate, against the other baselines.

    Where a person has accepted the batch as it is, only exact checks keep it from serving; all else is what they
    answer for.
    """
    run = Run(ws, batch)
    if run.is_done("retrain"):
        return dict(run.facts["retrain"])
    measured = run.facts["evaluate"]
    if not _has_retrained(run):
        measured = {**_measured(run, fresh=True), "mode": measured["mode"]}
    found = run.comparison.fallback_verdict(load_settings(ws).gate).to_dict()
    _enter_verdict(run, "retrained", found)
    show_verdict(run, "retrained", found, measured)
    found["digest"] = run.calibrate()
    is_exact = not any(run.comparison.exact_retrained.values())
    released = run.accepted if found["verdict"] != "pass" and is_exact else None
    run.finish("retrain", State.GATED, retrain=found, evaluate=measured, released=released)
    return found


def _has_retrained(run: Run) -> bool:
    """Whether retrained models are measured: not if it was judged under a licence, or a crash damaged the record."""
    try:
        return bool(run.comparison.retrained)
    except DataError:
        return False


def promote(ws: Workspace, batch: str) -> str | None:
    """Register the model that passed and let it serve; where nothing is left to learn from, let none serve any more.

    Returns:
        The champion's version; None if there is none any more.
    """
    run = Run(ws, batch)
    registry = Registry(ws)
    if run.is_done("promote"):
        return run.facts["version"]  # type: ignore[no-any-return]
    if run.is_retired:
        retire(ws, batch, str(run.accepted))
        discard(ws)
        run.finish("promote", State.PROMOTED, version=None, outcome="retired")
        return None
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
    _, method = run.passed()
    _refuse_swapped(run)
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
    version = register_candidate(run, verdict, tags)
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
    verdict = None if outcome in ("not found", "retired") else word
    took = seconds(facts)
    found = {"version": facts["version"], "size": run.batch.size, "not_found": run.not_found}
    enter(ws, "batch", f"{batch}/closed", batch=batch, outcome=outcome, verdict=verdict, **found)
    run.inbox.close(batch, run.owner, outcome, verdict, took)
    best_effort(lambda: write_report(ws, batch))
    show_report(ws, batch)
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
