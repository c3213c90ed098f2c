"""What the night leaves for the erasure: the traces of the batch, and what its certificates will say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import tru
from tru.data.interactions import load_dataset
from tru.models.trained import fingerprint
from tru.ops.erasure.pending import Pending, set_aside
from tru.ops.erasure.places import pending
from tru.ops.erasure.search.traces import Traces
from tru.ops.pipeline.record import Run
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.suppression import load_key, subject_hash
from tru.ops.settings import load_settings
from tru.ops.stages import digest


def keep_for_erasure(run: Run) -> None:
    """Set aside what the erasure needs, before the batch's folder and its identifiers go; may be repeated.

    Nothing is kept of a batch none of whose subjects was in the data: there is nothing of them to erase.
    """
    # A run that was killed while it destroyed the folder has set aside before that.
    is_whole = run.before.exists() and (run.folder / "forget.json").exists()
    if run.id in pending(run.ws) or not is_whole or run.forget.is_empty:
        return
    key = load_key(run.ws, create=False)
    after = None if run.is_retired else load_dataset(run.ws.data)
    traces = Traces.of(run.forget, load_dataset(run.before), after, run.champion)
    promoted = run.facts.get("times", {}).get("promote")
    set_aside(
        run.ws,
        Pending(
            batch=run.id,
            mark=run.batch.sequence,
            promoted=datetime.fromisoformat(promoted) if promoted else datetime.now(UTC),
            requests=[
                {
                    "request": request.id,
                    "subject": subject_hash(key, request),
                    "regime": request.regime.value,
                    "received": request.received.astimezone(UTC).isoformat(timespec="seconds"),
                }
                for request in run.inbox.list(batch=run.id)
                if request.is_open
            ],
            about=_about(run),
        ),
        traces,
    )


def _about(run: Run) -> dict[str, Any]:
    """What is the same in the certificates of the whole batch."""
    facts, times = run.facts, run.facts.get("times", {})
    judged = facts["retrain"] or facts["gate"]
    verdict = {name: judged[name] for name in ("verdict", "mode", "reasons", "notes") if name in judged}
    if facts.get("released"):
        verdict["released"] = facts["released"]
    made, gated = ("retrain", "retrain") if facts["retrain"] else ("unlearn", "gate")
    steps = {"cut": "cut", "unlearned": made, "gated": gated, "promoted": "promote"}
    return {
        "batch": run.id,
        "times": {moment: times[step] for moment, step in steps.items() if step in times},
        **_before_and_after(run),
        "code": {"tru": tru.__version__, "commit": DataVersions(run.ws).git_commit()},
        "params": digest(load_settings(run.ws)),
        "method": "retrain" if facts["retrain"] else facts["unlearn"]["method"],
        "fallback": bool(facts["retrain"]),
        "verdict": verdict,
        "table": judged.get("table", []),
    }


def _before_and_after(run: Run) -> dict[str, dict[str, Any]]:
    """Versions of data and model; where nothing was left there is none afterwards."""
    facts = run.facts
    data, models = {"before": facts["data_md5_before"]}, {"before": _model(run, str(run.notes["champion"]))}
    if not run.is_retired:
        data["after"], models["after"] = facts["data_md5_after"], _model(run, str(facts["version"]))
    return {"data": data, "models": models}


def _model(run: Run, version: str) -> dict[str, str]:
    return {"version": version, "digest": fingerprint(Registry(run.ws).model_dir(version))}
