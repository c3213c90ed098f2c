"""Deletion requests: their life, the inbox that keeps them, the suppression that protects their subjects, the ledger.

The durable inbox and ledger are opened with `open_inbox` and `open_ledger` of `tru.requests.store`, which is not
imported here because SQLAlchemy is slow to load.
"""

from tru.requests.inbox import Inbox
from tru.requests.ledger import Entry, Ledger
from tru.requests.lifecycle import Batch, Deadlines, DeletionRequest, Receipt, Regime, RequestParams, State, Subject
from tru.requests.memory import MemoryInbox, MemoryLedger
from tru.requests.owner import this_owner
from tru.requests.suppression import Suppression

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
