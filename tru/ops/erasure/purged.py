"""What an erasure did, or would do, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Purged:
    """What was destroyed in one store; a plan uses it for what would be.

    Attributes:
        what: the store, in plain words; never an identifier.
        count: objects.
        bytes: freed; 0 where they cannot be counted.
    """

    what: str
    count: int
    bytes: int = 0
