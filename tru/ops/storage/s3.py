"""S3 buckets with all versions of every object: the only module that knows boto3.

On a versioned bucket, deleting an object only hides it behind a delete marker; the bytes stay, and anybody with the
version's id reads them. Here every version is seen, read and deleted by itself, the markers too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tru.errors import ReleaseError

# boto3 makes its clients at run time and ships no types for them.
Client: TypeAlias = Any
# What S3 takes in one call, by its documentation.
_BATCH = 1000
# What stores answer that know no versions, or no deletion of many objects at once.
_UNKNOWN = {"NotImplemented", "MethodNotAllowed", "XNotImplemented", "501", "405"}


@dataclass(frozen=True)
class ObjectVersion:
    """One version of one object, or a delete marker.

    Attributes:
        key: the whole key in the bucket, the prefix included.
        version_id: the version's id; "null" in a bucket that was never versioned, None in a store without versions.
        is_delete_marker: it hides older versions and has no bytes.
        size: in bytes.
        is_latest: the one that is seen by whoever names no version.
    """

    key: str
    version_id: str | None
    is_delete_marker: bool = False
    size: int = 0
    is_latest: bool = True


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was never finished: no listing shows it, but its parts are stored."""

    key: str
    upload_id: str


class Bucket:
    """What lies in one bucket under one prefix. Get one from `open_bucket`.

    Every method raises ReleaseError if the store refuses or cannot be reached.
    """

    def __init__(self, client: Client, name: str, prefix: str) -> None:
        self._client, self._name, self.prefix = client, name, prefix
        self._where = f"s3://{name}/{prefix}"

    def __repr__(self) -> str:
        return f"Bucket({self._where!r})"

    def versions(self) -> Iterator[ObjectVersion]:
        """Every version and every delete marker under the prefix, page by page, in the order of the keys."""
        try:
            for page in self._pages("list_object_versions"):
                for v in page.get("Versions", ()):
                    size, is_latest = int(v.get("Size", 0)), bool(v.get("IsLatest", True))
                    yield ObjectVersion(v["Key"], v.get("VersionId"), size=size, is_latest=is_latest)
                for v in page.get("DeleteMarkers", ()):
                    is_latest = bool(v.get("IsLatest", True))
                    yield ObjectVersion(v["Key"], v.get("VersionId"), is_delete_marker=True, is_latest=is_latest)
            return
        except _errors() as exc:
            if _code(exc) not in _UNKNOWN:
                raise self._refused("list the versions (s3:ListBucketVersions)", exc) from exc
        try:
            for page in self._pages("list_objects_v2"):
                for v in page.get("Contents", ()):
                    yield ObjectVersion(v["Key"], None, size=int(v.get("Size", 0)))
        except _errors() as exc:
            raise self._refused("list the objects (s3:ListBucket)", exc) from exc

    def read(self, version: ObjectVersion) -> bytes:
        """The bytes of one version; none for a delete marker."""
        if version.is_delete_marker:
            return b""
        try:
            return bytes(self._client.get_object(Bucket=self._name, **_named(version))["Body"].read())
        except _errors() as exc:
            raise self._refused("read (s3:GetObjectVersion)", exc) from exc

    def delete(self, some: Iterable[ObjectVersion]) -> int:
        """Delete these versions and markers for good; one that is gone already counts as deleted.

        Returns:
            How many there were.

        Raises:
            ReleaseError: some are left (no permission, object lock); the others are gone.
        """
        done, left, why = 0, 0, ""
        rest = iter(some)
        while batch := list(itertools.islice(rest, _BATCH)):
            errors = self._delete(batch)
            done += len(batch) - len(errors)
            left += len(errors)
            why = why or next(iter(errors), "")
        if left:
            raise ReleaseError(
                f"{left} of {done + left} object versions in {self._where} cannot be deleted ({why}). "
                "Allow s3:DeleteObjectVersion, and look for an object lock, then run this again."
            )
        return done

    def uploads(self) -> Iterator[Upload]:
        """Unfinished multipart uploads under the prefix; none where the store does not know them."""
        try:
            for page in self._pages("list_multipart_uploads"):
                for upload in page.get("Uploads", ()):
                    yield Upload(upload["Key"], upload["UploadId"])
        except _errors() as exc:
            if _code(exc) not in _UNKNOWN:
                raise self._refused("list uploads (s3:ListBucketMultipartUploads)", exc) from exc

    def abort(self, some: Iterable[Upload]) -> int:
        """Destroy the parts of these uploads; returns how many uploads there were."""
        done = 0
        for upload in some:
            try:
                self._client.abort_multipart_upload(Bucket=self._name, Key=upload.key, UploadId=upload.upload_id)
            except _errors() as exc:
                if _code(exc) != "NoSuchUpload":
                    raise self._refused("abort an upload (s3:AbortMultipartUpload)", exc) from exc
            done += 1
        return done

    def _pages(self, call: str) -> Iterator[dict[str, Any]]:
        yield from self._client.get_paginator(call).paginate(Bucket=self._name, Prefix=self.prefix)

    def _delete(self, batch: list[ObjectVersion]) -> list[str]:
        """Delete up to a thousand; the reasons of those that stay."""
        try:
            answer = self._client.delete_objects(
                Bucket=self._name, Delete={"Objects": [_named(v) for v in batch], "Quiet": True}
            )
            return [str(e.get("Code")) for e in answer.get("Errors", ()) if e.get("Code") not in {"NoSuchVersion"}]
        except _errors() as exc:
            if _code(exc) not in _UNKNOWN:
                raise self._refused("delete (s3:DeleteObjectVersion)", exc) from exc
        errors: list[str] = []
        for version in batch:
            try:
                self._client.delete_object(Bucket=self._name, **_named(version))
            except _errors() as exc:
                errors += [_code(exc)] if _code(exc) not in {"NoSuchKey", "NoSuchVersion"} else []
        return errors

    def _refused(self, what: str, exc: Exception) -> ReleaseError:
        return ReleaseError(
            f"{self._where} refuses to {what}: {_code(exc)}. "
            "See that endpoint, credentials and permissions are right, then run this again."
        )


def open_bucket(
    url: str,
    *,
    endpoint: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    token: str | None = None,
    profile: str | None = None,
    region: str | None = None,
    verify: bool | str | None = None,
    credentials_file: str | None = None,
    config_file: str | None = None,
) -> Bucket:
    """The bucket at ``s3://name/prefix``; nothing is asked of it yet.

    What is not given comes from boto3's usual places (``AWS_…`` variables, ``~/.aws``, the machine's role).

    Args:
        url: ``s3://name`` or ``s3://name/prefix``; the prefix is a folder, without what
            only begins alike.
        endpoint: address of an S3-compatible store; AWS itself if None.
        access_key: id of the access key.
        secret_key: its secret.
        token: of a session.
        profile: a profile in the credentials file.
        region: of the bucket.
        verify: False for no check of the store's TLS certificate, or the path of a CA bundle.
        credentials_file: where the profiles' secrets are, if not in ``~/.aws/credentials``.
        config_file: where the profiles' settings are, if not in ``~/.aws/config``.

    Raises:
        ReleaseError: it is no S3 address, or boto3 is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"s3", "s3a"} or not parts.netloc:
        raise ReleaseError(f"{parts.scheme or 'this'} is no address of an S3 bucket: give s3://BUCKET/PREFIX.")
    try:
        import boto3
        import botocore.session
        from botocore.config import Config
    except ImportError:
        raise ReleaseError("S3 needs boto3, which is not installed. Install it with `pip install 'tru[s3]'`.") from None
    prefix = parts.path.strip("/")
    try:
        core = botocore.session.Session(profile=profile)
        for variable, file in (("credentials_file", credentials_file), ("config_file", config_file)):
            if file:
                core.set_config_variable(variable, file)
        client = boto3.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            aws_session_token=token,
            botocore_session=core,
            # Most S3-compatible stores take any region; boto3 does not go on without one.
            region_name=region or core.get_config_variable("region") or "us-east-1",
        ).client("s3", endpoint_url=endpoint, verify=verify, config=Config(retries={"max_attempts": 5}))
    except _errors() as exc:
        raise ReleaseError(f"s3://{parts.netloc} cannot be opened: {exc}. Correct the profile or endpoint.") from exc
    return Bucket(client, parts.netloc, f"{prefix}/" if prefix else "")


def _named(version: ObjectVersion) -> dict[str, str]:
    known = {"VersionId": version.version_id} if version.version_id else {}
    return {"Key": version.key, **known}


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return (ClientError, BotoCoreError, ValueError)


def _code(exc: Exception) -> str:
    """The store's word for what went wrong, or the kind of error; never its whole text, which may quote keys."""
    answer = getattr(exc, "response", None)
    return str(answer["Error"].get("Code", "error")) if isinstance(answer, dict) else type(exc).__name__
