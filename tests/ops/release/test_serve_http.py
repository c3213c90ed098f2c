"""The command a user types in the workspace: `mlflow models serve` with the champion."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tru.ops.servers.prefect_api
from tests.patience import HANG, until
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import CHAMPION
from tru.ops.release.serving import SERVING_FILE
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

COMMAND = "mlflow models serve -m models:/tru-recommender@champion --env-manager local"


@dataclass
class Server:
    address: str
    log: Path

    def ask(self, payload: Any, content_type: str = "application/json") -> tuple[int, Any]:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        request = urllib.request.Request(f"{self.address}/invocations", body, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=HANG) as response:
                return response.status, json.load(response)["predictions"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def is_up(self) -> bool:
        return tru.ops.servers.prefect_api.answers(f"{self.address}/ping")


def environment() -> dict[str, str]:
    """PATH and nothing else; and where tru is not installed (a bare checkout on PYTHONPATH), the way to it."""
    given = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}
    return given | {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def start(root: Path, log: Path) -> tuple[subprocess.Popen[bytes], Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*COMMAND.split(), "--port", str(port)],
            cwd=root,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, Server(f"http://127.0.0.1:{port}", log)


def stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(HANG)


def promote(workspace: Workspace, model_dir: Path) -> None:
    registry = Registry(workspace)
    facts: dict[str, Any] = {"metrics": {}, "params": {}, "tags": {}, "data_md5": "0" * 32}
    run = registry.log_run("original", key="first", model_dir=model_dir, **facts)
    registry.set_alias(CHAMPION, registry.register(run, {}).version)


@pytest.fixture
def hard_names(model_dir: Path) -> Path:
    """The model with two users more whose ids a reader that guesses at types would lose; both like low numbers."""
    with np.load(model_dir / SERVING_FILE, allow_pickle=False) as stored:
        arrays = dict(stored)
    arrays["users"] = np.array([*arrays["users"], "007", "NA"])
    arrays["user_vectors"] = np.concatenate([arrays["user_vectors"], np.full((2, 1), -1.0, np.float32)])
    arrays["seen_indptr"] = np.append(arrays["seen_indptr"], [3, 3])
    np.savez(model_dir / SERVING_FILE, **arrays)
    return model_dir


@pytest.fixture
def server(workspace: Workspace, hard_names: Path, tmp_path: Path) -> Iterator[Server]:
    promote(workspace, hard_names)
    open_inbox(workspace)
    process, server = start(workspace.root, tmp_path / "serve.log")
    try:
        until(server.is_up, alive=lambda: process.poll() is None)
        yield server
    finally:
        stop(process)


MALFORMED = [
    (b"nonsense", "valid JSON"),
    (b"\xff\xfe", "valid JSON"),
    ([{"user_id": "ann"}], "Received a list"),
    ({}, "exactly one of the input fields"),
    ({"dataframe_records": []}, "missing inputs"),
    ({"dataframe_records": [{"user": "ann"}]}, "user_id"),
    ({"dataframe_records": [{"user_id": 7}]}, "Row 0: user_id"),
    ({"dataframe_records": [{"user_id": ""}]}, "Row 0: user_id"),
    ({"dataframe_records": [{"user_id": "ann"}, {"user_id": None}]}, "Row 1: user_id"),
    ({"dataframe_records": [{"user_id": "ann", "k": 0}]}, "from 1 to 1000"),
    ({"dataframe_records": [{"user_id": "ann", "k": 1001}]}, "from 1 to 1000"),
    ({"dataframe_records": [{"user_id": "ann", "k": 2.5}]}, "from 1 to 1000"),
    ({"dataframe_records": [{"user_id": "ann", "k": "2"}]}, "from 1 to 1000"),
    ({"dataframe_records": [{"user_id": "ann", "k": True}]}, "from 1 to 1000"),
    ({"inputs": {"user_id": []}}, "1 to 10000 users"),
    ({"inputs": {"user_id": ["ann"] * 10_001}}, "1 to 10000 users"),
    ({"inputs": {"user_id": ["ann", "bob"], "k": [1]}}, "k"),
    ({"inputs": ["ann"]}, "missing inputs"),
    # MLflow alone would answer these for users called "None", "7" and "7.0"
    ({"inputs": {"user_id": ["ann", None]}}, "Row 1: user_id"),
    ({"inputs": [{"user_id": "ann"}, {"user_id": 7}]}, "Row 1: user_id"),
    ({"instances": [{"user_id": "ann"}, {"user_id": 7.0}]}, "Row 1: user_id"),
    ({"dataframe_split": {"columns": ["user_id"], "data": [["ann"], [None]]}}, "Row 1: user_id"),
    ({"dataframe_records": [{"user_id": "a\ud800"}]}, "Row 0: user_id"),
]
MALFORMED_CSV = [
    ("user_id\nann\n\nbob\n", "Row 1: user_id"),
    ("user_id,k\nann,two\n", "Row 0: k"),
    ("user_id;k\nann;2\n", "separated by commas"),
    ("user_id\nann,2\n", "Row 0: there are 2 cells"),
]


def test_serving(server: Server, workspace: Workspace) -> None:
    """One server for all of it: starting one takes seconds."""
    top = {"dataframe_split": {"columns": ["user_id", "k"], "data": [["ann", 2], ["bob", 3], ["stranger", 4]]}}
    ann, bob, stranger = [["i4", "i3"], ["i2", "i3", "i4"], ["i2", "i0", "i4", "i1"]]
    assert server.ask(top) == (200, answers(ann, bob, stranger))
    # The other forms MLflow knows; k may be left out, for all or for some.
    assert server.ask({"inputs": {"user_id": ["ann"], "k": [2]}}) == (200, answers(ann))
    assert server.ask({"inputs": [{"user_id": "ann", "k": 2}]}) == (200, answers(ann))
    assert server.ask({"instances": [{"user_id": "ann", "k": 2}]}) == (200, answers(ann))
    some = {"dataframe_records": [{"user_id": "ann", "k": 2}, {"user_id": "bob"}]}
    assert server.ask(some) == (200, answers(ann, ["i2", "i3", "i4", "i5"]))

    assert server.ask({"instances": [{"user_id": "ann", "k": 2}, {"user_id": "bob"}]}) == (
        200,
        answers(ann, ["i2", "i3", "i4", "i5"]),
    )
    # CSV: every id is what stands there, and k may be left out, for all or for some.
    low = ["i0", "i1", "i2", "i3"]
    assert server.ask(b"user_id,k\nann,2\nbob,\n007,4\nNA,4\n7,4\nnull,4\n", "text/csv") == (
        200,
        answers(ann, ["i2", "i3", "i4", "i5"], low, low, stranger, stranger),
    )
    assert server.ask(b"user_id\r\nbob\r\n", "text/csv") == (200, answers(["i2", "i3", "i4", "i5"]))

    for text, reason in MALFORMED_CSV:
        status, answer = server.ask(text.encode(), "text/csv")
        assert status == 400 and reason in answer["message"], (text, answer)
        assert "Traceback" not in json.dumps(answer)
    for payload, reason in MALFORMED:
        status, answer = server.ask(payload)
        assert status == 400 and reason in answer["message"], (payload, answer)
        assert "Traceback" not in json.dumps(answer)

    # A request filed while the server runs counts from the next call on; so does its withdrawal.
    inbox = open_inbox(workspace)
    filed = inbox.add("user", user="ann")
    status, (first, *_) = server.ask(top)
    assert status == 200 and first == {"items": ["i2", "i0"], "suppressed": True}
    inbox.add("item", item="i2")
    inbox.add("interaction", user="bob", item="i3")
    assert server.ask(top) == (
        200,
        [{"items": ["i0", "i4"], "suppressed": True}, *answers(["i4", "i5"], ["i0", "i4", "i1", "i3"])],
    )
    inbox.withdraw(filed.request.id)
    assert server.ask(top)[1][0] == {"items": ["i4", "i3"], "suppressed": False}

    # Whoever reads the log learns nothing about whom was asked for; and nothing was written beside the workspace's own.
    assert not any(name in server.log.read_text() for name in ("ann", "bob", "stranger"))
    assert not (workspace.root / "mlruns").exists()

    # An inbox that cannot be read is not an empty one: no answer, and not the client's fault.
    for file in workspace.state.glob("inbox.db*"):
        file.unlink()
    assert server.ask(top)[0] == 503


def answers(*lists: list[str]) -> list[dict[str, Any]]:
    return [{"items": items, "suppressed": False} for items in lists]
