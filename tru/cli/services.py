"""`tru up` and `tru down`: the servers of a workspace."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.cli.output import QuietOption
from tru.ops.workspace import Workspace


def up(
    workspace: WorkspaceOption = None,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's page; the next free one if taken.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's page; the next free one if taken.")] = 5000,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Start Prefect's server and worker, the nightly schedule and MLflow's page, and say where they are."""
    from tru.ops.pages import runs_page
    from tru.ops.servers import services
    from tru.ops.servers.starter import start

    ws = open_workspace(workspace)
    before = services.load(ws)
    tell = (lambda _: None) if quiet or json else typer.echo
    running = start(ws, prefect_port=prefect_port, mlflow_port=mlflow_port, tell=tell)
    prefect, mlflow = running.address("prefect-server"), runs_page(ws)
    if json:
        print_json({"prefect": prefect, "mlflow": mlflow, "already_running": before == running})
        return
    typer.echo("\nAlready running." if before == running else "\nUp.")
    typer.echo(f"  Prefect page   {prefect}")
    typer.echo(f"  MLflow page    {mlflow}")
    typer.echo(f"  Logs           {ws.state / 'logs'}")
    if quiet:
        return
    typer.echo("\nunlearn-nightly runs by the schedule in prefect.yaml. To run it now, in any terminal:")
    for line in _what_to_type(ws):
        typer.echo(f"  {line}")
    typer.echo("To stop everything:")
    typer.echo(f"  tru down{_option(ws)}")


def down(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Stop what `tru up` started, and nothing else."""
    from tru.ops.servers import services

    stopped = services.stop(open_workspace(workspace))
    if json:
        print_json({"stopped_processes": stopped})
    else:
        typer.echo(f"Stopped ({stopped} processes)." if stopped else "Nothing was running.")


def _what_to_type(ws: Workspace) -> list[str]:
    """The commands that start a run from a fresh terminal in the current directory."""
    folder = Path.cwd()
    # Prefect reads whether plug-ins are on from the directory it is called in.
    plugged = any((folder / name).is_file() and "plugins" in (folder / name).read_text() for name in _SWITCHES)
    at_home = folder.resolve() == ws.root and "TRU_WORKSPACE" not in os.environ
    lines = [] if at_home else [f"export TRU_WORKSPACE={ws.root}"]
    lines += [] if plugged else ["export PREFECT_PLUGINS_ENABLED=true"]
    beside = Path(sys.executable).with_name("prefect")
    prefect = "prefect" if shutil.which("prefect") == str(beside) else str(beside)
    return [*lines, f"{prefect} deployment run unlearn-nightly"]


_SWITCHES = ("prefect.toml", "pyproject.toml")


def _option(ws: Workspace) -> str:
    return "" if Path.cwd().resolve() == ws.root else f" --workspace {ws.root}"
