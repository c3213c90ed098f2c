"""``tru data``: bring a data set into the workspace, and say what is in it. Nothing printed here names a subject."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tru.cli.app import App
from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.errors import DataError, RequestError
from tru.ops.workspace import Workspace

if TYPE_CHECKING:
    from tru.data.forget import ForgetSet
    from tru.data.interactions import Dataset
    from tru.data.params import DataParams
    from tru.ops.requests.inbox import Inbox

app = App(help="Import, generate and show the data set.", no_args_is_help=True)


@app.command("import")
def import_path(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder in our own, the Parquet or the MMRec form, or one table.")
    ],
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Replace the workspace's data by the data set at PATH; if anything in it is wrong, nothing changes.

    Who was forgotten stays forgotten: their rows are left out.
    """
    from tru.data.importers import import_dataset

    ws = open_workspace(workspace)
    _store(ws, import_dataset(path, seed=_params(ws).split_seed), "imported", json)


@app.command()
def generate(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Replace the workspace's data by the built-in data set, the same to the byte on every machine."""
    from tru.data.synthetic import generate as draw

    ws = open_workspace(workspace)
    params = _params(ws)
    _store(ws, draw(params.synthetic, name=params.name, split_seed=params.split_seed), "generated", json)


@app.command()
def show(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """Count what is in the workspace's data, and name its version."""
    from tru.data.interactions import load_dataset

    ws = open_workspace(workspace, reading=True)
    _report(load_dataset(ws.data), _md5(ws), json)


def _params(ws: Workspace) -> DataParams:
    """The block ``data`` of params.yaml."""
    from tru.ops.settings import load_settings

    return load_settings(ws).data


def _store(ws: Workspace, ds: Dataset, how: str, json: bool) -> None:
    """Write the data set without those who were forgotten, and give it a version that the ledger knows.

    Raises:
        RequestError: a batch of deletions is begun; replacing the data now would undo its cut.
        DataError: nothing to train on is left without those who were forgotten.
    """
    from tru.data.interactions import save_dataset

    inbox = _inbox(ws)
    if inbox is not None:
        _refuse_meanwhile(ws, inbox)
    kept, subjects = (ds, 0) if inbox is None else _without_forgotten(inbox, ds)
    left_out = {"rows": _rows(ds) - _rows(kept), "subjects": subjects}
    before = _md5(ws)
    save_dataset(kept, ws.data)
    if _versioned(ws):
        from tru.ops.release.versions import DataVersions

        DataVersions(ws).add()
    after = _md5(ws)
    if inbox is not None and after is not None:
        _enter(ws, before, after, how=how, left_out=left_out if subjects else None)
    _report(kept, after, json, left_out)


def _refuse_meanwhile(ws: Workspace, inbox: Inbox) -> None:
    """Replace no data that somebody has been cut out of and who is not forgotten yet.

    Raises:
        RequestError: a batch of deletions is open and begun; the message says what gets out of it.
    """
    opened = inbox.open_batch()
    is_begun = opened is not None and (opened.is_held or opened.step != "claim" or opened.owner is not None)
    if not is_begun and not any(ws.batches.glob("*/notes.json")):
        return
    if opened is not None and opened.is_held:
        raise RequestError(
            f"{opened.id} is held, and its cut would be undone. `tru batch retry` takes the cut back if a check of the "
            "data failed; then import, then `tru run`. `tru status` says what else can be decided."
        )
    raise RequestError("a batch of deletions is open; its cut would be undone. Finish it first: `tru run`.")


def _without_forgotten(inbox: Inbox, ds: Dataset) -> tuple[Dataset, int]:
    """The data set without those whose requests were closed, and how many there were.

    Who is still waiting stays in: the night has to find them.
    """
    from tru.data.forget import cut

    forgotten = _forgotten(inbox, ds)
    if forgotten.is_empty:
        return ds, 0
    try:
        return cut(ds, forgotten), forgotten.size
    except DataError:
        raise DataError(
            "Without those who were forgotten, nothing to train on is left of this data set; nothing was changed. "
            "Import the data of everybody else."
        ) from None


def _forgotten(inbox: Inbox, ds: Dataset) -> ForgetSet:
    """Those of the data set whose requests were closed, under its ids or under their spelling in the files.

    An earlier import took 7.0 for an id, and whoever was forgotten under that one would come back as 7.
    """
    from tru.data.forget import ForgetSet

    both = (ds.users_before, ds.items_before)
    names: list[list[Mapping[str, str]]] = [[{}, before] if before else [{}] for before in both]
    found = [_forgotten_as(inbox, ds, users, items) for users, items in product(*names)]
    kinds = ("users", "items", "pairs", "modalities")
    return ForgetSet(**{kind: frozenset().union(*(getattr(part, kind) for part in found)) for kind in kinds})


def _forgotten_as(inbox: Inbox, ds: Dataset, users: Mapping[str, str], items: Mapping[str, str]) -> ForgetSet:
    """Those whose requests were closed under these names (id -> name; who has none is called by the id)."""
    from tru.data.forget import ForgetSet

    user_of = {users.get(user, user): user for user in ds.users.tolist()}
    item_of = {items.get(item, item): item for item in ds.items.tolist()}
    rows = zip(ds.interactions["user_id"].tolist(), ds.interactions["item_id"].tolist(), strict=True)
    found = inbox.suppression().forgotten(
        user_of,
        item_of,
        ((users.get(user, user), items.get(item, item)) for user, item in rows),
        [(items.get(item, item), m) for m in ds.modalities for item in ds.items[ds.present[m]].tolist()],
    )
    return ForgetSet(
        users=frozenset(user_of[user] for user in found.users),
        items=frozenset(item_of[item] for item in found.items),
        pairs=frozenset((user_of[user], item_of[item]) for user, item in found.pairs),
        modalities=frozenset((item_of[item], modality) for item, modality in found.modalities),
    )


def _enter(ws: Workspace, before: str | None, after: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write the new data version into the ledger, unless it is the last one there."""
    from tru.ops.requests.store import open_ledger

    ledger = open_ledger(ws)
    last = ledger.last("data")
    if last is not None:
        before = last.facts.get("after")  # a killed import may have left another version in data.dvc
    if before != after:
        ledger.append("data", f"{facts['how']}/{last.seq if last else 0}/{after}", before=before, after=after, **facts)


def _inbox(ws: Workspace) -> Inbox | None:
    """The inbox if requests could have been filed here; asking must not make one."""
    if "TRU_DATABASE_URL" not in os.environ and not (ws.state / "inbox.db").exists():
        return None
    from tru.ops.requests.store import open_inbox

    return open_inbox(ws)


def _rows(ds: Dataset) -> int:
    """Interactions, and feature rows that hold anything."""
    return len(ds.interactions) + sum(int(flags.sum()) for flags in ds.present.values())


def _versioned(ws: Workspace) -> bool:
    """Whether DVC looks after the workspace."""
    return (ws.root / ".dvc").is_dir()


def _md5(ws: Workspace) -> str | None:
    """The data version that data.dvc names, if there is one."""
    if not (_versioned(ws) and (ws.root / "data.dvc").is_file()):
        return None
    from tru.ops.release.versions import DataVersions

    return str(DataVersions(ws).md5())


def _report(ds: Dataset, md5: str | None, json: bool, left_out: dict[str, int] | None = None) -> None:
    """Print counts, splits, modalities and version, what cannot be done with the data, and what was left out."""
    from tru.data.shortcomings import FEATURELESS, shortcomings

    warnings = [*ds.notes, *shortcomings(ds), *([] if ds.modalities else [FEATURELESS])]
    facts: dict[str, Any] = {**ds.summary(), "md5": md5, "warnings": warnings}
    facts |= {"left_out": left_out} if left_out else {}
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
    for words in warnings:
        typer.secho(f"  warning: {words}", fg=typer.colors.YELLOW)
    if left_out and left_out["subjects"]:
        rows, subjects = left_out["rows"], left_out["subjects"]
        whom = "1 subject who was" if subjects == 1 else f"{subjects} subjects who were"
        what, verb = ("1 row", "is") if rows == 1 else (f"{rows} rows", "are")
        typer.echo(f"  {what} of {whom} forgotten {verb} left out.")
