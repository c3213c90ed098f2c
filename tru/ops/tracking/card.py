"""Markdown for MLflow's pages: the model card of a version, and what a parent run says of its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tru.ops.release.names import metric_name
from tru.ops.report.table import METRICS, blocks, exact_rows, is_reason
from tru.ops.report.words import MISSING, count, decimal, several

LONGEST = 5000
"""Characters that MLflow's databases take for a description."""
_NAMES = (
    "MLflow allows no @ in a name: `test/recall_at_20` is what the report, the docs and the Prefect page call "
    "`test/recall@20`, and `metrics/evaluate.json` `test` → `recall@20`."
)
_MODES = {
    "fresh": "against models retrained without them the same night",
    "licensed": "without retraining, against the latest baseline and the canaries, under a licence",
}


@dataclass(frozen=True)
class Card:
    """What a reader of a version wants to know; see :func:`in_markdown`.

    Attributes:
        made: how the model came to be, in a sentence.
        data_md5: DVC's md5 of the data it stands on.
        summary: counts of that data (:meth:`tru.data.interactions.Dataset.summary`).
        requests: how many completed deletion requests it respects.
        batches: in how many batches those were.
        metrics: of each model that was measured, flat; the version's own first.
        verdict: the gate's, for a candidate; None for a model that never faced it.
        limits: what nobody may read into it, in sentences.
        links: where to read on, in sentences.
    """

    made: str
    data_md5: str
    summary: Mapping[str, Any]
    requests: int
    batches: int
    metrics: Mapping[str, Mapping[str, float]]
    verdict: Mapping[str, Any] | None = None
    limits: Sequence[str] = ()
    links: Sequence[str] = ()


def in_markdown(card: Card) -> str:
    """The model card, at most LONGEST characters."""
    parts = [
        [card.made],
        ["### Data", "", *_data(card)],
        *([["### Verdict", "", *_verdict(card.verdict)]] if card.verdict else []),
        ["### Numbers", "", *_numbers(card.metrics), "", _NAMES],
        ["### What it does not say", "", *_listed(card.limits)] if card.limits else [],
        ["### Where to read on", "", *_listed(card.links)] if card.links else [],
    ]
    return _shortened("\n\n".join("\n".join(lines) for lines in parts if lines))


def verdict_note(verdict: Mapping[str, Any]) -> str:
    """What the gate said of a batch, for its parent run."""
    return _shortened("\n".join([*_verdict(verdict), "", _NAMES]))


def _data(card: Card) -> list[str]:
    about = card.summary
    kinds = about.get("modalities", {})
    rows = [
        ("version (DVC's md5)", card.data_md5),
        ("users, items", f"{count(about.get('users'))}, {count(about.get('items'))}"),
        ("interactions", f"{count(about.get('interactions'))}: {_split(about)}"),
        ("modalities", ", ".join(f"{name} ({size[1]} numbers each)" for name, size in kinds.items()) or "none"),
    ]
    respected = several(card.requests, "completed deletion request", "completed deletion requests")
    batches = several(card.batches, "batch", "batches")
    says = f"It respects {respected} in {batches}." if card.requests else "No deletion was completed before it."
    return [*_table(("", ""), rows), "", says]


def _split(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{count(about[part])} {part}" for part in ("train", "val", "test") if part in about)


def _verdict(verdict: Mapping[str, Any]) -> list[str]:
    how = _MODES.get(str(verdict.get("mode")), "")
    lines = [f"**{verdict.get('verdict')}**{f', judged {how}' if how else ''}.", ""]
    exact = exact_rows(verdict)
    if exact:
        failed = [f"{words}: {MISSING if found is None else found}" for words, found, passed in exact if not passed]
        kept = f"All {len(exact)} counts that must be zero are zero."
        lines += [f"Must be zero and is not: {'; '.join(failed)}." if failed else kept, ""]
    lines += [str(row["words"]) for row in verdict.get("table", ()) if is_reason(row)]
    measured = [
        (metric_name(block.name), row.part, row.value, row.reference, row.difference, row.allowed, row.result)
        for block in blocks(verdict, {})
        for row in block.rows
    ]
    head = ("measured", "of", "candidate", "reference", "difference", "allowed", "")
    return [*lines, *(_table(head, measured) if measured else [])]


def _numbers(models: Mapping[str, Mapping[str, float]]) -> list[str]:
    rows = [  # seconds: of the training or the unlearning alone
        (metric_name(name), *(decimal(row.get(name)) for row in models.values()))
        for name in (*METRICS, "seconds")
        if any(name in row for row in models.values())
    ]
    return _table(("", *models), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in letters of one width: the page of a version draws no others, and shows their bars and dashes."""
    cells = [list(row) for row in (head, *rows) if any(row)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return ["```text", *lines, "```"]


def _listed(sentences: Sequence[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]


def _shortened(text: str) -> str:
    """The text, cut at the end of a line if it is too long for MLflow."""
    if len(text) <= LONGEST:
        return text
    kept = text[: text.rindex("\n", 0, LONGEST - 5)]
    is_in_table = kept.count("```") % 2 == 1
    return kept + ("\n```\n…" if is_in_table else "\n…")
