"""Options every command shares."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any

import typer

from tru.ops.workspace import Workspace

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


def open_workspace(path: Path | None, *, reading: bool = False) -> Workspace:
    """The workspace a command works in.

    Args:
        path: the folder.
        reading: the command only reads, so that it also works in a copy that was not adopted yet.

    Raises:
        WorkspaceError: it is not one; or it is a copy, and the command may write.
    """
    return Workspace.find(path, reading=reading)


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write ``value`` as JSON to standard output, undecorated."""
    typer.echo(json.dumps(value, indent=2, default=str))


def print_json_list(values: Iterable[Any]) -> None:
    """Write what `print_json` would write of a list, one element after the other: a list may be very long."""
    before = "[\n"
    for value in values:
        typer.echo(before + indent(json.dumps(value, indent=2, default=str), "  "), nl=False)
        before = ",\n"
    typer.echo("[]" if before == "[\n" else "\n]")
