"""Which workspace a folder is: a copy must not work in the original, and it would.

MLflow notes absolute places of models, so a folder that was copied or moved names models in the place it came from: it
would read them there, write there and destroy there. ``.tru/workspace.json`` says which workspace this is and where it
belongs; together with the places in ``mlflow.db`` it tells a copy from the original, also where an older tru, which
wrote no such file, made it. ``tru adopt`` (:mod:`tru.ops.adopt`) makes a copy a workspace of its own.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from tru.errors import WorkspaceError

FILE = Path(".tru") / "workspace.json"
_STORE = ("mlartifacts", "tru")
"""Where tru keeps models in a workspace; the workspace itself is the folder above."""
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
_TABLES = frozenset(table for table, _ in _PLACES)
_UNSAFE = "?#%{}"
"""Characters with a meaning in addresses of databases and artifacts, or in DVC, where nobody quotes them."""


@dataclass(frozen=True)
class Identity:
    """What ``.tru/workspace.json`` says.

    Attributes:
        id: random; a copy has the id of its original until it is adopted.
        root: the absolute folder that the workspace belongs to.
        machine: the name of the machine that it was noted on.
    """

    id: str
    root: str
    machine: str


@dataclass(frozen=True)
class Origin:
    """Where a workspace came from that is not in the place it belongs to.

    Attributes:
        root: the folder it was copied or moved from.
        is_moved: it was moved on this machine, so there is no original beside it.
        id: its id, if it has one.
    """

    root: Path
    is_moved: bool
    id: str | None

    def words(self, here: Path) -> str:
        """Why nothing may be written here, and the way on."""
        how = "moved" if self.is_moved else "copied"
        why = "notes of where its models are still name that place" if self.is_moved else "it still names models there"
        return (
            f"{here} was {how} here from {self.root}, and {why}: nothing is written here until `tru adopt` has made it "
            "a workspace of its own."
        )


def read(root: Path) -> Identity | None:
    """The identity of a workspace; None if it has none.

    Raises:
        WorkspaceError: the file is damaged.
    """
    try:
        return Identity(**json.loads((root / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"{root / FILE} is damaged ({type(error).__name__}). Restore it; or delete it, if this folder is no copy."
        ) from error


def write(root: Path, id: str | None = None) -> Identity:
    """Note that ``root`` is where this workspace belongs, under ``id`` or a new one; whole or not at all."""
    identity = Identity(id or uuid4().hex, str(root), socket.gethostname())
    (root / FILE).parent.mkdir(exist_ok=True)
    beside = (root / FILE).with_suffix(f".new-{os.getpid()}")
    beside.write_text(json.dumps(asdict(identity), indent=2) + "\n", encoding="utf-8")
    beside.replace(root / FILE)
    return identity


def origin(root: Path) -> Origin | None:
    """Where a workspace came from; None if it is in its place.

    Args:
        root: the absolute, resolved folder.
    """
    identity = read(root)
    if identity is not None and not is_same(Path(identity.root), root):
        was = Path(identity.root)
        left = not (was / "params.yaml").exists() or _is_another(was, identity.id)
        return Origin(was, left and identity.machine == socket.gethostname(), identity.id)
    elsewhere = next(foreign_homes(root), None)
    return None if elsewhere is None else Origin(elsewhere, False, None)


def foreign_homes(root: Path) -> Iterator[Path]:
    """Other workspaces, there or gone, in which the MLflow database of ``root`` keeps models.

    A place that is neither is one where somebody keeps models on purpose.
    """
    for home in homes(root / "mlflow.db"):
        if not is_same(home, root) and ((home / "params.yaml").exists() or not home.joinpath(*_STORE).exists()):
            yield home


def settle(root: Path) -> None:
    """Give a workspace of an older tru its identity; nothing where one is, or where there is nothing to protect yet."""
    if not (root / FILE).exists() and any((root / name).exists() for name in ("mlflow.db", ".tru/inbox.db")):
        with suppress(OSError):  # a folder that may only be read is written to by nobody
            write(root)


def refuse_unsafe_name(root: Path) -> None:
    """Refuse a folder whose name the databases in it could not be addressed by.

    Raises:
        WorkspaceError: a character in its path has a meaning in addresses.
    """
    if bad := [character for character in str(root) if character in _UNSAFE or not character.isprintable()]:
        raise WorkspaceError(
            f"{str(root)!r} cannot be a workspace: the character {bad[0]!r} in its path has a meaning of its own in "
            "the addresses of databases or in DVC, so files would end up elsewhere. Rename the folder, or take another."
        )


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one folder, whatever links lead to it."""
    with suppress(OSError):
        return one == other or one.samefile(other)
    return False


def homes(database: Path) -> Iterator[Path]:
    """The workspaces in whose own store of models an MLflow database (SQLite) notes something; each once."""
    known: set[Path] = set()
    for address in noted(database):
        place = local_path(address)
        parts = place.parts if place else ()
        for at in range(len(parts) - 1):
            if parts[at : at + 2] == _STORE and (home := Path(*parts[:at])) not in known:
                known.add(home)
                yield home


def noted(database: Path, tables: Collection[str] = _TABLES) -> set[str]:
    """Every place of artifacts that tables of an MLflow database (SQLite) note; none if it cannot be read."""
    found: set[str] = set()
    if not database.is_file():
        return found
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        for table, column in _PLACES:
            if table not in tables:
                continue
            with suppress(sqlite3.Error):
                found |= {str(value) for (value,) in db.execute(f"SELECT DISTINCT {column} FROM {table}") if value}
    return found


def local_path(address: str) -> Path | None:
    """The path that an address of artifacts means on this machine; None if it is elsewhere."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(address) if not parts.scheme and address.startswith("/") else None


def _is_another(place: Path, id: str) -> bool:
    """Whether another workspace, not the original, is in the place now."""
    try:
        there = read(place)
    except WorkspaceError:
        return False
    return there is not None and there.id != id
