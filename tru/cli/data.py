"""``tru data``: bring a data set into the workspace, and say what is in it. Nothing printed here names a subject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.errors import RequestError
from tru.workspace import Workspace

if TYPE_CHECKING:
    from tru.data.interactions import Dataset
    from tru.data.synthetic import DataParams

app = typer.Typer(help="Import, generate and show the data set.", no_args_is_help=True)


@app.command("import")
def import_path(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder in our own, the Parquet or the MMRec form.")],
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Replace the workspace's data by the data set at PATH; if anything in it is wrong, nothing changes."""
    from tru.data.importers import import_dataset

    ws = open_workspace(workspace)
    _store(ws, import_dataset(path, seed=_params(ws).split_seed), json)


@app.command()
def generate(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Replace the workspace's data by the built-in data set, the same to the byte on every machine."""
    from tru.data.synthetic import generate as draw

    ws = open_workspace(workspace)
    params = _params(ws)
    _store(ws, draw(params.synthetic, name=params.name, split_seed=params.split_seed), json)


@app.command()
def show(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Count what is in the workspace's data, and name its version."""
    from tru.data.interactions import load_dataset

    ws = open_workspace(workspace)
    _report(load_dataset(ws.data), _md5(ws), json)


def _params(ws: Workspace) -> DataParams:
    """The block ``data`` of params.yaml."""
    from tru.settings import load_settings

    return load_settings(ws).data


def _store(ws: Workspace, ds: Dataset, json: bool) -> None:
    """Write the data set and give it a version.

    Raises:
        RequestError: a batch of deletions is open; replacing the data now would undo its cut.
    """
    from tru.data.interactions import save_dataset
    from tru.requests.store import open_inbox

    if _has_inbox(ws) and open_inbox(ws).open_batch() is not None:
        raise RequestError("a batch of deletions is open; its cut would be undone. Finish it first: `tru run`.")
    save_dataset(ds, ws.data)
    if _versioned(ws):
        from tru.release.versions import DataVersions

        DataVersions(ws).add()
    _report(ds, _md5(ws), json)


def _has_inbox(ws: Workspace) -> bool:
    """Whether requests could have been filed here; asking must not make an inbox."""
    return "TRU_DATABASE_URL" in os.environ or (ws.state / "inbox.db").exists()


def _versioned(ws: Workspace) -> bool:
    """Whether DVC looks after the workspace."""
    return (ws.root / ".dvc").is_dir()


def _md5(ws: Workspace) -> str | None:
    """The data version that data.dvc names, if there is one."""
    if not (_versioned(ws) and (ws.root / "data.dvc").is_file()):
        return None
    from tru.release.versions import DataVersions

    return str(DataVersions(ws).md5())


def _report(ds: Dataset, md5: str | None, json: bool) -> None:
    """Print counts, splits, modalities and version."""
    facts: dict[str, Any] = {**ds.summary(), "md5": md5}
    if json:
        print_json(facts)
        return
    typer.echo(f"{facts['name']}: {facts['users']} users, {facts['items']} items, {facts['interactions']} interactions")
    typer.echo(f"  split {facts['split']}: {facts['train']} train, {facts['val']} val, {facts['test']} test")
    for modality, (present, width) in facts["modalities"].items():
        graph = facts["neighbour rows"].get(modality)
        published = f", published graph of {graph} relations" if graph else ""
        typer.echo(f"  {modality}: {present} of {facts['items']} items, {width} numbers each{published}")
    typer.echo(f"  version: {md5 or 'none (this workspace is not under DVC)'}")
