"""What `tru up` asks of a Prefect server over HTTP: does it live, has it a worker, does it watch for our events.

Plain requests, because only `tru.ops.flows` may know Prefect itself.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from tru.errors import WorkspaceError

_SECONDS = 300  # a server on a busy machine is slow
_PATIENCE = 300  # and its SQLite can be locked for a while
_BUSY = 503

HELD = "tru.batch.held"
OVERDUE = "tru.ops.requests.overdue"
# An automation of ours only marks the moment on Prefect's page: whom to tell, and how, needs an address that only the
# people who run this know. They add a notification to it there (docs/operations.md), and `tru up` leaves it as it is.
_AUTOMATIONS = {
    HELD: (
        "tru: a batch is held",
        "The gate refused a batch and a person must decide: `tru status`. Add an action to be notified.",
    ),
    OVERDUE: (
        "tru: requests are overdue",
        "Deletion requests are overdue or due soon: `tru status`. Add an action to be notified.",
    ),
}


def answers(url: str) -> bool:
    """Whether a page answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def has_worker(api: str, pool: str) -> bool:
    """Whether a worker of the pool has reported to the server."""
    try:
        return any(worker["status"] == "ONLINE" for worker in post(f"{api}/work_pools/{pool}/workers/filter", {}))
    except (urllib.error.URLError, OSError):
        return False


def watch(api: str) -> list[str]:
    """Make the automations that react to our events, each once; one that is there, changed or not, is left alone.

    Returns:
        The names of those that were made.

    Raises:
        WorkspaceError: the server refuses.
    """
    try:
        known = {automation["name"] for automation in post(f"{api}/automations/filter", {"limit": 200})}
        missing = [(event, *words) for event, words in _AUTOMATIONS.items() if words[0] not in known]
        for event, name, description in missing:
            post(f"{api}/automations/", _automation(event, name, description))
    except (urllib.error.URLError, OSError) as error:
        raise WorkspaceError(f"Prefect's server refused an automation ({error}). Try `tru up` again.") from error
    return [name for _, name, _ in missing]


def _automation(event: str, name: str, description: str) -> dict[str, Any]:
    trigger = {"type": "event", "expect": [event], "posture": "Reactive", "threshold": 1, "within": 0}
    actions = [{"type": "do-nothing"}]
    return {"name": name, "description": description, "enabled": True, "trigger": trigger, "actions": actions}


def post(url: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """What the server answers to ``body``; while its database is busy, it is asked again.

    Raises:
        OSError: it does not answer, or refuses.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        ask = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(ask, timeout=_SECONDS) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != _BUSY or time.monotonic() > until:
                raise
            time.sleep(1)
