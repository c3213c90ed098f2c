import os
import sys

import pytest

from tests.s3 import Store
from tru.errors import ReleaseError
from tru.ops.storage import s3 as buckets
from tru.ops.storage.s3 import Bucket, ObjectVersion, Upload, open_bucket


def opened(s3: Store, url: str) -> Bucket:
    return open_bucket(url, endpoint=s3.endpoint, access_key="k", secret_key="s")


def test_every_version_and_marker_is_seen_read_and_deleted(s3: Store) -> None:
    name = s3.bucket(versioned=True)
    for body in (b"old", b"older still", b"new"):
        s3.put(name, "data/a", body)
    s3.client.delete_object(Bucket=name, Key="data/a")
    s3.put(name, "database/x", b"another prefix")
    bucket = opened(s3, f"s3://{name}/data")
    seen = list(bucket.versions())
    assert {v.key for v in seen} == {"data/a"}
    assert sorted(bucket.read(v) for v in seen) == [b"", b"new", b"old", b"older still"]
    assert [v.size for v in seen if v.is_delete_marker] == [0]
    assert sum(v.size for v in seen) == 17
    assert bucket.delete(iter(seen)) == 4
    assert list(bucket.versions()) == []
    assert bucket.delete(seen) == 4  # gone already: it may be repeated
    assert [v.key for v in opened(s3, f"s3://{name}").versions()] == ["database/x"]


def test_bucket_without_versions(s3: Store) -> None:
    name = s3.bucket(versioned=False)
    s3.put(name, "a", b"1")
    bucket = opened(s3, f"s3://{name}")
    (only,) = bucket.versions()
    assert only.version_id in {None, "null"} and bucket.read(only) == b"1"
    assert bucket.delete([only]) == 1 and list(bucket.versions()) == []


def test_versioning_that_was_switched_off_again(s3: Store) -> None:
    name = s3.bucket(versioned=True)
    s3.put(name, "a", b"old")
    s3.put(name, "a", b"new")
    s3.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    bucket = opened(s3, f"s3://{name}")
    assert sorted(bucket.read(v) for v in bucket.versions()) == [b"new", b"old"]
    bucket.delete(bucket.versions())
    assert list(bucket.versions()) == []


def test_more_than_one_page_and_one_batch(s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_BATCH", 4)
    name = s3.bucket(versioned=True)
    for n in range(10):
        s3.put(name, f"k{n}", b"x")
    bucket = opened(s3, f"s3://{name}")
    monkeypatch.setattr(bucket, "_pages", lambda call: small_pages(bucket, call))
    assert len(seen := list(bucket.versions())) == 10
    assert bucket.delete(seen) == 10
    assert list(bucket.versions()) == []


def small_pages(bucket: Bucket, call: str):
    yield from bucket._client.get_paginator(call).paginate(Bucket=bucket._name, PaginationConfig={"PageSize": 3})


def test_unfinished_uploads_are_aborted(s3: Store) -> None:
    name = s3.bucket(versioned=True)
    started = s3.client.create_multipart_upload(Bucket=name, Key="data/big")["UploadId"]
    s3.client.upload_part(Bucket=name, Key="data/big", UploadId=started, PartNumber=1, Body=b"old rows")
    bucket = opened(s3, f"s3://{name}/data")
    assert list(bucket.uploads()) == [Upload("data/big", started)]
    assert bucket.abort(bucket.uploads()) == 1
    assert list(bucket.uploads()) == []
    assert bucket.abort([Upload("data/big", started)]) == 1


def test_what_cannot_be_deleted_is_counted_and_raised(s3: Store) -> None:
    name = s3.unique()
    s3.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    s3.put(name, "free", b"1")
    s3.client.put_object(Bucket=name, Key="held", Body=b"2", ObjectLockLegalHoldStatus="ON")
    bucket = opened(s3, f"s3://{name}")
    with pytest.raises(ReleaseError, match=r"1 of 2 object versions.*object lock"):
        bucket.delete(bucket.versions())
    assert [bucket.read(v) for v in bucket.versions()] == [b"2"]


def test_store_that_knows_no_versions_and_no_mass_deletion(s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some S3-compatible stores answer."""
    from botocore.exceptions import ClientError

    name = s3.bucket(versioned=False)
    s3.put(name, "a", b"1")
    bucket = opened(s3, f"s3://{name}")
    pages = bucket._pages

    def unknown(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}}, "call")

    def only_objects(call: str):
        return pages(call) if call == "list_objects_v2" else unknown()

    monkeypatch.setattr(bucket, "_pages", only_objects)
    monkeypatch.setattr(bucket._client, "delete_objects", unknown)
    (only,) = bucket.versions()
    assert only == ObjectVersion("a", None, size=1) and bucket.read(only) == b"1"
    assert list(bucket.uploads()) == []
    assert bucket.delete([only]) == 1 and list(bucket.versions()) == []


def test_errors_say_what_to_do_and_hide_secrets(s3: Store) -> None:
    with pytest.raises(ReleaseError, match="s3://BUCKET/PREFIX"):
        open_bucket("/some/folder")
    missing = open_bucket("s3://no-such-bucket", endpoint=s3.endpoint, access_key="k", secret_key="hush")
    with pytest.raises(ReleaseError, match=r"NoSuchBucket.*credentials") as refused:
        list(missing.versions())
    assert "hush" not in str(refused.value) + repr(missing)
    with pytest.raises(ReleaseError, match="NoSuchBucket"):
        missing.read(ObjectVersion("a", None))
    with pytest.raises(ReleaseError, match="NoSuchBucket"):
        missing.delete([ObjectVersion("a", None)])
    with pytest.raises(ReleaseError, match="profile"):
        open_bucket("s3://x", profile="nobody-has-this")


def test_profile_and_files_of_credentials(s3: Store, tmp_path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[shop]\naws_access_key_id = k\naws_secret_access_key = s\n")
    bucket = open_bucket(
        f"s3://{s3.bucket(versioned=False)}",
        endpoint=s3.endpoint,
        profile="shop",
        credentials_file=os.fspath(credentials),
    )
    assert list(bucket.versions()) == []


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReleaseError, match=r"pip install 'tru\[s3\]'"):
        open_bucket("s3://x")
