"""The night: the steps of ``unlearn-nightly``, how a candidate is judged, and what a person may decide."""

from tru.night.decisions import hold, release, retry
from tru.night.first import train
from tru.night.labels import labels, note_run
from tru.night.steps import check, claim, close, cut, evaluate, gate, open_lease, promote, retrain, unlearn

__all__ = [
    "check",
    "claim",
    "close",
    "cut",
    "evaluate",
    "gate",
    "hold",
    "labels",
    "note_run",
    "open_lease",
    "promote",
    "release",
    "retrain",
    "retry",
    "train",
    "unlearn",
]
