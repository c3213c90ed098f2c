"""Flow runs on Prefect's page whose process is gone: they are settled before the worker starts.

Prefect learns of a run's end from its process or its worker. Where both were killed, as by a power failure, the run
would be shown as running, or as waiting for an approval, for ever.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tru.errors import WorkspaceError
from tru.ops.requests.owner import is_dead, this_owner
from tru.ops.servers import processes
from tru.ops.servers.prefect_api import post

_ACTIVE = ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]
_GONE = (
    "The process of this run is gone: it was killed, or the machine went off. No request is lost; the next run goes on "
    "where this one stopped."
)
_MISSED = "Nothing could run at that time, and a later run of the schedule, which waits as well, does the same work."


def mark() -> str:
    """What a flow that runs outside of a worker notes as its ``infrastructure_pid``: how to find out if it lives."""
    return this_owner()


def settle(api: str) -> int:
    """End the runs on which no living process works, and all but the newest of those that a schedule missed.

    To be called while no worker of ours is at work: one that has just taken a run up has no process for it yet.

    Args:
        api: address of the API of a Prefect server.

    Returns:
        How many runs were marked as crashed.

    Raises:
        WorkspaceError: the server refuses.
    """
    try:
        found = post(f"{api}/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": _ACTIVE}}}})
        started = processes.flow_runs()  # asked after the list was made: whoever is in it had begun before
        orphans = [run for run in found if run["id"] not in started and not _lives(run)]
        for run in orphans:
            _end(api, run)
        _skip_missed(api)
    except (urllib.error.URLError, OSError) as error:
        raise WorkspaceError(f"Prefect's server did not settle older runs ({error}). Try `tru up` again.") from error
    return len(orphans)


def _lives(run: Mapping[str, Any]) -> bool:
    """Whether a process that noted itself works on the run, such as a `tru run` in a terminal."""
    owner = run["infrastructure_pid"] or ""
    return owner.count(":") >= 2 and not is_dead(owner)  # of its own runs a worker notes a bare pid


def _end(api: str, run: Mapping[str, Any]) -> None:
    """Mark a run and what was under way in it as crashed."""
    # Prefect lets a run that is being cancelled end as cancelled only.
    state = "CANCELLED" if run["state_type"] == "CANCELLING" else "CRASHED"
    post(f"{api}/flow_runs/{run['id']}/set_state", {"state": {"type": state, "message": _GONE}})
    inside = {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": {"state": {"type": {"any_": _ACTIVE}}}}
    for task in post(f"{api}/task_runs/filter", inside):
        post(f"{api}/task_runs/{task['id']}/set_state", {"state": {"type": state, "message": _GONE}, "force": True})


def _skip_missed(api: str) -> None:
    """Cancel what a schedule missed, except the newest run of each deployment: one night makes up for a week off."""
    before = {"before_": datetime.now(UTC).isoformat()}
    late = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": before}
    seen = set()
    for run in post(f"{api}/flow_runs/filter", {"flow_runs": late, "sort": "EXPECTED_START_TIME_DESC"}):
        if run["auto_scheduled"] and run["deployment_id"] in seen:
            post(f"{api}/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED", "message": _MISSED}})
        if run["auto_scheduled"]:
            seen.add(run["deployment_id"])
