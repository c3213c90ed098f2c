"""How a number is said to a person: one place, so that log, report and terminal say it alike."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A length of time, as exactly as a person wants to know: ``0.4 s``, ``45 s``, ``1 min 12 s``, ``2 h 5 min``.

    Args:
        seconds: finite and not negative.
    """
    if seconds < 0.05:
        return "under 0.1 s"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    if round(seconds) < 3600:
        return _two(round(seconds), "min", "s")
    return _two(round(seconds / 60), "h", "min")


def _two(small: int, large_unit: str, small_unit: str) -> str:
    """``small`` of the small unit, sixty of which are one of the large unit; a rest of zero is not said."""
    large, rest = divmod(small, 60)
    return f"{large} {large_unit} {rest} {small_unit}" if rest else f"{large} {large_unit}"


def size(count: int) -> str:
    """Bytes as people read them: ``512 bytes``, ``1.42 kB``, ``2.17 MB``."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= step:
            return f"{count / step:.3g} {unit}"
    return f"{count} bytes"


def several(number: int, one: str, many: str = "") -> str:
    """``1 request``, ``2 requests``; ``many`` is given where it is not ``one`` with an s."""
    return f"{number} {one}" if number == 1 else f"{number} {many or f'{one}s'}"
