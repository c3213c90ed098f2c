"""What a batch's runs are labelled with elsewhere, and which of them worked on it."""

from __future__ import annotations

from tru.ops.pipeline.record import Run
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace


def labels(ws: Workspace, batch: str) -> list[str]:
    """What is known of a batch by now, as short tags: its id, what kinds of things it forgets, verdict and outcome."""
    found = open_inbox(ws).batch(batch)
    judged = found.facts.get("retrain") or found.facts.get("gate") or {}
    outcome = found.outcome or found.facts.get("outcome")
    return [batch, *found.facts.get("regimes", {}), *(word for word in (judged.get("verdict"), outcome) if word)]


def note_run(ws: Workspace, batch: str, run_id: str) -> None:
    """Keep with the open batch which Prefect run works on it; a batch that was interrupted or held has several."""
    run = Run(ws, batch)
    known = run.facts.get("prefect_runs", [])
    if run_id not in known:
        run.note(prefect_runs=[*known, run_id])
