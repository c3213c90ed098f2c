"""Replacing a folder as a whole, so that a crash leaves either the old one or the new one, never a mixture.

The new folder is written beside the old one as ``NAME.new-PID.swap``; then the old one steps aside
(``NAME.old-PID.swap``), the new one takes its name, and the old one is destroyed. What a killed process left beside is
swept by the next one: it may hold the rows of people who asked to be forgotten. Nothing else beside is touched: a
``data.old-2023`` is somebody's.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Replace ``folder`` by what ``fill`` writes into an empty one; if ``fill`` raises, nothing has changed.

    Args:
        folder: the folder to replace; it need not exist.
        fill: writes the new content into the (existing, empty) folder it is given.
    """
    recover(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f"{folder.name}.{word}-{os.getpid()}.swap") for word in ("new", "old"))
    new.mkdir()
    try:
        fill(new)
        _to_disk(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    if old.exists():
        shutil.rmtree(old)


def recover(folder: Path) -> None:
    """Finish what a killed process began: put the old folder back if none is in place, sweep the rest."""
    abandoned = [path for path in _beside(folder) if not _alive(path)]
    for path in abandoned:
        if ".old-" in path.name and not folder.exists():
            path.rename(folder)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _beside(folder: Path) -> list[Path]:
    """Intermediates of this folder, ``.old-`` before ``.new-``, so that an old one is put back before sweeping."""
    names = [re.compile(rf"{re.escape(folder.name)}\.{word}-[0-9]+\.swap") for word in ("old", "new")]
    there = sorted(folder.parent.iterdir()) if folder.parent.is_dir() else []
    return [path for name in names for path in there if name.fullmatch(path.name)]


def _alive(path: Path) -> bool:
    """Whether the process that made ``path`` is another one and still running."""
    number = int(path.name.rpartition("-")[2].removesuffix(".swap"))
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, under another user
        return True
    return True


def _to_disk(folder: Path) -> None:
    """Ask the operating system to write every file of ``folder`` through, so that a power cut cannot empty them."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
