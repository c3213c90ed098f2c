"""`tru rollback`: an earlier version serves again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json


def rollback(
    version: Annotated[str | None, typer.Argument(help="Which; else the newest eligible one.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; the ledger keeps it for good. Name nobody.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Only list the versions that are eligible.")] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Let an earlier version serve again: one that respects every completed deletion. Others are refused."""
    from tru.ops.release import champion

    ws = open_workspace(workspace, reading=list_)
    found = champion.eligible(ws) if list_ else [champion.rollback(ws, version, reason)]
    facts = [
        {
            "version": v.version,
            "method": v.tags.get("tru.method"),
            "data_md5": v.tags.get("tru.data_md5"),
            "deleted_through": int(v.tags.get("tru.deleted_through") or 0),
            "champion": "champion" in v.aliases,
        }
        for v in found
    ]
    if json:
        print_json(facts if list_ else facts[0])
    elif list_:
        typer.echo("\n".join(map(_line, facts)) or "No version is eligible. `tru train` or `tru baseline` makes one.")
    else:
        typer.echo(f"Version {found[0].version} is champion. Servers load once: restart them.")


def _line(facts: Mapping[str, object]) -> str:
    serves = "  (champion)" if facts["champion"] else ""
    through = f"deletions through {facts['deleted_through']}"
    return f"version {facts['version']}  {facts['method']}, data {facts['data_md5']}, {through}{serves}"
