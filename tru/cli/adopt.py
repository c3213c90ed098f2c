"""``tru adopt``: make a copied or moved workspace one of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json


def adopt(
    accept_shared_stores: Annotated[
        bool,
        typer.Option(
            "--accept-shared-stores",
            help="Go on although remotes, databases or links stay shared: an erasure in one of the two workspaces "
            "destroys there what the other needs.",
        ),
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Make a workspace that was copied or moved here one of its own; until then it only reads."""
    from tru.ops.adopt import adopt as make_its_own

    done = make_its_own(open_workspace(workspace, reading=True), accept_shared=accept_shared_stores)
    if json:
        print_json(asdict(done))
        return
    if done.came_from is None:
        typer.echo(f"{done.root} is in its place; there is nothing to do.")
        return
    typer.echo(f"{done.root} is a workspace of its own; {done.addresses} notes of {done.came_from} were rewritten.")
    for words in done.shared:
        typer.secho(f"  still shared with it: {words}", fg=typer.colors.YELLOW)
