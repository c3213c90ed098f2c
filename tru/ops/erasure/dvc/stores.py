"""Where DVC keeps objects, a folder or a bucket: what lies there, read and deleted one by one.

DVC's layout is the same in its cache and in every remote: ``files/md5/ab/cdef…`` (before DVC 3 ``ab/cdef…``), folders
as lists named ``….dir``, and the run cache under ``runs/``. Only these places are looked at, so a remote may lie in a
folder with other things.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tru.errors import ReleaseError
from tru.ops.erasure.dvc.lineage import listed
from tru.ops.storage.s3 import Bucket, ObjectVersion, Upload, open_bucket

Kind = Literal["file", "folder", "run", "scrap"]

_OBJECT = re.compile(r"(?:files/md5/)?([0-9a-f]{2})/([0-9a-f]{30}(\.dir)?)")
_RUN = re.compile(r"runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}")
# What DVC calls a file while it writes it.
_UNFINISHED = re.compile(r"(?:files/md5|runs|[0-9a-f]{2})/(?:.*/)?[^/]*\.tmp")
# Settings of an S3 remote, in DVC's words and in ours.
_S3 = {
    "endpointurl": "endpoint",
    "access_key_id": "access_key",
    "secret_access_key": "secret_key",
    "session_token": "token",
    "profile": "profile",
    "region": "region",
    "ssl_verify": "verify",
    "credentialpath": "credentials_file",
    "configpath": "config_file",
}
# An unfinished file of another project may still be written; none is for so long (seconds).
_ABANDONED = 24 * 3600


@dataclass(frozen=True)
class Stored:
    """One thing in a store.

    Attributes:
        kind: "file", "folder" (DVC's list of a folder's files), "run" (an entry of the run cache) or "scrap".
        oid: DVC's md5 (``….dir`` of a folder); empty for runs and scrap.
        size: in bytes.
        place: the file, the version in the bucket, or the upload that was never finished.
    """

    kind: Kind
    oid: str
    size: int
    place: Path | ObjectVersion | Upload


@dataclass(frozen=True)
class Store:
    """A place with DVC's objects.

    Attributes:
        name: in plain words, such as "dvc remote origin".
        private: nobody but this workspace keeps anything here.
        listing: finds everything that is there now.
        read: the bytes of one thing.
        delete: destroys things; those that are gone already do no harm. Returns how many there were.
    """

    name: str
    private: bool
    listing: Callable[[], Iterator[Stored]]
    read: Callable[[Stored], bytes]
    delete: Callable[[Iterable[Stored]], int]


def folder_store(name: str, root: Path, *, private: bool, whole: bool = False) -> Store:
    """A local folder. With ``whole`` it is DVC's alone: whatever is in it and is no object of DVC's layout is scrap."""

    def read(stored: Stored) -> bytes:
        assert isinstance(stored.place, Path)
        try:
            return stored.place.read_bytes()
        except OSError as exc:
            raise _unusable(name, root, exc) from exc

    def delete(some: Iterable[Stored]) -> int:
        done = 0
        for stored in some:
            assert isinstance(stored.place, Path)
            try:
                stored.place.unlink(missing_ok=True)
            except OSError as exc:
                raise _unusable(name, root, exc) from exc
            done += 1
        return done

    return Store(name, private, lambda: _in_folder(name, root, private, whole), read, delete)


def bucket_store(name: str, bucket: Bucket, *, private: bool) -> Store:
    """Every version of every object in an S3 bucket, delete markers and unfinished uploads too."""

    def listing() -> Iterator[Stored]:
        for version in bucket.versions():
            if (kind := _kind(version.key[len(bucket.prefix) :])) is not None:
                yield Stored(*kind, version.size, version)
        for upload in bucket.uploads():
            kind = _kind(upload.key[len(bucket.prefix) :])
            if kind is not None:
                yield Stored(*kind, 0, upload)

    def read(stored: Stored) -> bytes:
        return bucket.read(stored.place) if isinstance(stored.place, ObjectVersion) else b""

    def delete(some: Iterable[Stored]) -> int:
        places = [stored.place for stored in some]
        aborted = bucket.abort(place for place in places if isinstance(place, Upload))
        return aborted + bucket.delete(place for place in places if isinstance(place, ObjectVersion))

    return Store(name, private, listing, read, delete)


def open_remote(name: str, config: Mapping[str, Any]) -> Store | str:
    """A remote as DVC's settings describe it; words about it where nothing can be deleted from here.

    Raises:
        ReleaseError: it is a bucket, and boto3 is not installed or its settings are wrong.
    """
    url, called = str(config["url"]), f"dvc remote {name}"
    scheme = urlsplit(url).scheme
    if config.get("version_aware") or config.get("worktree"):
        return f"{called}: it keeps files under their own names (version_aware); delete old versions there"
    if scheme in {"", "file"}:
        return folder_store(called, Path(url2pathname(urlsplit(url).path) if scheme else url), private=False)
    if scheme == "s3":
        known = {ours: config[dvcs] for dvcs, ours in _S3.items() if config.get(dvcs) is not None}
        return bucket_store(called, open_bucket(url, **known), private=False)
    return f"{called}: nothing can be deleted at {scheme}:// addresses from here; delete old objects there"


def is_seen(stored: Stored) -> bool:
    """Whether DVC would find it: not behind a delete marker, and finished."""
    place = stored.place
    if isinstance(place, ObjectVersion):
        return place.is_latest and not place.is_delete_marker
    return isinstance(place, Path)


def object_at(cache: Path, oid: str) -> Path:
    """Where DVC's cache keeps an object."""
    return cache / "files" / "md5" / oid[:2] / oid[2:]


def listing_at(cache: Path, oid: str) -> Mapping[str, str]:
    """md5 by relative path of a folder in DVC's cache; empty if it is not there."""
    with suppress(OSError):
        return listed(object_at(cache, oid).read_bytes()) or {}
    return {}


def remove(path: Path) -> None:
    """Delete a file or a whole folder, links not followed; nothing if it is gone.

    Raises:
        ReleaseError: it cannot be deleted.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise ReleaseError(
            f"{path} cannot be deleted ({exc.strerror}). Delete it by hand, and run this again."
        ) from exc


def without_empty_folders(root: Path) -> None:
    """Remove empty folders below ``root``, as far as it goes."""
    for path, _, _ in os.walk(root, topdown=False):
        if Path(path) != root:
            try:
                Path(path).rmdir()
            except OSError:
                continue


def size_of(path: Path) -> tuple[int, int]:
    """Files and bytes of a file or folder, links not followed."""
    if path.is_symlink() or path.is_file():
        return 1, path.lstat().st_size
    inside = [Path(top) / name for top, _, names in os.walk(path) for name in names]
    return len(inside), sum(file.lstat().st_size for file in inside)


def _in_folder(name: str, root: Path, private: bool, whole: bool) -> Iterator[Stored]:
    if not root.is_dir():
        return
    tops = [root] if whole else [root / "files" / "md5", root / "runs", *root.glob("[0-9a-f][0-9a-f]")]

    def stop(exc: OSError) -> None:
        raise _unusable(name, root, exc) from exc

    for top in tops:
        if not top.is_dir():
            continue
        for folder, _, files in os.walk(top, onerror=stop):
            for file in files:
                path = Path(folder) / file
                try:
                    found = path.lstat()
                except FileNotFoundError:  # another DVC process renamed it
                    continue
                kind = _kind(path.relative_to(root).as_posix())
                if kind is not None and kind[0] == "scrap" and not private:
                    kind = kind if time.time() - found.st_mtime > _ABANDONED else None
                if kind is None and whole:
                    kind = ("scrap", "")
                if kind is not None:
                    yield Stored(*kind, found.st_size, path)


def _kind(relative: str) -> tuple[Kind, str] | None:
    if found := _OBJECT.fullmatch(relative):
        return ("folder" if found[3] else "file"), found[1] + found[2]
    if _RUN.fullmatch(relative):
        return "run", ""
    if PurePosixPath(relative).suffix == ".tmp" and _UNFINISHED.fullmatch(relative):
        return "scrap", ""
    return None


def _unusable(name: str, root: Path, exc: OSError) -> ReleaseError:
    return ReleaseError(
        f"The {name} at {root} cannot be read or changed ({exc.strerror or type(exc).__name__}). "
        "See that it is mounted and may be written to, then run this again."
    )
