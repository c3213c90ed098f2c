"""Whose turn it is: taking a batch up, and keeping the lease on it while a run works on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tru.errors import ModelError, RequestError
from tru.ops import locks
from tru.ops.pipeline.arrangement import answer_all
from tru.ops.pipeline.holding import is_awaited, make_way
from tru.ops.release.champion import is_retired
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

LEASE_SECONDS = 120.0


def claim(ws: Workspace) -> str | None:
    """Take over the open batch, or open one from everything queued; a held one steps aside if others wait behind it.

    Returns:
        The batch's id, or None if nothing is due, or nothing can be done but for a person's decision.

    Raises:
        LeaseHeld: another run is at it.
        Busy: an erasure or a rollback is at work.
        ModelError: requests are waiting and there is no champion yet.
    """
    make_way(ws)
    inbox = open_inbox(ws)
    opened = inbox.open_batch()
    if opened.is_held if opened is not None else not is_awaited(inbox):
        return None
    is_begun = opened is not None and opened.step != "claim"  # it may be the one after which no model serves
    # Asked before a batch is opened, which would be in the way of `tru train`.
    if not is_begun and Registry(ws).champion() is None:
        if is_retired(ws) and not DataVersions(ws).has_data:
            with locks.serving(ws):
                answer_all(ws, LEASE_SECONDS)
            return None
        raise ModelError("there is no champion to make forget anything. Train one first: `tru train`.")
    with locks.serving(ws):  # the batch must not open under the hands of an erasure or a rollback
        batch = inbox.claim(this_owner(), LEASE_SECONDS)
    return batch.id if batch else None


@contextmanager
def open_lease(ws: Workspace, batch: str) -> Iterator[None]:
    """Keep this run's lease on the batch alive while the block runs; let go of it afterwards."""
    over = threading.Event()

    def beat() -> None:
        inbox = open_inbox(ws)
        while not over.wait(LEASE_SECONDS / 4):
            try:
                inbox.renew(batch, this_owner(), LEASE_SECONDS)
            except RequestError:  # closed, held or taken over: the steps themselves will say so
                return

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        with suppress(RequestError):  # the batch is closed or held; there is no lease to give back
            open_inbox(ws).release(batch, this_owner())
