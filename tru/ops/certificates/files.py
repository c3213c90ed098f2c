"""Files that are written whole or not at all, and of which the first one wins."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_once(path: Path, content: bytes, mode: int) -> bool:
    """Write a file that is not there yet; it survives a power cut from here on.

    Returns:
        Whether it was written; False if there is one already, which stays as it is.
    """
    draft = _draft(path, content, mode)
    try:
        # A hard link, unlike a rename, does not replace what another process has just made.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _settle(path.parent)
    return True


def replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file in the place of another; whoever reads it finds the old or the new one, never half of it."""
    _draft(path, content, mode).replace(path)
    _settle(path.parent)


def _draft(path: Path, content: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _settle(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
