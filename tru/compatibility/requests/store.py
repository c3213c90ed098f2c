"""The inbox, where it stood in version 0.1.0."""

from tru.ops.requests.store import open_suppression

__all__ = ["open_suppression"]
