"""Which kinds of work keep each other out of a workspace, on one machine; the system takes a lock from who dies.

A batch has a lease in the inbox besides (`tru.ops.requests`), which holds between machines as well.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from tru.errors import Busy, TruError
from tru.ops.workspace import Workspace, only_one

_RETURN = "Wait until it ends, then run this again."


def training(ws: Workspace) -> AbstractContextManager[None]:
    """For who trains a champion: two at once would take each other's half-logged runs for a crash's.

    Raises:
        Busy: somebody does already.
    """
    return only_one(
        ws.state / "training.lock", Busy(f"another run is training a champion in this workspace. {_RETURN}")
    )


def serving(ws: Workspace, otherwise: TruError | None = None) -> AbstractContextManager[None]:
    """For who decides what serves or what is destroyed: an erasure, the opening of a batch, a rollback.

    An erasure must not meet a batch that opens meanwhile, nor destroy the version that a rollback lets serve.

    Args:
        ws: the workspace.
        otherwise: raised instead of Busy.

    Raises:
        Busy: somebody else has it.
    """
    busy = otherwise or Busy(
        f"an erasure, a rollback or the beginning of a night is at work in this workspace. {_RETURN}"
    )
    return only_one(ws.state / "erasure" / "lock", busy)
