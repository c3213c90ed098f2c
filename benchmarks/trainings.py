"""Models that are trained once and kept in a folder: many cases share them, and a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tru.data.interactions import Dataset
from tru.errors import DataError
from tru.models.trained import TrainedModel
from tru.ops.settings import Settings

Make = Callable[[Path], TrainedModel]
"""Trains a model, with checkpoints in the file it is given."""


@dataclass
class Trainings:
    """The shelf of trained models.

    Attributes:
        folder: where they are kept.
        made: how many were trained by this process.
    """

    folder: Path
    made: int = field(default=0, init=False)

    @classmethod
    def of(cls, folder: Path, ds: Dataset, settings: Settings) -> Trainings:
        """The shelf for one data set and its settings.

        Raises:
            DataError: the folder holds models of other data or settings; they must not be mixed.
        """
        note = folder / "about.json"
        digest = _digest(ds, settings)
        if note.exists() and json.loads(note.read_text())["digest"] != digest:
            raise DataError(f"{folder} holds models of other data or settings. Name another folder, or remove it.")
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"data": ds.name, "digest": digest}) + "\n")
        return cls(folder)

    def get(self, name: str, make: Make) -> TrainedModel:
        """The model of that name, trained if it is not there yet."""
        place = self.folder / name
        if not (place / "done").exists():
            checkpoint = self.folder / f"{name}.npz"
            make(checkpoint).save(place)
            (place / "done").touch()  # last: a crash while the model was written leaves nothing that is believed
            checkpoint.unlink(missing_ok=True)
            self.made += 1
        return TrainedModel.load(place)


def _digest(ds: Dataset, settings: Settings) -> str:
    """Of everything that decides what a training gives."""
    found = hashlib.sha256(settings.model_dump_json(include={"model", "train", "unlearn"}).encode())
    for name in ("user_id", "item_id", "split"):
        found.update("\n".join(ds.interactions[name].astype(str)).encode())
    for modality in ds.modalities:
        found.update(np.ascontiguousarray(ds.features[modality]).tobytes())
    return found.hexdigest()
