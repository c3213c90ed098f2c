"""`tru baseline`: fresh models on the current data to judge by, and licences to judge without retraining."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tru.cli.options import JsonOption, WorkspaceOption, open_workspace, print_json
from tru.cli.output import QuietOption, reserved_for_outcome

if TYPE_CHECKING:
    from tru.ops.workspace import Workspace


def baseline(
    show: Annotated[bool, typer.Option("--show", help="Only say what there is.")] = False,
    workspace: WorkspaceOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Retrain on the current data to compare with, and rehearse a deletion; takes a few trainings."""
    ws = open_workspace(workspace, reading=show)
    if show:
        found = read(ws)
        print_json(found) if json else typer.echo(as_words(found))
        return
    from tru.ops import flows, preconditions
    from tru.ops.flows.outcomes import of_baseline

    preconditions.of_a_baseline(ws)
    with reserved_for_outcome(quiet=quiet):
        done = flows.run(ws, "baseline-weekly")
    print_json(done) if json else typer.echo("\n".join(of_baseline(done)))


def read(ws: Workspace) -> dict[str, Any]:
    """The latest baseline and what licences there are; no identifier in it.

    Returns:
        ``baseline`` (version, data_md5, made, age_days, deleted_through, seeds, seconds, metrics, noise; or None),
        ``licences`` (regime, size, expires, words; size and expires are None where there is none).
    """
    from datetime import UTC, datetime

    from tru.ops.judging.baseline import latest, standing
    from tru.ops.settings import load_settings

    now = datetime.now(UTC)
    found = latest(ws)
    plain = None
    if found is not None:
        plain = {k: v for k, v in vars(found).items() if k not in ("users", "ndcg")}
        plain |= {"made": found.made.isoformat(timespec="seconds"), "age_days": round(found.age_days(now), 2)}
    rows = []
    for regime, (held, words) in standing(ws, load_settings(ws), now).items():
        size, expires = (held.size, held.expires.isoformat(timespec="seconds")) if held else (None, None)
        rows.append({"regime": regime, "size": size, "expires": expires, "words": words})
    return {"baseline": plain, "licences": rows}


def as_words(found: dict[str, Any]) -> str:
    """What :func:`read` found, for a person."""
    made = found["baseline"]
    lines = ["baseline   none; make one: `tru baseline`"]
    if made:
        lines = [
            f"baseline   version {made['version']}, {len(made['seeds'])} seeds of {made['seconds']:.1f} s each, "
            f"{made['age_days']:.1f} days old",
            *(_spread(name, made) for name in ("test/recall@20", "test/ndcg@20")),
        ]
    return "\n".join([*lines, *(f"{row['regime']:<11}{row['words']}" for row in found["licences"])])


def _spread(name: str, made: dict[str, Any]) -> str:
    if name not in made["noise"]:
        return f"           {name} not measured, for want of test rows"
    mean = fmean(row[name] for row in made["metrics"])
    return f"           {name} {mean:.4f}, standard deviation between the seeds {made['noise'][name]:.4f}"
