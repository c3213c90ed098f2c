"""A workspace so small that a night in it takes seconds, and the night's steps in the flow's order without Prefect."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import yaml

from tru.cli.init import create
from tru.data.interactions import load_dataset, save_dataset
from tru.data.synthetic import generate
from tru.ops import pipeline
from tru.ops.adopt import adopt
from tru.ops.pipeline.approval import is_released
from tru.ops.pipeline.record import Run
from tru.ops.release.versions import DVC_FILES, DataVersions, commit_files, init
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace

# So few pairs say little about a model, so the gate is wide open; where it must say no, a test narrows it.
PARAMS = {
    "data": {"name": "tiny", "synthetic": {"users": 150, "items": 80}},
    "model": {"width": 16},
    "train": {"epochs": 4, "min_epochs": 2, "batch": 256, "learning_rate": 0.01, "canaries": 100},
    "forget": {"regime": "user", "fraction": 0.05},
    "unlearn": {"method": "tru"},
    "gate": {
        "baselines": 2,
        "utility_margin": 0.5,
        "forget_margin": 0.5,
        "membership_margin": 0.5,
        "widest_margin": 1.0,
        "widest_loss": 1.0,
        "power": 0.8,
    },
}


def make(root: Path) -> Workspace:
    """A workspace with tiny data and no model."""
    root.mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    ws = create(root)
    params = load_settings(ws).data
    save_dataset(generate(params.synthetic, name=params.name, split_seed=params.split_seed), ws.data)
    DataVersions(ws).add()
    DataVersions(ws).commit("Tiny data", also=["params.yaml"])
    return ws


def repository(root: Path) -> None:
    """A repository of git and DVC without anything else, as `tru init` leaves it."""
    init(root)
    commit_files(root, "Set up DVC", list(DVC_FILES))


def copy(template: Path, root: Path) -> Workspace:
    """The same workspace elsewhere, as one of its own."""
    shutil.copytree(template, root, symlinks=True)
    return Workspace(adopt(Workspace(root), accept_shared=True).root)


def change(ws: Workspace, block: str, **values: object) -> None:
    """Change some settings of ``params.yaml``."""
    words = yaml.safe_load(ws.params.read_text())
    words[block] |= values
    ws.params.write_text(yaml.safe_dump(words))


def subjects(ws: Workspace) -> list[Subject]:
    """Two users, an item, an interaction, a picture; and somebody nobody knows."""
    ds = load_dataset(ws.data)
    user = str(ds.users[20])
    rows = ds.interactions
    item = str(rows[(rows["user_id"] == user) & (rows["split"] == 0)]["item_id"].iloc[0])
    return [
        Subject.of(user=str(ds.users[3])),
        Subject.of(user=str(ds.users[40])),
        Subject.of(item=next(str(i) for i in ds.items if i != item)),
        Subject.of(user=user, item=item),
        Subject.of(item=next(str(i) for i in ds.items[5:] if i != item), modality="image"),
        Subject.of(user="u-nobody-knows-me"),
    ]


def grow(ws: Workspace) -> None:
    """Add interactions that the champion was not trained on, as an import does."""
    from dataclasses import replace

    import pandas as pd

    ds = load_dataset(ws.data)
    first = ds.interactions[ds.interactions["user_id"] == ds.users[9]]
    rows = pd.concat([ds.interactions, first.assign(user_id="u-newcomer", split=first["split"].to_numpy())])
    save_dataset(replace(ds, interactions=rows.sort_values(["user_id", "item_id"], ignore_index=True)), ws.data)
    DataVersions(ws).add()
    DataVersions(ws).commit("More data")


def remains(ws: Workspace, forgotten: list[Subject]) -> list[str]:
    """What is still in ``data/`` of those who were forgotten, in words; empty as it should be."""
    ds = load_dataset(ws.data)
    pairs = set(zip(ds.interactions["user_id"], ds.interactions["item_id"], strict=True))
    users, items = {u for u, _ in pairs}, set(ds.items.tolist())
    found = []
    for s in forgotten:
        if s.modality is not None:
            there = s.modality in ds.present and bool(ds.present[s.modality][ds.items == s.item].any())
        elif s.user is not None and s.item is not None:
            there = (s.user, s.item) in pairs
        else:
            there = s.user in users or s.item in items
        found += [s.regime.value] if there else []
    return found


def named_in_inbox(ws: Workspace, forgotten: list[Subject]) -> int:
    """How many of the identifiers are somewhere in the bytes of the inbox's files."""
    written = b"".join(file.read_bytes() for file in ws.state.glob("inbox.db*"))
    names = {name for s in forgotten for name in (s.user, s.item) if name}
    return sum(name.encode() in written for name in names)


def whole_night(ws: Workspace, after: Callable[[str], None] = lambda step: None) -> str | None:
    """The steps in the order of ``flows/unlearn.py``, without Prefect; ``after`` is told each finished step."""

    def do(step: str) -> dict[str, object]:
        found = getattr(pipeline, step)(ws, batch)
        after(step)
        return found  # type: ignore[no-any-return]

    batch = pipeline.claim(ws)
    if batch is None:
        return None
    after("claim")
    with pipeline.open_lease(ws, batch):
        try:
            for step in ("cut", "check", "unlearn", "evaluate"):
                do(step)
            verdict = do("gate")
            if verdict["verdict"] != "pass":
                verdict = do("retrain")
            if verdict["verdict"] != "pass" and not is_released(ws, batch):
                do("hold")
                return batch
            do("promote")
            do("close")
        except Exception as error:
            if (reasons := pipeline.failed(ws, batch, error)) is None:
                raise
            pipeline.hold(ws, batch, reasons)
            after("hold")
    return batch


def night_that_dies(root: str, step: str, moment: str) -> None:
    """Run the night and die by SIGKILL: after ``step``, or when its work is done and its record is not yet written."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def finish(run: Run, name: str, *rest: object, **facts: object) -> None:
        die() if name == step else record(run, name, *rest, **facts)  # type: ignore[arg-type]

    if moment == "before its record":
        if step == "close":
            Inbox.close = die  # type: ignore[assignment, method-assign]
        record = Run.finish
        Run.finish = finish  # type: ignore[assignment, method-assign]
        whole_night(Workspace(Path(root)))
    else:
        whole_night(Workspace(Path(root)), lambda done: die() if done == step else None)


def file_requests(ws: Workspace, wanted: list[Subject]) -> list[str]:
    """File them; the ids of the requests."""
    return [receipt.request.id for receipt in open_inbox(ws).add_all(wanted)]
