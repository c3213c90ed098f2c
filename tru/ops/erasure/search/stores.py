"""The places where something of a workspace is kept, and what lies in each of them."""

from __future__ import annotations

import fnmatch
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from tru.ops.erasure.reach import dvc_config, remotes
from tru.ops.erasure.search.databases import opened
from tru.ops.erasure.search.formats import Source
from tru.ops.erasure.search.objects import Piece, Store, git_folder, git_objects, in_bucket, names_in_cache
from tru.ops.workspace import Workspace

NAMES = (
    "data",
    "dvc cache",
    "dvc run cache",
    "stage outputs",
    "metrics and pipeline files",
    "mlflow database",
    "mlflow artifacts",
    "inbox and ledger",
    "batches under way",
    "baseline",
    "reports",
    "certificates",
    "logs",
    "prefect database",
    "prefect results",
    "temporary files",
    "git objects",
    "other files",
)
"""Every workspace has these; a DVC remote is one more each."""

# First match wins; a pattern is a path or a glob, and names everything under it too.
_PLACES = (
    (".dvc/cache/runs", "dvc run cache"),
    (".dvc/cache", "dvc cache"),
    (".dvc/tmp", "temporary files"),
    (".dvc", "metrics and pipeline files"),
    ("data", "data"),
    ("data.new-*", "data"),
    ("data.old-*", "data"),
    ("metrics", "metrics and pipeline files"),
    ("dvc.*", "metrics and pipeline files"),
    ("*.dvc", "metrics and pipeline files"),
    ("params.yaml", "metrics and pipeline files"),
    ("artifacts", "stage outputs"),
    (".tru/checkpoints", "stage outputs"),
    ("mlflow.db*", "mlflow database"),
    ("mlartifacts", "mlflow artifacts"),
    ("mlruns", "mlflow artifacts"),
    (".tru/inbox.db*", "inbox and ledger"),
    (".tru/suppression.key", "inbox and ledger"),
    (".tru/batches", "batches under way"),
    (".tru/baseline", "baseline"),
    (".tru/reports", "reports"),
    (".tru/certificates", "certificates"),
    (".tru/signing", "certificates"),
    (".tru/logs", "logs"),
    (".tru/prefect/storage", "prefect results"),
    (".tru/prefect", "prefect database"),
    (".tru/tmp", "temporary files"),
)


def stores_of(ws: Workspace, skip: frozenset[Path] = frozenset()) -> list[Store]:
    """Every store of a workspace, in the order of :data:`NAMES`, remotes after the caches.

    Args:
        ws: the workspace.
        skip: files that are not searched (a list of subjects that the operator gave).
    """
    stores = {name: Store(name) for name in NAMES}
    places = [*_outputs(ws), *_PLACES]
    outside: list[tuple[Path, str]] = []
    config = dvc_config(ws)
    cache = config.get("cache", {}).get("dir")
    if cache:
        outside += [(Path(cache) / "runs", "dvc run cache"), (Path(cache), "dvc cache")]
    for name, remote in remotes(config).items():
        store = stores[f"dvc remote {name}"] = Store(f"dvc remote {name}")
        _add_remote(store, remote, outside)
    _add_database(stores["mlflow database"], ws.tracking_uri, outside)
    _add_database(stores["inbox and ledger"], ws.database_url, outside)
    _add_artifacts(stores["mlflow artifacts"], ws, outside)
    walk = _Walk(ws, [(_inside(ws, place), name) for place, name in outside], places, skip)
    for store in stores.values():
        store.pieces.insert(0, lambda store=store: walk.pieces(store.name))  # type: ignore[misc]
    git = stores["git objects"]
    git.pieces.append(lambda: git_objects(walk.repositories(), git))
    order = [*NAMES[:3], *(name for name in stores if name not in NAMES), *NAMES[3:]]
    return [stores[name] for name in order]


class _Walk:
    """The files of the workspace and of places outside it, each of exactly one store; walked once."""

    def __init__(
        self, ws: Workspace, special: list[tuple[Path, str]], places: list[tuple[str, str]], skip: frozenset[Path]
    ) -> None:
        self._ws, self._special, self._places, self._skip = ws, special, places, skip
        self._files: dict[str, list[Path]] | None = None
        self._repositories: list[Path] = []

    def pieces(self, store: str) -> Iterator[Piece]:
        files = self._sorted().get(store, [])
        names = names_in_cache(files) if store.startswith("dvc") else {}
        for file in files:
            shown = self._shown(file)
            yield Piece(shown, Source(file, names.get(_md5_of(file), shown)))

    def repositories(self) -> list[Path]:
        self._sorted()
        mine = git_folder(self._ws.root)
        return list(dict.fromkeys(place.resolve() for place in [*mine, *self._repositories]))

    def _shown(self, file: Path) -> str:
        try:
            return file.relative_to(self._ws.root).as_posix()
        except ValueError:
            return file.as_posix()

    def _sorted(self) -> dict[str, list[Path]]:
        if self._files is None:
            self._files = {}
            seen: set[Path] = set()
            for top in [self._ws.root, *(place for place, _ in self._special)]:
                for file in self._below(top, seen):
                    self._files.setdefault(self._store(file), []).append(file)
        return self._files

    def _below(self, top: Path, seen: set[Path]) -> Iterator[Path]:
        """Regular files, each folder once even if links lead to it; and folders that cannot be listed."""
        closed: list[Path] = []
        if top.is_file():
            if top.parent.resolve() not in seen:
                yield from (file for file in [top, *top.parent.glob(f"{top.name}-*")] if file.is_file())
            return
        for folder, folders, files in os.walk(
            top, followlinks=True, onerror=lambda error: closed.append(Path(error.filename))
        ):
            here = Path(folder)
            real = here.resolve()
            if real in seen or (here / "pyvenv.cfg").is_file() or real == (self._ws.state / "erasure").resolve():
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            if here.name == ".git":
                self._repositories.append(here)
                folders[:] = [name for name in folders if name != "objects"]
            for name in sorted(files):
                file = here / name
                if file.is_file() and file.resolve() not in self._skip:
                    yield file
        yield from closed

    def _store(self, file: Path) -> str:
        for place, store in self._special:
            if file == place or place in file.parents or (place.suffix == ".db" and _belongs(file, place)):
                return store
        parts = Path(self._shown(file)).parts
        if ".git" in parts:
            return "git objects"
        prefixes = ["/".join(parts[: k + 1]) for k in range(len(parts))]
        for pattern, store in self._places:
            if any(fnmatch.fnmatchcase(prefix, pattern) for prefix in prefixes):
                return store
        return "logs" if file.suffix == ".log" else "other files"


def _belongs(file: Path, database: Path) -> bool:
    """Whether a file is a log of the database beside it."""
    return file.parent == database.parent and file.name.startswith(f"{database.name}-")


def _inside(ws: Workspace, place: Path) -> Path:
    return place if place.is_absolute() else (ws.root / place)


# -- DVC ------------------------------------------------------------------------------------------------------------


def _outputs(ws: Workspace) -> list[tuple[str, str]]:
    """What the stages of ``dvc.yaml`` write: outputs, metrics, plots."""
    try:
        stages = yaml.safe_load((ws.root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []
    found = []
    for stage in stages:
        for key in ("outs", "metrics", "plots"):
            store = "stage outputs" if key == "outs" else "metrics and pipeline files"
            for out in (stage.get(key) or []) if isinstance(stage, dict) else []:
                path = next(iter(out)) if isinstance(out, dict) else str(out)
                if "${" not in path:
                    found.append((path.rstrip("/"), store))
    return found


def _add_remote(store: Store, remote: Mapping[str, str], outside: list[tuple[Path, str]]) -> None:
    url = remote["url"]
    scheme = urlsplit(url).scheme
    if not scheme or scheme == "file":
        place = Path(unquote(urlsplit(url).path) if scheme else url)
        if place.is_dir():
            outside.append((place, store.name))
        else:
            store.problems.append("its folder is not there")
    elif scheme == "s3":
        verify = remote.get("ssl_verify", "").lower()
        named = {
            "endpoint": remote.get("endpointurl"),
            "access_key": remote.get("access_key_id"),
            "secret_key": remote.get("secret_access_key"),
            "token": remote.get("session_token"),
            "profile": remote.get("profile"),
            "region": remote.get("region"),
            "credentials_file": remote.get("credentialpath"),
            "config_file": remote.get("configpath"),
            "verify": {"false": False, "true": True, "": None}.get(verify, remote.get("ssl_verify")),
        }
        store.pieces.append(lambda: in_bucket(url, store, **named))
    else:
        store.problems.append(f"tru cannot look into {scheme} remotes")


def _md5_of(file: Path) -> str:
    """The md5 under which DVC keeps a file: its folder's two digits and the rest."""
    return f"{file.parent.name}{file.name}"


# -- MLflow and databases ---------------------------------------------------------------------------------------------


def _add_database(store: Store, address: str, outside: list[tuple[Path, str]]) -> None:
    """A SQLite file is searched; of anything else it is said that it is out of reach."""
    scheme = urlsplit(address).scheme
    if scheme.split("+")[0] == "sqlite":
        outside.append((Path(unquote(address.partition(":///")[2].partition("?")[0])), store.name))
    elif scheme in ("", "file"):
        outside.append((Path(unquote(urlsplit(address).path)), store.name))
    else:
        store.problems.append(f"it is not a file here but behind {scheme}://; look there")


def _add_artifacts(store: Store, ws: Workspace, outside: list[tuple[Path, str]]) -> None:
    """Where MLflow's database says that artifacts are."""
    if not ws.tracking_uri.startswith("sqlite:///"):
        store.problems.append("only the tracking server knows where they are; look there")
        return
    database = _inside(ws, Path(unquote(ws.tracking_uri.partition(":///")[2].partition("?")[0])))
    for address in sorted(_noted(database)):
        parts = urlsplit(address)
        if parts.scheme in ("", "file"):
            outside.append((Path(unquote(parts.path)), store.name))
        elif parts.scheme == "s3":
            verify = False if os.environ.get("MLFLOW_S3_IGNORE_TLS", "").lower() in ("true", "1") else None
            named = {"endpoint": os.environ.get("MLFLOW_S3_ENDPOINT_URL"), "verify": verify}
            store.pieces.append(lambda address=address, named=named: in_bucket(address, store, **named))  # type: ignore[misc]
        elif parts.scheme:
            store.problems.append(f"tru cannot look into {parts.scheme} addresses")


def _noted(database: Path) -> set[str]:
    """Addresses of artifacts: of experiments, and of runs and models that are kept elsewhere."""
    if not database.is_file():
        return set()
    found: set[str] = set()
    with suppress(sqlite3.Error), closing(opened(database)) as connection:  # its own store says that it is damaged
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        ):
            try:
                found |= {str(value) for (value,) in connection.execute(f"SELECT {column} FROM {table}") if value}
            except sqlite3.Error:
                continue
    tops: set[str] = set()
    for address in sorted(found):
        if not any(address.startswith(top.rstrip("/") + "/") for top in tops) and not address.startswith("models:"):
            tops.add(address)
    return tops
