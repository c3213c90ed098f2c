"""``tru report``: the page about a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json


def report(
    batch: Annotated[
        str | None, typer.Argument(metavar="BATCH", help="Such as batch-20261123-01.", show_default="the newest")
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Write the page about a batch (one HTML file that needs no network) and print where it is."""
    from tru.ops.report import newest, write

    ws = open_workspace(workspace, reading=True)
    chosen = batch or newest(ws)
    file = write(ws, chosen)
    if json:
        print_json({"batch": chosen, "path": str(file)})
    else:
        typer.echo(file)
