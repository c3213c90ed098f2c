"""The night: the steps of ``unlearn-nightly``, how a candidate is judged, and what a person may decide."""

from tru.night.arrangement import apart_from
from tru.night.decisions import accept, refuse, release, retry, split, withdraw
from tru.night.first import train
from tru.night.holding import failed, held, hold, place_of, remind
from tru.night.labels import labels, note_run
from tru.night.lease import claim, open_lease
from tru.night.steps import check, close, cut, evaluate, gate, promote, retrain, unlearn

__all__ = [
    "accept",
    "apart_from",
    "check",
    "claim",
    "close",
    "cut",
    "evaluate",
    "failed",
    "gate",
    "held",
    "hold",
    "labels",
    "note_run",
    "open_lease",
    "place_of",
    "promote",
    "refuse",
    "release",
    "remind",
    "retrain",
    "retry",
    "split",
    "train",
    "unlearn",
    "withdraw",
]
