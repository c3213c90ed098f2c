"""A verdict in one line, a batch in a few: for logs and Prefect's page. The whole of it is in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tru.ops.report.record import aftermath, origin
from tru.ops.report.sentences import HEADLINES, verdict_sentence
from tru.ops.report.sequel import Link, Sequel
from tru.ops.report.story import ending, last_verdict, not_found
from tru.ops.report.table import is_reason
from tru.ops.report.words import FAULTS, decimal, several
from tru.ops.requests.lifecycle import Batch

_FORGETTING = {"forget/recall@20", "membership_auc"}


def gate_line(verdict: Mapping[str, Any]) -> str:
    """A verdict in one line for a log: the word, how many checks passed, and quality or what was refused.

    Such as ``pass, 12 of 12 checks, 4 not judged, test NDCG@20 0.3570 against 0.3584 retrained``.
    """
    rows = [row for row in verdict.get("table") or [] if not is_reason(row)]
    if not rows:  # nothing was measured; the reasons are all there is
        return "; ".join([str(verdict["verdict"]), *(str(reason) for reason in verdict.get("reasons") or [])])
    judged = [row for row in rows if row.get("judged", True)]
    parts = [str(verdict["verdict"]), f"{sum(bool(row.get('passed')) for row in judged)} of {len(judged)} checks"]
    parts += [f"{len(rows) - len(judged)} not judged"] if len(rows) > len(judged) else []
    refused = [_refused(row) for row in verdict["table"] if not row.get("passed")]
    return ", ".join(parts) + (f"; refused: {'; '.join(refused)}" if refused else _quality(rows))


def _refused(row: Mapping[str, Any]) -> str:
    """What a line was refused for, without the gate's own numbers: those are in the report."""
    if is_reason(row):
        return str(row["words"])
    part = f" of forgotten {row['group']}" if row.get("group") and row["name"] in _FORGETTING else ""
    return f"{row['name']}{part} ({FAULTS.get(str(row.get('fault')), 'out of range')})"


def _quality(rows: Sequence[Mapping[str, Any]]) -> str:
    """The quality for those who stay, beside that of what it is compared with."""
    row = next((row for row in rows if row.get("name") == "test/ndcg@20"), None)
    if row is None:
        return ""
    beside = f"of the {row['group']}" if row.get("group") else "retrained"
    return f", test NDCG@20 {decimal(row.get('value'))} against {decimal(row.get('reference'))} {beside}"


def outline(batch: Batch, sequel: Sequel, report: str) -> str:
    """A batch in a few lines of markdown: what came of it, who serves, what followed, where everything is.

    Args:
        batch: open, held or closed.
        sequel: what is known beyond its own record.
        report: where its report is.
    """
    end, judged = ending(batch), last_verdict(batch.facts)
    lines = [f"# {batch.id}: {HEADLINES[end]}", "", verdict_sentence(batch, sequel), ""]
    absent = not_found(batch)
    lines.append(f"- {several(batch.size, 'request', 'requests')}{f', {absent} not found' if absent else ''}")
    if judged:
        lines.append(f"- Gate: {gate_line(judged)}")
    if after := aftermath(batch, sequel):
        lines.append(f"- {after.sentence}")
    lines.append(f"- Report: `{report}`")
    if sequel.certificates:
        lines.append("- Certificates: `tru certificate list`; each is a file in `.tru/certificates`")
    lines += [f"- {link.name}: {_linked(link)}" for link in origin(batch, sequel) if link.text != batch.id]
    return "\n".join([*lines, ""])


def _linked(link: Link) -> str:
    return f"[{link.text}]({link.address})" if link.address else link.text
