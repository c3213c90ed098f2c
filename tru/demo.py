"""The five-minute tour: the whole life of a few requests, on the built-in data, in a workspace of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tru.data.interactions import load_dataset
from tru.data.synthetic import generate
from tru.init import create
from tru.settings import load_settings
from tru.workspace import Workspace

USERS, ITEMS, PAIRS = 40, 2, 20
"""How many requests of each kind the tour files."""


def tour(folder: Path) -> None:
    """Make the workspace anew, train, file requests, run the night, show the table."""
    from rich.console import Console

    console = Console()
    ws = _workspace(folder, console)
    from flows import use_workspace

    use_workspace(ws)
    from flows.train import run as train
    from flows.unlearn import run as unlearn

    console.rule("Train the champion")
    train(ws)
    console.rule("File deletion requests")
    console.print(f"{_file_requests(ws)} requests filed; from now on their subjects are suppressed.")
    console.rule("unlearn-nightly")
    unlearn(ws)
    show(ws, console)


def _workspace(folder: Path, console: Any) -> Workspace:  # noqa: ANN401 - rich is imported late
    """A fresh workspace with the built-in data; an old one of the same tour is replaced."""
    from tru.data.interactions import save_dataset
    from tru.release.versions import DataVersions
    from tru.services import stop

    if (folder / "params.yaml").exists():
        stop(Workspace(folder.resolve()))
        shutil.rmtree(folder)
    console.rule(f"A workspace in {folder}/ with the built-in data")
    ws = create(folder)
    params = load_settings(ws).data
    save_dataset(generate(params.synthetic, name=params.name, split_seed=params.split_seed), ws.data)
    versions = DataVersions(ws)
    md5 = versions.add()
    versions.commit("The built-in data")
    console.print(f"data md5 {md5}")
    return ws


def _file_requests(ws: Workspace) -> int:
    """Users, items and single interactions, every 17th or so of each; through the same inbox as everybody's."""
    from tru.requests.lifecycle import Subject
    from tru.requests.store import open_inbox

    ds = load_dataset(ws.data)
    train = ds.interactions[ds.interactions["split"] == 0]
    subjects = [Subject.of(user=u) for u in ds.users[::17][:USERS]]
    subjects += [Subject.of(item=i) for i in ds.items[100::101][:ITEMS]]
    pairs = train.iloc[5::701][:PAIRS]
    subjects += [Subject.of(user=u, item=i) for u, i in zip(pairs["user_id"], pairs["item_id"], strict=True)]
    return sum(receipt.added for receipt in open_inbox(ws).add_all(subjects))


def show(ws: Workspace, console: Any) -> None:  # noqa: ANN401 - rich is imported late
    """The last batch as one table, and what to type next."""
    from rich.table import Table

    from tru.certificates import issued
    from tru.requests.store import open_inbox, open_ledger
    from tru.status import read

    batch, status = open_inbox(ws).last_batch(), read(ws)
    if batch is None:
        return
    facts = batch.facts
    models = facts["evaluate"]["models"]
    table = Table(title=f"{batch.id}: {', '.join(f'{n} {what}' for what, n in facts['regimes'].items())} forgotten")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for metric in ("recall@10", "recall@20", "ndcg@10", "ndcg@20"):
        table.add_row(f"test {metric}", *(f"{row['test'][metric]:.4f}" for row in models.values()))
    table.add_row("forget recall@20", *(f"{row['forget']['recall@20']:.4f}" for row in models.values()))
    table.add_row("membership AUC", *(f"{row['membership_auc']:.4f}" for row in models.values()))
    seconds = facts["evaluate"]["seconds"]
    took = {"original": seconds["train"], "unlearned": seconds["unlearn"], "retrained": seconds["retrain"]}
    table.add_row("seconds", *(f"{took[name]:.2f}" for name in models))
    console.print(table)
    console.print(
        f"data md5   {facts['data_md5_before']}", f"        -> {facts['data_md5_after']}", sep="\n", highlight=False
    )
    console.print(f"verdict    {batch.verdict} ({batch.outcome})")
    for reason in (facts["retrain"] or facts["gate"])["reasons"]:
        console.print(f"           {reason}", soft_wrap=True, highlight=False)
    console.print(f"champion   version {status['champion']['version']} of tru-recommender")
    if erased := open_ledger(ws).last("erasure"):
        count = sum(row["count"] for row in erased.facts["destroyed"])
        searched = sum(row["state"] == "not found" for row in erased.facts["scan"])
        words = f"{count} objects of older data and models; nothing left in the {searched} stores searched"
        console.print(f"erased     {words}", soft_wrap=True, highlight=False)
        console.print(f"certified  {len(issued(ws))} requests", highlight=False)
    console.print(_NEXT.format(folder=ws.root.name), highlight=False, soft_wrap=True)


_NEXT = """
Open the pages (from this checkout, with .venv/bin on the PATH):
  tru up --workspace {folder}      Prefect's page, MLflow's page, the nightly schedule
  tru down --workspace {folder}    stops exactly these
  tru status --workspace {folder}
  tru certificate list --workspace {folder}
  cd {folder} && mlflow models serve -m models:/tru-recommender@champion --env-manager local"""
