"""``tru requests``: file, list and withdraw deletion requests. Nothing printed here names a subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tru.cli.app import App
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json, print_json_list
from tru.errors import RequestError, WorkspaceError
from tru.ops.requests import DeletionRequest, Inbox, Receipt, State, Subject
from tru.ops.requests.filing import Filing, parse_received
from tru.ops.requests.lifecycle import RequestParams
from tru.prose import several

app = App(help="File, list and withdraw deletion requests.", no_args_is_help=True)

ReferenceOption = Annotated[
    str | None,
    typer.Option(
        metavar="CASE",
        help="Your own case number, to find request and certificate by. It is kept as a keyed hash, so it is never "
        "shown again.",
    ),
]
RequestIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of requests, as `tru requests list` says.")]


@app.command()
def add(
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Forget this user; with --item only the one interaction. May be repeated without --item."
        ),
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Take this item down; with --modality only the one modality. May be repeated without --modality.",
        ),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Revoke this modality of --item, such as image. May be repeated."),
    ] = None,
    received: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="When it was asked, as in 2026-10-02T15:00:00+02:00; the month runs from there."
        ),
    ] = None,
    ref: ReferenceOption = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """File requests, all or none; what they name is suppressed from now on.

    Name users, items, a user and items (each of the interactions), or an item and modalities. Several users with an
    item, or several items with a modality, could be meant in two ways and are refused.
    """
    subjects = _subjects(user or [], item or [], modality or [])
    moment = parse_received(received) if received is not None else None
    _file(workspace, [Filing(subject, moment, reference=ref) for subject in subjects], json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header, or JSON: a list of objects.")],
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """File every request of a file, or none if one of them is wrong.

    The columns are any of regime, user, item, modality, received, ref; one column USER_ID is a list of users. The
    received time, ISO 8601 with a time zone, is when the request was made: the month runs from there. A ref is a case
    number of your own, by which you find request and certificate again.
    """
    from tru.ops.erasure.reach import refuse_searched
    from tru.ops.requests.intake import read_requests

    refuse_searched(open_workspace(workspace), file)
    _file(workspace, read_requests(file), json)


@app.command("list")
def list_requests(
    state: Annotated[
        list[State] | None, typer.Option(help="Only requests in this state; may be given several times.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option(metavar="CASE", help="Only requests that were filed under this case number.")
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """List the requests, oldest first."""
    days, inbox = _days(workspace), _inbox(workspace, reading=True)
    if ref is None:
        requests = inbox.list(state=state or None)
    else:
        requests = [request for request in inbox.filed_under(ref) if not state or request.state in state]
    if json:
        print_json_list(request.public(days) for request in requests)
    elif requests:
        _table(requests, days)
    else:
        typer.echo("No requests.")


@app.command()
def show(ids: RequestIds, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Show where requests stand."""
    days = _days(workspace)
    _show(_inbox(workspace, reading=True).get_all(ids), days, json)


@app.command()
def withdraw(ids: RequestIds, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Take back requests that wait, or whose batch is held, all or none; their subjects are no longer suppressed."""
    days, inbox = _days(workspace), _inbox(workspace)
    if all(request.batch is None or not request.is_open for request in inbox.get_all(ids)):
        _show(inbox.withdraw_all(ids), days, json)
        return
    from tru.ops.pipeline import withdraw as take_out  # their batch may have been cut; what puts data back loads slowly

    _show(take_out(open_workspace(workspace), ids), days, json)


@app.command()
def refuse(
    ids: RequestIds,
    reason: Annotated[str, typer.Option("--reason", help="Why; the ledger keeps it for good. Name nobody.")],
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """End requests that wait, or whose batch is held, as refused, all or none; their subjects must be told why."""
    from tru.ops.pipeline import refuse as end
    from tru.ops.release.champion import checked_reason

    ws, days = open_workspace(workspace), _days(workspace)
    _show(end(ws, ids, checked_reason(ws, reason)), days, json)
    if not json:
        typer.echo(
            "Tell the subject why, within a month of the request, and that they may complain to a supervisory "
            "authority or go to court (Art. 12(4) GDPR)."
        )


def _subjects(users: Sequence[str], items: Sequence[str], modalities: Sequence[str]) -> list[Subject]:
    """One subject for each thing named. What narrows another thing down may be repeated, the other thing may not.

    Raises:
        RequestError: it could be meant in two ways, or it names too little or too much.
    """
    for many, narrowing, words in ((users, items, "users and an item"), (items, modalities, "items and a modality")):
        if len(many) > 1 and narrowing:
            raise RequestError(
                f"Several {words} could be meant in two ways, so nothing was filed. File each pair with a command of "
                "its own, or all in one go with `tru requests import FILE`."
            )
    if modalities:
        return [Subject.of(user=_only(users), item=_only(items), modality=modality) for modality in modalities]
    if items:
        return [Subject.of(user=_only(users), item=item) for item in items]
    return [Subject.of(user=user) for user in users] or [Subject.of()]


def _only(names: Sequence[str]) -> str | None:
    return names[0] if names else None


def _file(workspace: Path | None, filings: Sequence[Filing], json: bool) -> None:
    """File requests, say what became of them, and warn of those that name nobody; they are filed all the same."""
    from tru.cli import unknown
    from tru.ops.requests.intake import file_all

    ws, days = open_workspace(workspace), _days(workspace)
    subjects = [filing.subject for filing in filings]
    receipts = file_all(_inbox(workspace), filings)
    found = unknown.look_up(ws, subjects)
    _report(receipts, found.known, days, json)
    unknown.warn(ws, subjects, found, [f.row or r.request.id for f, r in zip(filings, receipts, strict=True)])


def _inbox(workspace: Path | None, *, reading: bool = False) -> Inbox:
    # SQLAlchemy is slow to load; `tru --help` must not wait for it.
    from tru.ops.requests.store import open_inbox

    return open_inbox(open_workspace(workspace, reading=reading))


def _days(workspace: Path | None) -> int:
    """How many days a request may take, as ``params.yaml`` says.

    Only its block is read: a mistake in the settings of a model must not keep anybody from filing a request, and all
    settings together take seconds to load.

    Raises:
        WorkspaceError: the file cannot be read, or the block is wrong.
    """
    import yaml
    from pydantic import ValidationError

    ws = open_workspace(workspace, reading=True)
    try:
        words = yaml.safe_load(ws.params.read_text(encoding="utf-8")) or {}
        return RequestParams.model_validate(words.get("requests") or {}).due_days
    except (OSError, ValueError, AttributeError, yaml.YAMLError, ValidationError) as error:
        raise WorkspaceError(f"{ws.params}: the block `requests` cannot be read. Correct it and run again.") from error


def _report(receipts: Sequence[Receipt], found: Sequence[bool] | None, days: int, json: bool) -> None:
    """What became of each request; ``found``: whether the data knows its subject."""
    if json:
        knows: Sequence[bool | None] = [None] * len(receipts) if found is None else found
        print_json_list(
            {**receipt.request.public(days), "added": receipt.added, "known": is_known}
            for receipt, is_known in zip(receipts, knows, strict=True)
        )
        return
    if len(receipts) == 1:
        request = receipts[0].request
        fate = "filed" if receipts[0].added else f"already filed ({request.state})"
        typer.echo(f"{request.id}  {fate}; due {request.due_in(days):%Y-%m-%d}")
        return
    added = sum(receipt.added for receipt in receipts)
    first = min(receipt.request.due_in(days) for receipt in receipts)
    typer.echo(
        f"{several(added, 'request')} filed, {several(len(receipts) - added, 'was', 'were')} filed before, "
        f"due from {first:%Y-%m-%d} on; `tru requests list` shows them."
    )


def _show(requests: Sequence[DeletionRequest], days: int, json: bool) -> None:
    """One request in full, several as a table; for a program, one as an object, several as a list."""
    if json:
        shown = [request.public(days) for request in requests]
        print_json(shown if len(shown) > 1 else shown[0])
    elif len(requests) > 1:
        _table(requests, days)
    else:
        for name, value in requests[0].public(days).items():
            typer.echo(f"{name:9} {value or '-'}")


def _table(requests: Sequence[DeletionRequest], days: int) -> None:
    line = "{id:21} {regime:12} {state:10} {outcome:11} {received:11} {due:11} {batch}"
    typer.echo(line.format_map({name: name for name in requests[0].public()}))
    for request in requests:
        shown = {name: value or "-" for name, value in request.public().items()}
        moments = {"received": request.received, "due": request.due_in(days)}
        shown |= {name: f"{moment:%Y-%m-%d}" for name, moment in moments.items()}
        typer.echo(line.format_map(shown))
