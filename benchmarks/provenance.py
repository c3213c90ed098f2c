"""Where a figure comes from: commit, data, package versions; stands beside every result."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tru.data.interactions import Dataset

ROOT = Path(__file__).resolve().parent.parent


def provenance(ds: Dataset) -> dict[str, Any]:
    """Name and hash of the data, the commit, versions and machine."""
    return {"data": ds.name, "data_hash": data_hash(ds), **machine()}


def machine() -> dict[str, Any]:
    """The commit (with ``+`` if there are changes), versions and machine."""
    changed = "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return {
        "commit": f"{_git('rev-parse', '--short', 'HEAD') or 'none'}{changed}",
        "torch": version("torch"),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def data_hash(ds: Dataset) -> str:
    """A short hash of the interactions and items."""
    rows = ds.interactions[["user_id", "item_id", "split"]].astype(str)
    found = hashlib.sha256("\n".join(rows.agg("\t".join, axis=1)).encode())
    found.update("\n".join(map(str, ds.items)).encode())
    return found.hexdigest()[:12]


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
