import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.cli import main as dvc
from s3fs import S3FileSystem

from tests.s3 import Store as Bucketry
from tests.workspaces import repository
from tru.errors import ReleaseError
from tru.ops.erasure.dvc.purge import DataPurge
from tru.ops.release.versions import DataVersions
from tru.ops.storage.s3 import open_bucket
from tru.ops.workspace import Workspace

PIPELINE = """
stages:
  double:
    cmd: python double.py
    deps: [data]
    params: [factor]
    outs: [artifacts/doubled]
  count:
    cmd: python count.py
    deps: [artifacts/doubled]
    metrics:
      - metrics/count.json: {cache: false}
  other:
    cmd: mkdir -p artifacts && cp notes.txt artifacts/other.txt
    deps: [notes.txt]
    outs: [artifacts/other.txt]
"""
DOUBLE = """
import pathlib, yaml
factor = yaml.safe_load(open("params.yaml"))["factor"]
pathlib.Path("artifacts/doubled").mkdir(parents=True, exist_ok=True)
pathlib.Path("artifacts/doubled/text").write_text(pathlib.Path("data/rows").read_text() * factor)
"""
COUNT = """
import json, pathlib
pathlib.Path("metrics").mkdir(exist_ok=True)
pathlib.Path("metrics/count.json").write_text(json.dumps(len(pathlib.Path("artifacts/doubled/text").read_text())))
"""
OLD, NEW = "ann bob\n", "bob\n"


def run(*command: str, cwd: Path, fails: bool = False) -> str:
    """Run a program; DVC in this process, where it answers twenty times as fast."""
    if command[0] == "dvc":
        with contextlib.chdir(cwd):
            code = dvc(command[1:])
        S3FileSystem.clear_instance_cache()  # it remembers what it saw in a bucket
        assert fails or code == 0, command
        return ""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert fails or done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for name, value in {"user.name": "Ada", "user.email": "ada@example.org", "init.defaultBranch": "main"}.items():
        subprocess.run(["git", "config", "--global", name, value], check=True)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")


@pytest.fixture
def ws(workspace: Workspace) -> Workspace:
    """A pipeline on data that names ann and bob, everything made and committed."""
    repository(workspace.root)
    files = {"params.yaml": "factor: 2\n", "dvc.yaml": PIPELINE, "double.py": DOUBLE, "count.py": COUNT}
    for name, text in {**files, "notes.txt": "notes\n"}.items():
        (workspace.root / name).write_text(text)
    write(workspace, OLD)
    DataVersions(workspace).reproduce()
    DataVersions(workspace).commit("Old", also=[*files, "notes.txt"])
    return workspace


def write(ws: Workspace, rows: str) -> str:
    ws.data.mkdir(exist_ok=True)
    (ws.data / "same").write_text("in every version\n")
    (ws.data / "rows").unlink(missing_ok=True)
    (ws.data / "rows").write_text(rows)
    (ws.data / "empty").touch()
    return DataVersions(ws).add()


def cut(ws: Workspace) -> str:
    """What a night does: data without ann, committed; the stages stay as they were."""
    md5 = write(ws, NEW)
    DataVersions(ws).commit("New")
    return md5


def holding(root: Path, text: bytes = b"ann") -> list[str]:
    """The files below that hold this, git's own apart."""
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return sorted(str(path.relative_to(root)) for path in files if text in path.read_bytes())


def local_remote(ws: Workspace, place: Path, name: str = "store") -> Path:
    run("dvc", "remote", "add", "--default", name, str(place), cwd=ws.root)
    run("git", "commit", "-qam", "Remote", cwd=ws.root)
    return place


def s3_remote(ws: Workspace, s3: Bucketry, bucket: str) -> str:
    url = f"s3://{bucket}/shop/dvc"
    run("dvc", "remote", "add", "--default", "store", url, cwd=ws.root)
    run("dvc", "remote", "modify", "store", "endpointurl", s3.endpoint, cwd=ws.root)
    run("git", "commit", "-qam", "Remote", cwd=ws.root)
    return url


def nothing_old_comes_back(ws: Workspace, tmp_path: Path) -> None:
    """In fresh clones, with the remote and an empty cache, and in the workspace itself, by every command of DVC."""
    root = ws.root
    old = run("git", "log", "--reverse", "--format=%H", "--", "data.dvc", cwd=root).split()[0]
    fresh = tmp_path / "clone"
    run("git", "clone", "-q", str(root), str(fresh), cwd=tmp_path)
    run("dvc", "pull", "--allow-missing", cwd=fresh)
    assert (fresh / "data" / "rows").read_text() == NEW and (fresh / "data" / "empty").exists()
    for place in (fresh, root):
        run("dvc", "fetch", "--all-commits", "--run-cache", cwd=place, fails=True)
        run("dvc", "pull", "--run-cache", cwd=place, fails=True)
        run("dvc", "get", "--rev", old, "-o", f"got-{place.name}", str(root), "data/rows", cwd=place, fails=True)
        run("git", "checkout", "-q", old, cwd=place)
        run("dvc", "checkout", cwd=place, fails=True)
        run("dvc", "pull", cwd=place, fails=True)
        assert holding(place) == []
        run("git", "checkout", "-q", "main", cwd=place)
        run("dvc", "checkout", cwd=place, fails=True)
    assert (root / "data" / "rows").read_text() == NEW


def test_old_data_is_nowhere_in_cache_and_local_remote(ws: Workspace, tmp_path: Path) -> None:
    store = local_remote(ws, tmp_path / "store")
    run("dvc", "push", "--run-cache", cwd=ws.root)
    cut(ws)
    assert len(holding(ws.root)) == 3 and len(holding(store)) == 2  # rows, and what was made from them
    purge = DataPurge(ws)
    assert purge.stale_stages() == ["double", "count"]
    plan = {row.what: row for row in purge.plan(())}
    assert len(holding(store)) == 2 and purge.stale_stages() != []  # a plan destroys nothing
    gone = {row.what: row for row in purge.purge(())}
    assert plan == {**gone, "dvc temporary files": plan["dvc temporary files"]}
    assert {what: row.count for what, row in gone.items() if what != "dvc temporary files"} == {
        "stage outputs": 1,
        "dvc run cache": 2,
        "dvc cache": 5,  # rows, its folder; doubled, its folder; the metric that the run cache keeps
        "dvc remote store": 6,
    }
    assert gone["dvc remote store"].bytes > 0
    assert holding(ws.root) == holding(store) == []
    assert (ws.artifacts / "other.txt").exists()  # not made from data/
    assert sum(row.count for row in purge.purge(()) if row.what != "dvc temporary files") == 0
    nothing_old_comes_back(ws, tmp_path)
    assert DataVersions(ws).reproduce() == ["double", "count"]
    assert (ws.artifacts / "doubled" / "text").read_text() == NEW * 2
    assert DataVersions(ws).status() == {} and DataPurge(ws).stale_stages() == []


def test_old_data_is_nowhere_on_a_versioned_bucket(ws: Workspace, tmp_path: Path, s3: Bucketry) -> None:
    bucket = s3.bucket(versioned=True)
    url = s3_remote(ws, s3, bucket)
    s3.put(bucket, "shop/dvc-of-others/files/md5/aa/" + "0" * 30, b"ann")
    run("dvc", "push", "--run-cache", cwd=ws.root)
    write(ws, "ann, once more\n")
    run("dvc", "push", cwd=ws.root)
    run("git", "commit", "-qam", "Between", cwd=ws.root)
    cut(ws)
    run("dvc", "push", cwd=ws.root)
    run("dvc", "gc", "--workspace", "--cloud", "--force", cwd=ws.root)  # only hides it: delete markers
    parts = s3.client.create_multipart_upload(Bucket=bucket, Key="shop/dvc/" + key_of(ws, "data/rows"))["UploadId"]
    there = open_bucket(url, endpoint=s3.endpoint)
    assert any(b"ann" in there.read(v) for v in there.versions())
    purge = DataPurge(ws)
    gone = {row.what: row.count for row in purge.purge(())}
    assert gone["dvc remote store"] > 6  # versions and markers
    assert [v for v in there.versions() if b"ann" in there.read(v) or v.is_delete_marker] == []
    assert [upload.upload_id for upload in there.uploads()] == [parts]  # somebody pushes what is current
    assert (
        b"ann" in s3.client.get_object(Bucket=bucket, Key="shop/dvc-of-others/files/md5/aa/" + "0" * 30)["Body"].read()
    )
    nothing_old_comes_back(ws, tmp_path)
    assert {row.what: row.count for row in purge.purge(())}["dvc remote store"] == 0


def key_of(ws: Workspace, out: str) -> str:
    import hashlib

    md5 = hashlib.md5((ws.root / out).read_bytes()).hexdigest()
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def test_kept_versions_stay(ws: Workspace, tmp_path: Path) -> None:
    store = local_remote(ws, tmp_path / "store")
    kept = DataVersions(ws).md5()
    run("dvc", "push", cwd=ws.root)
    write(ws, "ann alone\n")
    run("git", "commit", "-qam", "Between", cwd=ws.root)
    run("dvc", "push", cwd=ws.root)
    cut(ws)
    DataPurge(ws).purge([kept])
    assert holding(store, b"ann alone") == holding(ws.root, b"ann alone") == []
    assert len(holding(store)) == 1  # the rows, and no longer what was made from them
    run("git", "checkout", "-q", "HEAD~3", "--", "data.dvc", cwd=ws.root)
    run("dvc", "checkout", "data.dvc", cwd=ws.root)
    assert (ws.data / "rows").read_text() == OLD


def test_branches_stashes_experiments_and_lost_commits_count(ws: Workspace, tmp_path: Path) -> None:
    store = local_remote(ws, tmp_path / "store")
    root = ws.root

    def another(rows: str) -> None:
        write(ws, rows)
        run("dvc", "push", cwd=root)

    another("ann on a branch\n")
    run("git", "checkout", "-qb", "side", cwd=root)
    run("git", "commit", "-qam", "Side", cwd=root)
    run("git", "checkout", "-q", "main", cwd=root)
    another("ann in a stash\n")
    run("git", "stash", "-q", cwd=root)
    another("ann on a lost commit\n")
    run("git", "commit", "-qam", "Lost", cwd=root)
    run("git", "reset", "-q", "--hard", "HEAD~1", cwd=root)
    run("git", "reflog", "expire", "--expire=now", "--all", cwd=root)
    run("dvc", "checkout", cwd=root)
    run("dvc", "exp", "run", "--name", "trial", "-S", "factor=3", cwd=root)
    run("dvc", "exp", "run", "--queue", "-S", "factor=4", cwd=root)
    run("dvc", "push", "--all-commits", cwd=root)
    scratch = root / ".dvc" / "tmp" / "exps" / "standalone" / "tmpabc"
    scratch.mkdir(parents=True)
    (scratch / "rows").write_text(OLD)
    cut(ws)
    run("dvc", "gc", "--workspace", "--force", cwd=root)  # now only the remote has what git names
    assert len(holding(store)) >= 5
    run("git", "status", cwd=root)
    DataPurge(ws).purge(())
    assert holding(store) == holding(root) == []
    assert not scratch.exists()
    assert list((tmp_path / "site").rglob("*.db")) == []
    run("dvc", "exp", "show", cwd=root)
    run("dvc", "queue", "status", cwd=root)


def test_other_projects_keep_their_objects(ws: Workspace, tmp_path: Path) -> None:
    store, cache = local_remote(ws, tmp_path / "store"), tmp_path / "shared-cache"
    other = Workspace(tmp_path / "other")
    repository(other.root)
    local_remote(other, store)
    for place in (ws.root, other.root):
        run("dvc", "config", "cache.dir", str(cache), cwd=place)
    theirs = "stages: {copy: {cmd: cp data/rows copied, deps: [data], outs: [copied]}}"
    (other.root / "dvc.yaml").write_text(theirs)
    write(other, "ann is theirs\n")
    run("dvc", "repro", cwd=other.root)
    run("dvc", "push", "--run-cache", cwd=other.root)
    write(ws, OLD)
    run("dvc", "repro", "--force", cwd=ws.root)
    run("dvc", "push", "--run-cache", cwd=ws.root)
    cut(ws)
    purge = DataPurge(ws)
    plan = {row.what: row.count for row in purge.plan(())}
    assert plan["dvc remote store: left, named by nothing here"] == 3  # their rows, folder and run; `same` is ours too
    assert plan["dvc cache: left, named by nothing here"] == 3
    purge.purge(())
    assert holding(store, b"ann bob") == holding(cache, b"ann bob") == []
    assert len(holding(store, b"ann is")) == len(holding(cache, b"ann is")) == 1
    run("rm", "-rf", "data", "copied", cwd=other.root)
    run("dvc", "pull", "--run-cache", cwd=other.root)
    run("dvc", "repro", cwd=other.root)
    assert (other.data / "rows").read_text() == "ann is theirs\n"
    assert any("store: 3 objects that nothing" in words for words in purge.unreachable())
    DataPurge(ws, alone=True).purge(())
    assert holding(store) == holding(cache) == []


@pytest.mark.parametrize("folder", ["things", "."])
def test_a_cache_among_other_things_of_the_workspace_takes_none_of_them_along(ws: Workspace, folder: str) -> None:
    place = (ws.root / folder).resolve()
    place.mkdir(exist_ok=True)
    run("dvc", "config", "cache.dir", str(place), cwd=ws.root)
    run("dvc", "repro", "--force", cwd=ws.root)
    write(ws, OLD)
    (place / "thesis.txt").write_text("mine")
    (place / "ab").mkdir()
    (place / "ab" / "notes.txt").write_text("mine")
    assert holding(place)
    cut(ws)
    DataPurge(ws).purge(())
    assert (place / "thesis.txt").read_text() == (place / "ab" / "notes.txt").read_text() == "mine"
    assert holding(ws.root) == [] and (ws.data / "rows").read_text() == NEW


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_linked_caches(ws: Workspace, link: str) -> None:
    run("dvc", "config", "cache.type", link, cwd=ws.root)
    run("dvc", "checkout", "--relink", cwd=ws.root)
    (ws.data / "rows").unlink()
    cut(ws)
    DataPurge(ws).purge(())
    assert holding(ws.root) == []
    assert (ws.data / "rows").read_text() == NEW and (ws.artifacts / "other.txt").read_text() == "notes\n"
    assert DataVersions(ws).reproduce() == ["double", "count"]


def test_outputs_that_no_record_explains_go(ws: Workspace) -> None:
    """Of a killed stage, and files put in place of what the record says."""
    cut(ws)
    DataVersions(ws).reproduce()
    DataVersions(ws).commit("Made anew")
    assert DataPurge(ws).stale_stages() == []
    shutil.rmtree(ws.artifacts / "doubled")
    (ws.artifacts / "doubled").mkdir()
    (ws.artifacts / "doubled" / "text").write_text(OLD)
    (ws.root / "dvc.yaml").write_text(PIPELINE + "  new: {cmd: cp data/rows new.txt, deps: [data], outs: [new.txt]}\n")
    (ws.root / "new.txt").write_text(OLD)
    DataPurge(ws).purge(())
    assert holding(ws.root) == []
    run("dvc", "checkout", "artifacts/doubled", cwd=ws.root)
    assert (ws.artifacts / "doubled" / "text").read_text() == NEW * 2


def test_fresh_outputs_are_pushed_and_kept(ws: Workspace, tmp_path: Path) -> None:
    store = local_remote(ws, tmp_path / "store")
    cut(ws)
    DataVersions(ws).reproduce()
    DataPurge(ws).purge(())
    assert (ws.artifacts / "doubled" / "text").read_text() == NEW * 2
    assert holding(store, (NEW * 2).encode()) and DataVersions(ws).reproduce() == []
    assert run("git", "status", "--porcelain", "--", "data.dvc", "dvc.lock", cwd=ws.root) == ""


def test_remote_that_lost_an_object_gets_it_again(ws: Workspace, tmp_path: Path) -> None:
    """DVC itself believes its notes of what it pushed once."""
    store = local_remote(ws, tmp_path / "store")
    cut(ws)
    run("dvc", "push", cwd=ws.root)
    shutil.rmtree(store)
    DataPurge(ws).purge(())
    assert holding(store, b"bob")


def test_remotes_of_the_person_are_not_filled(ws: Workspace, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("dvc", "remote", "add", "--global", "mine", str(store), cwd=ws.root)
    run("dvc", "push", "-r", "mine", cwd=ws.root)
    assert holding(store)
    cut(ws)
    DataPurge(ws).purge(())
    assert holding(store) == holding(store, b"bob") == []
    run("dvc", "remote", "default", "mine", cwd=ws.root)
    DataPurge(ws).purge(())
    assert holding(store, b"bob")


def test_pipeline_of_which_nothing_is_left(ws: Workspace) -> None:
    (ws.root / "dvc.yaml").write_text(PIPELINE.split("  other:")[0])
    run("dvc", "repro", "--force", cwd=ws.root)
    words = yaml.safe_load((ws.root / "dvc.lock").read_text())
    words["stages"].pop("other")
    (ws.root / "dvc.lock").write_text(yaml.safe_dump(words))
    cut(ws)
    DataPurge(ws).purge(())
    assert yaml.safe_load((ws.root / "dvc.lock").read_text())["stages"] == {}
    assert DataVersions(ws).reproduce() == ["double", "count"]


def test_data_that_is_not_what_is_tracked_stops_everything(ws: Workspace) -> None:
    (ws.data / "rows").unlink()
    (ws.data / "rows").write_text("edited by hand\n")
    with pytest.raises(ReleaseError, match="dvc checkout"):
        DataPurge(ws).purge(())
    assert holding(ws.root) and (ws.artifacts / "doubled").exists()


def test_data_is_brought_into_the_cache_first(ws: Workspace, tmp_path: Path) -> None:
    store = local_remote(ws, tmp_path / "store")
    cut(ws)
    shutil.rmtree(ws.root / ".dvc" / "cache")
    DataPurge(ws).preserve()  # from data/
    shutil.rmtree(ws.root / ".dvc" / "cache")
    shutil.rmtree(ws.data)
    DataPurge(ws).purge(())  # from the remote
    run("dvc", "checkout", "data.dvc", cwd=ws.root)
    assert (ws.data / "rows").read_text() == NEW and holding(store, b"bob")


def test_running_stage_is_not_disturbed(ws: Workspace) -> None:
    cut(ws)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as holder:
        held = {"write": {str(ws.artifacts): {"pid": holder.pid, "cmd": "dvc repro"}}, "read": {}}
        (ws.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(held))
        with pytest.raises(ReleaseError, match="wait until it ends"):
            DataPurge(ws).purge(())
        holder.kill()
    DataPurge(ws).purge(())
    assert holding(ws.root) == []


def test_what_cannot_be_reached_is_said(ws: Workspace) -> None:
    for name, url in {"web": "http://127.0.0.1:9/x", "azure": "azure://x/y"}.items():
        run("dvc", "remote", "add", name, url, cwd=ws.root)
    run("dvc", "remote", "add", "named", "s3://bucket/x", cwd=ws.root)
    run("dvc", "remote", "modify", "named", "version_aware", "true", cwd=ws.root)
    cut(ws)
    (ws.root / ".gitignore").write_text("")
    run("git", "add", "--force", "data/rows", cwd=ws.root)
    run("git", "commit", "-qm", "Oops", cwd=ws.root)
    words = "\n".join(DataPurge(ws).unreachable())
    for said in ("git history: md5s", "committed data to git", "web: nothing", "azure://", "named: it keeps", "clones"):
        assert said in words
    run("git", "rm", "-q", "--cached", "data/rows", cwd=ws.root)
    run("git", "checkout", "-q", "HEAD~1", "--", ".gitignore", cwd=ws.root)
    run("git", "commit", "-qam", "Back", cwd=ws.root)
    DataPurge(ws).purge(())  # they do not stand in the way
    assert holding(ws.root) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from tru.ops.erasure.dvc import purge, stores
from tru.ops.storage.s3 import Bucket
from tru.ops.workspace import Workspace
left = int(sys.argv[2])

def dying(function):
    def call(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*args, **kwargs)
    return call

if sys.argv[3] == "everywhere":
    Path.unlink = dying(Path.unlink)
    Path.replace = dying(Path.replace)
    stores.shutil.rmtree = dying(stores.shutil.rmtree)
    purge.DataVersions.commit = dying(purge.DataVersions.commit)
    purge.DataPurge._push = dying(purge.DataPurge._push)
Bucket.delete = dying(Bucket.delete)
purge.DataPurge(Workspace(Path(sys.argv[1]))).purge(())
"""


def killed(ws: Workspace, moment: int, where: str = "everywhere") -> bool:
    """Purge in another process, which dies before its nth act of destruction; False if it got through."""
    command = [sys.executable, "-c", KILLED, str(ws.root), str(moment), where]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


def test_killed_at_any_moment_it_ends_clean(ws: Workspace, tmp_path: Path) -> None:
    store, cache = local_remote(ws, tmp_path / "store"), tmp_path / "shared-cache"
    run("dvc", "config", "--local", "cache.dir", str(cache), cwd=ws.root)
    write(ws, OLD)
    run("dvc", "repro", "--force", cwd=ws.root)
    run("dvc", "push", "--run-cache", cwd=ws.root)
    cut(ws)
    template = tmp_path / "template"
    shutil.copytree(tmp_path, template, symlinks=True, ignore=shutil.ignore_patterns("template"))
    moments = 0
    for moment in (0, 1, 2, 3, 4, 6, 8, 10, 13, 16):
        for name in ("workspace", "store", "shared-cache"):
            shutil.rmtree(tmp_path / name)
            shutil.copytree(template / name, tmp_path / name, symlinks=True)
        moments += killed(ws, moment)
        DataPurge(ws).purge(())
        assert holding(ws.root) == holding(store) == holding(cache) == [], moment
        left = [path for place in (store, cache) for path in (place / "runs").rglob("*") if path.is_file()]
        assert len(left) == 2, moment  # of the stage that does not read data/
        assert (ws.data / "rows").read_text() == NEW
        assert run("git", "status", "--porcelain", "--", "data.dvc", "dvc.lock", cwd=ws.root) == ""
    assert moments >= 8
    nothing_old_comes_back(ws, tmp_path)


def test_killed_between_calls_to_a_bucket_it_ends_clean(ws: Workspace, tmp_path: Path, s3: Bucketry) -> None:
    url = s3_remote(ws, s3, s3.bucket(versioned=True))
    run("dvc", "push", "--run-cache", cwd=ws.root)
    cut(ws)
    assert killed(ws, 0, "in the bucket") and killed(ws, 1, "in the bucket") and killed(ws, 1, "in the bucket")
    DataPurge(ws).purge(())
    there = open_bucket(url, endpoint=s3.endpoint)
    assert [v for v in there.versions() if b"ann" in there.read(v) or v.is_delete_marker] == []
    assert sum("/runs/" in v.key for v in there.versions()) == 1 and holding(ws.root) == []
