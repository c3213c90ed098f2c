"""What is asked of a Prefect server over HTTP, of a real one on a port of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from tests.patience import HANG, until
from tru.errors import WorkspaceError
from tru.ops.servers import prefect_api
from tru.ops.servers.services import HOST
from tru.ops.servers.starter import free_port


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """The address of a server with nothing in it."""
    home = tmp_path_factory.mktemp("prefect")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_"))}
    environment = kept | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    port = free_port(0)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://{HOST}:{port}/api"
    try:
        until(lambda: prefect_api.answers(f"{address}/health"))
        yield address
    finally:
        process.terminate()
        process.wait(HANG)


def test_our_automations_are_made_once_and_left_as_they_are(api):
    assert prefect_api.watch(api) == ["tru: a batch is held", "tru: requests are overdue"]
    made = {a["name"]: a for a in post(f"{api}/automations/filter", {})}
    held = made["tru: a batch is held"]
    assert held["enabled"] and held["trigger"]["expect"] == ["tru.batch.held"]

    changed = {k: held[k] for k in ("name", "trigger")} | {"enabled": False, "actions": [{"type": "do-nothing"}]}
    post(f"{api}/automations/{held['id']}", changed, method="PUT")
    assert prefect_api.watch(api) == []
    assert {a["name"]: a["enabled"] for a in post(f"{api}/automations/filter", {})} == {
        "tru: a batch is held": False,
        "tru: requests are overdue": True,
    }


def test_an_event_of_ours_sets_its_automation_off(api):
    prefect_api.watch(api)
    # The server asks its database for automations now and then, so the event is sent until it is heard.
    until(lambda: send(api, prefect_api.OVERDUE) or triggered(api))
    assert {event["resource"]["prefect.resource.name"] for event in triggered(api)} == {"tru: requests are overdue"}


def test_without_a_server_nothing_answers():
    nowhere = f"http://{HOST}:{free_port(0)}/api"
    assert not prefect_api.answers(f"{nowhere}/health") and not prefect_api.has_worker(nowhere, "tru")
    with pytest.raises(WorkspaceError, match="refused an automation"):
        prefect_api.watch(nowhere)


def test_a_pool_without_a_worker_has_none(api):
    assert not prefect_api.has_worker(api, "no-such-pool")


def send(api, event):
    now = datetime.now(UTC).isoformat()
    resource = {"prefect.resource.id": "tru.ops.requests", "prefect.resource.name": "tru.ops.requests"}
    post(f"{api}/events", [{"event": event, "occurred": now, "resource": resource, "payload": {}, "id": _uuid()}])


def triggered(api):
    wanted = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}, "limit": 50}
    return post(f"{api}/events/filter", wanted)["events"]


def _uuid():
    import uuid

    return str(uuid.uuid4())


def post(url, body, method="POST"):
    ask = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    for attempt in range(10):
        try:
            with urllib.request.urlopen(ask, timeout=HANG) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or attempt == 9:  # Prefect's SQLite is busy, and asks to try again
                raise
            time.sleep(1)
