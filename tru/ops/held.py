"""What is said of a held batch: why it waits for a person, and what the person can do; for status and report."""

from __future__ import annotations

import textwrap
from contextlib import suppress

from tru.errors import RequestError
from tru.ops.requests.lifecycle import Batch
from tru.ops.workspace import Workspace

_MANY, _LONGEST = 3, 110
"""Reasons that fit a screen beside everything else, and their length; the report has all of them."""


def cuts_to_take_back(ws: Workspace) -> list[str]:
    """Ids of the batches that left a folder although they stand aside, or every request was taken out of them.

    That is what a kill leaves, until the next run has put the data back and destroyed the folder
    (:func:`tru.ops.pipeline.undo.take_back`). Until then the folder may hold the only copy of the data before.
    """
    from tru.ops.requests.store import open_inbox

    found = []
    for folder in sorted(ws.batches.glob("*/")):
        with suppress(RequestError):  # not one of ours
            batch = open_inbox(ws).batch(folder.name)
            found += [batch.id] if batch.is_aside or batch.outcome == "withdrawn" else []
    return found


def reasons(batch: Batch) -> list[str]:
    """Why a batch is held, in words, as the steps recorded it."""
    verdict = batch.facts.get("retrain") or batch.facts.get("gate") or {}
    return [str(reason) for reason in batch.facts.get("held") or verdict.get("reasons", ())]


def choices(batch: Batch, name: str = "") -> list[tuple[str, str]]:
    """What a person can type about a held batch, and what it does.

    Args:
        batch: a held one.
        name: follows each command that takes a batch: its id where others are held as well.
    """
    batch_id = f" {name}" if name else ""
    is_cut = batch.step not in ("claim", "cut")
    anew = (
        "from unlearning on, with the settings"
        if is_cut
        else "from its cut on, which is taken back, with data and settings"
    )
    first = _release(batch, batch_id) if _has_model(batch) else _accept(batch_id)
    return [
        first,
        (f"tru batch retry{batch_id}", f"The next run does it again {anew} as they are then. Correct the cause first."),
        (
            f"tru batch split{batch_id}",
            "Half of its requests, a kind of them or those you name go back to the queue; the rest is tried anew.",
        ),
        (
            "tru requests withdraw ID",
            "One request leaves it for good (or `tru requests refuse ID --reason TEXT`); the rest is tried anew.",
        ),
    ]


def ways_out(ws: Workspace, batch: Batch, *, is_named: bool = False) -> list[str]:
    """That a batch is held, why, and each command that gets out of it, in lines.

    Args:
        ws: the workspace.
        batch: a held one.
        is_named: the commands name it, because others are held as well.
    """
    why = reasons(batch)
    more = [f"  and {len(why) - _MANY} more reasons, see the report"] if len(why) > _MANY else []
    report = ws.state / "reports" / f"{batch.id}.html"
    where = str(report) if report.exists() else f"`tru report {batch.id}` writes it"
    stays = "its subject stays" if batch.size == 1 else f"its {batch.size} subjects stay"
    lines = [
        f"HELD: {batch.id} waits for a person, and nobody else for it. The champion serves; {stays} suppressed.",
        *(f"  {textwrap.shorten(f'because {reason}', _LONGEST, placeholder=' …')}" for reason in why[:_MANY]),
        *more,
        f"  The report: {where}. Then one of these:",
    ]
    for command, words in choices(batch, batch.id if is_named else ""):
        lines += textwrap.wrap(f"`{command}`: {words}", 116, initial_indent="  - ", subsequent_indent="    ")
    return [*lines, "  - Leave it: nothing is lost, but the days run."]


def _has_model(batch: Batch) -> bool:
    """Whether there is a model that could serve as it is."""
    is_approved = (batch.facts.get("gate") or {}).get("verdict") == "pass"
    return batch.step in ("gate", "retrain") and bool(batch.facts.get("retrain") or is_approved)


def _accept(batch_id: str) -> tuple[str, str]:
    return (
        f"tru batch accept{batch_id} --reason TEXT",
        "It is right as it is, however little it leaves: the next run finishes it, with a retrained model if need be. "
        "What statistics then say, or cannot say, you answer for; checks that must be exactly zero stand.",
    )


def _release(batch: Batch, batch_id: str) -> tuple[str, str]:
    """Which model would serve, and what the person answers for."""
    command, again = f"tru batch release{batch_id} --reason TEXT", batch.facts.get("retrain")
    if (again or batch.facts.get("gate") or {}).get("verdict") == "pass":
        which = "retrained" if again else "unlearned"
        return command, f"The {which} model serves, which passed the gate and was not approved."
    return (
        command,
        "The retrained model serves although the gate refused it. It never saw what is to be forgotten; what you "
        "accept is what the gate found fault with. Checks that must be exactly zero cannot be overruled.",
    )
