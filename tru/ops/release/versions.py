"""Data versions: DVC for the bytes, git for the names; the only module that knows DVC.

DVC runs in this process (0.06 s for a reproduction with nothing to do, against 1 s by command). It resolves paths by
the current directory, so every call here changes to the workspace and back; threads wait for each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from dvc.exceptions import DvcException, ReproductionError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.rwlock import RWLockFileCorruptedError

from tru.errors import REASON_FILE, ReleaseError
from tru.ops.workspace import Workspace

T = TypeVar("T")

# DVC prints its lines itself. Handed on as well, each would be printed a second time by whoever logs for this process.
for _printing in ("dvc", "dvc_objects", "dvc_data"):
    logging.getLogger(_printing).propagate = False

# What a run may commit; anything else in the user's index or working tree is theirs.
_COMMITTED = ("data.dvc", "dvc.lock", "metrics", ".gitignore", "artifacts/.gitignore")
# A job about privacy tells no vendor that it ran, and what is staged is the user's business.
_CORE = {"analytics": False, "autostage": False}
DVC_FILES = {".dvc/config": "", ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n", ".dvcignore": ""}
# Set by git for its hooks; with them our git would work on whatever repository called us.
_GIT_REDIRECTS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
_one_at_a_time = threading.RLock()


class DataVersions:
    """The versions of one workspace's data and of what its stages made from it. Every call may be repeated."""

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._data = workspace.data

    def md5(self) -> str:
        """DVC's md5 of the raw data, as ``data.dvc`` names it (32 hex digits and ``.dir``).

        Raises:
            ReleaseError: there is no readable ``data.dvc``.
        """
        file = self._data.with_suffix(".dvc")
        try:
            return str(yaml.safe_load(file.read_text(encoding="utf-8"))["outs"][0]["md5"])
        except FileNotFoundError:
            raise ReleaseError(f"{file} is missing: import data with `tru data import PATH`.") from None
        except (yaml.YAMLError, KeyError, IndexError, TypeError, UnicodeDecodeError):
            raise ReleaseError(f"{file} is damaged. Restore it with `git checkout data.dvc`.") from None

    def md5_now(self) -> str:
        """The md5 that :meth:`add` would give ``data/`` as it is now; nothing is written.

        DVC's md5 of a folder is that of a list of its files, with their own md5.
        """
        files = {file.relative_to(self._data).as_posix(): file for file in self._data.rglob("*") if file.is_file()}
        listed = [{"md5": _md5(files[name]), "relpath": name} for name in sorted(files)]
        return f"{hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()}.dir"

    def add(self) -> str:
        """Track ``data/`` as it is now and return its md5; the bytes go to DVC's cache, ``data.dvc`` is rewritten."""
        self.with_repo(lambda repo: repo.add(str(self._data)))
        return self.md5()

    def remove(self) -> None:
        """Take the data away: no ``data/`` and no ``data.dvc``, as before the first import.

        :meth:`commit` takes it out of git's present state. Versions that DVC has of it stay until an erasure.
        """
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.with_suffix(".dvc").unlink(missing_ok=True)

    @property
    def has_data(self) -> bool:
        """Whether ``data.dvc`` is there."""
        return self._data.with_suffix(".dvc").is_file()

    def reproduce(self, targets: Sequence[str] = (), *, force: bool = False) -> list[str]:
        """Run the stages that are out of date (all that lead to ``targets``, or all); their output is streamed.

        Returns:
            The names of the stages that ran, in order.

        Raises:
            ReleaseError: a stage failed, and its reason, or the pipeline is not usable.
        """
        stages = self.with_repo(lambda repo: _reproduced(repo, list(targets) or None, force))
        return [str(stage.name) for stage in stages if stage.cmd]  # data.dvc counts as a stage too, without a command

    def status(self) -> dict[str, Any]:
        """What is out of date, by stage, in DVC's words; empty when everything is up to date."""
        return dict(self.with_repo(lambda repo: repo.status()))

    def commit(self, message: str, also: Sequence[str] = ()) -> str:
        """Commit data.dvc, dvc.lock, metrics and .gitignore (and ``also``) to git, nothing else; return the commit.

        Whatever else is staged stays staged. With nothing to commit the present commit is returned.
        """
        files = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_COMMITTED, *also)
        paths = sorted(set(files.split("\0")) - {""})
        _commit(self._root, message, paths)
        if (commit := self.git_commit()) is None:
            raise ReleaseError(
                f"{self._root} has no commit and nothing to commit. Import data or run `dvc repro` first."
            )
        return commit

    def git_commit(self) -> str | None:
        """The present git commit; None before the first one."""
        found = _git(self._root, "rev-parse", "--verify", "--quiet", "HEAD", check=False)
        return found.stdout.strip() or None

    def git(self, *arguments: str) -> str:
        """Run git in the workspace and return what it printed.

        Raises:
            ReleaseError: it refuses.
        """
        return _git(self._root, *arguments).stdout

    def with_repo(self, action: Callable[[Repo], T]) -> T:
        """Do something with DVC's repository object, in the workspace, one at a time.

        Raises:
            ReleaseError: DVC refuses, or another DVC process is at work.
        """
        if not (self._root / ".dvc").is_dir():
            # DVC would climb up and take the first repository it meets.
            raise ReleaseError(f"{self._root} is not under DVC. Make it a workspace with `tru init {self._root}`.")
        try:
            return self._attempt(action)
        except DvcException as exc:
            if not _caused_by(exc, RWLockFileCorruptedError):
                raise self._explained(exc) from exc
        # A process killed while it wrote its list of locks left half of it; DVC alone would refuse for ever.
        (self._root / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
        try:
            return self._attempt(action)
        except DvcException as exc:
            raise self._explained(exc) from exc

    def _attempt(self, action: Callable[[Repo], T]) -> T:
        with _inside(self._root), Repo(str(self._root), config={"core": _CORE}) as repo:
            repo.scm_context.quiet = True  # no hint to `git add`: commit() does that
            return action(repo)

    def _explained(self, exc: DvcException) -> ReleaseError:
        if _caused_by(exc, LockError):
            return ReleaseError(
                f"Another DVC process is at work in {self._root}: wait until it ends, or stop it, then run this again. "
                "(If there is none, see `.dvc/tmp/rwlock`.)"
            )
        if isinstance(exc, ReproductionError):
            return ReleaseError(f"{exc}: its output above says why. Mend it and run again; finished stages are kept.")
        return ReleaseError(f"DVC refused: {exc}")


def init(root: Path) -> None:
    """Make ``root`` a git and DVC repository of its own, even inside another one; what is there already is kept.

    In a new DVC repository autostage and analytics are off. Nothing is committed.
    """
    root.mkdir(parents=True, exist_ok=True)
    if not (root / ".git").exists():
        _git(root, "init", "--quiet", "--initial-branch=main")
    try:
        with _inside(root), _quiet():
            is_new = not (root / ".dvc" / "config").exists()
            if not (root / ".dvc").exists():
                Repo.init(str(root)).close()
                unstage(root, list(DVC_FILES))  # DVC puts them into the index
            for name, words in DVC_FILES.items():  # of a folder that lost its settings; DVC would begin it anew
                if not (root / name).exists():
                    (root / name).write_text(words)
            with Repo(str(root)) as repo:
                if is_new:
                    with repo.config.edit("repo") as settings:
                        settings["core"].update(_CORE)
    except DvcException as exc:
        raise ReleaseError(f"DVC cannot be set up in {root}: {exc}") from exc


def commit_files(root: Path, message: str, paths: Sequence[str]) -> None:
    """Commit these files, and only these, except those that git is told to ignore."""
    ours = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths) if paths else None
    _commit(root, message, sorted(set(ours.stdout.split("\0")) - {""}) if ours else [])


def ignore_here(root: Path, patterns: str) -> None:
    """Have git pass over some files in this clone alone; a ``.gitignore`` that somebody wrote stays as it is."""
    place = root / _git(root, "rev-parse", "--git-path", "info/exclude").stdout.strip()
    known = place.read_text(encoding="utf-8") if place.is_file() else ""
    if patterns not in known:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{known.rstrip()}\n{patterns}".lstrip(), encoding="utf-8")


def unstage(root: Path, paths: Sequence[str]) -> None:
    """Let git's index say of these files what the last commit says; whatever else is staged stays staged."""
    if paths:
        _git(root, "reset", "--quiet", "--", *paths, check=False)


def _reproduced(repo: Repo, targets: list[str] | None, force: bool) -> list[Any]:
    """DVC's `reproduce`; where a stage of ours fails, its reason is in the error, and not only in the output above."""
    with tempfile.TemporaryDirectory(prefix="tru-") as folder:
        file = Path(folder) / "reason"
        os.environ[REASON_FILE] = str(file)
        try:
            return list(repo.reproduce(targets=targets, force=force))
        except ReproductionError as exc:
            if not file.exists():
                raise
            raise ReleaseError(f"{exc}: {file.read_text(encoding='utf-8')}") from exc
        finally:
            del os.environ[REASON_FILE]


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _commit(root: Path, message: str, paths: Sequence[str]) -> None:
    """Commit these paths, and only these, if they differ from the last commit."""
    if not paths:
        return
    _git(root, "add", "--all", "--", *paths)
    if _git(root, "diff", "--cached", "--quiet", "--", *paths, check=False).returncode:
        _git(root, *_identity(root), "commit", "--quiet", "--only", "--message", message, "--", *paths)


def _identity(root: Path) -> list[str]:
    """Options that name an author where git knows none: a nightly job on a server often has no ``~/.gitconfig``."""
    given = {"user.name": "tru", "user.email": "tru@localhost"}
    missing = {key: value for key, value in given.items() if not _git(root, "config", key, check=False).stdout.strip()}
    return [part for key, value in missing.items() for part in ("-c", f"{key}={value}")]


def _git(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_REDIRECTS}
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except FileNotFoundError:
        raise ReleaseError("git is not installed, or not on PATH. Install it and run again.") from None
    if check and done.returncode:
        raise ReleaseError(f"git refused in {root}: {(done.stderr or done.stdout).strip()}")
    return done


@contextlib.contextmanager
def _inside(root: Path) -> Iterator[None]:
    """Work in ``root``, with this Python's programs first on PATH: stages find `tru` without an activated venv."""
    before = os.environ.get("PATH", os.defpath)
    with _one_at_a_time, contextlib.chdir(root):
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
        try:
            yield
        finally:
            os.environ["PATH"] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without DVC's greeting at `init`."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _caused_by(exc: BaseException | None, kind: type[BaseException]) -> bool:
    while exc is not None and not isinstance(exc, kind):
        exc = exc.__cause__ or exc.__context__
    return exc is not None
