"""Deletion requests: their life, the inbox that keeps them, the suppression that protects their subjects, the ledger.

The durable inbox and ledger are opened with `open_inbox` and `open_ledger` of `tru.ops.requests.store`, which is not
imported here because SQLAlchemy is slow to load.
"""

from tru.ops.requests.inbox import Inbox
from tru.ops.requests.ledger import Entry, Ledger
from tru.ops.requests.lifecycle import Batch, Deadlines, DeletionRequest, Receipt, Regime, RequestParams, State, Subject
from tru.ops.requests.memory import MemoryInbox, MemoryLedger
from tru.ops.requests.owner import this_owner
from tru.ops.requests.suppression import Suppression

__all__ = [
    "Batch",
    "Deadlines",
    "DeletionRequest",
    "Entry",
    "Inbox",
    "Ledger",
    "MemoryInbox",
    "MemoryLedger",
    "Receipt",
    "Regime",
    "RequestParams",
    "State",
    "Subject",
    "Suppression",
    "this_owner",
]
