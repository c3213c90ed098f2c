from tests.contracts import InboxContract
from tru.ops.requests import MemoryInbox


class TestMemoryInbox(InboxContract):
    def open_inbox(self, folder, clock):
        return MemoryInbox(clock)
