"""``tru erase`` and ``tru reapply``: destroy what knew the forgotten, and forget again what a restore brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.cli.output import QuietOption, reserved_for_outcome
from tru.prose import several


def erase(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would go, and what cannot be reached.")] = False,
    workspace: WorkspaceOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Destroy everything that knew the forgotten, search for what is left, and sign the certificates.

    Does not wait for the time of grace. What is still there afterwards is named: exit code 1, and nothing is certified.
    """
    from tru.ops.erasure import eraser

    ws = open_workspace(workspace)
    if plan:
        found = eraser.plan(ws).to_dict()
        print_json(found) if json else typer.echo("\n".join(_plan_words(found)))
        return
    is_silent = quiet or json
    with reserved_for_outcome(quiet=quiet):
        done = eraser.erase(ws, say=None if is_silent else _say, look=None if is_silent else _look)
    print_json(done) if json else typer.echo("\n".join(_done_words(done)))


def reapply(
    certificates: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also whoever these certificates say was forgotten, if the inbox was restored too."
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """After a backup was restored: find whoever was forgotten before, and forget them again.

    Files a request for each of them; the next `tru run` forgets them anew, with gate, erasure and certificate.
    """
    from tru.ops.erasure.restore import reapply as again

    found = again(open_workspace(workspace), certificates)
    print_json(found) if json else typer.echo("\n".join(_found_words(found)))


def _plan_words(found: dict[str, Any]) -> list[str]:
    if not found["batches"]:
        return ["Nothing waits for its erasure."]
    lines = [
        f"For {', '.join(found['batches'])}.",
        f"Model versions that stay: {', '.join(found['keep']) or 'none'}.",
        "",
        "To be destroyed:",
    ]
    lines += _rows(found["destroy"]) or ["  nothing"]
    return [*lines, "", "Out of reach:", *(f"  - {words}" for words in found["unreachable"])]


def _done_words(done: dict[str, Any]) -> list[str]:
    if not done["scan"]:
        return ["Nothing waits for its erasure."]
    lines = ["Destroyed:", *(_rows(done["destroyed"]) or ["  nothing old was left"])]
    searched = sum(row["state"] == "not found" for row in done["scan"])
    lines += ["", f"Searched {searched} stores afterwards; nothing of the forgotten is left in them."]
    lines += ["", "Out of reach:", *(f"  - {words}" for words in done["unreachable"])]
    if done["certificates"]:
        lines += ["", f"Signed {done['certificates']} certificates: `tru certificate list`."]
    return lines


def _rows(rows: list[dict[str, Any]]) -> list[str]:
    from tru.prose import size

    width = max((len(row["store"]) for row in rows), default=0)
    sizes = [size(row["bytes"]) if row["bytes"] else "" for row in rows]
    counts = [f"  {row['store']:<{width}}  {row['count']:>6}  " for row in rows]
    return [f"{count}{size}".rstrip() for count, size in zip(counts, sizes, strict=True)]


def _found_words(found: dict[str, Any]) -> list[str]:
    if not found["filed"]:
        return ["Nobody who was forgotten is in the data or in a model that may serve. There is nothing to do."]
    lines = [f"Found again: {n} {what}" for what, n in found["found"].items() if n]
    return [*lines, f"{several(found['filed'], 'request is', 'requests are')} filed for them. Next: `tru run`."]


def _look(store: str) -> None:
    _say(f"searching {store}")


def _say(words: str) -> None:
    typer.echo(f"{words} …", err=True)
