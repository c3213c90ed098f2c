"""The commands themselves; each imports what it needs when it runs, so that ``tru --help`` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tru.cli import batch, certificate, data, ledger, requests
from tru.cli.adopt import adopt
from tru.cli.app import App
from tru.cli.baseline import baseline
from tru.cli.champion import rollback
from tru.cli.erasure import erase, reapply
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.cli.output import QuietOption, reserved_for_outcome
from tru.cli.plugins import backbones, unlearners
from tru.cli.report import report
from tru.cli.scan import scan
from tru.cli.services import down, up
from tru.errors import REASON_FILE, TruError

START, DAILY, DECIDE, PROVE, RESEARCH = (
    "To begin with",
    "Every day",
    "When a person must decide, or something went wrong",
    "What happened, and what can be shown",
    "Research",
)
ORDER = (
    *("demo", "init", "data", "train", "check"),
    *("up", "status", "requests", "run", "recommend", "down"),
    *("batch", "rollback", "baseline", "scan", "erase", "reapply", "adopt"),
    *("report", "certificate", "ledger"),
    *("stage", "backbones", "unlearners"),
)
"""The order of use, in which `tru --help` lists the commands."""

app = App(order=ORDER, no_args_is_help=True, pretty_exceptions_enable=False)


def _say_version(wanted: bool) -> None:
    if wanted:
        from tru import __version__

        typer.echo(f"tru {__version__}")
        raise typer.Exit


@app.callback(no_args_is_help=True)
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version, and end.")
    ] = False,
) -> None:
    """Make a multimodal recommender forget, show by measurement that it did, and only then let it serve."""


@app.command(rich_help_panel=START)
def init(directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make a workspace.")]) -> None:
    """Make a workspace: params.yaml, dvc.yaml, prefect.yaml, flows, git, DVC and an inbox."""
    from tru.cli.init import create, is_complete

    if is_complete(directory):
        typer.echo(f"{open_workspace(directory).root} is a workspace already; nothing was changed.")
        return
    ws = create(directory)
    typer.echo(f"{ws.root} is a workspace. Next: `tru data generate` or `tru data import PATH`, then `tru train`.")


@app.command(rich_help_panel=START)
def train(workspace: WorkspaceOption = None, quiet: QuietOption = False, json: JsonOption = False) -> None:
    """Train a champion on the workspace's data."""
    from tru.ops import flows, preconditions

    ws = open_workspace(workspace)
    preconditions.of_training(ws)
    with reserved_for_outcome(quiet=quiet):
        found = flows.run(ws, "train")
    if json:
        print_json(found)
        return
    measured = (
        f"test NDCG@20 {found['test/ndcg@20']:.4f}" if "test/ndcg@20" in found else "without test rows to measure"
    )
    typer.echo(f"Version {found['version']} is champion ({measured}).")


@app.command("run", rich_help_panel=DAILY)
def run_nightly(workspace: WorkspaceOption = None, quiet: QuietOption = False, json: JsonOption = False) -> None:
    """Run unlearn-nightly now, in this process and without a server."""
    from tru.ops import flows, preconditions
    from tru.ops.status import is_anything_due

    ws = open_workspace(workspace)
    if not is_anything_due(ws):
        _say_night({"batch": None, "erased": []}, json)
        return
    preconditions.of_a_night(ws)
    with reserved_for_outcome(quiet=quiet):
        found = flows.run(ws, "unlearn-nightly")
    _say_night(found, json)


def _say_night(found: dict[str, Any], json: bool) -> None:
    """What a night did, as the flow returns it."""
    if json:
        print_json(found)
        return
    if found["batch"] is None:
        typer.echo("Nothing to do: no deletion request is due.")
    else:
        from tru.ops.flows.outcomes import ended

        typer.echo(ended(found))
    if found["erased"]:
        typer.echo(f"Erased and certified: {', '.join(found['erased'])}. See `tru certificate list`.")


@app.command(rich_help_panel=DAILY)
def status(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Say what a person must do, who serves, what waits, and how the last batch ended."""
    from tru.ops.status import as_words, read

    with _impatient():
        found = read(open_workspace(workspace, reading=True))
    if json:
        print_json(found)
        return
    for line in found["urgent"]:
        typer.secho(line, fg=typer.colors.RED, bold=True)
    typer.echo(as_words(found))


@app.command(rich_help_panel=START)
def check(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """See whether the whole workspace is in order, a line for each part. Exit code 1 if anything is wrong."""
    from dataclasses import asdict

    from tru.ops import health

    colours = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "wrong": typer.colors.RED}
    found = []
    with _impatient():
        for finding in health.check(open_workspace(workspace, reading=True)):
            found.append(finding)
            if not json:
                typer.secho(f"{finding.state:8} ", fg=colours[finding.state], bold=finding.state != "ok", nl=False)
                typer.echo(f"{finding.what:13} {finding.words}")
    if json:
        print_json([asdict(finding) for finding in found])
    if any(finding.state == "wrong" for finding in found):
        raise typer.Exit(1)


@app.command(rich_help_panel=DAILY)
def recommend(
    user: Annotated[str, typer.Option("--user", help="Whom to recommend to.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Length of the list.")] = 20,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Ask the champion for a list, exactly as the served model answers."""
    from tru.ops.status import recommendation

    found = recommendation(open_workspace(workspace), user, k)
    if json:
        print_json(found)
    else:
        typer.echo("\n".join(found["items"]))


@app.command(rich_help_panel=RESEARCH)
def stage(
    name: Annotated[str, typer.Argument(help="prepare, check, train, forget, retrain, unlearn or evaluate.")],
    workspace: WorkspaceOption = None,
) -> None:
    """Run one stage of dvc.yaml; `dvc repro` calls this."""
    from tru.ops.stages import run

    run(open_workspace(workspace), name)


@app.command(rich_help_panel=START)
def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where; the folder of an earlier tour is replaced, nothing else.")
    ] = Path("demo"),
) -> None:
    """The five-minute tour: train, file requests, forget, compare with retraining, promote."""
    from tru.cli.demo import tour

    tour(directory)


for group, name, panel in (
    (data.app, "data", START),
    (requests.app, "requests", DAILY),
    (batch.app, "batch", DECIDE),
    (certificate.app, "certificate", PROVE),
    (ledger.app, "ledger", PROVE),
):
    app.add_typer(group, name=name, rich_help_panel=panel)
for command, panel in (
    *((up, DAILY), (down, DAILY)),
    *((rollback, DECIDE), (baseline, DECIDE), (scan, DECIDE), (erase, DECIDE), (reapply, DECIDE), (adopt, DECIDE)),
    *((report, PROVE), (backbones, RESEARCH), (unlearners, RESEARCH)),
):
    app.command(rich_help_panel=panel)(command)


def main() -> Any:  # noqa: ANN401 - typer decides
    """Entry point of ``tru``: an error that is the user's to solve is printed as one line, exit code 1."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return app()
    except TruError as error:
        if os.environ.get("TRU_DEBUG"):
            raise
        _fail(error)
    except ModuleNotFoundError as error:
        from tru.extras import explained

        missing = explained(" ".join(["tru", *sys.argv[1:2]]), error)
        if missing is None or os.environ.get("TRU_DEBUG"):
            raise
        _fail(missing)
    except OSError as error:  # a full disk, a folder that may not be written
        if os.environ.get("TRU_DEBUG") or error.filename is None:
            raise
        typer.secho(f"Error: {error.filename}: {error.strerror}. (TRU_DEBUG=1 shows where.)", err=True, fg="red")
        sys.exit(1)


def _fail(error: TruError) -> NoReturn:
    """Print an error on one line, hand it to the command that started this one, if any, and end with exit code 1."""
    if file := os.environ.get(REASON_FILE):
        Path(file).write_text(str(error), encoding="utf-8")
    typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
    sys.exit(1)


@contextmanager
def _impatient() -> Iterator[None]:
    """Let MLflow try for seconds, not minutes, for a while: a server that hangs is something to be told."""
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    added = {name: value for name, value in limits.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "OMP_NUM_THREADS": "1",
}
"""Telemetry of the tools off, and one thread: two are slower as soon as the machine has other work."""


if __name__ == "__main__":
    main()
