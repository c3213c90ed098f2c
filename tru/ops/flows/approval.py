"""The question put to a person on Prefect's page before a candidate serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import get_current_settings
from pydantic import Field

from tru.errors import ReleaseError
from tru.ops.flows import notices
from tru.ops.pipeline import approval
from tru.ops.workspace import Workspace

POLL_SECONDS = 10


class Approval(RunInput):
    """The form of the page."""

    approve: bool = Field(default=False, description="Yes: the candidate becomes champion. No: the batch is held.")
    words: str = Field(default="", description="Why. The ledger keeps it for good: name nobody.")


def refuse_without_a_page(ws: Workspace, batch: str) -> None:
    """Stop a run that would come to a question nobody could see; better now than after hours of work.

    Raises:
        ReleaseError: an approval is needed and this run has no lasting server.
    """
    if approval.is_needed(ws, batch) and not get_current_settings().api.url:
        raise ReleaseError(
            "gate.approval is true, so a person has to say yes on Prefect's page before anything is promoted, and "
            "there is no such page. Start it with `tru up`; then `tru run` or `prefect deployment run unlearn-nightly` "
            "goes on with this batch."
        )


def ask(ws: Workspace, batch: str, verdict: Mapping[str, Any]) -> str | None:
    """Wait on Prefect's page for a person's yes, if one is needed.

    Returns:
        None if the candidate may serve; else why not, in words.
    """
    if not approval.is_needed(ws, batch):
        return None
    refuse_without_a_page(ws, batch)
    hours = approval.hours(ws)
    title = f"Shall the model of {batch} become champion? It is held if nobody answers within {hours:g} hours"
    form = Approval.with_initial_data(description=notices.in_words(title, verdict))
    try:
        # A key of its own: without it Prefect counts the pauses of a run and could take one for another.
        answer = pause_flow_run(form, timeout=max(1, int(hours * 3600)), poll_interval=POLL_SECONDS, key=f"ask-{batch}")
    except FlowPauseTimeout:
        return approval.record(ws, batch, "expired")
    words = approval.record(ws, batch, "approved" if answer.approve else "declined", answer.words)
    return None if answer.approve else words
