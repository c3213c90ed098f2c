import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.workspaces import repository
from tru.errors import ReleaseError
from tru.ops.release.versions import DataVersions, init
from tru.ops.workspace import Workspace

PIPELINE = """
stages:
  double:
    cmd: python double.py
    deps: [data, double.py]
    params: [factor]
    outs: [artifacts/doubled.txt]
  count:
    cmd: python count.py
    deps: [artifacts/doubled.txt]
    metrics:
      - metrics/count.json: {cache: false}
"""
DOUBLE = """
import pathlib, yaml
factor = yaml.safe_load(open("params.yaml"))["factor"]
print("doubling", flush=True)
pathlib.Path("artifacts").mkdir(exist_ok=True)
pathlib.Path("artifacts/doubled.txt").write_text(pathlib.Path("data/a.txt").read_text() * factor)
"""
COUNT = """
import json, pathlib
pathlib.Path("metrics").mkdir(exist_ok=True)
length = len(pathlib.Path("artifacts/doubled.txt").read_text())
pathlib.Path("metrics/count.json").write_text(json.dumps({"length": length}))
"""


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where git knows no author."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))


@pytest.fixture
def versions(workspace: Workspace) -> DataVersions:
    repository(workspace.root)
    workspace.data.mkdir()
    (workspace.data / "a.txt").write_text("ab")
    files = {"params.yaml": "factor: 2\n", "dvc.yaml": PIPELINE, "double.py": DOUBLE, "count.py": COUNT}
    for name, text in files.items():
        (workspace.root / name).write_text(text)
    return DataVersions(workspace)


def test_init_makes_a_repository_of_its_own_even_inside_another(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    inner = tmp_path / "outer" / "inner"
    for _ in range(2):
        repository(inner)
    assert git(inner, "rev-parse", "--show-toplevel").strip() == str(inner.resolve())
    assert git(inner, "status", "--porcelain") == ""
    assert git(inner, "rev-list", "--count", "HEAD").strip() == "1"
    with Repo(str(inner)) as repo:
        assert repo.config["core"]["analytics"] is False
        assert repo.config["core"]["autostage"] is False


def test_init_finishes_what_was_left_half_done(tmp_path: Path) -> None:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    repository(tmp_path)
    assert git(tmp_path, "ls-files").split() == [".dvc/.gitignore", ".dvc/config", ".dvcignore"]


def test_init_keeps_what_is_there(tmp_path: Path) -> None:
    repository(tmp_path)
    (tmp_path / ".dvc" / "config").write_text("['remote \"store\"']\n    url = elsewhere\n")
    (tmp_path / "mine.txt").write_text("mine")
    git(tmp_path, "add", "mine.txt")
    init(tmp_path)
    assert "elsewhere" in (tmp_path / ".dvc" / "config").read_text()
    assert git(tmp_path, "diff", "--cached", "--name-only").split() == ["mine.txt"]


def test_add_names_the_content(versions: DataVersions, workspace: Workspace) -> None:
    first = versions.add()
    assert first == versions.add() == versions.md5()
    assert len(first) == 36 and first.endswith(".dir")  # MLflow takes digests of 36 characters at most
    (workspace.data / "a.txt").write_text("abc")
    assert versions.add() != first


def test_reproduce_runs_what_is_out_of_date(
    versions: DataVersions, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    here = Path.cwd()
    versions.add()
    assert versions.status() != {}
    assert versions.reproduce(["double"]) == ["double"]
    assert "doubling" in capfd.readouterr().out  # streamed, not swallowed
    assert versions.reproduce() == ["count"]
    assert json.loads((workspace.metrics / "count.json").read_text()) == {"length": 4}
    assert versions.reproduce() == [] and versions.status() == {}
    assert versions.reproduce(["count"], force=True) == ["double", "count"]
    workspace.params.write_text("factor: 3\n")
    assert versions.reproduce() == ["double", "count"]
    assert Path.cwd() == here


def test_stages_find_the_programs_of_this_python(versions: DataVersions, workspace: Workspace) -> None:
    (workspace.root / "double.py").write_text(
        "import os, pathlib\npathlib.Path('artifacts').mkdir(exist_ok=True)\n"
        "pathlib.Path('artifacts/doubled.txt').write_text(os.environ['PATH'])\n"
    )
    before = os.environ["PATH"]
    versions.add()
    versions.reproduce(["double"])
    first = (workspace.artifacts / "doubled.txt").read_text().split(os.pathsep)[0]
    assert first == str(Path(sys.executable).parent)
    assert os.environ["PATH"] == before


def test_failing_stage_is_named(versions: DataVersions, workspace: Workspace) -> None:
    (workspace.root / "double.py").write_text("raise SystemExit(3)\n")
    versions.add()
    with pytest.raises(ReleaseError, match=r"'double'.*output above"):
        versions.reproduce()


def test_reason_of_a_failing_stage_of_ours_is_passed_on(versions: DataVersions, workspace: Workspace) -> None:
    (workspace.root / "params.yaml").write_text("trian: {}\n")
    stage = f"{sys.executable} -m tru.cli.main stage prepare"
    (workspace.root / "dvc.yaml").write_text(f"stages:\n  prepare:\n    cmd: {stage}\n")
    with pytest.raises(
        ReleaseError, match=r"failed to reproduce 'prepare': .*params\.yaml: trian: .*did you mean train"
    ):
        versions.reproduce()
    assert "TRU_REASON_FILE" not in os.environ


def test_md5_of_the_data_as_it_is_now_is_the_one_that_add_gives(versions: DataVersions, workspace: Workspace) -> None:
    for name, content in {"b.txt": b"b", "a/z.bin": b"\0\r\n", "a/ä.txt": "ä".encode(), "a.txt": b""}.items():
        file = workspace.data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    before = versions.md5_now()
    assert versions.add() == before == versions.md5_now()
    (workspace.data / "b.txt").write_text("c")
    assert versions.md5_now() != before


def test_commit_takes_only_what_is_its_own(versions: DataVersions, workspace: Workspace) -> None:
    root = workspace.root
    (root / "mine.txt").write_text("staged by somebody")
    git(root, "add", "mine.txt")
    versions.add()
    versions.reproduce()
    before = versions.git_commit()
    commit = versions.commit("Batch 1")
    assert commit == versions.git_commit() == versions.commit("Batch 1") != before
    committed = git(root, "show", "--name-only", "--format=%an", commit).split()
    assert committed == ["tru", ".gitignore", "artifacts/.gitignore", "data.dvc", "dvc.lock", "metrics/count.json"]
    assert git(root, "diff", "--cached", "--name-only").split() == ["mine.txt"]
    versions.commit("Set up", also=["params.yaml", "dvc.yaml"])
    assert git(root, "show", "--name-only", "--format=", "HEAD").split() == ["dvc.yaml", "params.yaml"]


def test_commit_uses_the_author_git_knows(versions: DataVersions, workspace: Workspace) -> None:
    git(workspace.root, "config", "user.name", "Ada")
    git(workspace.root, "config", "user.email", "ada@example.org")
    versions.add()
    versions.commit("Data")
    assert git(workspace.root, "log", "-1", "--format=%an %ae").strip() == "Ada ada@example.org"


def test_commit_sees_a_file_that_went_away(versions: DataVersions, workspace: Workspace) -> None:
    versions.add()
    versions.reproduce()
    versions.commit("With metrics")
    (workspace.metrics / "count.json").unlink()
    versions.commit("Without")
    assert "metrics/count.json" not in git(workspace.root, "ls-files")


def test_commit_is_not_led_astray_by_a_hook(
    versions: DataVersions, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    versions.add()
    commit = versions.commit("Data")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert git(workspace.root, "rev-parse", "HEAD").strip() == commit


def test_refusal_of_git_is_passed_on(versions: DataVersions, workspace: Workspace) -> None:
    versions.add()
    (workspace.root / ".git" / "index.lock").touch()
    with pytest.raises(ReleaseError, match=r"index\.lock"):
        versions.commit("Data")


def test_folder_that_is_no_workspace_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    init(tmp_path)  # DVC itself would climb up to this one
    with pytest.raises(ReleaseError, match="tru init"):
        DataVersions(workspace).status()
    with pytest.raises(ReleaseError, match="tru data import"):
        DataVersions(workspace).md5()
    (workspace.root / "data.dvc").write_text("outs: []\n")
    with pytest.raises(ReleaseError, match="git checkout"):
        DataVersions(workspace).md5()


def test_lock_of_another_process_says_what_to_do(versions: DataVersions, workspace: Workspace) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, zc.lockfile; lock = zc.lockfile.LockFile(sys.argv[1]); print('held', flush=True); input()",
            str(workspace.root / ".dvc" / "tmp" / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(ReleaseError, match="wait until it ends"):
            versions.add()
        holder.kill()  # as by a crash: the lock dies with its process
    versions.add()


def test_locks_of_a_killed_process_do_not_stay(versions: DataVersions, workspace: Workspace) -> None:
    versions.add()
    torn = workspace.root / ".dvc" / "tmp" / "rwlock"
    torn.write_text('{"write": {"/some')
    assert versions.reproduce() == ["double", "count"]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    torn.write_text(
        json.dumps({"write": {str(workspace.artifacts): {"pid": dead.pid, "cmd": "dvc repro"}}, "read": {}})
    )
    assert versions.reproduce(force=True) == ["double", "count"]


def test_stage_of_a_live_process_is_left_alone(versions: DataVersions, workspace: Workspace) -> None:
    versions.add()
    holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with holder:
        held = {
            "write": {str(workspace.artifacts / "doubled.txt"): {"pid": holder.pid, "cmd": "dvc repro"}},
            "read": {},
        }
        (workspace.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(held))
        with pytest.raises(ReleaseError, match="Another DVC process"):
            versions.reproduce()
        holder.kill()
