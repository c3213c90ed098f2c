"""The night: the steps of ``unlearn-nightly``, how a candidate is judged, and what a person may decide."""

from tru.ops.pipeline.arrangement import apart_from
from tru.ops.pipeline.decisions import accept, refuse, release, retry, split, withdraw
from tru.ops.pipeline.first_training import train
from tru.ops.pipeline.holding import failed, held, hold, place_of, remind
from tru.ops.pipeline.labels import labels, note_run
from tru.ops.pipeline.lease import claim, open_lease
from tru.ops.pipeline.nightly import check, close, cut, evaluate, gate, promote, retrain, unlearn

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
