import json

import pytest
from typer.testing import CliRunner

from tru.cli.init import create
from tru.cli.main import app
from tru.errors import RequestError
from tru.ops.requests.store import open_inbox


@pytest.fixture
def ws(tmp_path):
    return create(tmp_path / "shop")


def tru(ws, *words):
    return CliRunner().invoke(app, ["scan", *words, "--workspace", str(ws.root)], catch_exceptions=False)


@pytest.fixture
def listed(tmp_path):
    file = tmp_path / "subjects.csv"
    file.write_text("USER_ID\nu-anna-karenina\n")
    return str(file)


def test_nothing_found_is_exit_code_0(ws, listed):
    open_inbox(ws)
    done = tru(ws, "--batch", "batch-20261124-01", "--subjects", listed)
    assert done.exit_code == 0 and "Nothing found in 18 stores." in done.stdout
    assert "Searching: dvc cache" in done.stderr


def test_something_found_is_exit_code_1_and_named_by_its_store(ws, listed):
    (ws.root / "exports.csv").write_text("user_id,k\nu-anna-karenina,20\n")
    done = tru(ws, "--batch", "batch-20261124-01", "--subjects", listed)
    assert done.exit_code == 1 and "Found in 1 of 18 stores." in done.stdout
    assert "exports.csv" in done.stdout and "anna" not in done.stdout + done.stderr


def test_json_is_a_list_of_store_state_and_count(ws, listed):
    (ws.root / "exports.csv").write_text("user_id,k\nu-anna-karenina,20\n")
    done = tru(ws, "--batch", "batch-20261124-01", "--subjects", listed, "--json")
    rows = json.loads(done.stdout)
    assert done.exit_code == 1 and done.stderr == ""
    assert {"store": "other files", "state": "found", "count": 1, "why": "exports.csv"} in rows
    assert {"store": "dvc cache", "state": "not found", "count": 0} in rows


def test_the_batch_that_is_open_needs_no_list(ws):
    inbox = open_inbox(ws)
    inbox.add("user", user="u-anna-karenina")
    batch = inbox.claim("a process").id
    done = tru(ws, "--batch", batch, "--json")
    assert done.exit_code == 1
    assert [row["store"] for row in json.loads(done.stdout) if row["count"]] == ["inbox and ledger"]


def test_without_identifiers_it_says_what_to_give(ws):
    open_inbox(ws)
    with pytest.raises(RequestError, match="--subjects FILE"):
        tru(ws, "--batch", "batch-20261124-01")
