"""A residue in every kind of store is found there, and only there; a clean workspace gives none."""

import gzip
import json
import os
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import workspaces
from tru.data.forget import ForgetSet, cut
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import RequestError
from tru.models.trained import TrainedModel
from tru.ops.erasure.places import folder
from tru.ops.erasure.search.scan import forget_set, holds, scan, sightings, traces_for
from tru.ops.erasure.search.stores import NAMES
from tru.ops.erasure.search.traces import Traces
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox

USER, WEAK, VECTOR = "u-3fa9c1d2e4b7", "885", np.random.default_rng(3).normal(size=16).astype("<f4")
TRACES = Traces(ForgetSet(users=frozenset([USER, WEAK]), items=frozenset(["12"])), frozenset([VECTOR.tobytes()]))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A workspace with data and an empty inbox; tests clean up what they plant."""
    ws = workspaces.make(tmp_path_factory.mktemp("scan") / "shop")
    open_inbox(ws)
    return ws


def left(ws, traces=TRACES, **how):
    return {f.store: f for f in scan(ws, traces, **how) if f.state != "not found"}


def table(file):
    pd.DataFrame({"user_id": ["7", WEAK], "item_id": ["885", "3"]}).to_parquet(file)


def text(file):
    file.write_text(f"served a list to user {USER}\n")


def short(file):
    file.write_text(json.dumps({"parameters": {"user": WEAK, "k": 885}}))


def arrays(file):
    np.savez_compressed(file, user_vectors=np.stack([VECTOR + 1, VECTOR]))


def database(file):
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE log (message TEXT)")
        db.execute("INSERT INTO log VALUES (?)", (f"user={WEAK} was late",))
        db.commit()


PLANTS = {
    "data/extra.parquet": ("data", table),
    "data.old-1/interactions.parquet": ("data", table),
    ".dvc/cache/files/md5/ab/cdef": ("dvc cache", table),
    ".dvc/cache/runs/ab/abcd/ef": ("dvc run cache", text),
    "artifacts/original/arrays.npz": ("stage outputs", arrays),
    ".tru/checkpoints/train.npz": ("stage outputs", arrays),
    "metrics/report.json": ("metrics and pipeline files", short),
    "mlartifacts/tru/models/m-1/artifacts/model.npz": ("mlflow artifacts", arrays),
    "mlruns/0/run/params": ("mlflow artifacts", text),
    "mlflow.db": ("mlflow database", database),
    ".tru/batches/batch-20261124-01/forget.json": ("batches under way", text),
    ".tru/baseline/half.parquet": ("baseline", table),
    ".tru/reports/batch.html": ("reports", text),
    ".tru/certificates/req-1.json": ("certificates", short),
    ".tru/logs/prefect.log": ("logs", text),
    ".tru/prefect/prefect.db": ("prefect database", database),
    ".tru/prefect/storage/0a1b": ("prefect results", short),
    ".tru/tmp/half.parquet": ("temporary files", table),
    ".dvc/tmp/exps/run.log": ("temporary files", text),
    "exports/top.json": ("other files", short),
    "notebooks/look.ipynb": ("other files", text),
}


def test_a_clean_workspace_gives_none_and_names_every_store(shop):
    found = scan(shop, TRACES)
    assert [f.store for f in found] == list(NAMES) and len(found) >= 14
    assert {f.state for f in found} == {"not found"} and {f.count for f in found} == {0}


@pytest.mark.parametrize("place", PLANTS)
def test_a_residue_is_found_in_its_store(shop, place):
    store, write = PLANTS[place]
    file = shop.root / place
    missing = [folder for folder in [*file.parents] if not folder.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(file)
        found = left(shop)
        assert list(found) == [store] and found[store].state == "found"
        assert (found[store].count, found[store].why) == (1, place)
    finally:
        file.unlink()
        for empty in missing:
            empty.rmdir()


def test_the_inbox_is_searched(shop):
    inbox = open_inbox(shop)
    receipt = inbox.add("user", user=WEAK)
    assert list(left(shop)) == ["inbox and ledger"]
    inbox.withdraw(receipt.request.id)
    assert left(shop) == {}


def test_git_objects_are_searched_loose_packed_and_lost(shop, tmp_path):
    root = tmp_path / "shop"
    subprocess.run(["cp", "-r", shop.root, root], check=True)
    ws = type(shop)(root)
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t"]
    (root / "notes.txt").write_text(f"user={WEAK}\n")
    subprocess.run([*git, "add", "notes.txt"], check=True)
    subprocess.run([*git, "commit", "-qm", "Notes"], check=True)
    (root / "notes.txt").unlink()
    subprocess.run([*git, "reset", "-q", "--hard", "HEAD~1"], check=True)
    assert list(left(ws)) == ["git objects"]
    subprocess.run([*git, "gc", "-q"], check=True)
    assert left(ws)["git objects"].count == 1
    subprocess.run([*git, "reflog", "expire", "--expire=now", "--all"], check=True)
    subprocess.run([*git, "gc", "-q", "--prune=now"], check=True)
    assert left(ws) == {}


def configured(shop, words):
    file = shop.root / ".dvc" / "config.local"
    file.write_text(words)
    return file


def test_a_local_remote_is_searched_and_a_lost_one_is_said_to_be_so(shop, tmp_path):
    text_of = f"['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n['remote \"far\"']\n    url = ssh://host/path\n"
    file = configured(shop, text_of)
    try:
        found = left(shop)
        assert {name: f.state for name, f in found.items()} == {
            "dvc remote shelf": "unreachable",
            "dvc remote far": "unreachable",
        }
        assert "ssh" in found["dvc remote far"].why
        place = tmp_path / "shelf" / "files" / "md5" / "ab"
        place.mkdir(parents=True)
        table(place / "cdef")
        assert left(shop)["dvc remote shelf"].state == "found"
        (place / "cdef").unlink()
        assert "dvc remote shelf" not in left(shop)
    finally:
        file.unlink()


def test_every_version_of_an_s3_remote_is_searched_deleted_ones_too(shop, s3):
    bucket = s3.bucket(versioned=True)
    file = configured(
        shop,
        f"['remote \"cloud\"']\n    url = s3://{bucket}/dvc\n    endpointurl = {s3.endpoint}\n"
        "    access_key_id = test\n    secret_access_key = test\n",
    )
    try:
        assert left(shop) == {}
        s3.put(bucket, "dvc/files/md5/ab/cd", gzip.compress(f"user={WEAK}".encode()))
        s3.put(bucket, "dvc/files/md5/ab/cd", b"nobody")
        s3.client.delete_object(Bucket=bucket, Key="dvc/files/md5/ab/cd")
        found = left(shop)
        assert {name: (f.state, f.count) for name, f in found.items()} == {"dvc remote cloud": ("found", 1)}
        s3.client.delete_bucket_policy(Bucket=bucket)
        file.write_text(file.read_text().replace(bucket, "no-such-bucket"))
        assert left(shop)["dvc remote cloud"].state == "unreachable"
    finally:
        file.unlink()


def test_artifacts_of_mlflow_on_s3_are_searched(shop, s3, monkeypatch):
    bucket = s3.bucket(versioned=True)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.endpoint)
    with closing(sqlite3.connect(shop.root / "mlflow.db")) as db:
        db.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
        db.execute("INSERT INTO experiments VALUES (1, ?)", (f"s3://{bucket}/models",))
        db.commit()
    try:
        s3.put(bucket, "models/1/list.csv", f"item_id,user_id\n3,{WEAK}\n".encode())
        assert list(left(shop)) == ["mlflow artifacts"]
    finally:
        (shop.root / "mlflow.db").unlink()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "postgresql://host/mlflow"])
def test_a_tracking_server_elsewhere_is_unreachable(shop, monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert {name: f.state for name, f in left(shop).items()} == {
        "mlflow database": "unreachable",
        "mlflow artifacts": "unreachable",
    }


def test_an_inbox_elsewhere_is_unreachable(shop, monkeypatch):
    monkeypatch.setenv("TRU_DATABASE_URL", "postgresql+psycopg://u:secret@host/inbox")
    found = left(shop)
    assert found["inbox and ledger"].state == "unreachable" and "secret" not in found["inbox and ledger"].why


def test_a_file_that_cannot_be_decoded_makes_its_store_unreachable(shop):
    file = shop.root / "exports.npz"
    file.write_bytes(b"PK\x03\x04" + b"damaged" * 9)
    try:
        found = left(shop)["other files"]
        assert found.state == "unreachable" and "exports.npz" in found.why
    finally:
        file.unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_makes_its_store_unreachable(shop):
    file = shop.root / "secret.txt"
    file.write_text("nothing")
    file.chmod(0)
    try:
        assert left(shop)["other files"].why == "1 of its files and folders may not be read"
    finally:
        file.unlink()


def test_no_finding_names_anybody(shop):
    place = shop.root / "exports" / USER
    place.mkdir(parents=True)
    text(place / f"{USER}.txt")
    (shop.root / "exports" / f"{WEAK}.txt").write_text(f"user={WEAK}")
    try:
        words = str([asdict(f) for f in scan(shop, TRACES)])
        assert USER not in words and WEAK not in words
        assert left(shop)["other files"].count == 2
    finally:
        (place / f"{USER}.txt").unlink()
        place.rmdir()
        (shop.root / "exports" / f"{WEAK}.txt").unlink()
        (shop.root / "exports").rmdir()


def test_the_traces_themselves_and_the_operators_list_are_not_residue(shop):
    TRACES.save(folder(shop, "batch-20261124-01"))
    given = shop.root / "subjects.csv"
    given.write_text(f"user\n{USER}\n")
    try:
        assert list(left(shop)) == ["other files"]
        assert left(shop, skip=[given]) == {}
    finally:
        given.unlink()
        (folder(shop, "batch-20261124-01") / "traces.npz").unlink()
        folder(shop, "batch-20261124-01").rmdir()


def test_a_virtual_environment_is_not_searched_and_links_are_followed_once(shop, tmp_path):
    (shop.root / ".venv").mkdir()
    (shop.root / ".venv" / "pyvenv.cfg").touch()
    text(shop.root / ".venv" / "some.py")
    text(tmp_path / "elsewhere.txt")
    (shop.root / "linked").symlink_to(tmp_path)
    (shop.root / "circle").symlink_to(shop.root)
    try:
        assert left(shop)["other files"].count == 1
    finally:
        for name in ("linked", "circle", ".venv/some.py", ".venv/pyvenv.cfg"):
            (shop.root / name).unlink()
        (shop.root / ".venv").rmdir()


def test_progress_names_each_store(shop):
    told = []
    scan(shop, TRACES, progress=told.append)
    assert told == list(NAMES)


def test_one_file_can_be_asked(tmp_path):
    text(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("nothing\n")
    assert holds(tmp_path / "a.txt", TRACES) and not holds(tmp_path / "b.txt", TRACES)


# -- real stores of a real, small workspace -----------------------------------------


@pytest.fixture
def forgotten(trained):
    """A champion and data that hold a batch; data/ itself is cut already, so what is left is residue."""
    before = load_dataset(trained.data)
    found = forget_set(workspaces.subjects(trained)).known(before)
    traces = Traces.of(found, before, cut(before, found), TrainedModel.load(trained.artifacts / "original"))
    save_dataset(cut(before, found), trained.data)
    DataVersions(trained).add()
    return trained, traces


def test_each_of_a_batch_is_found_where_models_and_data_are_kept(forgotten):
    ws, traces = forgotten
    seen = {s.store: s for s in sightings(ws, traces)}
    wanted = {("user", u) for u in traces.subjects.users} | {("item", i) for i in traces.subjects.items}
    wanted |= {("pair", *p) for p in traces.subjects.pairs} | {("modality", *m) for m in traces.subjects.modalities}
    # Raw features lie there in half precision, as published; nothing here has made them single precision.
    with np.errstate(invalid="ignore"):
        wider = {np.frombuffer(vector, "<f2").astype("<f4").tobytes() for vector in traces.vectors}
    vectors = {("vector", str(n)) for n, vector in enumerate(sorted(traces.vectors)) if vector not in wider}
    assert len(vectors) > 10
    for store in ("dvc cache", "stage outputs", "mlflow artifacts"):
        assert seen[store].tags >= wanted, store
    assert seen["stage outputs"].tags | seen["dvc cache"].tags >= vectors
    assert [s.store for s in seen.values() if s.count] == ["dvc cache", "stage outputs", "mlflow artifacts"]


# -- what to look for -----------------------------------------


def test_the_ids_of_an_open_batch_are_in_the_inbox(shop):
    inbox = open_inbox(shop)
    user = str(load_dataset(shop.data).users[3])
    inbox.add_all([Subject.of(user=user), Subject.of(user="7", item="8"), Subject.of(item="9", modality="image")])
    batch = inbox.claim("a process").id
    try:
        found = traces_for(shop, inbox, batch)
        assert found.subjects.users == {user} and found.rows
        assert found.subjects.pairs == {("7", "8")} and found.subjects.modalities == {("9", "image")}
    finally:
        for file in (shop.state / "inbox.db", *shop.state.glob("inbox.db-*")):
            file.unlink(missing_ok=True)


def test_the_operators_list_counts_first_then_the_traces_set_aside(shop):
    inbox = open_inbox(shop)
    TRACES.save(folder(shop, "batch-20261124-07"))
    assert traces_for(shop, inbox, "batch-20261124-07") == TRACES
    given = traces_for(shop, inbox, "batch-20261124-07", [Subject.of(user="somebody")])
    assert given.subjects.users == {"somebody"}
    (folder(shop, "batch-20261124-07") / "traces.npz").unlink()
    with pytest.raises(RequestError, match="--subjects FILE"):
        traces_for(shop, inbox, "batch-20261124-07")


def test_every_regime_of_a_list():
    given = [
        Subject.of(user="a"),
        Subject.of(item="b"),
        Subject.of(user="c", item="d"),
        Subject.of(item="e", modality="image"),
    ]
    assert forget_set(given) == ForgetSet(
        frozenset("a"), frozenset("b"), frozenset([("c", "d")]), frozenset([("e", "image")])
    )


def test_paths_are_relative(shop):
    assert not any(Path(f.why).is_absolute() for f in scan(shop, TRACES) if f.why)


def test_a_folder_that_cannot_be_listed_makes_its_store_unreachable(shop, monkeypatch):
    """As root every folder can be listed; so the system's answer is made up, at the lowest place."""
    (shop.root / "closed").mkdir()
    listed = os.scandir

    def refuse(place):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuse)
    try:
        assert left(shop)["other files"].why == "1 of its files and folders may not be read"
    finally:
        monkeypatch.undo()
        (shop.root / "closed").rmdir()
