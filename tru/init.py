"""Making a workspace: ``tru init DIR``."""

from __future__ import annotations

import shutil
from pathlib import Path

from tru.errors import WorkspaceError
from tru.release.versions import DataVersions, init
from tru.requests.store import open_inbox
from tru.workspace import Workspace

TEMPLATES = Path(__file__).resolve().parent.parent
"""The checkout: its own params.yaml and dvc.yaml are what a new workspace starts from."""
IGNORED = "/data\n/data.new-*\n/data.old-*\n/.tru/\n/mlflow.db*\n/mlruns/\n/mlartifacts/\n/dvc_plots/\n"
PREFECT = """\
# Lets `prefect deployment run unlearn-nightly` work from this folder.
[plugins]
enabled = true
allow = ["tru"]

# Prefect reports to nobody that it is used here.
[server]
analytics_enabled = false
"""


def create(root: Path) -> Workspace:
    """Make ``root`` a workspace: settings, git, DVC and an empty inbox. What is already there is left alone.

    Raises:
        WorkspaceError: the templates are not to be found (tru was not installed from its checkout).
    """
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "dvc.yaml"):
        if not (TEMPLATES / name).is_file():
            raise WorkspaceError(f"{TEMPLATES / name} is missing. Install tru from its checkout: `make setup`.")
        if not (root / name).exists():
            shutil.copy(TEMPLATES / name, root / name)
    for name, words in ((".gitignore", IGNORED), ("prefect.toml", PREFECT)):
        if not (root / name).exists():
            (root / name).write_text(words)
    init(root)
    ws = Workspace(root)
    open_inbox(ws)
    DataVersions(ws).commit("A new workspace", also=["params.yaml", "dvc.yaml", ".gitignore", "prefect.toml"])
    return ws
