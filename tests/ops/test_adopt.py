"""A workspace that was copied, moved or restored knows it, works in nobody's folder, and can be made its own."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.patience import HANG
from tests.workspaces import file_requests, subjects, whole_night
from tru.cli.init import create
from tru.cli.main import app
from tru.errors import WorkspaceError
from tru.ops import adopt as adoption
from tru.ops import identity
from tru.ops.adopt import adopt
from tru.ops.erasure import eraser
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox
from tru.ops.servers import processes, services
from tru.ops.status import recommendation, urgent
from tru.ops.workspace import Workspace

DVC = (sys.executable, "-m", "dvc")
WRITING = [
    *(["requests", "add", "--user", "u"], ["requests", "import", "FILE"], ["requests", "withdraw", "req-0"]),
    *(["requests", "refuse", "req-0", "--reason", "x"], ["batch", "accept", "--reason", "x"], ["batch", "split"]),
    *(["run"], ["train"], ["baseline"], ["batch", "retry"], ["batch", "release", "--reason", "x"], ["erase"]),
    *(["erase", "--plan"], ["reapply"], ["rollback"], ["data", "import", "."], ["data", "generate"], ["up"], ["down"]),
    *(["stage", "prepare"], ["recommend", "--user", "u"], ["certificate", "keys", "rotate"], ["init", "HERE"]),
]
READING = [
    *(["status"], ["status", "--json"], ["requests", "list"], ["ledger", "show"], ["ledger", "verify", "--against"]),
    *(["certificate", "list"], ["baseline", "--show"], ["rollback", "--list"], ["data", "show"]),
]


def contents(root):
    """Every file of a workspace by its bytes; DVC's and git's own notes of what they looked at left out."""
    passing = (".dvc/tmp/", ".git/index", ".tru/tmp/", ".tru/inbox.db-", ".tru/adopt.lock")
    files = {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(passing)}


def tru(*words):
    return CliRunner().invoke(app, [*words])


@pytest.fixture
def original(trained):
    return trained


@pytest.fixture
def copied(original):
    """As `cp -a shop shop2` leaves it."""
    root = original.root.with_name("sh op é2")
    shutil.copytree(original.root, root, symlinks=True)
    return Workspace(root)


@pytest.fixture
def old_copy(original, copied):
    """The same, both made by a tru that wrote no identity."""
    for ws in (original, copied):
        (ws.root / identity.FILE).unlink()
    return copied


# -- a copy knows it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
@pytest.mark.parametrize("kind", ["copied", "old_copy"])
def test_whatever_writes_is_refused_in_a_copy(words, kind, original, request):
    copied = request.getfixturevalue(kind)
    (copied.root.parent / "list.csv").write_text("USER_ID\nsomebody\n")
    places = {"FILE": str(copied.root.parent / "list.csv"), "HERE": str(copied.root)}
    before, there = contents(copied.root), contents(original.root)
    option = [] if words[0] == "init" else ["--workspace", str(copied.root)]

    done = tru(*(places.get(word, word) for word in words), *option)

    assert isinstance(done.exception, WorkspaceError), done.output
    assert str(original.root) in str(done.exception) and "`tru adopt`" in str(done.exception)
    assert contents(copied.root) == before and contents(original.root) == there


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_reads_goes_on_in_a_copy(words, copied):
    done = tru(*words, "--workspace", str(copied.root))
    assert done.exit_code == 0, done.output


def test_the_list_of_what_is_refused_is_complete():
    """Every command is in one of the two lists, or stands here: it reads, and needs more than a copy to be asked."""
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    known = {tuple(words[:2]) if words[0] in groups else (words[0],) for words in WRITING + READING}
    known |= {
        *(
            ("backbones",),
            ("unlearners",),
            ("demo",),
            ("adopt",),
            ("check",),
            ("scan",),
            ("report",),
            ("requests", "show"),
            ("certificate", "show"),
        ),
        *(("certificate", "verify"), ("certificate", "export")),
    }
    commands = {(c.name or c.callback.__name__,) for c in app.registered_commands}
    commands |= {
        (name, c.name or c.callback.__name__) for name, group in groups.items() for c in group.registered_commands
    }
    assert commands - known == set()


def test_a_check_says_it(original, copied):
    done = tru("check", "--json", "--workspace", str(copied.root))
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert done.exit_code == 1 and rows["place"]["state"] == "wrong" and "tru adopt" in rows["place"]["words"]
    done = tru("check", "--json", "--workspace", str(original.root))
    assert next(row for row in json.loads(done.stdout) if row["what"] == "place")["state"] == "ok"


def test_status_says_it_first_and_in_words(original, copied):
    assert urgent(original) == []
    first = urgent(copied)[0]
    assert first.startswith("COPY: ") and str(original.root) in first and "tru adopt" in first
    assert "COPY: " in tru("status", "--workspace", str(copied.root)).output


def test_a_flow_and_its_tasks_are_refused_in_a_copy(original, copied):
    before = contents(original.root)
    for flow in ("unlearn", "train", "baseline"):
        done = subprocess.run(
            [sys.executable, "-m", f"flows.{flow}", "--workspace", str(copied.root)], capture_output=True, text=True
        )
        assert done.returncode == 1 and "tru adopt" in done.stderr and "Traceback" not in done.stderr
    from tru.ops.flows import tasks

    with pytest.raises(WorkspaceError, match="tru adopt"):
        tasks.claim.fn(str(copied.root))
    assert contents(original.root) == before


def test_a_copy_does_not_serve_the_models_of_its_original(copied, monkeypatch):
    monkeypatch.setenv("TRU_WORKSPACE", str(copied.root))
    uri = Registry(copied)._client.get_model_version_download_uri("tru-recommender", "1")
    with pytest.raises(WorkspaceError, match="tru adopt"):
        mlflow.pyfunc.load_model(uri)
    adopt(copied)
    uri = Registry(copied)._client.get_model_version_download_uri("tru-recommender", "1")
    assert copied.root.as_uri() in uri
    assert len(mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"user_id": ["a stranger"]}))) == 1


def test_one_folder_by_several_names_is_one_workspace(original, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(original.root)
    assert Workspace.find(link) == Workspace.find(original.root)
    moved = tmp_path / "elsewhere"
    shutil.move(original.root, moved)
    original.root.symlink_to(moved)  # its old name still leads to it
    assert identity.origin(moved) is None and adopt(Workspace(moved)).came_from is None


def test_a_restore_in_the_same_place_is_fine(original, tmp_path):
    shutil.copytree(original.root, tmp_path / "backup", symlinks=True)
    shutil.rmtree(original.root)
    shutil.copytree(tmp_path / "backup", original.root, symlinks=True)
    assert Workspace.find(original.root) == original
    assert adopt(original).came_from is None


def test_a_restore_beside_is_found_by_what_the_database_names(original, tmp_path):
    """What the documentation says to back up, restored into a new folder."""
    ws = create(tmp_path / "restored")
    for name in ("mlflow.db", ".tru/inbox.db", ".tru/suppression.key"):
        shutil.copy(original.root / name, ws.root / name)
    shutil.copytree(original.model_store, ws.model_store)
    mine = identity.read(ws.root).id

    with pytest.raises(WorkspaceError, match=str(original.root)):
        Workspace.find(ws.root)
    adopt(ws)

    assert Workspace.find(ws.root) == ws and identity.read(ws.root).id == mine
    assert Registry(ws).model_dir("1").is_relative_to(ws.root)


def test_a_workspace_of_an_older_tru_gets_its_identity_where_it_is(original):
    (original.root / identity.FILE).unlink()
    assert Workspace.find(original.root, reading=True) == original
    assert identity.read(original.root).root == str(original.root)


def test_asking_makes_nothing_in_a_folder_that_holds_nothing_yet(tmp_path):
    (tmp_path / "params.yaml").touch()
    assert Workspace.find(tmp_path).root == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


def test_models_kept_elsewhere_on_purpose_are_no_sign_of_a_copy(original, tmp_path):
    place = tmp_path / "disk" / "mlartifacts" / "tru"
    shutil.copytree(original.model_store / "tru", place)
    with closing(sqlite3.connect(original.root / "mlflow.db")) as db, db:
        for table, column in identity._PLACES:
            old, new = (original.model_store / "tru").as_uri(), place.as_uri()
            db.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
    assert Workspace.find(original.root) == original


# -- and can be made its own ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["copied", "old_copy"])
def test_an_adopted_copy_forgets_and_erases_and_its_original_stays_to_the_byte(kind, original, request):
    copied = request.getfixturevalue(kind)
    before = contents(original.root)

    done = tru("adopt", "--workspace", str(copied.root))

    assert done.exit_code == 0 and "a workspace of its own" in done.output
    assert identity.read(copied.root).root == str(copied.root)
    old = identity.read(original.root)
    assert old is None or identity.read(copied.root).id != old.id
    named = subprocess.run(["grep", "-rlF", f"{original.root}/", copied.root], capture_output=True, text=True).stdout
    assert [name for name in named.split() if "/.git/" not in name and "/.dvc/" not in name] == []

    file_requests(copied, subjects(copied))
    assert whole_night(copied)
    assert eraser.erase(copied)["certificates"] == 5
    assert contents(original.root) == before
    assert recommendation(original, "a stranger", 3)["model_version"] == "1"
    assert recommendation(copied, "a stranger", 3)["model_version"] == "2"


@pytest.mark.parametrize("has_identity", [True, False])
def test_a_moved_workspace_is_adopted_where_it_is(has_identity, original, tmp_path):
    mine = identity.read(original.root).id
    if not has_identity:
        (original.root / identity.FILE).unlink()
    moved = tmp_path / "moved"
    shutil.move(original.root, moved)

    with pytest.raises(WorkspaceError, match="moved here" if has_identity else "copied here"):
        Workspace.find(moved)
    done = adopt(Workspace(moved))

    assert done.is_moved is has_identity and done.addresses > 0
    assert (identity.read(moved).id == mine) is has_identity
    assert recommendation(Workspace.find(moved), "a stranger", 3)["model_version"] == "1"
    assert not original.root.exists()
    assert adopt(Workspace(moved)).came_from is None


def test_a_copy_of_another_machine_is_not_taken_for_moved(original, copied):
    facts = json.loads((copied.root / identity.FILE).read_text())
    (copied.root / identity.FILE).write_text(json.dumps({**facts, "machine": "elsewhere"}))
    shutil.rmtree(original.root)
    assert identity.origin(copied.root).is_moved is False
    (copied.root / identity.FILE).write_text(json.dumps(facts))
    assert identity.origin(copied.root).is_moved is True


def test_a_place_that_another_workspace_took_over_has_not_the_original(original, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(original.root, moved)
    create(original.root)
    assert identity.origin(moved).is_moved
    adopt(Workspace(moved))
    assert Registry(Workspace.find(moved)).model_dir("1").is_relative_to(moved)


def test_what_names_processes_of_the_original_is_dropped_and_they_live(original, copied):
    """Copied while `tru up` ran and a night was under way in the original."""
    token = "a-token-of-the-original"
    environment = {**os.environ, "TRU_SERVICES_TOKEN": token}
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], env=environment)
    try:
        started = processes.start_time(server.pid)
        member = {"name": "prefect-server", "pid": server.pid, "started": started, "address": "http://127.0.0.1:1"}
        words = {"token": token, "members": [member], "complete": True}
        for ws in (original, copied):
            (ws.state / "services.json").write_text(json.dumps(words))
        file_requests(copied, subjects(copied))
        open_inbox(copied).claim(this_owner(), 3600)  # of this process, which lives
        (copied.root / ".dvc" / "tmp").mkdir(exist_ok=True)
        lock = {"write": {"/": {"pid": os.getppid(), "cmd": "dvc repro"}}, "read": {}}
        (copied.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))

        assert services.load(original).alive
        assert services.load(copied) is None and services.prefect_address(copied) is None
        adopt(copied)

        assert services.stop(copied) == 0 and server.poll() is None
        assert services.load(original).alive
        assert open_inbox(copied).open_batch().owner is None
        assert DataVersions(copied).status() is not None  # no DVC process of the original stands in the way
    finally:
        server.kill()
        server.wait()


def test_what_runs_for_a_workspace_that_was_moved_is_its_own_and_stopped(original, tmp_path):
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    try:
        member = {"name": "mlflow", "pid": server.pid, "started": processes.start_time(server.pid), "address": None}
        words = {"token": "no-such-token", "members": [member], "complete": True}
        (original.state / "services.json").write_text(json.dumps(words))
        moved = Workspace(tmp_path / "moved")
        shutil.move(original.root, moved.root)
        adopt(moved)
        server.wait(HANG)  # sooner than its hour
        assert services.load(moved) is None
    finally:
        server.kill()
        server.wait()


# -- what cannot be parted --------------------------------------------------------------------------------------------


def with_a_remote(ws, outside, _patch):
    subprocess.run([*DVC, "remote", "add", "-d", "origin", str(outside)], cwd=ws.root, check=True, capture_output=True)
    return "the DVC remote origin"


def with_a_cache_elsewhere(ws, outside, _patch):
    subprocess.run([*DVC, "cache", "dir", "--local", str(outside)], cwd=ws.root, check=True, capture_output=True)
    return "DVC's cache at"


def with_a_link(ws, outside, _patch):
    (ws.root / "exports").symlink_to(outside)
    return "exports, a link to"


def with_models_behind_a_link(ws, outside, _patch):
    shutil.move(ws.model_store / "tru", outside / "tru")
    ws.model_store.rmdir()
    ws.model_store.symlink_to(outside)
    return "mlartifacts, a link to"


def with_an_inbox_elsewhere(ws, outside, patch):
    patch.setenv("TRU_DATABASE_URL", f"sqlite:///{outside}/inbox.db")
    shutil.copy(ws.state / "inbox.db", outside / "inbox.db")
    return "TRU_DATABASE_URL"


def with_a_tracking_server(ws, outside, patch):
    patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return "MLFLOW_TRACKING_URI"


def with_artifacts_elsewhere(ws, outside, _patch):
    with closing(sqlite3.connect(ws.root / "mlflow.db")) as db, db:
        db.execute("INSERT INTO experiments (name, artifact_location) VALUES ('mine', 's3://bucket/mine')")
    return "MLflow's artifacts at s3://bucket/mine"


def with_git_elsewhere(ws, outside, _patch):
    shutil.move(ws.root / ".git", outside / "git")
    (ws.root / ".git").write_text(f"gitdir: {outside / 'git'}\n")
    return "the git repository that .git names"


@pytest.mark.parametrize(
    "share",
    [
        *(with_a_remote, with_a_cache_elsewhere, with_a_link, with_models_behind_a_link, with_an_inbox_elsewhere),
        *(with_a_tracking_server, with_artifacts_elsewhere, with_git_elsewhere),
    ],
)
def test_stores_that_stay_shared_are_named_and_must_be_accepted(share, original, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    words = share(original, outside, monkeypatch)
    copied = Workspace(tmp_path / "copied")
    shutil.copytree(original.root, copied.root, symlinks=True)
    before = contents(copied.root)

    with pytest.raises(WorkspaceError, match="--accept-shared-stores") as refusal:
        adopt(copied)
    assert words in str(refusal.value) and contents(copied.root) == before

    done = tru("adopt", "--accept-shared-stores", "--workspace", str(copied.root))
    assert done.exit_code == 0 and words in done.output
    assert Workspace.find(copied.root) == copied


def test_nothing_is_shared_by_a_plain_copy_and_links_inside_are_its_own(original, tmp_path):
    (original.root / "notes").symlink_to("params.yaml")
    copied = Workspace(tmp_path / "copied")
    shutil.copytree(original.root, copied.root, symlinks=True)
    assert adopt(copied).shared == []


# -- a copy that is not whole -----------------------------------------------------------------------------------------


def test_a_copy_of_hard_links_is_refused(original, tmp_path):
    copied = Workspace(tmp_path / "copied")
    shutil.copytree(original.root, copied.root, symlinks=True, copy_function=os.link)
    before = contents(original.root)
    with pytest.raises(WorkspaceError, match="the original's own file"):
        adopt(copied)
    assert contents(original.root) == before


@pytest.mark.parametrize("name", ["mlflow.db", ".tru/inbox.db"])
def test_a_torn_database_is_refused(name, copied):
    content = bytearray((copied.root / name).read_bytes())
    content[4096:12288] = b"\xff" * 8192
    (copied.root / name).write_bytes(content)
    before = contents(copied.root)
    with pytest.raises(WorkspaceError, match="copied while it was written"):
        adopt(copied)
    assert contents(copied.root) == before


def test_a_copy_without_the_models_is_refused(copied):
    shutil.rmtree(copied.model_store)
    before = contents(copied.root)
    with pytest.raises(WorkspaceError, match="the models of 1 versions are not in this copy"):
        adopt(copied)
    assert contents(copied.root) == before


def killed(root: str, moment: str) -> None:
    """Adopt and die by SIGKILL when ``moment`` comes."""
    setattr(adoption, moment, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    adopt(Workspace(Path(root)))


@pytest.mark.parametrize("moment", ["_rewritten", "_cut_loose", "_refuse_unless_ours"])
def test_a_killed_adoption_leaves_a_copy_that_only_reads_and_is_finished_later(moment, original, copied):
    process = get_context("spawn").Process(target=killed, args=(str(copied.root), moment))
    process.start()
    process.join(HANG)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(WorkspaceError, match="tru adopt"):
        Workspace.find(copied.root)
    assert adopt(copied).came_from == original.root
    assert recommendation(Workspace.find(copied.root), "a stranger", 3)["model_version"] == "1"


def test_a_damaged_identity_is_said(original):
    for words in ("{", "[]", '{"id": "x"}'):
        (original.root / identity.FILE).write_text(words)
        with pytest.raises(WorkspaceError, match=r"workspace\.json is damaged"):
            Workspace.find(original.root)


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "100%", "{a}", "a\nb"])
def test_a_name_that_no_address_can_hold_is_refused_before_anything_is_made(name, tmp_path):
    done = tru("init", str(tmp_path / name / "shop"))
    assert isinstance(done.exception, WorkspaceError) and "Rename the folder" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).mkdir()
    (tmp_path / name / "params.yaml").touch()
    with pytest.raises(WorkspaceError, match="Rename the folder"):
        Workspace.find(tmp_path / name)
