"""`tru scan`: is anything of a batch left, in any store?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.cli.output import QuietOption, reserved_for_outcome

_COLOURS = {"found": typer.colors.RED, "unreachable": typer.colors.YELLOW, "not found": None}


def scan(
    batch: Annotated[str, typer.Option("--batch", metavar="ID", help="The batch, as `tru status` names it.")],
    subjects: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON of its subjects, as for `tru requests import`; for a batch that is erased."),
    ] = None,
    workspace: WorkspaceOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Search every store for what is left of a batch: ids, interactions, vectors. Exit code 1 if anything is found.

    Needed are the identifiers: while the batch is open or waits for its erasure they are here; later you give them.
    """
    from tru.ops.erasure.search.scan import scan as search
    from tru.ops.erasure.search.scan import traces_for
    from tru.ops.requests.intake import read_requests
    from tru.ops.requests.store import open_inbox

    ws = open_workspace(workspace, reading=True)
    named = [one.subject for one in read_requests(subjects)] if subjects else []
    traces = traces_for(ws, open_inbox(ws), batch, named)
    tell = None if quiet or json else _tell
    with reserved_for_outcome(quiet=quiet):
        found = search(ws, traces, progress=tell, skip=[subjects] if subjects else [])
    if json:
        print_json([{key: value for key, value in asdict(one).items() if value != "" or key != "why"} for one in found])
    else:
        _print([asdict(one) for one in found])
    if any(one.state == "found" for one in found):
        raise typer.Exit(1)


def _tell(store: str) -> None:
    typer.echo(f"Searching: {store} ...", err=True)


def _print(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["store"]) for row in rows)
    for row in rows:
        line = f"{row['store']:{width}}  {row['state']:11}  {row['count'] or '':>6}  {row['why']}".rstrip()
        typer.secho(line, fg=_COLOURS[row["state"]])
    found = [row for row in rows if row["state"] == "found"]
    unread = sum(row["state"] == "unreachable" for row in rows)
    words = f"Found in {len(found)} of {len(rows)} stores." if found else f"Nothing found in {len(rows)} stores."
    typer.echo(words + (f" Not all could be read: {unread} unreachable." if unread else ""))
