import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from typer.testing import CliRunner

from tru.cli.requests import app
from tru.errors import RequestError, WorkspaceError
from tru.ops.requests.store import open_inbox
from tru.ops.requests.suppression import KEY_VARIABLE
from tru.ops.workspace import Workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for variable in (KEY_VARIABLE, "TRU_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    root = tmp_path / "shop"  # lists lie beside it: inside, the erasure would find them
    root.mkdir()
    (root / "params.yaml").touch()
    monkeypatch.setenv("TRU_WORKSPACE", str(root))
    return Workspace(root)


def tru(*words):
    """What ``tru requests …`` prints; its errors are raised."""
    return CliRunner().invoke(app, list(words), catch_exceptions=False).stdout


def refused(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code != 0
    return result


@pytest.mark.parametrize(
    ("words", "regime"),
    [
        (["--user", "alice"], "user"),
        (["--item", "lamp"], "item"),
        (["--user", "alice", "--item", "lamp"], "interaction"),
        (["--item", "lamp", "--modality", "image"], "modality"),
    ],
)
def test_a_request_is_filed_once_and_shown_without_its_subject(workspace, words, regime):
    said = tru("add", *words) + tru("add", *words) + tru("list")
    request = open_inbox(workspace).list()[0]
    assert request.regime == regime
    first, second, header, row = said.splitlines()
    assert first == f"{request.id}  filed; due {request.due:%Y-%m-%d}"
    assert second == f"{request.id}  already filed (queued); due {request.due:%Y-%m-%d}"
    assert header.split() == ["id", "regime", "state", "outcome", "received", "due", "batch"]
    assert row.split()[:4] == [request.id, regime, "queued", "-"]
    for word in ("alice", "lamp"):
        assert word not in said


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ["--user", "alice", "--user", "bob", "--user=carol"],
            [("alice", None, None), ("bob", None, None), ("carol", None, None)],
        ),
        (["--item", "lamp", "--item", "mug"], [(None, "lamp", None), (None, "mug", None)]),
        (["--user", "alice", "--item", "lamp", "--item", "mug"], [("alice", "lamp", None), ("alice", "mug", None)]),
        (
            ["--modality", "text", "--item", "lamp", "--modality", "image"],
            [(None, "lamp", "text"), (None, "lamp", "image")],
        ),
    ],
)
def test_several_subjects_at_once_are_all_filed(workspace, words, wanted):
    said = tru("add", *words)
    assert [(r.user, r.item, r.modality) for r in open_inbox(workspace).list()] == wanted
    assert said.startswith(f"{len(wanted)} requests filed, 0 were filed before, due from ")
    assert json.loads(tru("add", *words, "--json"))[-1]["added"] is False


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--user", "alice", "--user", "bob", "--item", "lamp"],
            "Several users and an item could be meant in two ways",
        ),
        (["--user", "alice", "--user", "bob", "--item", "lamp", "--item", "mug"], "two ways"),
        (["--item", "lamp", "--item", "mug", "--modality", "image"], "Several items and a modality"),
        (["--user", "alice", "--user", "bob", "--modality", "image"], "this one names user and modality"),
        (["--user", "alice", "--user", ""], "The user is empty"),
        (
            ["--user", "alice", "--item", "lamp", "--modality", "image", "--modality", "text"],
            "names user, item and mod",
        ),
    ],
)
def test_what_could_be_meant_in_two_ways_files_nobody(workspace, words, says):
    error = refused("add", *words).exception
    assert isinstance(error, RequestError) and says in str(error)
    assert "alice" not in str(error) and "\n" not in str(error)
    assert list(open_inbox(workspace).list()) == []


def test_a_request_carries_the_day_it_was_received(workspace, tmp_path):
    asked = datetime.now(UTC).replace(microsecond=0) - timedelta(days=12)
    here = asked.astimezone(timezone(timedelta(hours=-5)))
    due = asked + timedelta(days=30)
    assert tru("add", "--user", "alice", "--received", here.isoformat()).endswith(f"; due {due:%Y-%m-%d}\n")
    file = tmp_path / "r.csv"
    file.write_text(f"user,received\nbob,{here.isoformat()}\ncarol,\nalice,{(asked - timedelta(days=1)).isoformat()}\n")
    said = tru("import", str(file))
    assert said.startswith(
        "2 requests filed, 1 was filed before, due from " + (due - timedelta(days=1)).date().isoformat()
    )
    shown = json.loads(tru("list", "--json"))
    assert shown[1]["received"] == asked.isoformat() and shown[1]["due"] == due.isoformat()
    assert shown[0]["due"] == (due - timedelta(days=1)).isoformat()
    assert f"{due:%Y-%m-%d}" in tru("list").splitlines()[2]


@pytest.mark.parametrize("given", ["2026-10-12", "2999-01-01T00:00:00Z", "yesterday", ""])
def test_a_day_that_cannot_be_files_nobody(workspace, given):
    error = refused("add", "--user", "alice", "--received", given).exception
    assert isinstance(error, RequestError) and "The time of receipt" in str(error)
    assert list(open_inbox(workspace).list()) == []


def test_several_requests_are_shown_and_withdrawn_all_or_none(workspace):
    tru("add", "--user", "alice", "--user", "bob", "--user", "carol")
    a, b, c = (request.id for request in open_inbox(workspace).list())
    assert [row["id"] for row in json.loads(tru("show", b, a, "--json"))] == [b, a]
    assert [line.split()[0] for line in tru("show", b, a).splitlines()] == ["id", b, a]
    assert isinstance(refused("withdraw", a, "alice").exception, RequestError)
    assert [row["state"] for row in json.loads(tru("withdraw", a, c, "--json"))] == ["withdrawn"] * 2
    assert [request.state for request in open_inbox(workspace).list()] == ["withdrawn", "queued", "withdrawn"]
    listed = json.loads(tru("list", "--state", "queued", "--state", "withdrawn", "--json"))
    assert [row["id"] for row in listed] == [a, b, c]


def test_lists_for_programs_have_the_promised_fields_and_no_subject(workspace):
    filed = json.loads(tru("add", "--user", "alice", "--json"))
    assert filed[0].pop("added") is True
    assert filed[0].pop("known") is None  # there is no data set here; see test_unknown.py
    assert json.loads(tru("list", "--json")) == filed
    assert list(filed[0]) == ["id", "regime", "state", "outcome", "received", "due", "batch"]
    assert json.loads(tru("show", filed[0]["id"], "--json")) == filed[0]
    assert "alice" not in str(filed)


def test_the_days_are_those_of_the_settings(workspace):
    workspace.params.write_text("requests: {due_days: 10, warn_days: 3}\nmodel: [broken]\n")
    filed = json.loads(tru("add", "--user", "alice", "--json"))[0]
    request = open_inbox(workspace).list()[0]
    assert filed["due"] == (request.received + timedelta(days=10)).isoformat(timespec="seconds")
    assert filed["due"][:10] in tru("list") and filed["due"] in tru("show", request.id)
    workspace.params.write_text("requests: {due_days: soon}\n")
    error = refused("add", "--user", "bob").exception
    assert isinstance(error, WorkspaceError) and "`requests`" in str(error) and len(open_inbox(workspace).list()) == 1


def test_lists_can_be_narrowed(workspace):
    tru("add", "--user", "alice")
    assert json.loads(tru("list", "--state", "closed", "--json")) == []
    assert tru("list", "--state", "closed") == "No requests.\n"
    assert "queued" in refused("list", "--state", "done").output


def test_a_file_is_filed_as_a_whole(workspace, tmp_path):
    file = tmp_path / "requests.csv"
    file.write_text("USER_ID\nalice\nbob\nalice\n")
    assert tru("import", str(file)).startswith("2 requests filed, 1 was filed before")
    assert [receipt["added"] for receipt in json.loads(tru("import", str(file), "--json"))] == [False] * 3
    file.write_text("user\ncarol\n\x00\n")
    with pytest.raises(RequestError, match="row 3"):
        tru("import", str(file))
    assert len(open_inbox(workspace).list()) == 2


def test_a_request_can_be_withdrawn_while_it_waits(workspace):
    tru("add", "--user", "alice")
    id = open_inbox(workspace).list()[0].id
    assert "state     withdrawn" in tru("withdraw", id).splitlines()
    with pytest.raises(RequestError, match="only one that waits"):
        tru("withdraw", id)
    assert json.loads(tru("show", id, "--json"))["state"] == "withdrawn"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add"], "names nothing"),
        (["add", "--modality", "image"], "names modality"),
        (["add", "--user", ""], "empty"),
        (["show", "alice"], "no request with this id"),
        (["withdraw", "alice"], "no request with this id"),
        (["import", "nowhere.csv"], "no such file"),
    ],
)
def test_what_cannot_be_done_is_said(workspace, words, says):
    error = refused(*words).exception
    assert isinstance(error, RequestError)
    assert says in str(error)
    assert "alice" not in str(error)


def test_a_workspace_can_be_named_and_must_be_one(workspace, tmp_path, monkeypatch):
    monkeypatch.delenv("TRU_WORKSPACE")
    tru("add", "--user", "alice", "--workspace", str(workspace.root))
    assert len(open_inbox(workspace).list()) == 1
    with pytest.raises(WorkspaceError, match="not a workspace"):
        tru("list", "--workspace", str(tmp_path))


def test_the_help_loads_nothing_heavy():
    code = "import sys, tru.cli.requests; sys.exit(bool({'sqlalchemy', 'pandas', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
