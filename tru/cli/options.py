"""Options every command shares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tru.workspace import Workspace

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        envvar="TRU_WORKSPACE",
        help="Folder with params.yaml, dvc.yaml and data.dvc.",
        show_default="current directory",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def open_workspace(path: Path | None) -> Workspace:
    """The workspace a command works in.

    Raises:
        WorkspaceError: it is not one.
    """
    return Workspace.find(path)


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write ``value`` as JSON to standard output, undecorated."""
    typer.echo(json.dumps(value, indent=2, default=str))
