"""Making a copied or moved workspace one of its own: ``tru adopt``.

Until then it only reads (:mod:`tru.ops.identity`). Here every note of the place it came from is rewritten, and what
names processes of the original is dropped. The identity is written last, so a killed adoption leaves a copy that still
only reads, and running it again finishes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tru.errors import WorkspaceError
from tru.ops import identity
from tru.ops.erasure.reach import dvc_config, links_out, remotes
from tru.ops.identity import Origin, is_same, local_path
from tru.ops.release.readdress import Rewrite, is_whole, readdress, rewriter
from tru.ops.requests.store import open_inbox
from tru.ops.servers.services import leave
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace, only_one


@dataclass(frozen=True)
class Adoption:
    """What was done.

    Attributes:
        root: the workspace.
        came_from: the folder it was copied or moved from; None if it was in its place and nothing was done.
        is_moved: there is no original beside it.
        addresses: how many notes of that place were rewritten.
        shared: what it still shares with the original, in words.
    """

    root: Path
    came_from: Path | None = None
    is_moved: bool = False
    addresses: int = 0
    shared: list[str] = field(default_factory=list)


def adopt(ws: Workspace, *, accept_shared: bool = False) -> Adoption:
    """Make a copied or moved workspace one of its own; nothing if it is one.

    Args:
        ws: the workspace, opened for reading.
        accept_shared: go on although stores outside the folder stay shared, so that an erasure in one of the two
            destroys there what the other needs.

    Raises:
        WorkspaceError: the copy is not whole, or stores stay shared; nothing was changed.
    """
    busy = WorkspaceError(f"another `tru adopt` is at work in {ws.root}. Wait until it ends.")
    with only_one(ws.state / "adopt.lock", busy):
        found = identity.origin(ws.root)
        if found is None:
            return Adoption(ws.root)
        olds = _olds(ws, found)
        _refuse_unless_whole(ws, olds)
        shared = [] if found.is_moved else _shared(ws, olds)
        if shared and not accept_shared:
            raise WorkspaceError(_words_of_shared(ws, found, shared))
        changed = sum(_rewritten(ws, rewriter(old, ws.root)) for old in olds)
        _cut_loose(ws, found)
        _refuse_unless_ours(ws)
        known = identity.read(ws.root)
        keeps = known is not None and (found.is_moved or is_same(Path(known.root), ws.root))
        identity.write(ws.root, known.id if known and keeps else None)
        return Adoption(ws.root, found.root, found.is_moved, changed, shared)


def _olds(ws: Workspace, found: Origin) -> list[Path]:
    """Every place that this workspace names and is not in."""
    places = {found.root, *identity.foreign_homes(ws.root)}
    return sorted(place for place in places if not is_same(place, ws.root))


# -- before anything is changed ---------------------------------------------------------------------------------------


def _refuse_unless_whole(ws: Workspace, olds: Iterable[Path]) -> None:
    """See that the copy has everything and that nothing in it *is* the original's.

    Raises:
        WorkspaceError: it has not.
    """
    again = "Copy the folder again while nothing runs in the original (`cp -a`), and run this there."
    for database in _databases(ws):
        if any(is_same(old / database.relative_to(ws.root), database) for old in olds):
            raise WorkspaceError(
                f"{database} is the original's own file (a hard link), so nothing was changed. {again}"
            )
        if not is_whole(database):
            raise WorkspaceError(f"{database} was copied while it was written, so nothing was changed. {again}")
    missing = [place for old in olds for place in _versions(ws) if _lacks(ws, rewriter(old, ws.root), place)]
    if missing:
        raise WorkspaceError(
            f"the models of {len(missing)} versions are not in this copy, so nothing was changed. {again}"
        )


def _lacks(ws: Workspace, rewrite: Rewrite, address: str) -> bool:
    """Whether a place that would be inside the workspace is not there."""
    place = local_path(rewrite(address))
    return place is not None and place.is_relative_to(ws.root) and not place.exists()


def _versions(ws: Workspace) -> set[str]:
    """Where the registered versions' models are."""
    return {place for place in identity.noted(ws.root / "mlflow.db", ["model_versions"]) if place != "REDACTED"}


def _databases(ws: Workspace) -> list[Path]:
    """The SQLite databases of a workspace."""
    names = ("mlflow.db", ".tru/inbox.db", ".tru/prefect/prefect.db")
    return [ws.root / name for name in names if (ws.root / name).is_file()]


# -- what stays shared ------------------------------------------------------------------------------------------------


def _shared(ws: Workspace, olds: Iterable[Path]) -> list[str]:
    """What this workspace and its original both use, in words; no adoption can part that."""
    config = dvc_config(ws)
    found = [f"the DVC remote {name} at {remote['url']}" for name, remote in remotes(config).items()]
    cache = config.get("cache", {}).get("dir")
    if cache and not Path(cache).resolve().is_relative_to(ws.root):
        found.append(f"DVC's cache at {cache}")
    for name, address in (("TRU_DATABASE_URL", ws.database_url), ("MLFLOW_TRACKING_URI", ws.tracking_uri)):
        if os.environ.get(name) and not _is_inside(ws, address):
            found.append(f"what {name} names")
    found += [f"MLflow's artifacts at {place}" for place in _places_elsewhere(ws, olds)]
    if (ws.root / ".git").is_file():
        found.append("the git repository that .git names")
    found += [f"{link}, a link to {target}" for link, target in links_out(ws.root)]
    exports = [(ws.root / name).resolve() for name in load_settings(ws).erasure.exports]
    return [*found, *(f"the exports at {place}" for place in exports if not place.is_relative_to(ws.root))]


def _is_inside(ws: Workspace, address: str) -> bool:
    path = address.partition(":///")[2].partition("?")[0]
    return address.startswith("sqlite:///") and Path(path).resolve().is_relative_to(ws.root)


def _places_elsewhere(ws: Workspace, olds: Iterable[Path]) -> list[str]:
    """Where MLflow keeps artifacts outside of this workspace, and outside of the one it came from."""
    homes = [ws.root, *olds]
    found = set()
    for address in identity.noted(ws.root / "mlflow.db", ["experiments"]):
        place = local_path(address)
        if place is None or (place.exists() and not any(place.is_relative_to(home) for home in homes)):
            found.add(address)
    return sorted(found)


def _words_of_shared(ws: Workspace, found: Origin, shared: list[str]) -> str:
    listed = "; ".join(shared[:6]) + (f"; and {len(shared) - 6} more" if len(shared) > 6 else "")
    return (
        f"{ws.root} and {found.root} would both use {listed}. What one of them erases there is gone for the other. "
        "Nothing was changed. Give this copy its own first, or accept that: `tru adopt --accept-shared-stores`."
    )


# -- the change -------------------------------------------------------------------------------------------------------


def _rewritten(ws: Workspace, rewrite: Rewrite) -> int:
    """Rewrite the databases, then the descriptions of models, which MLflow keeps beside them."""
    changed = sum(readdress(file, rewrite) for file in _databases(ws) if file.name != "inbox.db")
    for file in sorted(ws.model_store.rglob("MLmodel")):
        words = file.read_text(encoding="utf-8")
        if (new := rewrite(words)) != words:
            beside = file.with_name(f"{file.name}.new")
            beside.write_text(new, encoding="utf-8")
            beside.replace(file)
            changed += 1
    return changed


def _cut_loose(ws: Workspace, found: Origin) -> None:
    """Drop what names processes of the original."""
    leave(ws, is_moved=found.is_moved)
    for name in ("rwlock", "rwlock.lock", "lock"):  # DVC's notes of who is at work
        (ws.root / ".dvc" / "tmp" / name).unlink(missing_ok=True)
    if not (ws.state / "inbox.db").exists() or os.environ.get("TRU_DATABASE_URL"):
        return
    inbox = open_inbox(ws)
    batch = inbox.open_batch()
    if batch is not None and batch.owner is not None:
        inbox.release(batch.id, batch.owner)


def _refuse_unless_ours(ws: Workspace) -> None:
    """See that nothing names another workspace any more and that every version's model is there.

    Raises:
        WorkspaceError: it does; the copy still only reads.
    """
    left = list(identity.foreign_homes(ws.root))
    missing = [place for place in _versions(ws) if (path := local_path(place)) and not path.exists()]
    if left or missing:
        raise WorkspaceError(
            f"mlflow.db still names {left[0] if left else 'models that are not there'}: {ws.root} stays as a copy that "
            "only reads. Copy the original again, and run this there."
        )
