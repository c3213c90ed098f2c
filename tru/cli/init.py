"""Making a workspace: ``tru init DIR``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tru import templates
from tru.errors import WorkspaceError
from tru.ops import identity
from tru.ops.release.versions import DVC_FILES, commit_files, ignore_here, init, unstage
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

IGNORED = "/data\n/data.new-*\n/data.old-*\n/.tru/\n/mlflow.db*\n/mlruns/\n/mlartifacts/\n/dvc_plots/\n__pycache__/\n"
PREFECT = """\
# Lets `prefect deployment run unlearn-nightly` work from this folder.
[plugins]
enabled = true
allow = ["tru"]

# Prefect reports to nobody that it is used here.
[server]
analytics_enabled = false
"""
_SETTINGS = ("params.yaml", "dvc.yaml")
_FLOWS = ("prefect.yaml", *templates.flows())
_COMMITTED = (*_SETTINGS, *_FLOWS, ".gitignore", "prefect.toml", *DVC_FILES)
_STATE = ("workspace.json", "inbox.db", "inbox.db-wal", "inbox.db-shm", "suppression.key")
_MADE = (
    *_COMMITTED,
    "flows/__pycache__",
    "flows",
    ".git",
    ".dvc/tmp",
    ".dvc",
    *(f".tru/{name}" for name in _STATE),
    ".tru",
)
"""What may come about, what lies in a folder before the folder."""


def is_complete(root: Path) -> bool:
    """Whether ``root`` is a workspace that lacks nothing, so that there is nothing to make."""
    settings = any((root / name).exists() for name in ("prefect.toml", "pyproject.toml"))
    needed = ("params.yaml", "dvc.yaml", ".git", ".gitignore", ".dvc/config", ".tru/inbox.db", ".tru/suppression.key")
    return settings and not _lacks_flows(root) and all((root / name).exists() for name in needed)


def _lacks_flows(root: Path) -> bool:
    """Whether there is neither a ``prefect.yaml`` nor a folder of flows; somebody's own are left alone, both."""
    return not (root / "prefect.yaml").exists() and not (root / "flows").exists()


def create(root: Path) -> Workspace:
    """Make ``root`` a workspace: settings, flows, git, DVC and an empty inbox. What is already there is left alone.

    Only files that were made here are committed, nothing that somebody has staged or changed. If it fails, what it made
    is removed again.

    Raises:
        WorkspaceError: the folder cannot be made or written to, or its name cannot be used.
        ReleaseError: git or DVC refuses.
    """
    root = root.resolve()
    identity.refuse_unsafe_name(root)
    if (origin := identity.origin(root)) is not None:
        raise WorkspaceError(origin.words(root))
    with _all_or_nothing(root):
        root.mkdir(parents=True, exist_ok=True)
        before = {name for name in _COMMITTED if (root / name).exists()}
        _write_settings(root)
        init(root)
        ws = Workspace(root)
        if identity.read(root) is None:
            identity.write(root)
        open_inbox(ws)
        commit_files(root, "A new workspace", [name for name in _COMMITTED if name not in before])
        if ".gitignore" in before:  # somebody's own: what names people must not slip into git for all that
            ignore_here(root, IGNORED)
    return ws


def _write_settings(root: Path) -> None:
    for name in (*_SETTINGS, *(_FLOWS if _lacks_flows(root) else ())):
        if not (root / name).exists():
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(templates.template(name), root / name)
    for name, words in ((".gitignore", IGNORED), ("prefect.toml", PREFECT)):
        if not (root / name).exists():
            (root / name).write_text(words)


@contextmanager
def _all_or_nothing(root: Path) -> Iterator[None]:
    """Remove what comes about in here if it fails; what was there before stays."""
    parents = [place for place in (root, *root.parents) if not place.exists()]
    new = [name for name in _MADE if not (root / name).exists()]
    try:
        yield
    except BaseException as error:
        _remove(root, new, parents)
        if isinstance(error, OSError):
            raise WorkspaceError(
                f"{root} cannot be made a workspace ({error.strerror or type(error).__name__}), so nothing was left "
                "there. See that the place is a folder that you may write to."
            ) from error
        raise


def _remove(root: Path, new: list[str], parents: list[Path]) -> None:
    """Remove what was made: of the names in ``new`` whatever is there, then those of ``parents`` that are empty."""
    if not root.is_dir():
        return
    if (root / ".git").exists() and ".git" not in new:
        unstage(root, [name for name in _COMMITTED if name in new])
    for name in new:
        place = root / name
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    for place in parents:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
