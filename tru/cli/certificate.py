"""``tru certificate``: show, check and hand out certificates of erasure. Checking needs no workspace, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tru.cli.app import App
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.errors import CertificateError, CommandError, WorkspaceError

if TYPE_CHECKING:
    from tru.ops.certificates import Facts, PublicKey
    from tru.ops.workspace import Workspace

app = App(help="Show, check and hand out certificates of erasure.", no_args_is_help=True)
keys = App(help="The keys that sign certificates.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME...", help="Ids of requests or batches (`tru requests list`), or files with certificates."
    ),
]
References = Annotated[
    list[str] | None,
    typer.Option(
        "--ref",
        metavar="CASE",
        help="Certificates of what was filed under this case number of yours; may be given several times.",
    ),
]
Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", help="Public key to check with (PEM); may be given several times.", show_default="workspace's"
    ),
]


@app.command()
def show(
    names: Names = None,
    ref: References = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="OUT", help="Write a page to read and print, an A4 sheet per certificate."),
    ] = None,
    key: Keys = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show what certificates state, in words; exit code 1 if one is not genuine."""
    from tru.ops.certificates.page import render_all
    from tru.ops.certificates.words import in_words

    certificates = [_judged(file, key, workspace) for file in _files(names, ref, workspace)]
    if html is not None:
        _write(html, render_all([(one.envelope, one.is_genuine) for one in certificates]))
        typer.echo(html)
    elif json:
        shown = [{"genuine": one.is_genuine, "keyid": one.keyid, "facts": one.facts.to_dict()} for one in certificates]
        print_json(shown if len(shown) > 1 else shown[0])
    else:
        typer.echo("\n\n\n".join(in_words(one.facts, one.keyid) for one in certificates))
    _warn(*(one.facts for one in certificates))
    for one in certificates:
        if one.fault:
            sign = "Not checked" if one.is_genuine is None else "NOT GENUINE"
            where = f"{one.file}: " if len(certificates) > 1 else ""
            typer.secho(f"{where}{sign}: {one.fault}", err=True, fg=_RED)
    if any(one.is_genuine is False for one in certificates):
        raise typer.Exit(1)


@app.command()
def verify(
    names: Names = None,
    ref: References = None,
    key: Keys = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Check certificates with nothing but the public key; exit code 1 if one is not genuine."""
    from tru.ops.certificates import verify as checked
    from tru.ops.certificates.words import DISCLAIMER

    files, known = _files(names, ref, workspace), _keys(key, workspace)
    found, genuine = [], []
    for file in files:
        try:
            facts = checked(_read(file), known)
        except CertificateError as error:
            found.append({"file": str(file), "genuine": False, "why": str(error)})
            if not json:
                typer.secho(f"{file}: NOT GENUINE. {error}", fg=_RED)
            continue
        genuine.append(facts)
        found.append({"file": str(file), "genuine": True, "request": facts.request, "key": facts.key})
        if not json:
            typer.echo(f"{file}: genuine. {_line(facts)}")
    _warn(*genuine)
    if json:
        print_json(found)
    elif all(one["genuine"] for one in found):
        typer.echo(DISCLAIMER)
    if not all(one["genuine"] for one in found):
        raise typer.Exit(1)


@app.command()
def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Ids of requests or batches: `tru requests list`."),
    ] = None,
    ref: References = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="PATH",
            help="A file for the certificate of one request, else a folder.",
            show_default="./certificate-REQUEST.json, or ./certificates-BATCH/",
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Hand out certificates, and print where; says what is missing if there is none yet.

    Of one request it is one file. Of a batch, or of several requests, it is a folder: a file per certificate, all of
    them as one page to print (certificates.html), and the public keys to check them with (keys.pem).
    """
    from tru.ops.certificates import trusted
    from tru.ops.certificates import verify as checked
    from tru.ops.certificates.page import render_all

    ws = open_workspace(workspace, reading=True)
    files, known = _files(names, ref, workspace, only_ids=True), trusted(ws)
    envelopes = {file.stem: file.read_bytes() for file in files}
    genuine = [checked(envelope, known) for envelope in envelopes.values()]
    alone = len(files) == 1 and not (to and to.is_dir()) and not any(name.startswith("batch-") for name in names or [])
    if alone:
        written = to or Path(f"certificate-{files[0].stem}.json")
        _write(written, envelopes[files[0].stem])
    else:
        written = to or Path(f"certificates-{names[0] if names and len(names) == 1 else 'of-several'}")
        contents: dict[str, bytes | str] = {f"certificate-{request}.json": e for request, e in envelopes.items()}
        contents["certificates.html"] = render_all([(envelope, True) for envelope in envelopes.values()])
        contents["keys.pem"] = "".join(key.pem for key in known)
        _write_folder(written, contents)
    if json:
        print_json({"path": str(written), "requests": list(envelopes)})
    else:
        typer.echo(written)
    _warn(*genuine)


@app.command("list")
def list_certificates(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List the workspace's certificates, each checked."""
    from tru.ops.certificates import issued

    ws = open_workspace(workspace, reading=True)
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
    from tru.ops.certificates.keys import new_key

    made = new_key(file)
    typer.echo(made.pem, nl=False)
    typer.echo(f"Key {made.keyid}. Sign with it: export TRU_SIGNING_KEY={file.resolve()}", err=True)


@keys.command("show")
def show_keys(workspace: WorkspaceOption = None) -> None:
    """Print the public keys that certificates of this workspace are checked with, the present one first."""
    from tru.ops.certificates.keys import present, trusted

    ws = open_workspace(workspace, reading=True)
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
        typer.Argument(metavar="FILE", help="Where the next private key goes, if TRU_SIGNING_KEY is set."),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Make the next signing key; certificates signed with the present one still verify."""
    from tru.ops.certificates.keys import rotate as rotated

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
    from tru.ops.certificates import read_public, trusted

    if given:
        return [key for file in given for key in read_public(file)]
    try:
        found = trusted(open_workspace(workspace, reading=True))
    except WorkspaceError:
        found = []
    if not found:
        raise CertificateError(_NO_KEYS)
    return found


@dataclass(frozen=True)
class _Judged:
    """A certificate and what was found of its signature; ``fault`` says what is wrong, or why nobody could look."""

    file: Path
    envelope: bytes
    facts: Facts
    keyid: str
    fault: str | None

    @property
    def is_genuine(self) -> bool | None:
        """Whether the signature fits; None if there was no key to check it with."""
        return None if self.fault == _NO_KEYS else self.fault is None


def _judged(file: Path, given: Sequence[Path] | None, workspace: Path | None) -> _Judged:
    from tru.ops.certificates.envelope import opened

    envelope = _read(file)
    facts, keyid = opened(envelope)
    return _Judged(file, envelope, facts, keyid, _fault(envelope, given, workspace))


def _files(
    names: Sequence[str] | None, references: Sequence[str] | None, workspace: Path | None, *, only_ids: bool = False
) -> list[Path]:
    """The files that are meant. Only ids and case numbers need a workspace, to be looked up in.

    Raises:
        CommandError: nothing is named.
    """
    from tru.ops.certificates.selection import is_file, select

    if not names and not references:
        raise CommandError("Name a request, a batch or a file, or a case number with --ref.")
    if not references and not only_ids and all(is_file(name) for name in names or []):
        return [Path(name) for name in names or []]
    return select(open_workspace(workspace, reading=True), names or [], references or [], only_ids=only_ids)


def _fault(envelope: bytes, given: Sequence[Path] | None, workspace: Path | None) -> str | None:
    from tru.ops.certificates import verify as checked

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
    from tru.ops.certificates import trusted
    from tru.ops.certificates import verify as checked

    try:
        facts = checked(_read(file), trusted(ws))
    except CertificateError:
        return {"request": file.stem, "regime": None, "erased": None, "key": None, "genuine": False}
    is_its_own = facts.request == file.stem
    erased = facts.times["erased"]
    return {"request": file.stem, "regime": facts.regime, "erased": erased, "key": facts.key, "genuine": is_its_own}


def _line(facts: Facts) -> str:
    from tru.ops.certificates.words import day, searched

    return (
        f"Request {facts.request} ({facts.regime}), received {day(facts.times['received'])}, erased "
        f"{day(facts.times['erased'])}; gate: {facts.verdict['verdict']}; {searched(facts)}"
    )


def _warn(*shown: Facts) -> None:
    from tru.ops.certificates import DEVELOPMENT_WARNING

    if any(facts.key == "development" for facts in shown):
        typer.secho(f"Warning: {DEVELOPMENT_WARNING}", err=True, fg=typer.colors.YELLOW)


def _read(file: Path) -> bytes:
    from tru.ops.certificates.envelope import LARGEST

    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise CertificateError(f"{file} cannot be read: {error.strerror}.") from None


def _write(file: Path, content: bytes | str) -> None:
    from tru.ops.certificates.files import replace

    try:
        replace(file, content.encode() if isinstance(content, str) else content, 0o644)
    except OSError as error:
        raise CertificateError(f"{file} cannot be written: {error.strerror}.") from None


def _write_folder(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CertificateError(f"{folder} cannot be made: {error.strerror}. Name a folder with --to.") from None
    for name, content in contents.items():
        _write(folder / name, content)
