"""The model registry, read without MLflow: who serves, and which versions there are.

Loading MLflow takes seconds, which whoever only asks should not wait for. Where the store is MLflow's SQLite file, its
few rows are read as they are (pyproject.toml keeps MLflow to one minor version); a server or another database is asked
through :class:`tru.ops.release.registry.Registry`, once it is known to answer at all. Nothing is ever made or changed
here.
"""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tru.errors import ReleaseError
from tru.ops.workspace import Workspace

MODEL_NAME = "tru-recommender"
CHAMPION = "champion"
CHALLENGER = "challenger"  # set by version 0.1.0 beside champion
BASELINE = "baseline"
MODEL_PATH = "artifacts/model"
"""Where the model directory lies below the place of a version."""

_DELETED = "Deleted_Internal"  # MLflow's stage of a version that is deleted and whose row is still there
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PATIENCE = 5.0
_NOBODY_BEHIND = (502, 503, 504)  # what a proxy answers whose server is gone
_BUSY = 10.0


@dataclass(frozen=True)
class ModelVersion:
    """One registered version.

    Attributes:
        version: MLflow's number, as text.
        run_id: the run that logged it.
        tags: what it respects and how it came about (``tru.data_md5``, ``tru.deleted_through`` …).
        created: when it was registered (aware).
        aliases: ``champion`` or ``baseline``; sorted.
    """

    version: str
    run_id: str
    tags: dict[str, str]
    created: datetime
    aliases: tuple[str, ...] = ()


def versions(ws: Workspace) -> list[ModelVersion]:
    """All versions, newest first; none if there is no store yet.

    Raises:
        ReleaseError: the store cannot be read, or its server does not answer.
    """
    if (file := _file(ws)) is None:
        refuse_if_silent(ws)
        from tru.ops.release.registry import Registry

        return Registry(ws).list_versions()
    if not file.exists():
        return []
    with closing(_opened(file)) as db:
        return _versions(db)


def champion(ws: Workspace) -> ModelVersion | None:
    """The version that serves.

    Raises:
        ReleaseError: the store cannot be read, or its server does not answer.
    """
    if _file(ws) is None:
        refuse_if_silent(ws)
        from tru.ops.release.registry import Registry

        return Registry(ws).champion()
    return next((found for found in versions(ws) if CHAMPION in found.aliases), None)


def model_dir(ws: Workspace, version: str) -> Path:
    """The model directory of a version, to read only; it may be gone, where files were deleted by hand.

    Raises:
        ReleaseError: there is no such version, or the store cannot be read or does not answer.
    """
    file = _file(ws)
    place = _place(file, version) if file is not None and file.exists() else None
    if place is not None and urlsplit(place).scheme in ("", "file"):
        return Path(unquote(urlsplit(place).path)) / MODEL_PATH
    refuse_if_silent(ws)
    from tru.ops.release.registry import Registry

    return Registry(ws).model_dir(version)


def lost_files(ws: Workspace, version: str) -> Path | None:
    """The folder in which the files of a version should be and are not; None if they are there or are kept elsewhere.

    Raises:
        ReleaseError: the store cannot be read.
    """
    file = _file(ws)
    place = _place(file, version) if file is not None and file.exists() else None
    if place is None or urlsplit(place).scheme not in ("", "file"):
        return None
    folder = Path(unquote(urlsplit(place).path))
    return None if (folder / MODEL_PATH).is_dir() else folder


def refuse_if_silent(ws: Workspace) -> None:
    """Say within seconds that the store's server does not answer; MLflow itself would try for minutes.

    Raises:
        ReleaseError: it does not answer.
    """
    address = urlsplit(ws.tracking_uri)
    if address.hostname and not _answers(ws.tracking_uri):
        where = f"{address.scheme}://{address.hostname}" + (f":{address.port}" if address.port else "")
        raise ReleaseError(
            f"MLflow's store at {where} does not answer (MLFLOW_TRACKING_URI). Start it, or correct the address."
        )


def _answers(uri: str) -> bool:
    """Whether anybody answers at an address, whatever the answer is; True where that cannot be asked."""
    address = urlsplit(uri)
    if address.scheme in ("http", "https"):
        return _answers_http(f"{uri.rstrip('/')}/health")
    port = address.port or _PORTS.get(address.scheme.partition("+")[0])
    if port is None:
        return True
    with suppress(OSError), socket.create_connection((str(address.hostname), port), timeout=_PATIENCE):
        return True
    return False


def _answers_http(url: str) -> bool:
    import ssl
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in _NOBODY_BEHIND
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # somebody is there; MLflow may know the certificate
    except OSError:
        return False


def _file(ws: Workspace) -> Path | None:
    """MLflow's SQLite file; None if the store is something else."""
    uri = ws.tracking_uri
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _opened(file: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY)
    except sqlite3.Error as error:
        raise _unreadable(error) from error


def _versions(db: sqlite3.Connection) -> list[ModelVersion]:
    of_ours = {"name": MODEL_NAME, "deleted": _DELETED}
    try:
        rows = db.execute(
            "SELECT version, run_id, creation_time FROM model_versions "
            "WHERE name = :name AND current_stage IS NOT :deleted ORDER BY version DESC",
            of_ours,
        ).fetchall()
        tags: dict[int, dict[str, str]] = {}
        for version, key, value in db.execute(
            "SELECT version, key, value FROM model_version_tags WHERE name = :name", of_ours
        ):
            tags.setdefault(version, {})[key] = value
        aliases: dict[int, list[str]] = {}
        for version, alias in db.execute(
            "SELECT version, alias FROM registered_model_aliases WHERE name = :name ORDER BY alias", of_ours
        ):
            aliases.setdefault(version, []).append(alias)
    except sqlite3.Error as error:
        raise _unreadable(error) from error
    return [
        ModelVersion(
            str(version),
            str(run_id),
            tags.get(version, {}),
            datetime.fromtimestamp(created / 1000, UTC),
            tuple(aliases.get(version, ())),
        )
        for version, run_id, created in rows
    ]


def _place(file: Path, version: str) -> str:
    """Where MLflow keeps the files of a version."""
    with closing(_opened(file)) as db:
        try:
            row = db.execute(
                "SELECT COALESCE(NULLIF(storage_location, ''), source) FROM model_versions "
                "WHERE name = ? AND version = ? AND current_stage IS NOT ?",
                (MODEL_NAME, int(version), _DELETED),
            ).fetchone()
        except sqlite3.Error as error:
            raise _unreadable(error) from error
    if row is None:
        raise ReleaseError(f"there is no version {version} of {MODEL_NAME}.")
    return str(row[0])


def _unreadable(error: sqlite3.Error) -> ReleaseError:
    return ReleaseError(f"MLflow's store (mlflow.db, or MLFLOW_TRACKING_URI) cannot be read: {error}.")
