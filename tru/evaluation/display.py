"""A comparison as a person reads it: models side by side, then what the gate looked at; as text and as HTML.

Nothing here names a subject: the numbers are averages and counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from tru import prose
from tru.evaluation.verdict import Finding, Verdict

METRICS = {
    "test/recall@10": "test recall@10",
    "test/recall@20": "test recall@20",
    "test/ndcg@10": "test ndcg@10",
    "test/ndcg@20": "test ndcg@20",
    "forget/recall@20": "forget recall@20",
    "membership_auc": "membership AUC",
}
"""Name of a metric -> what a table calls it."""
STEPS = {"original": "train", "unlearned": "unlearn", "retrained": "retrain"}
"""Model -> the step that made it."""
CHECKED = ["", "of", "unlearned", "retrained", "allowed", ""]
MISSING = "–"

Row = list[str]


def measured(models: Mapping[str, Mapping[str, float]], seconds: Mapping[str, float | None]) -> list[Row]:
    """Header and rows of the first table.

    Args:
        models: name -> its metrics.
        seconds: step -> how long it took, where that is known.
    """
    rows = [[said, *(_number(row.get(name)) for row in models.values())] for name, said in METRICS.items()]
    took = [seconds.get(STEPS[name]) for name in models]
    times = [MISSING if each is None else prose.duration(each) for each in took]
    return [["", *models], *rows, ["time", *times]]


def checked(verdict: Verdict) -> list[Row]:
    """Header and rows of the second table: a line for each thing that was tested, one for all that must be zero."""
    exact = [finding for finding in verdict.findings if finding.low == finding.high == 0]
    tested = [finding for finding in verdict.findings if finding.low != 0 or finding.high != 0]
    left = sum(not finding.passed for finding in exact)
    line = ["left behind", prose.several(len(exact), "check"), "", "", "nothing", f"✗ {left}" if left else "✓"]
    return [CHECKED, line, *(_finding(finding) for finding in tested)]


def _finding(finding: Finding) -> Row:
    sign = "✗" if not finding.passed else "✓" if finding.judged else MISSING
    whom = "all" if finding.group is None else finding.group
    numbers = [_number(finding.value), _number(finding.reference)]
    return [METRICS.get(finding.name, finding.name), whom, *numbers, _allowed(finding), sign]


def _allowed(finding: Finding) -> str:
    if not finding.judged:
        return "too few to judge"
    low, high = _finite(finding.low), _finite(finding.high)
    if low is None:
        return MISSING if high is None else f"≤ {high:.4f}"
    least = max(low, 0.0)
    return f"≥ {least:.4f}" if high is None else f"{least:.4f} to {high:.4f}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> str:
    number = _finite(value)
    return MISSING if number is None else f"{number:.4f}"


def sentence(verdict: Verdict, retrained: int) -> str:
    """The verdict in a line, and below it why it failed, or what it does not say.

    Args:
        verdict: the gate's.
        retrained: how many models it compared with.
    """
    against = f"compared with {prose.several(retrained, 'retrained model')}"
    said = [] if verdict.passed else [f"  {reason}" for reason in verdict.reasons]
    if not all(finding.judged for finding in verdict.findings):
        said.append("Too few to judge: statistics cannot tell there; the checks that must be exactly zero decided.")
    return "\n".join([f"The gate: {verdict.word}, {against}.", *said])


def as_text(tables: Sequence[list[Row]], words: str) -> str:
    """Tables above each other in letters of one width, then some words."""
    return "\n\n".join([*("\n".join(_aligned(table)) for table in tables), words])


def _aligned(table: list[Row]) -> list[str]:
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if k == 0 or not _is_figures(table, k) else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_figures(table: list[Row], k: int) -> bool:
    """Whether a column stands to the right: all of its cells are figures, or say that there is none."""
    cells = [row[k] for row in table[1:] if row[k]]
    return all(cell[0].isdigit() or cell == MISSING or cell.startswith("under") for cell in cells)


def as_html(tables: Sequence[list[Row]], words: str) -> str:
    """The same for a notebook: plain tables, every cell escaped."""
    return "".join(map(_html, tables)) + f"<p>{escape(words).replace(chr(10), '<br>')}</p>"


def _html(table: list[Row]) -> str:
    head, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table]
    head = head.replace("<td>", "<th>").replace("</td>", "</th>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>"
