"""What a flow run is called on Prefect's page, what it is tagged with, and which process works on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import Flow, State, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from tru.ops.servers.runs import mark


def dated(what: str) -> Callable[[], str]:
    """A name for a run that does not know yet what it will work on: ``train 2026-11-30 23:51`` (UTC)."""
    return lambda: f"{what} {datetime.now(UTC):%Y-%m-%d %H:%M}"


def present() -> str | None:
    """The id of the flow run that this code is part of; None outside of one."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


def rename(name: str, tags: Sequence[str] = ()) -> None:
    """Name the present run after what it turned out to work on, and tag it so that a page can be filtered by it.

    Tags that the run was started with stay; those of an earlier call are replaced.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, name=name, tags=sorted({*context.flow_run.tags, *tags}))
    context.flow_run.name = name  # what the log lines to come say


def note_process(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of every flow as it begins: a run that no worker started notes its process, so that others see if it lives.

    Args:
        flow: the flow.
        flow_run: its run.
        state: Running.
    """
    if flow_run.deployment_id is None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, infrastructure_pid=mark())
