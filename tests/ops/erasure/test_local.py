"""What lies about: destroyed where it holds somebody, left where it does not, and a live server's files stay whole."""

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests import workspaces
from tests.patience import HANG
from tru.data.forget import ForgetSet
from tru.errors import ErasureError
from tru.ops.erasure import local
from tru.ops.erasure.local import purge_local
from tru.ops.erasure.search.traces import Traces
from tru.ops.judging import baseline
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox
from tru.ops.servers.services import prefect_environment, without_prefect
from tru.ops.storage import sqlite
from tru.ops.workspace import Workspace

NOBODY = Traces(ForgetSet())
USER, ITEM, OTHER = "u-3fa9c1", "i-77e0b2", "u-0d11e4"
TRACES = Traces(ForgetSet(users=frozenset({USER, "885"}), items=frozenset({ITEM})))

# A flow that says too much, in every way that Prefect offers.
FLOW = f"""
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact

@task(persist_result=True)
def result(user):
    return {{"user": user, "lists": [[user, 1.5]]}}

@flow(name="chatty")
def chatty(user):
    get_run_logger().info("list for %s", user)
    create_markdown_artifact(f"wrote to {{user}}", key=f"note-{{user}}")
    result(user)

@flow(name="quiet")
def quiet(batch):
    get_run_logger().info("worked on %s", batch)

chatty("{USER}")
quiet("batch-20261101-01")
quiet("batch-20261102-01")
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Tiny data, an inbox, and a Prefect that ran the flows above."""
    ws = workspaces.make(tmp_path_factory.mktemp("local") / "workspace")
    open_inbox(ws)
    (ws.state / "prefect").mkdir(parents=True)
    environment = {**without_prefect(os.environ), **prefect_environment(ws)}
    done = subprocess.run(
        [sys.executable, "-c", FLOW],
        cwd=ws.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert USER in done.stderr
    return ws


@pytest.fixture
def ws(template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return workspaces.copy(template.root, tmp_path / "workspace")


def counts(ws: Workspace, traces: Traces = TRACES) -> dict[str, int]:
    return {row.what: row.count for row in purge_local(ws, traces) if row.count}


def put(file: Path, content: str | bytes, age: float = 0.0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(file, (time.time() - age,) * 2)
    return file


def in_bytes(folder: Path, *names: str) -> list[str]:
    return [
        file.name
        for file in folder.rglob("*")
        if file.is_file() and any(name.encode() in file.read_bytes() for name in names)
    ]


def test_clean_workspace_loses_nothing(ws: Workspace) -> None:
    shutil.rmtree(ws.state / "prefect")
    put(ws.state / "logs" / "mlflow.log", "885 requests served\n")
    put(ws.state / "reports" / "batch-1.html", "<p>a report</p>")
    before = {file: file.read_bytes() for file in ws.root.rglob("*") if file.is_file()}
    assert counts(ws) == counts(ws, NOBODY) == {}
    assert {file: file.read_bytes() for file in ws.root.rglob("*") if file.is_file()} == before


# -- Prefect ----------------------------------------------------------------------------------------------------------


def test_prefect_forgets_whoever_it_names_and_nothing_else(ws: Workspace) -> None:
    home = ws.state / "prefect"
    assert in_bytes(home, USER) != []
    quiet = rows(ws, "SELECT count(*) FROM flow_run WHERE name IS NOT NULL AND parameters LIKE '%batch-2026%'")
    found = counts(ws)
    assert found["prefect database"] >= 3 and found["prefect results"] == 1
    assert in_bytes(home, USER) == []  # neither in a row nor in freed space nor in the write-ahead log
    kept = rows(ws, "SELECT count(*) FROM flow_run WHERE parameters LIKE '%batch-2026%'")
    assert kept == quiet == [(2,)]
    assert rows(ws, "SELECT count(*) FROM log WHERE message LIKE 'worked on%'") == [(2,)]
    assert rows(ws, "PRAGMA integrity_check") == [("ok",)] and rows(ws, "PRAGMA foreign_key_check") == []
    assert counts(ws) == {}


def rows(ws: Workspace, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(ws.state / "prefect" / "prefect.db") as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


def test_prefect_still_runs_afterwards(ws: Workspace) -> None:
    counts(ws)
    environment = {**without_prefect(os.environ), **prefect_environment(ws), "COLUMNS": "200"}
    environment["PREFECT_PLUGINS_ENABLED"] = "false"  # ours refuses commands that would start a server of their own
    command = [sys.executable, "-m", "prefect", "flow-run", "ls"]
    done = subprocess.run(
        command, cwd=ws.root, env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0 and done.stdout.count("COMPLETED") == 2, done.stderr[-2000:]


def test_rows_deleted_earlier_are_not_left_in_free_space(ws: Workspace) -> None:
    with sqlite3.connect(ws.state / "prefect" / "prefect.db") as db:  # as with "delete" on the page
        db.execute("PRAGMA secure_delete = OFF")
        for table in ("flow_run", "task_run", "log", "artifact", "artifact_collection", "events", "event_resources"):
            db.execute(f"DELETE FROM {table}")
    db.close()
    shutil.rmtree(ws.state / "prefect" / "storage")
    assert in_bytes(ws.state / "prefect", USER) != []
    assert "prefect database" not in counts(ws)
    assert in_bytes(ws.state / "prefect", USER) == []


def test_short_ids_are_found_in_prefects_rows_too(ws: Workspace) -> None:
    with sqlite3.connect(ws.state / "prefect" / "prefect.db") as db:
        db.execute(
            "UPDATE flow_run SET parameters = ? WHERE parameters LIKE '%20261101%'", (json.dumps({"user": 885}),)
        )
        db.execute("UPDATE flow_run SET total_run_time = '885' WHERE parameters LIKE '%20261102%'")
    db.close()
    counts(ws)
    assert rows(ws, "SELECT count(*) FROM flow_run WHERE parameters LIKE '%885%'") == [(0,)]
    assert rows(ws, "SELECT count(*) FROM flow_run WHERE parameters LIKE '%20261102%'") == [(1,)]


def test_a_locked_prefect_is_told_if_it_matters(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.2)
    server = sqlite3.connect(ws.state / "prefect" / "prefect.db", isolation_level=None)
    server.execute("BEGIN IMMEDIATE")
    put(ws.state / "logs" / "a.log", f"list for {USER}\n")
    with pytest.raises(ErasureError, match="tru down") as error:
        purge_local(ws, TRACES)
    assert USER not in str(error.value)
    assert in_bytes(ws.state / "logs", USER) == []  # the rest was done
    assert counts(ws, NOBODY) == {}  # it holds nothing of theirs
    server.close()
    assert counts(ws)["prefect database"] > 0 and in_bytes(ws.state / "prefect", USER) == []


def test_a_live_prefect_goes_on_writing(ws: Workspace) -> None:
    """Somebody writes all the while, as a server does."""
    program = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=1800)
end = time.monotonic() + 4
n = 0
while time.monotonic() < end:
    db.execute("INSERT INTO variable (id, name, value) VALUES (hex(randomblob(16)), hex(randomblob(8)), '1')")
    n += 1
    time.sleep(0.005)
print(n)
"""
    file = ws.state / "prefect" / "prefect.db"
    writer = subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        counts(ws)
    finally:
        said, _ = writer.communicate(timeout=HANG)
    assert writer.returncode == 0
    assert rows(ws, "SELECT count(*) FROM variable") == [(int(said),)]
    assert in_bytes(ws.state / "prefect", USER) == []


def test_old_results_go_and_those_of_today_stay(ws: Workspace) -> None:
    storage = ws.state / "prefect" / "storage"
    shutil.rmtree(storage)
    old = put(storage / "old", '{"result": "batch-1"}', age=2 * local.DAY)
    new = put(storage / "new", '{"result": "batch-1"}')
    said = put(storage / "said", json.dumps({"result": [USER]}))
    assert counts(ws)["prefect results"] == 2
    assert [file.exists() for file in (old, new, said)] == [False, True, False]


# -- batches and baselines --------------------------------------------------------------------------------------------


def test_only_the_open_batch_keeps_its_folder(ws: Workspace) -> None:
    shutil.rmtree(ws.state / "prefect")
    put(ws.batches / "batch-20261101-01" / "before" / "x", "anything")
    assert counts(ws) == {"batches under way": 1}
    open_inbox(ws).add("user", user=OTHER)
    opened = open_inbox(ws).claim("me")
    assert opened is not None
    put(ws.batches / opened.id / "x", "needed")
    put(ws.batches / "batch-20261101-01" / "x", "anything")
    assert counts(ws) == {"batches under way": 1}
    assert [place.name for place in ws.batches.iterdir()] == [opened.id]


def under_way(ws: Workspace, **notes: object) -> Path:
    known = {"data_md5": DataVersions(ws).md5(), "deleted_through": open_inbox(ws).completed_through()}
    put(baseline.work(ws) / "notes.json", json.dumps({**known, **notes}))
    return put(baseline.work(ws) / "seed-0" / "arrays.npz", "weights").parents[1]


def test_a_baseline_of_the_present_data_may_go_on(ws: Workspace) -> None:
    shutil.rmtree(ws.state / "prefect")
    place = under_way(ws)
    assert counts(ws) == {} and place.exists()


@pytest.mark.parametrize("notes", [{"data_md5": "older.dir"}, {"deleted_through": 7}, None])
def test_a_killed_baseline_of_older_data_goes(ws: Workspace, notes: dict[str, object] | None) -> None:
    shutil.rmtree(ws.state / "prefect")
    place = under_way(ws, **notes or {})
    if notes is None:
        (place / "notes.json").unlink()
    draft = put(place.parent / "baseline.npz.new", "half written")
    numbers = put(place.parent / "baseline.npz", "numbers")
    assert counts(ws)["baseline"] == (2 if notes is None else 3)
    assert not place.exists() and not draft.exists() and numbers.exists()


def test_a_baseline_being_made_of_older_data_is_told(ws: Workspace) -> None:
    place = under_way(ws, data_md5="older.dir")
    with baseline.exclusive(ws), pytest.raises(ErasureError, match="wait until it ends"):
        purge_local(ws, TRACES)
    assert place.exists()
    counts(ws)
    assert not place.exists()


def test_a_baseline_being_made_of_the_present_data_is_not_in_the_way(ws: Workspace) -> None:
    place = under_way(ws)
    with baseline.exclusive(ws):
        counts(ws)
    assert place.exists()


# -- files ------------------------------------------------------------------------------------------------------------


def test_lines_are_blanked_in_place_and_a_live_writer_goes_on(ws: Workspace) -> None:
    shutil.rmtree(ws.state / "prefect")
    file = ws.state / "logs" / "mlflow.log"
    put(file, "")
    text = f"one\nlist for {USER}\nGET /users?id={OTHER}\nuser=885 item=12\n885 requests\n"
    with file.open("w") as writer:  # not in append mode, as `tru up` opens them
        writer.write(text)
        writer.flush()
        put(ws.root / "notes" / "train.log", f"{ITEM} was here\nand gone\n")
        assert counts(ws) == {"logs": 3}
        writer.write("two\n")
    lines = file.read_text().split("\n")
    assert [line.strip() for line in lines] == ["one", "", f"GET /users?id={OTHER}", "", "885 requests", "two", ""]
    assert len(file.read_text()) == len(text) + 4
    assert (ws.root / "notes" / "train.log").read_text().strip() == "and gone"
    assert counts(ws) == {}


def test_a_log_of_somebodys_loses_lines_and_nothing_more(ws: Workspace) -> None:
    shutil.rmtree(ws.state / "prefect")
    packed = put(ws.root / "notes" / "a.log", gzip.compress(f"list for {USER}".encode()))
    named = put(ws.root / "notes" / f"{USER}.log", "nothing")
    before = packed.read_bytes()
    counts(ws)
    assert packed.read_bytes() == before and named.read_text() == "nothing"  # the search names them, a person decides


def test_logs_that_have_no_lines_are_deleted(ws: Workspace) -> None:
    shutil.rmtree(ws.state / "prefect")
    for name, content in (
        ("a.log.gz", gzip.compress(f"list for {USER}".encode())),
        ("b.log", f"list for {USER}".encode("utf-16")),
        (f"{USER}.log", b"nothing"),
    ):
        put(ws.state / "logs" / name, content)
    kept = put(ws.state / "logs" / "c.log.gz", gzip.compress(f"list for {OTHER}".encode()))
    assert counts(ws)["logs"] >= 3
    assert sorted(file.name for file in kept.parent.iterdir()) == ["b.log", "c.log.gz"]
    assert not (kept.parent / "b.log").read_bytes().strip()
    assert counts(ws) == {}


def test_reports_checkpoints_and_temporary_files(ws: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(ws.state / "prefect")
    gone = [
        put(ws.state / "reports" / "a.html", f"<td>{USER}</td>"),
        put(ws.state / "checkpoints" / "train.npz", "optimiser state"),
        put(ws.state / "tmp" / "old" / "x", "a copy of a model", age=2 * local.HOUR),
        put(ws.state / "tmp" / "said", USER),
    ]
    os.utime(gone[2].parent, (time.time() - 2 * local.HOUR,) * 2)
    kept = [
        put(ws.state / "reports" / "b.html", f"<td>{OTHER}</td>"),
        put(ws.state / "tmp" / "new", "somebody works with it"),
        put(tmp_path / "tmp" / "another-workspace", USER),
    ]
    assert counts(ws) == {"stage outputs": 1, "temporary files": 2, "reports": 1}
    assert not any(file.exists() for file in gone) and all(file.exists() for file in kept)
