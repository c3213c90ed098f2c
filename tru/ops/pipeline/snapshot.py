"""Where a baseline under way stands: the copy of the data it works on, its notes, the models trained so far."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from tru.data.interactions import Dataset, load_dataset
from tru.errors import ModelError, ReleaseError, RequestError
from tru.models.trained import TrainedModel
from tru.ops.judging import baseline
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox
from tru.ops.settings import load_settings
from tru.ops.stages import clear, digest, write_json
from tru.ops.workspace import Workspace

RESUMABLE = timedelta(days=2)
"""A killed run that is older than this is begun anew."""


class Weekly:
    """One step's view of the run: its notes, the copy of the data, the models trained so far."""

    def __init__(self, ws: Workspace, id: str) -> None:
        self.ws, self.folder = ws, baseline.work(ws)
        notes = _notes(ws)
        if notes is None or notes["id"] != id:
            raise ReleaseError(f"{id} is not under way. Begin a new one: `tru baseline`.")
        self.notes = notes
        self.settings = load_settings(ws)

    @property
    def id(self) -> str:
        """Names the run, in the ledger and in MLflow."""
        return str(self.notes["id"])

    @property
    def made(self) -> datetime:
        """When the data was taken."""
        return datetime.fromisoformat(self.notes["made"])

    @property
    def done(self) -> dict[str, Any]:
        """Results of the steps that are finished."""
        return dict(self.notes["done"])

    def finish(self, step: str, found: dict[str, Any]) -> dict[str, Any]:
        """Record a finished step."""
        self.notes["done"][step] = found
        write_json(self.folder / "notes.json", self.notes)
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """The data as it was at the start."""
        return load_dataset(self.folder / "data")

    @property
    def seeds(self) -> list[int]:
        """Of the models: other ones each time, so that no champion is ever compared with its own dice."""
        first = 1000 + int(hashlib.sha256(self.id.encode()).hexdigest()[:6], 16)
        return list(range(first, first + self.settings.baseline.seeds))

    @cached_property
    def models(self) -> list[TrainedModel]:
        """The trained seeds."""
        return [TrainedModel.load(self.place(k)) for k in range(len(self.seeds))]

    def place(self, k: int) -> Path:
        """Where seed ``k`` is kept until the end."""
        return self.folder / f"seed-{k}"

    def changed(self) -> str | None:
        """What has happened since the start that keeps the baseline from becoming champion; None if nothing."""
        inbox = open_inbox(self.ws)
        if inbox.open_batch() is not None:
            return "a batch of deletions was taken up while the baseline was made"
        if inbox.completed_through() != self.notes["deleted_through"]:
            return "deletions were completed while the baseline was made"
        if DataVersions(self.ws).md5() != self.notes["data_md5"]:
            return "the data changed while the baseline was made"
        return None


def snapshot(ws: Workspace) -> str:
    """Take the data as it is now, or go on with a run of the same data that was killed.

    Returns:
        What names the run.
    """
    inbox, champion = open_inbox(ws), Registry(ws).champion()
    _refuse_at_night(ws)
    if champion is None:
        raise ModelError("there is no champion to compare a baseline with. Train one first: `tru train`.")
    now = datetime.now(UTC)
    state = {
        "data_md5": DataVersions(ws).md5(),
        "deleted_through": inbox.completed_through(),
        "settings": digest(load_settings(ws)),
    }
    before = _notes(ws)
    if before is not None and _goes_on(before, state, now):
        return str(before["id"])
    folder = baseline.work(ws)
    clear(folder)
    shutil.copytree(ws.data, folder / "data")
    _refuse_at_night(ws)  # a night that began meanwhile may have cut the data under the copy
    if DataVersions(ws).md5() != state["data_md5"]:
        raise RequestError("the data changed while it was copied. Run this again.")
    id = f"baseline-{now:%Y%m%d-%H%M%S-%f}"  # a fast machine may make two in a second; their seeds must differ
    write_json(folder / "notes.json", {"id": id, "made": now.isoformat(), "done": {}, **state})
    return id


def _goes_on(before: dict[str, Any], state: dict[str, Any], now: datetime) -> bool:
    """Whether a killed run stood on the same data, deletions and settings, and not long ago."""
    young = now - datetime.fromisoformat(before["made"]) < RESUMABLE
    return young and all(before[k] == v for k, v in state.items())


def _refuse_at_night(ws: Workspace) -> None:
    opened = open_inbox(ws).open_batch()
    if opened is not None:
        raise RequestError(
            f"{opened.id} is open: its subjects are still in the champion. Finish it first: `tru run`, or, if it is "
            "held, see `tru status`."
        )


def _notes(ws: Workspace) -> dict[str, Any] | None:
    try:
        return dict(json.loads((baseline.work(ws) / "notes.json").read_text()))
    except FileNotFoundError:
        return None
