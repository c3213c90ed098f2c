"""Numbers and tables as the results page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmarks.quality.tables import Summary

MISSING = "missing"


def number(value: Summary, digits: int) -> str:
    """A median, and half the range of several."""
    spread = f" ±{value.half:.{digits}f}" if value.count > 1 else ""
    return f"{value.median:.{digits}f}{spread}"


def plain(value: float, digits: int) -> str:
    """A number, if there is one."""
    return f"{value:.{digits}f}" if np.isfinite(value) else MISSING


def signed(value: float) -> str:
    """A difference, if there is one."""
    return f"{value:+.4f}" if np.isfinite(value) else MISSING


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, with an empty line before it."""
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines that open on a click."""
    yield from ("", f"<details><summary>{title}</summary>")
    yield from lines
    yield from ("", "</details>")
