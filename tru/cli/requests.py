"""``tru requests``: file, list and withdraw deletion requests. Nothing printed here names a subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.errors import WorkspaceError
from tru.requests import DeletionRequest, Inbox, Receipt, State, Subject
from tru.requests.lifecycle import RequestParams

app = typer.Typer(help="File, list and withdraw deletion requests.", no_args_is_help=True)

RequestId = Annotated[str, typer.Argument(metavar="ID", help="The id of the request, such as req-0123456789abcdef.")]


@app.command()
def add(
    user: Annotated[str | None, typer.Option(help="Forget this user; with --item only the one interaction.")] = None,
    item: Annotated[
        str | None, typer.Option(help="Take this item down; with --modality only the one modality.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Revoke this modality of --item, such as image.")] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """File one request; what it names is suppressed from now on.

    Name a user, an item, a user and an item, or an item and a modality.
    """
    subject = Subject.of(user=user, item=item, modality=modality)
    days = _days(workspace)
    _report(_inbox(workspace).add_all([subject]), days, json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header, or JSON: a list of objects.")],
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """File every request of a file, or none if one of them is wrong.

    The columns are any of regime, user, item, modality; one column USER_ID is a list of users.
    """
    from tru.requests.intake import read_requests

    subjects = read_requests(file)
    days = _days(workspace)
    _report(_inbox(workspace).add_all(subjects), days, json)


@app.command("list")
def list_requests(
    state: Annotated[State | None, typer.Option(help="Only requests in this state.")] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """List the requests, oldest first."""
    requests = _inbox(workspace).list(state=state)
    if json:
        print_json([request.public(_days(workspace)) for request in requests])
    elif requests:
        _table(requests, _days(workspace))
    else:
        typer.echo("No requests.")


@app.command()
def show(id: RequestId, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Show where one request stands."""
    _show(_inbox(workspace).get(id), _days(workspace), json)


@app.command()
def withdraw(id: RequestId, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Take back a request that no batch has taken up; its subject is no longer suppressed."""
    days = _days(workspace)
    _show(_inbox(workspace).withdraw(id), days, json)


def _inbox(workspace: Path | None) -> Inbox:
    # SQLAlchemy is slow to load; `tru --help` must not wait for it.
    from tru.requests.store import open_inbox

    return open_inbox(open_workspace(workspace))


def _days(workspace: Path | None) -> int:
    """How many days a request may take, as ``params.yaml`` says.

    Only its block is read: a mistake in the settings of a model must not keep anybody from filing a request, and all
    settings together take seconds to load.

    Raises:
        WorkspaceError: the file cannot be read, or the block is wrong.
    """
    import yaml
    from pydantic import ValidationError

    ws = open_workspace(workspace)
    try:
        words = yaml.safe_load(ws.params.read_text(encoding="utf-8")) or {}
        return RequestParams.model_validate(words.get("requests") or {}).due_days
    except (OSError, ValueError, AttributeError, yaml.YAMLError, ValidationError) as error:
        raise WorkspaceError(f"{ws.params}: the block `requests` cannot be read. Correct it and run again.") from error


def _report(receipts: Sequence[Receipt], days: int, json: bool) -> None:
    if json:
        print_json([{**receipt.request.public(days), "added": receipt.added} for receipt in receipts])
        return
    if len(receipts) == 1:
        request = receipts[0].request
        fate = "filed" if receipts[0].added else f"already filed ({request.state})"
        typer.echo(f"{request.id}  {fate}; due {request.due_in(days):%Y-%m-%d}")
        return
    added = sum(receipt.added for receipt in receipts)
    typer.echo(f"{added} requests filed, {len(receipts) - added} were filed before; `tru requests list` shows them.")


def _show(request: DeletionRequest, days: int, json: bool) -> None:
    if json:
        print_json(request.public(days))
        return
    for name, value in request.public(days).items():
        typer.echo(f"{name:9} {value or '-'}")


def _table(requests: Sequence[DeletionRequest], days: int) -> None:
    line = "{id:21} {regime:12} {state:10} {outcome:11} {received:11} {due:11} {batch}"
    typer.echo(line.format_map({name: name for name in requests[0].public()}))
    for request in requests:
        shown = {name: value or "-" for name, value in request.public().items()}
        moments = {"received": request.received, "due": request.due_in(days)}
        shown |= {name: f"{moment:%Y-%m-%d}" for name, moment in moments.items()}
        typer.echo(line.format_map(shown))
