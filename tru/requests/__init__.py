"""Deletion requests: their life, the inbox that keeps them, and the suppression that protects their subjects.

The durable inbox is opened with `tru.requests.store.open_inbox`, which is not imported here because SQLAlchemy is slow
to load.
"""

from tru.requests.inbox import Inbox
from tru.requests.lifecycle import Batch, DeletionRequest, Receipt, Regime, State, Subject
from tru.requests.memory import MemoryInbox
from tru.requests.owner import this_owner
from tru.requests.suppression import Suppression

__all__ = [
    "Batch",
    "DeletionRequest",
    "Inbox",
    "MemoryInbox",
    "Receipt",
    "Regime",
    "State",
    "Subject",
    "Suppression",
    "this_owner",
]
