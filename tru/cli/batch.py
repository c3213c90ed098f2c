"""`tru batch`: what a person decides about a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tru.cli.app import App
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.ops.requests.lifecycle import Regime
from tru.prose import several

app = App(help="What a person decides about a held batch.", no_args_is_help=True)


@app.callback()
def _batch() -> None:
    """What a person decides about a held batch."""


Batch = Annotated[
    str | None, typer.Argument(metavar="BATCH", help="Which; not needed where only one is held.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; the ledger keeps it for good. Name nobody.")]
NEXT = "Next: `tru run`, or wait for the night."


@app.command()
def accept(reason: Reason, batch: Batch = None, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Finish a held batch as it is: what was cut is right, however little it leaves.

    The next run goes on with it. If the unlearned model cannot be made or judged, a retrained one serves, and
    statistics that it fails, or that cannot be had, are what you answer for. A failed exact check cannot be overridden.
    """
    from tru.ops.pipeline import accept as decide
    from tru.ops.release.champion import checked_reason

    ws = open_workspace(workspace)
    found = decide(ws, checked_reason(ws, reason), batch)
    if "version" in found:
        words = f"{found['batch']}: accepted; {_serves(found)}"
    else:
        words = f"{found['batch']} is accepted as it is. {NEXT}"
    _tell(found, words, json)


@app.command()
def retry(batch: Batch = None, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Let a held batch run again from the step that failed, with data and settings as they are now.

    After a failed cut or check the cut is taken back, so that other data can be imported before the next run.
    """
    from tru.ops.pipeline import retry as again

    found = again(open_workspace(workspace), batch)
    _tell({"batch": found}, f"{found} is no longer held. {NEXT}", json)


@app.command()
def split(
    batch: Batch = None,
    regime: Annotated[Regime | None, typer.Option("--regime", help="What goes back: this kind of requests.")] = None,
    request: Annotated[
        list[str] | None, typer.Option("--request", metavar="ID", help="What goes back: this one; may be repeated.")
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Send a part of a held batch back to the queue; what stays is tried anew, alone.

    Without --regime or --request the newer half goes back. It comes in the next batch after this one.
    """
    from tru.ops.pipeline import split as part

    found = part(open_workspace(workspace), batch, regime=regime, ids=request or [])
    stay, back = found["stay"], found["back"]
    words = f"{found['batch']}: {several(stay, 'request stays', 'requests stay')}, {back} back in the queue. {NEXT}"
    _tell(found, words, json)


@app.command()
def release(reason: Reason, batch: Batch = None, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Promote the model of a held batch although the gate refused it, or an approval is missing.

    Where the gate refused both models it is the retrained one: retraining forgets exactly, so nobody comes back with
    it, and what is decided is that its quality will do. Where a model passed and only the approval is missing, it is
    that model, unlearned or retrained. A failed exact check cannot be overridden.
    """
    from tru.ops.pipeline import release as promote
    from tru.ops.release.champion import checked_reason

    ws = open_workspace(workspace)
    found = promote(ws, checked_reason(ws, reason), batch)
    _tell(found, f"{found['batch']}: released; {_serves(found)}", json)


def _tell(found: Mapping[str, Any], words: str, json: bool) -> None:
    print_json(found) if json else typer.echo(words)


def _serves(found: dict[str, Any]) -> str:
    return f"version {found['version']} (the {found['outcome']} model) is champion."
