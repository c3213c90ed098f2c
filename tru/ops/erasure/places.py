"""Where a batch is set aside until its erasure; apart from what reads it, so that nobody loads pandas to ask."""

from __future__ import annotations

from pathlib import Path

from tru.ops.workspace import Workspace

TRACES = "traces.npz"
"""The file of traces: with it the folder counts."""


def folder(ws: Workspace, batch: str) -> Path:
    """Where the traces of a batch are set aside."""
    return ws.state / "erasure" / batch


def pending(ws: Workspace) -> list[str]:
    """Ids of the batches whose traces are set aside, oldest first.

    A folder without the file of traces does not count: it is what a killed run left.
    """
    names = [file.parent.name for file in (ws.state / "erasure").glob(f"*/{TRACES}")]
    # Ids end in the number of the batch on its day, which may have three digits.
    return sorted(names, key=lambda name: (name.rpartition("-")[0], len(name), name))
