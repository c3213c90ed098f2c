"""`tru batch`: what a person decides about a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from tru.cli.app import App
from tru.cli.options import WorkspaceOption, open_workspace

app = App(help="What a person decides about a held batch.", no_args_is_help=True)


@app.callback()
def _batch() -> None:
    """What a person decides about a held batch."""


@app.command()
def retry(workspace: WorkspaceOption = None) -> None:
    """Let the held batch run again, from unlearning on, with the settings as they are now."""
    from tru.night import retry as again

    typer.echo(f"{again(open_workspace(workspace))} is no longer held. Next: `tru run`, or wait for the night.")


@app.command()
def release(
    reason: Annotated[str, typer.Option("--reason", help="Why; the ledger keeps it for good. Name nobody.")],
    workspace: WorkspaceOption = None,
) -> None:
    """Promote the model of the held batch although the gate refused it, or an approval is missing.

    Where the gate refused both models it is the retrained one: retraining forgets exactly, so nobody comes back with
    it, and what is decided is that its quality will do. Where a model passed and only the approval is missing, it is
    that model, unlearned or retrained. A failed exact check cannot be overridden.
    """
    from tru.champion import checked_reason
    from tru.night import release as promote

    ws = open_workspace(workspace)
    found = promote(ws, checked_reason(ws, reason))
    typer.echo(f"{found['batch']}: released; version {found['version']} (the {found['outcome']} model) is champion.")
