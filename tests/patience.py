"""How long a test waits before it calls something hung; a busy machine is no failure, so no limit here is short."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HANG = 1800.0
"""Seconds. Far above what anything here takes, however busy the machine; it only ends what would never end."""


def until(look: Callable[[], T], *, alive: Callable[[], bool] = lambda: True, every: float = 0.2) -> T:
    """What ``look`` gives, as soon as that is true.

    Args:
        look: asked again and again.
        alive: whether it can still come about, such as whether the process that is waited for still runs.
        every: seconds between two looks.
    """
    end = time.monotonic() + HANG
    while not (seen := look()):
        assert alive(), "what is waited for cannot come about any more"
        assert time.monotonic() < end, "it hangs"
        time.sleep(every)
    return seen
