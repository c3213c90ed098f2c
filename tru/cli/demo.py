"""The five-minute tour: the whole life of a few requests, on the built-in data, in a workspace of its own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tru import templates
from tru.cli.init import create
from tru.data.interactions import load_dataset
from tru.data.synthetic import generate
from tru.errors import WorkspaceError
from tru.ops import flows
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace
from tru.prose import duration

USERS, ITEMS, PAIRS = 40, 2, 20
"""How many requests of each kind the tour files."""
MARK = Path(".tru") / "demo.json"
"""What the tour writes into its folder before anything else: only a folder with it is ever replaced."""
_WRITTEN_ONCE = ("params.yaml", "dvc.yaml", "prefect.yaml", "prefect.toml", *templates.flows())
_MADE = {
    *("params.yaml", "dvc.yaml", "prefect.yaml", "prefect.toml", "flows"),
    *(".git", ".gitignore", ".dvc", ".dvcignore", ".tru", "data", "data.dvc", "dvc.lock"),
    *("artifacts", "metrics", "mlartifacts", "mlruns", "dvc_plots"),
    *("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal"),
}
"""What a tour, and the commands it recommends, leave at the top of its folder."""


def tour(folder: Path) -> None:
    """Make the workspace anew, train, file requests, run the night, show the table."""
    from rich.console import Console

    console = Console()
    ws = _workspace(folder, console)
    console.rule("Train the champion")
    flows.run(ws, "train")
    console.rule("File deletion requests")
    console.print(f"{_file_requests(ws)} requests filed; from now on their subjects are suppressed.")
    console.rule("unlearn-nightly")
    flows.run(ws, "unlearn-nightly")
    show(ws, console)


def _workspace(folder: Path, console: Any) -> Workspace:  # noqa: ANN401 - rich is imported late
    """A fresh workspace with the built-in data; that of an earlier tour is replaced.

    Raises:
        WorkspaceError: something is there that no tour made.
    """
    from tru.data.interactions import save_dataset
    from tru.ops.release.versions import DataVersions

    _refuse_shared_stores()
    make_room(folder)
    console.rule(f"A workspace in {folder}/ with the built-in data")
    ws = create(folder)
    params = load_settings(ws).data
    save_dataset(generate(params.synthetic, name=params.name, split_seed=params.split_seed), ws.data)
    versions = DataVersions(ws)
    md5 = versions.add()
    versions.commit("The built-in data")
    console.print(f"data md5 {md5}")
    return ws


def _refuse_shared_stores() -> None:
    """Keep the tour out of a database or an MLflow server that somebody works with.

    Raises:
        WorkspaceError: the environment names one.
    """
    for name in ("TRU_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        if os.environ.get(name):
            raise WorkspaceError(
                f"{name} is set: the tour would file its requests, or train and erase, in what others work with. "
                f"Run it without: `env -u {name} tru demo`."
            )


def make_room(folder: Path) -> None:
    """An empty folder with the tour's mark; the folder of an earlier tour is destroyed, nothing else.

    Raises:
        WorkspaceError: the place is taken by something else.
    """
    another = "Name another folder: `tru demo DIR`"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise WorkspaceError(f"{folder} is no folder of its own (a link, or a file). {another}.")
    if folder.is_dir() and any(folder.iterdir()):
        if not _is_marked(folder):
            raise WorkspaceError(
                f"{folder} is not empty, and no tour made it (a tour of version 0.1.0 left no mark), so it stays as it "
                f"is. {another}, or delete it yourself."
            )
        if theirs := sorted(set(_not_of_the_tour(Workspace(folder.resolve())))):
            more = f" and {len(theirs) - 3} more" if len(theirs) > 3 else ""
            raise WorkspaceError(
                f"{folder} holds what the tour did not make: {', '.join(theirs[:3])}{more}. "
                f"{another}, or move that away, or delete the folder yourself."
            )
        _destroy(folder)
    (folder / MARK).parent.mkdir(parents=True, exist_ok=True)
    mark = {"made by": "tru demo, which replaces this folder the next time", "folder": str(folder.resolve())}
    (folder / MARK).write_text(json.dumps(mark, indent=2) + "\n")


def _is_marked(folder: Path) -> bool:
    """Whether a tour made this very folder. A copy of it, or a folder moved here, is somebody's, who had a reason."""
    try:
        return bool(json.loads((folder / MARK).read_text())["folder"] == str(folder.resolve()))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _not_of_the_tour(ws: Workspace) -> Iterator[str]:
    """What somebody put or changed in the folder of a tour: files, settings, data, commits; by name, for a message."""
    from tru.ops.release.versions import DataVersions
    from tru.ops.requests.store import open_ledger

    yield from (entry.name for entry in ws.root.iterdir() if entry.name not in _MADE)
    if (ws.root / ".git").exists():
        git = DataVersions(ws).git
        committed = git("log", "--all", "--format=", "--name-only", "-z").replace("\n", "").split("\0")
        yield from (name for name in committed if name and not _may_be_committed(name))
        loose = git("ls-files", "-z", "--others", "--exclude-standard").split("\0")
        stages = (ws.root / "dvc.yaml").read_text()
        yield from (name for name in loose if "/" in name and name not in stages and name.partition("/")[0] in _MADE)
        for name in _WRITTEN_ONCE:
            if git("diff", "--name-only", "--", name) or git("log", "--all", "--format=%h", "--", name).count("\n") > 1:
                yield f"{name} (changed)"
    if (ws.root / "data.dvc").exists() and DataVersions(ws).with_repo(lambda repo: repo.status(["data.dvc"])):
        yield "data (changed)"
    has_inbox = (ws.state / "inbox.db").exists()
    if has_inbox and any(entry.facts.get("how") == "imported" for entry in open_ledger(ws).entries("data")):
        yield "data (imported)"


def _may_be_committed(name: str) -> bool:
    """Whether a tour commits a file of this name; of what lies in ``flows``, only the files that it puts there."""
    top = name.partition("/")[0]
    return name in _WRITTEN_ONCE if top == "flows" else top in _MADE


def _destroy(folder: Path) -> None:
    """Stop what runs in the folder of an earlier tour and empty it; the mark goes last, so a kill can be repeated."""
    from tru.ops.servers.services import stop

    stop(Workspace(folder.resolve()))
    state = (folder / MARK).parent
    for entry in [*(e for e in folder.iterdir() if e != state), *(e for e in state.iterdir() if e.name != MARK.name)]:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (folder / MARK).unlink()


def _file_requests(ws: Workspace) -> int:
    """Users, items and single interactions, every 17th or so of each; through the same inbox as everybody's."""
    from tru.ops.requests.lifecycle import Subject
    from tru.ops.requests.store import open_inbox

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

    from tru.ops.certificates import issued
    from tru.ops.requests.store import open_inbox, open_ledger
    from tru.ops.status import read

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
    table.add_row("time", *(duration(took[name]) for name in models))
    console.print(table)
    console.print(
        f"data md5   {facts['data_md5_before']}", f"        -> {facts['data_md5_after']}", sep="\n", highlight=False
    )
    console.print(_verdict(facts["retrain"] or facts["gate"]))
    console.print(f"verdict    {batch.verdict} ({batch.outcome})")
    console.print(f"champion   version {status['champion']['version']} of tru-recommender")
    if erased := open_ledger(ws).last("erasure"):
        count = sum(row["count"] for row in erased.facts["destroyed"])
        searched = sum(row["state"] == "not found" for row in erased.facts["scan"])
        words = f"{count} objects of older data and models; nothing left in the {searched} stores searched"
        console.print(f"erased     {words}", soft_wrap=True, highlight=False)
        console.print(f"certified  {len(issued(ws))} requests", highlight=False)
    console.print(_what_next(ws, batch.id), highlight=False, soft_wrap=True)


def _verdict(verdict: Mapping[str, Any]) -> Any:  # noqa: ANN401 - rich is imported late
    """What the gate looked at, as in the report: a line each, and one for all that must be exactly zero."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tru.ops.report.table import SIGNS, allowed, exact_rows, is_exact, is_reason, result
    from tru.ops.report.words import decimal

    table = Table(title="The gate: is it like the retrained models?", box=SIMPLE_HEAD)  # borders would not fit
    for title in ("", "of", "model", "retrained", "allowed", ""):
        table.add_column(title, justify="right" if title in ("model", "retrained") else "left")
    exact = exact_rows(verdict)
    broken = sum(not passed for _, _, passed in exact)
    table.add_row("left behind", f"{len(exact)} checks", "", "", "nothing", f"✗ {broken}" if broken else "✓")
    for row in verdict["table"]:
        if not is_exact(row) and not is_reason(row):
            bounds = allowed(row).replace("at least", "≥") if row.get("judged", True) else "too few to judge"
            values = decimal(row["value"]), decimal(row["reference"]), bounds, SIGNS[result(row)]
            table.add_row(row["name"].replace("/", " ").replace("_auc", " AUC"), row["group"] or "all", *values)
    return table


def _what_next(ws: Workspace, batch: str) -> str:
    """Where to look, and commands that work wherever they are pasted, whatever is on the PATH."""
    from tru.ops.certificates import issued

    tru, mlflow = (_command(name) for name in ("tru", "mlflow"))
    here = f"--workspace {shlex.quote(str(ws.root))}"
    lines = ["", "The report of the night, for any browser:", f"  {ws.state / 'reports' / f'{batch}.html'}"]
    if files := issued(ws):
        shown = shlex.quote(str(files[0]))
        lines += [f"A certificate, one of {len(files)}:", f"  {tru} certificate show {shown} {here}"]
    lines += [
        "What the workspace stands at; Prefect's page, MLflow's page and the nightly schedule; an end to these:",
        *(f"  {tru} {command} {here}" for command in ("status", "up", "down")),
        "The champion over HTTP:",
        # `tru up` looks for free ports from 5000 to 5099.
        f"  (cd {shlex.quote(str(ws.root))} && {mlflow} models serve -m models:/tru-recommender@champion "
        "--env-manager local --port 5100)",
    ]
    return "\n".join(lines)


def _command(name: str) -> str:
    """How to call a program of this environment: by name if that is the one that the shell would take."""
    program = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    # `make` puts the environment on the PATH for its own time; the shell that comes back does not have it.
    is_activated = sys.prefix in (sys.base_prefix, os.environ.get("VIRTUAL_ENV"))
    return name if is_activated and found and Path(found).absolute() == program else shlex.quote(str(program))
