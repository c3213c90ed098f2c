from tests.contracts import InboxContract
from tru.requests import MemoryInbox


class TestMemoryInbox(InboxContract):
    def open_inbox(self, folder, clock):
        return MemoryInbox(clock)
