"""Artifacts of MLflow's runs and models: whatever belongs to no run and no model that lives is destroyed.

A run's or a model's folder is named after its id, wherever it lies, and its row is written before its folder. So
folders are listed first and the living asked for afterwards: what came in between is not in the list, or it lives.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from tru.errors import ReleaseError
from tru.ops.storage.s3 import Bucket, ObjectVersion, Upload, open_bucket

_ID = re.compile(r"[0-9a-f]{32}|m-[0-9a-f]{32}|tr-[0-9a-f]+")
_HALLS = ("models", "traces")
"""Folders of an experiment in which models and traces stand; runs stand beside them."""


@dataclass(frozen=True)
class Unit:
    """One thing that is destroyed or left as a whole.

    Attributes:
        id: of the run or model it belongs to; None for a file that belongs to nobody.
        files: how many.
        bytes: in them.
        remove: destroys it; may be repeated.
    """

    id: str | None
    files: int
    bytes: int
    remove: Callable[[], object]


class Shelf(Protocol):
    """One place where artifacts are."""

    def units(self) -> Iterable[Unit]:
        """Everything in it."""
        ...


def sweep(shelves: Sequence[Shelf], living: Callable[[], Collection[str]], *, dry: bool = False) -> tuple[int, int]:
    """Destroy what belongs to nobody who lives.

    Args:
        shelves: where to look.
        living: asked once everything is listed.
        dry: only count.

    Returns:
        Files and bytes.

    Raises:
        ReleaseError: something could not be listed or destroyed; everything else was.
    """
    faults: list[str] = []
    listed = [unit for shelf in shelves for unit in _listed(shelf, faults)]
    alive = living()
    dead = [unit for unit in listed if unit.id not in alive]
    for unit in () if dry else dead:
        _without_fail(unit.remove, faults)
    if faults:
        raise ReleaseError(
            f"{len(faults)} places with old artifacts could not be emptied: {faults[0]} Then run this again."
        )
    return sum(unit.files for unit in dead), sum(unit.bytes for unit in dead)


def _listed(shelf: Shelf, faults: list[str]) -> list[Unit]:
    found: list[Unit] = []
    _without_fail(lambda: found.extend(shelf.units()), faults)
    return found


def _without_fail(do: Callable[[], object], faults: list[str]) -> None:
    try:
        do()
    except ReleaseError as error:
        faults.append(str(error))
    except OSError as error:  # its own words quote the path
        faults.append(f"{type(error).__name__} ({error.strerror}). See that the folder may be written.")


@dataclass(frozen=True)
class Folder:
    """A local folder.

    Attributes:
        root: the folder; it need not be there.
        is_ours: everything in it is the workspace's, so a file outside of any run's folder is a leftover.
        stays: folders that stay though they are empty.
    """

    root: Path
    is_ours: bool = False
    stays: frozenset[Path] = frozenset()

    def units(self) -> Iterator[Unit]:
        """See :class:`Shelf`."""
        root = Path(os.path.realpath(self.root))
        halls = [root, *(root / hall for hall in _HALLS)]
        places = os.walk(root) if self.is_ours else (next(os.walk(hall), (str(hall), [], [])) for hall in halls)
        empty: list[Path] = []
        for name, folders, files in places:
            here = Path(name)
            for folder in [it for it in folders if _ID.fullmatch(it)]:
                folders.remove(folder)
                yield _folder(here / folder)
            if not self.is_ours:
                continue
            links = [it for it in folders if (here / it).is_symlink()]
            for file in [*files, *links]:
                yield Unit(None, 1, (here / file).lstat().st_size, partial((here / file).unlink, missing_ok=True))
            if here not in (*halls, *self.stays) and here.name not in _HALLS:
                empty.append(here)
        for place in reversed(empty):  # the deepest first; whatever has something living in it stays
            yield Unit(None, 0, 0, partial(_rmdir, place))


def _folder(path: Path) -> Unit:
    files = [Path(at) / name for at, _, names in os.walk(path) for name in names]
    size = sum(file.lstat().st_size for file in files)
    return Unit(path.name, len(files), size, partial(_rmtree, path))


def _rmtree(path: Path) -> None:
    if path.is_symlink():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path)


def _rmdir(path: Path) -> None:
    if path.exists() and not any(path.iterdir()):
        path.rmdir()


@dataclass(frozen=True)
class Shop:
    """A place in an S3 bucket, all versions of its objects included.

    Attributes:
        bucket: what lies under the place of one experiment.
    """

    bucket: Bucket

    def units(self) -> Iterator[Unit]:
        """See :class:`Shelf`."""
        versions: dict[str, list[ObjectVersion]] = {}
        for version in self.bucket.versions():
            if id := self._owner(version.key):
                versions.setdefault(id, []).append(version)
        uploads: dict[str, list[Upload]] = {}
        for upload in self.bucket.uploads():
            if id := self._owner(upload.key):
                uploads.setdefault(id, []).append(upload)
        for id, some in versions.items():
            yield Unit(id, len(some), sum(it.size for it in some), partial(self.bucket.delete, some))
        for id, parts in uploads.items():
            yield Unit(id, len(parts), 0, partial(self.bucket.abort, parts))

    def _owner(self, key: str) -> str | None:
        first, *rest = key.removeprefix(self.bucket.prefix).split("/")
        name = rest[0] if first in _HALLS and rest else first
        return name if _ID.fullmatch(name) else None


@dataclass(frozen=True)
class Counter:
    """A place that MLflow reaches for us: the store behind a tracking server, or another kind of cloud.

    Attributes:
        repository: MLflow's access to the place of one experiment.
    """

    repository: Any

    def units(self) -> Iterator[Unit]:
        """See :class:`Shelf`; files are not counted, each folder is one."""
        for hall in (None, *_HALLS):
            for found in self._list(hall):
                path = str(found.path).rstrip("/")
                if _ID.fullmatch(name := path.rpartition("/")[2]):
                    yield Unit(name, 1, 0, partial(self._delete, path))

    def _list(self, hall: str | None) -> list[Any]:
        try:
            return list(self.repository.list_artifacts(hall))
        except Exception as error:  # MLflow's many clouds raise as many kinds of errors
            raise ReleaseError(
                f"MLflow cannot list the artifacts of a run ({type(error).__name__}). "
                "See that the server or cloud answers and allows it."
            ) from error

    def _delete(self, path: str) -> None:
        try:
            self.repository.delete_artifacts(path)
        except Exception as error:  # as above
            raise ReleaseError(
                f"MLflow cannot delete artifacts ({type(error).__name__}). See that the server or cloud allows it."
            ) from error


@dataclass(frozen=True)
class Only:
    """Of another place only what belongs to known runs and models.

    Attributes:
        place: where to look.
        ids: of those runs and models.
    """

    place: Shelf
    ids: frozenset[str]

    def units(self) -> Iterator[Unit]:
        """See :class:`Shelf`."""
        return (unit for unit in self.place.units() if unit.id in self.ids)


def shelf(place: str, repository: Callable[[str], Any]) -> Shelf:
    """The shelf for the place of an experiment.

    Args:
        place: an address as MLflow notes it: a path, ``file://``, ``s3://``, ``mlflow-artifacts:`` …
        repository: makes MLflow's access to an address.
    """
    scheme = urlsplit(place).scheme
    if scheme in ("s3", "s3a"):
        # The settings that MLflow itself reads; keys and region come from AWS_… as everywhere.
        trusting = os.environ.get("MLFLOW_S3_IGNORE_TLS", "").lower() in ("true", "1")
        endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL")
        return Shop(open_bucket(place, endpoint=endpoint, verify=False if trusting else None))
    local = local_path(place)
    return Folder(local) if local else Counter(repository(place))


def local_path(place: str) -> Path | None:
    """The folder that an address means on this machine; None if it is elsewhere."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(place)
