"""What a run has to say to a person when it ends, in sentences; no Prefect in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NEITHER = "neither the unlearned nor the retrained model passed the gate"
FAILED = "a step failed that would fail again"
UNAPPROVED = "its candidate passed the gate, but has no approval"


def ended(done: Mapping[str, Any]) -> str:
    """How a batch ended; ``done`` is what the flow `unlearn-nightly` returns."""
    serves = f"version {done['version']} is champion" if done["version"] else "nobody is left, so no model serves"
    words = f"{done['batch']}: {done['outcome']}; {serves}."
    if done["not_found"]:
        words += (
            f" {done['not_found']} of {done['size']} requests named nobody and nothing in the data: closed as "
            "“not found”, see `tru requests list --state closed`."
        )
    if done.get("held"):
        words += f" Held for a person to decide: {', '.join(done['held'])}, see `tru status`."
    return words


def waits_for_a_person(batch: str, why: str, reasons: Sequence[str]) -> str:
    """That a batch is held, why, and what a person can do.

    Args:
        batch: its id.
        why: :data:`NEITHER`, :data:`FAILED` or :data:`UNAPPROVED`.
        reasons: of the gate, of the step that failed or of the person who declined.
    """
    return (
        f"{batch} is held: {why} ({'; '.join(reasons)}). The champion keeps serving and the subjects stay suppressed. "
        "Other requests do not wait for it. `tru status` says what a person can do: `tru batch accept`, "
        "`tru batch release` or `tru batch retry`, `tru batch split`, or take single requests out."
    )


def of_baseline(made: Mapping[str, Any]) -> list[str]:
    """What came of a baseline, in lines; ``made`` is what the flow `baseline-weekly` returns."""
    serves = "is champion" if made["crowned"] else "is the baseline; the champion stays"
    return [f"Version {made['version']} {serves}: {made['words']}.", *(row["words"] for row in made["licences"])]
