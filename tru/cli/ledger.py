"""``tru ledger``: what happened, in order, and whether the record of it is whole. Nothing printed names a subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tru.cli.app import App
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.ops.requests.history import Reign, in_words, reigns
from tru.ops.requests.ledger import KINDS, Entry, Kind

if TYPE_CHECKING:
    from tru.ops.requests.ledger import Ledger
    from tru.ops.workspace import Workspace

app = App(help="Who was champion when and why, and everything that led to it.", no_args_is_help=True)

_TIME = "%Y-%m-%d %H:%M"


@app.command()
def show(
    count: Annotated[int, typer.Option("-n", min=1, help="How many of the newest entries.")] = 20,
    kind: Annotated[str | None, typer.Option("--kind", help=f"Only entries of one kind: {', '.join(KINDS)}.")] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show who was champion from when to when, and the newest entries; times are UTC."""
    chosen = _kind(kind)
    ledger = _ledger(open_workspace(workspace, reading=True))
    served = reigns(ledger.entries("champion"))[-count:]
    entries = list(ledger.entries(chosen))[-count:]
    if json:
        print_json({"reigns": [r.public() for r in served], "entries": [entry.public() for entry in entries]})
    else:
        typer.echo("\n".join([*_reigns(served), *map(_line, entries)]) or "The ledger has no entries yet.")


@app.command()
def verify(
    against: Annotated[
        bool, typer.Option("--against", help="Also compare with the marks that the model versions in MLflow carry.")
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Check that no entry was changed, added or taken away; exit code 1 if one was."""
    ws = open_workspace(workspace, reading=True)
    ledger = _ledger(ws)
    faults = ledger.verify()
    if against and not faults:  # what the marks are compared with must be whole first
        from tru.ops.release.champion import unanchored

        faults = unanchored(ws)
    entries = ledger.entries()
    head = entries[-1].digest if entries else None
    if json:
        print_json({"intact": not faults, "entries": len(entries), "head": head, "faults": faults})
    elif faults:
        typer.secho(f"The ledger is NOT intact ({len(entries)} entries):", fg=typer.colors.RED)
        typer.echo("\n".join(f"  {fault}" for fault in faults))
    else:
        typer.echo(f"ledger intact: {len(entries)} entries, head {head}" if head else "ledger intact: no entries yet")
    if faults:
        raise typer.Exit(1)


def _ledger(ws: Workspace) -> Ledger:
    # SQLAlchemy is slow to load; `tru --help` must not wait for it. Asking makes no ledger: an empty one made in the
    # wrong place would be found intact.
    from tru.ops.requests.store import open_ledger

    return open_ledger(ws, create=False)


def _kind(name: str | None) -> Kind | None:
    found = next((kind for kind in KINDS if kind == name), None)
    if name is not None and found is None:
        raise typer.BadParameter(f"the kinds are {', '.join(KINDS)}", param_hint="--kind")
    return found


def _reigns(served: Sequence[Reign]) -> list[str]:
    if not served:
        return []
    width = max(len(reign.version) for reign in served)
    lines = ["champions"]
    for reign in served:
        until = "now" if reign.until is None else f"{reign.until:{_TIME}}"
        why = f"{reign.why}, {reign.batch}" if reign.batch else reign.why
        lines.append(f"  version {reign.version:{width}}  {reign.since:{_TIME}} to {until:16}  {why}")
    return [*lines, ""]


def _line(entry: Entry) -> str:
    return f"{entry.at:{_TIME}}  {entry.kind:8}  {in_words(entry)}"
