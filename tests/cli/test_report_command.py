import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import nights
from tru.cli.init import create
from tru.cli.main import app
from tru.errors import RequestError
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox


@pytest.fixture
def ws(tmp_path):
    return create(tmp_path / "shop")


def closed(ws):
    inbox = open_inbox(ws)
    inbox.add_all([Subject.of(user="u-anna-karenina")])
    batch = inbox.claim("a process").id
    inbox.advance(batch, "a process", "promote", "promoted", **nights.facts())
    inbox.close(batch, "a process", "unlearned", "pass", {})
    return batch


def tru(ws, *words):
    return CliRunner().invoke(app, ["report", *words, "--workspace", str(ws.root)], catch_exceptions=False)


def test_it_prints_the_path_and_nothing_else(ws):
    batch = closed(ws)
    done = tru(ws)
    file = Path(done.stdout.strip())
    assert done.exit_code == 0 and done.stdout == f"{file}\n" and file.name == f"{batch}.html"
    assert batch in file.read_text(encoding="utf-8") and "anna" not in file.read_text(encoding="utf-8")


def test_a_batch_can_be_named_and_the_answer_be_for_programs(ws):
    batch = closed(ws)
    assert json.loads(tru(ws, batch, "--json").stdout) == {
        "batch": batch,
        "path": str(ws.state / "reports" / f"{batch}.html"),
    }


def test_without_a_batch_it_says_what_to_do(ws):
    with pytest.raises(RequestError, match="`tru run`"):
        tru(ws)
    with pytest.raises(RequestError):
        tru(ws, "batch-20200101-01")
