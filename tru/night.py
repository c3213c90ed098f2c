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
from pathlib import Path
from typing import Any, Literal

from tru.data.checks import check_cut, check_raw
from tru.data.forget import ForgetSet
from tru.data.forget import cut as cut_dataset
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import ModelError, RequestError, UnlearningError
from tru.evaluation.audits import Stage
from tru.evaluation.audits import evaluate as measure
from tru.models.trained import TrainedModel
from tru.release.registry import CHALLENGER, CHAMPION, Registry
from tru.release.versions import DataVersions
from tru.requests.lifecycle import State
from tru.requests.owner import this_owner
from tru.requests.store import open_inbox
from tru.run import Run
from tru.settings import load_settings
from tru.stages import clear, flat, log_comparison, write_json
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
        ModelError: requests are waiting and there is no champion yet.
    """
    batch = open_inbox(ws).claim(this_owner(), LEASE_SECONDS)
    if batch is None:
        return None
    if Registry(ws).champion() is None:
        open_inbox(ws).release(batch.id, this_owner())
        raise ModelError("there is no champion to make forget anything. Train one first: `tru train`.")
    return batch.id


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
    facts = {
        "data_md5_before": run.notes["data_md5"],
        "data_md5_after": md5,
        "forgotten": run.forget.size,
        "regimes": _sizes(run.forget),
        "started": run.notes["started"],
    }
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
        reports.append(check_cut(load_dataset(run.before), after, run.forget))
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
            make(settings.unlearn, settings.train).unlearn(run.champion, run.after).save(run.folder / "unlearned")
            facts = TrainedModel.load(run.folder / "unlearned").facts
            found = {"method": settings.unlearn.method, "seconds": facts["seconds"]}
        except UnlearningError as error:
            found["reason"] = str(error)
    run.finish("unlearn", State.UNLEARNED, unlearn=found)
    return found


def evaluate(ws: Workspace, batch: str) -> dict[str, Any]:
    """Train the baselines on what stays and measure everything; the long part of the night."""
    run = Run(ws, batch)
    if run.is_done("evaluate"):
        return dict(run.facts["evaluate"])
    found: dict[str, Any] = {"models": {}, "seconds": {}}
    if not run.forget.is_empty:
        comparison = run.compare()
        settings = load_settings(ws)
        log_comparison(ws, comparison, run.facts["data_md5_after"], run.key, settings)
        write_json(run.folder / "comparison.json", vars(comparison))
        found = {"models": comparison.models(), "seconds": comparison.seconds, "pairs": comparison.pairs}
    run.finish("evaluate", None, evaluate=found)
    return found


def gate(ws: Workspace, batch: str) -> dict[str, Any]:
    """Ask the gate about the candidate.

    Returns:
        ``verdict`` (pass or fail), ``reasons``, ``table``.
    """
    run = Run(ws, batch)
    if run.is_done("gate"):
        return dict(run.facts["gate"])
    if run.forget.is_empty:
        found: dict[str, Any] = {"verdict": "pass", "reasons": [NOTHING], "table": []}
    elif run.facts["unlearn"]["method"] == "none":
        found = {"verdict": "fail", "reasons": [run.facts["unlearn"]["reason"]], "table": []}
    else:
        found = run.comparison.verdict(load_settings(ws).gate).to_dict()
    run.finish("gate", State.GATED, gate=found, retrain=None)  # a retried batch forgets its earlier fallback
    return found


def retrain(ws: Workspace, batch: str) -> dict[str, Any]:
    """The fallback: the retrained model becomes the candidate and faces the same gate, against the other baselines."""
    run = Run(ws, batch)
    if run.is_done("retrain"):
        return dict(run.facts["retrain"])
    found = run.comparison.fallback_verdict(load_settings(ws).gate).to_dict()
    run.finish("retrain", State.GATED, retrain=found)
    return found


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
    if verdict["verdict"] != "pass":
        raise ModelError(f"{batch} has not passed the gate, so nothing of it can be promoted.")
    champion = registry.champion()
    if run.forget.is_empty and champion is not None:
        run.finish("promote", None, version=champion.version, outcome="not found")
        return champion.version
    folder, method = run.passed()
    numbers = run.comparison.retrained[0] if method == "retrain" else run.comparison.unlearned
    tags = {
        "tru.data_md5": run.facts["data_md5_after"],
        "tru.git_commit": DataVersions(ws).git_commit() or "none",
        "tru.batch": batch,
        "tru.method": method,
        "tru.verdict": "pass",
        "tru.deleted_through": str(run.batch.sequence),
    }
    run_id = registry.log_run(
        f"candidate {batch}",
        key=f"{run.key}/candidate-{method}",
        data_md5=run.facts["data_md5_after"],
        metrics={name: value for name, value in numbers.items() if value == value},
        params=flat(load_settings(ws).model_dump(include={"model", "train", "unlearn", "gate"})),
        tags=tags,
        model_dir=folder,
    )
    version = registry.register(run_id, tags)
    registry.set_alias(CHALLENGER, version.version)
    registry.set_alias(CHAMPION, version.version)
    outcome = "retrained" if method == "retrain" else "unlearned"
    run.finish("promote", State.PROMOTED, version=version.version, outcome=outcome)
    return version.version


def close(ws: Workspace, batch: str) -> dict[str, Any]:
    """Destroy the batch's intermediates, erase the raw identifiers from the inbox, end every request."""
    run = Run(ws, batch)
    clear(run.folder)
    facts = run.facts
    outcome = facts["outcome"]
    verdict: Literal["pass"] | None = None if outcome == "not found" else "pass"
    seconds = _seconds(facts)
    run.inbox.close(batch, run.owner, outcome, verdict, seconds)
    return {"outcome": outcome, "verdict": verdict or "none", "version": facts["version"], "size": run.batch.size}


def hold(ws: Workspace, batch: str) -> dict[str, Any]:
    """Both candidates failed: the champion stays, suppression protects the subjects, a person is called."""
    run = Run(ws, batch)
    run.inbox.hold(batch, run.owner, "fail", _seconds(run.facts))
    return {"outcome": "held", "reasons": run.facts["retrain"]["reasons"]}


def retry(ws: Workspace) -> str:
    """Let a held batch run again from unlearning on, with the settings as they are now; its candidates are made anew.

    Returns:
        The batch's id.

    Raises:
        RequestError: no batch is held.
    """
    inbox = open_inbox(ws)
    opened = inbox.open_batch()
    if opened is None or opened.outcome != "held":
        raise RequestError("no batch is held. See `tru status`.")
    clear(ws.batches / opened.id / "unlearned")
    clear(ws.batches / opened.id / "retrained")
    return inbox.retry(opened.id, step="check").id


def train(ws: Workspace) -> dict[str, Any]:
    """Train on the current data (DVC's stages prepare, check and train) and make the result champion.

    Raises:
        RequestError: a batch of deletions is open; finish it first.
    """
    inbox = open_inbox(ws)
    if inbox.open_batch() is not None:
        raise RequestError("a batch of deletions is open. Finish it first: `tru run`.")
    versions, registry, settings = DataVersions(ws), Registry(ws), load_settings(ws)
    versions.reproduce(["train"])
    versions.commit("Trained on the current data")
    model = TrainedModel.load(ws.artifacts / "original")
    stage = Stage.of(model.data, model.data)
    numbers = {name: value for name, value in measure(model, stage).items() if value == value}
    md5 = versions.md5()
    tags = {
        "tru.data_md5": md5,
        "tru.git_commit": versions.git_commit() or "none",
        "tru.method": "train",
        "tru.verdict": "none",
        "tru.deleted_through": str(inbox.completed_through()),
    }
    run_id = registry.log_run(
        "original",
        key=f"train/{md5}/{inbox.completed_through()}/{_fingerprint(ws.artifacts / 'original' / 'arrays.npz')}",
        data_md5=md5,
        metrics=numbers,
        params=flat(settings.model_dump(include={"model", "train", "unlearn"})),
        tags=tags,
        model_dir=ws.artifacts / "original",
    )
    version = registry.register(run_id, tags)
    registry.set_alias(CHAMPION, version.version)
    return {"version": version.version, "data_md5": md5, **{k: round(v, 4) for k, v in numbers.items()}}


def _sizes(forget: ForgetSet) -> dict[str, int]:
    sizes = {
        "users": len(forget.users),
        "items": len(forget.items),
        "interactions": len(forget.pairs),
        "modalities": len(forget.modalities),
    }
    return {name: n for name, n in sizes.items() if n}


def _seconds(facts: dict[str, Any]) -> dict[str, float]:
    """``unlearn``, ``retrain`` (one baseline, the median) and ``total`` since the claim; 0 for what did not happen."""
    return {
        "unlearn": facts["unlearn"]["seconds"] or 0.0,
        "retrain": facts["evaluate"]["seconds"].get("retrain", 0.0),
        "total": round(time.time() - facts["started"], 3),
    }


def _fingerprint(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
