"""``tru certificate``: show, check and hand out certificates of erasure. Checking needs no workspace, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tru.cli.app import App
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.errors import CertificateError, WorkspaceError

if TYPE_CHECKING:
    from tru.certificates import Facts, PublicKey
    from tru.workspace import Workspace

app = App(help="Show, check and hand out certificates of erasure.", no_args_is_help=True)
keys = App(help="The keys that sign certificates.", no_args_is_help=True)
app.add_typer(keys, name="keys")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A certificate, such as certificate-req-….json.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Certificates.")]
Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", help="Public key to check with (PEM); may be given several times.", show_default="workspace's"
    ),
]


@app.command()
def show(
    file: File,
    html: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write a page to read and print.")] = None,
    key: Keys = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a certificate states, in words; exit code 1 if it is not genuine."""
    from tru.certificates import render
    from tru.certificates.envelope import opened
    from tru.certificates.words import in_words

    envelope = _read(file)
    facts, keyid = opened(envelope)
    fault = _fault(envelope, key, workspace)
    is_genuine = None if fault == _NO_KEYS else fault is None
    if html is not None:
        _write(html, render(envelope, is_genuine))
        typer.echo(html)
    elif json:
        print_json({"genuine": is_genuine, "keyid": keyid, "facts": facts.to_dict()})
    else:
        typer.echo(in_words(facts, keyid))
    _warn(facts)
    if fault:
        typer.secho(f"Not checked: {fault}" if is_genuine is None else f"NOT GENUINE: {fault}", err=True, fg=_RED)
    if is_genuine is False:
        raise typer.Exit(1)


@app.command()
def verify(files: Files, key: Keys = None, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Check certificates with nothing but the public key; exit code 1 if one is not genuine."""
    from tru.certificates import verify as checked
    from tru.certificates.words import DISCLAIMER

    known, found = _keys(key, workspace), []
    for file in files:
        try:
            facts = checked(_read(file), known)
        except CertificateError as error:
            found.append({"file": str(file), "genuine": False, "why": str(error)})
            if not json:
                typer.secho(f"{file}: NOT GENUINE. {error}", fg=_RED)
            continue
        found.append({"file": str(file), "genuine": True, "request": facts.request, "key": facts.key})
        if not json:
            typer.echo(f"{file}: genuine. {_line(facts)}")
        _warn(facts)
    if json:
        print_json(found)
    elif all(one["genuine"] for one in found):
        typer.echo(DISCLAIMER)
    if not all(one["genuine"] for one in found):
        raise typer.Exit(1)


@app.command()
def export(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="The id of a request: `tru requests list`.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where.", show_default="./certificate-REQUEST.json")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write the certificate of a request to a file, and print where; says what is missing if there is none yet."""
    from tru.certificates import place, trusted
    from tru.certificates import verify as checked
    from tru.requests.store import open_inbox

    ws = open_workspace(workspace)
    # Asked first: only what the inbox knows as a request becomes part of a path.
    found = open_inbox(ws).get(request)
    file = place(ws, found.id)
    if not file.exists():
        raise CertificateError(_standing(ws, found.id))
    envelope = file.read_bytes()
    facts = checked(envelope, trusted(ws))
    out = to or Path(f"certificate-{found.id}.json")
    _write(out, envelope)
    typer.echo(out)
    _warn(facts)


@app.command("list")
def list_certificates(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List the workspace's certificates, each checked."""
    from tru.certificates import issued

    ws = open_workspace(workspace)
    rows = [_row(file, ws) for file in issued(ws)]
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo("No certificates yet. One is issued for each request when everything old is destroyed.")
    for row in rows:
        line = f"{row['request']:21} {row['regime'] or '-':12} {row['erased'] or '-':25} {row['key'] or '-':12} "
        typer.secho(line + ("genuine" if row["genuine"] else "NOT GENUINE"), fg=None if row["genuine"] else _RED)


@keys.command("new")
def new(file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; kept secret.")]) -> None:
    """Make a signing key, under the password in TRU_SIGNING_KEY_PASSWORD if one is set."""
    from tru.certificates.keys import new_key

    made = new_key(file)
    typer.echo(made.pem, nl=False)
    typer.echo(f"Key {made.keyid}. Sign with it: export TRU_SIGNING_KEY={file.resolve()}", err=True)


@keys.command("show")
def show_keys(workspace: WorkspaceOption = None) -> None:
    """Print the public keys that certificates of this workspace are checked with, the present one first."""
    from tru.certificates.keys import present, trusted

    ws = open_workspace(workspace)
    now = present(ws)
    every = list(dict.fromkeys([*([now] if now else []), *trusted(ws)]))
    if not every:
        raise CertificateError("There is no key yet. `tru certificate keys new FILE` makes one of your own.")
    for key in every:
        typer.echo(f"{'present' if key == now else 'earlier'} key {key.keyid}", err=True)
        typer.echo(key.pem, nl=False)


@keys.command("rotate")
def rotate(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Where the next private key goes, if TRU_SIGNING_KEY is set."),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Make the next signing key; certificates signed with the present one still verify."""
    from tru.certificates.keys import rotate as rotated

    made = rotated(open_workspace(workspace), file)
    typer.echo(made.pem, nl=False)
    then = (
        f"It signs once TRU_SIGNING_KEY={file.resolve()}."
        if file
        else "It is a development key, and signs from now on."
    )
    typer.echo(f"Key {made.keyid}. {then} Hand the public key to whoever checks certificates.", err=True)


_RED = typer.colors.RED
_NO_KEYS = "There is no public key to check it with: name one with --key PUBLIC.pem, or run this in the workspace."


def _keys(given: Sequence[Path] | None, workspace: Path | None) -> list[PublicKey]:
    """The keys to check with; of the workspace if none is named and there is one."""
    from tru.certificates import read_public, trusted

    if given:
        return [key for file in given for key in read_public(file)]
    try:
        found = trusted(open_workspace(workspace))
    except WorkspaceError:
        found = []
    if not found:
        raise CertificateError(_NO_KEYS)
    return found


def _fault(envelope: bytes, given: Sequence[Path] | None, workspace: Path | None) -> str | None:
    from tru.certificates import verify as checked

    try:
        known = _keys(given, workspace)
    except CertificateError as error:
        if str(error) != _NO_KEYS:
            raise
        return _NO_KEYS
    try:
        checked(envelope, known)
    except CertificateError as error:
        return str(error)
    return None


def _row(file: Path, ws: Workspace) -> dict[str, str | bool | None]:
    from tru.certificates import trusted
    from tru.certificates import verify as checked

    try:
        facts = checked(_read(file), trusted(ws))
    except CertificateError:
        return {"request": file.stem, "regime": None, "erased": None, "key": None, "genuine": False}
    is_its_own = facts.request == file.stem
    erased = facts.times["erased"]
    return {"request": file.stem, "regime": facts.regime, "erased": erased, "key": facts.key, "genuine": is_its_own}


def _line(facts: Facts) -> str:
    from tru.certificates.words import day, searched

    return (
        f"Request {facts.request} ({facts.regime}), received {day(facts.times['received'])}, erased "
        f"{day(facts.times['erased'])}; gate: {facts.verdict['verdict']}; {searched(facts)}"
    )


def _warn(facts: Facts) -> None:
    from tru.certificates import DEVELOPMENT_WARNING

    if facts.key == "development":
        typer.secho(f"Warning: {DEVELOPMENT_WARNING}", err=True, fg=typer.colors.YELLOW)


def _standing(ws: Workspace, id: str) -> str:
    """Why there is no certificate, and what comes next."""
    from tru.requests.lifecycle import WAITING, State
    from tru.requests.store import open_inbox

    request = open_inbox(ws).get(id)
    if request.state in WAITING:
        return f"{id} waits for the next night, so there is nothing to certify yet. `tru run` takes it up now."
    if request.state is State.HELD:
        return f"{id} is in batch {request.batch}, which is held for a person to decide. See `tru status`."
    if request.state is State.WITHDRAWN:
        return f"{id} was withdrawn. Nothing was erased, so there is nothing to certify."
    if request.state is State.REFUSED:
        return f"{id} was refused. Nothing was erased, so there is nothing to certify."
    if request.outcome == "not found":
        return f"{id} named nobody and nothing in the data. Nothing was erased, so there is nothing to certify."
    if request.is_open:
        return (
            f"{id} is worked on in batch {request.batch} and stands at “{request.state}”. Next comes the rest of the "
            "night, then the erasure; then its certificate. `tru run` goes on with a batch that was interrupted."
        )
    return (
        f"{id} is forgotten by the model that serves. What is old is not yet destroyed and searched through; its "
        "certificate comes with that: `tru erase`, or the next night. `tru status` says what stands in the way."
    )


def _read(file: Path) -> bytes:
    from tru.certificates.envelope import LARGEST

    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise CertificateError(f"{file} cannot be read: {error.strerror}.") from None


def _write(file: Path, content: bytes | str) -> None:
    from tru.certificates.files import replace

    try:
        replace(file, content.encode() if isinstance(content, str) else content, 0o644)
    except OSError as error:
        raise CertificateError(f"{file} cannot be written: {error.strerror}.") from None
