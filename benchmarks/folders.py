"""Folders that a benchmark makes anew: its own, told by a mark, and nobody else's."""

from __future__ import annotations

from pathlib import Path

from tru.errors import TruError

MARK = "benchmark.txt"


def claim(folder: Path) -> None:
    """Make ``folder`` the benchmark's own, so that it may replace what is in it.

    Raises:
        TruError: something is in it that no benchmark made.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise TruError(f"{folder} is not empty, and no benchmark made it, so it stays as it is. Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("A benchmark made this folder, and makes what is in it anew.\n")
