"""How the runs in MLflow are found and called, and when they were. Nothing here loads MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

KEY_TAG = "tru.key"
"""The tag with a run's idempotency key."""
PARENT = "parent"
"""The last part of a parent's key; its children's keys begin as its own does, and so an erasure knows them by it."""
VIEW = "tru"
"""Name of our view of the table of runs: the columns that tell models apart. A link to the table may ask for it."""


@dataclass(frozen=True)
class Span:
    """When something really was done, which is rarely when it is logged.

    Attributes:
        began: aware.
        ended: aware.
    """

    began: datetime
    ended: datetime

    @classmethod
    def until(cls, ended: datetime, seconds: float) -> Span:
        """What took so many seconds and ended then."""
        return cls(ended - timedelta(seconds=seconds), ended)


def metric_name(name: str) -> str:
    """MLflow's spelling of a metric or param: it refuses ``@``, so ``test/recall@20`` becomes ``test/recall_at_20``."""
    return name.replace("@", "_at_")
