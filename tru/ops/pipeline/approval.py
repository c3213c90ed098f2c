"""A person's yes before a candidate serves (``gate.approval``): whether it is needed, and what was answered.

Who asks, and where the answer is typed, is the flow's matter. The answer is a fact of the ledger, without a name.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from tru.errors import ReleaseError
from tru.ops.release.champion import checked_reason
from tru.ops.requests.lifecycle import Batch
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace

Answer = Literal["approved", "declined", "expired"]


def hours(ws: Workspace) -> float:
    """How long the question waits for an answer."""
    return float(load_settings(ws).gate.approval_hours)


def is_needed(ws: Workspace, batch: str) -> bool:
    """Whether this batch's candidate waits for a yes.

    Not if nobody asks for one, nothing was forgotten, it serves already, or it has its yes: a run killed after the
    answer does not ask again. A candidate made anew (`tru batch retry`) is asked about anew.
    """
    if not load_settings(ws).gate.approval or is_released(ws, batch):
        return False
    found = open_inbox(ws).batch(batch)
    if found.step in ("promote", "close") or not found.facts.get("forgotten"):
        return False
    given = _answers(ws, batch)
    return not (given and given[-1]["answer"] == "approved" and given[-1]["candidate"] == _candidate(found))


def is_released(ws: Workspace, batch: str) -> bool:
    """Whether a person has released the batch (`tru batch release`), and a crash left its promotion to the next run."""
    opened = open_inbox(ws).open_batch()
    return opened is not None and opened.id == batch and bool(opened.facts.get("released"))


def record(ws: Workspace, batch: str, answer: Answer, words: str = "") -> str:
    """Write the answer into the ledger; may be repeated.

    Args:
        ws: the workspace.
        batch: the open batch.
        answer: yes, no, or none in time.
        words: what the person wrote to it. Left out if it names a subject or is too long.

    Returns:
        The answer in a sentence, for whoever reads why a batch is held.
    """
    kept = _kept(ws, words)
    candidate = _candidate(open_inbox(ws).batch(batch))
    before = sum(given["answer"] != "approved" for given in _answers(ws, batch))
    # Counted, so that a question asked again after a no gets an answer of its own.
    key = f"approval/{batch}/{candidate}/{before}"
    open_ledger(ws).append("approval", key, batch=batch, candidate=candidate, answer=answer, words=kept)
    said = f": {kept}" if kept else ""
    if answer == "expired":
        return f"nobody approved it within {hours(ws):g} hours"
    return f"a person {answer} it{said}"


def _answers(ws: Workspace, batch: str) -> list[dict[str, Any]]:
    return [entry.facts for entry in open_ledger(ws).entries("approval") if entry.facts["batch"] == batch]


def _candidate(batch: Batch) -> str:
    """What tells this candidate from another of the same batch: the verdicts, down to the last digit."""
    verdicts = json.dumps([batch.facts.get("gate"), batch.facts.get("retrain")], sort_keys=True)
    return hashlib.sha256(verdicts.encode()).hexdigest()[:12]


def _kept(ws: Workspace, words: str) -> str:
    try:
        return checked_reason(ws, words) if words.strip() else ""
    except ReleaseError:
        return "(what was written is not kept: too long, or it names somebody)"
