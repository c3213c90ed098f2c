"""Batches that are promoted and not erased yet: what to look for, and what their certificates will say.

One folder per batch, readable by this account only; it holds raw identifiers, because the scan needs them, and goes
when the erasure is complete.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tru.errors import DataError
from tru.ops.erasure.places import folder, pending
from tru.ops.workspace import Workspace

if TYPE_CHECKING:
    from tru.ops.erasure.search.traces import Traces

_FILE = "about.json"


@dataclass(frozen=True)
class Pending:
    """A batch that waits for its erasure.

    Attributes:
        batch: its id.
        mark: how many deletions are completed with it; every version that respects fewer is to be destroyed.
        promoted: when its model began to serve (aware).
        requests: ``request``, ``subject`` (keyed hash), ``regime`` and ``received`` of each that was fulfilled.
        about: what is the same in all their certificates (:class:`tru.ops.certificates.Facts`); no identifier.
    """

    batch: str
    mark: int
    promoted: datetime
    requests: list[dict[str, str]]
    about: dict[str, Any]

    def is_due(self, grace_hours: float, now: datetime) -> bool:
        """Whether its time of grace is over."""
        return now >= self.promoted + timedelta(hours=grace_hours)


def set_aside(ws: Workspace, found: Pending, traces: Traces) -> None:
    """Keep what the erasure needs; may be repeated. The traces are written last: with them the folder counts."""
    from tru.ops.certificates.files import replace

    place = folder(ws, found.batch)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    words = {**asdict(found), "promoted": found.promoted.isoformat()}
    replace(place / _FILE, json.dumps(words).encode(), 0o600)
    traces.save(place)


def load(ws: Workspace, batch: str) -> Pending:
    """What :func:`set_aside` kept.

    Raises:
        DataError: it is damaged.
    """
    file = folder(ws, batch) / _FILE
    try:
        words = json.loads(file.read_text(encoding="utf-8"))
        return Pending(**{**words, "promoted": datetime.fromisoformat(words["promoted"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file} is missing or damaged ({type(error).__name__}): the certificates of {batch} need it. "
            "Restore it. If that cannot be, delete its folder: the next erasure destroys what knew the batch, and its "
            "requests get no certificate."
        ) from error


def waiting(ws: Workspace) -> list[Pending]:
    """All of them, oldest first."""
    return [load(ws, batch) for batch in pending(ws)]


def drop(ws: Workspace, batch: str) -> None:
    """Destroy what was set aside: the traces first, so that half a folder does not count."""
    place = folder(ws, batch)
    for file in place.glob("traces*"):
        file.unlink()
    shutil.rmtree(place, ignore_errors=True)
