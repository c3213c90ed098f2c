"""One residue per format: found where it is, and not where only somebody like it is."""

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tru.data.forget import ForgetSet
from tru.ops.erasure.search.formats import Source, in_name, search
from tru.ops.erasure.search.patterns import Needles
from tru.ops.erasure.search.traces import Traces

VECTOR = np.random.default_rng(5).normal(size=(1, 16)).astype("<f4")
OTHERS = np.random.default_rng(6).normal(size=(40, 16)).astype("<f4")
NAMES = {"distinctive": ("u-3fa9c1d2e4b7", "u-3fa9c1d2e4b8"), "short": ("885", "886")}


def frame(user):
    return pd.DataFrame({"user_id": ["17", user, "23"], "item_id": ["885", "3", "12"], "split": [0, 1, 2]})


def parquet(user, **how):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame(user)), out, **how)
    return out.getvalue()


def arrow(user):
    out, table = io.BytesIO(), pa.Table.from_pandas(frame(user))
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return out.getvalue()


def nested(user):
    out = io.BytesIO()
    rows = [{"user": {"id": user}, "seen_items": ["1"]}, {"user": {"id": "12"}, "seen_items": ["885"]}]
    pq.write_table(pa.table({"event": rows, "n": [1, 2]}), out)
    return out.getvalue()


def npz(user, save=np.savez):
    out = io.BytesIO()
    save(out, users=np.array(["17", user]), items=np.array(["885", "3"]), train=np.array([[0, 1]]))
    return out.getvalue()


def npy(user, kind=str):
    out = io.BytesIO()
    np.save(out, np.array(["x-17", user], dtype=kind))
    return out.getvalue()


def sqlite(user, table="requests", freed=False, json_text=False):
    with sqlite3.connect(":memory:") as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute(f"CREATE TABLE {table} (seq INTEGER PRIMARY KEY, state TEXT, user TEXT, item TEXT)")
        value = json.dumps({"parameters": {"user_id": user}}) if json_text else user
        column = "state" if json_text else "user"
        db.executemany(
            f"INSERT INTO {table} (state, item, user) VALUES ('queued', '885', ?)", [(str(k),) for k in range(9)]
        )
        db.execute(f"INSERT INTO {table} ({column}) VALUES (?)", (value,))
        if freed:
            db.execute(f"DELETE FROM {table} WHERE user = ?", (user,))
        db.commit()
        return db.serialize()


def zipped(user):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/requests.csv", csv(user))
    return out.getvalue()


def tarred(user, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        entry = tarfile.TarInfo("requests.csv")
        entry.size = len(csv(user))
        archive.addfile(entry, io.BytesIO(csv(user)))
    return out.getvalue()


def torch_checkpoint(user):
    """A zip with a pickle, as torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"epoch": 3, "users": ["17", user]}, protocol=2))
        archive.writestr("archive/data/0", OTHERS.tobytes())
    return out.getvalue()


def csv(user):
    return f"item_id,user_id,k\n885,17,1\n3,{user},2\n".encode()


def page(user):
    hidden = base64.b64encode(json.dumps({"rows": [], "user": user, "item": "885"}).encode()).decode()
    return f'<!doctype html><html><img src="data:application/json;base64,{hidden}"></html>'.encode()


class Weird:
    def __init__(self, user):
        self.user = user
        self.k = 885


def pandas_pickle(user):
    return pickle.dumps(frame(user).drop(columns="item_id").astype(object))


FORMATS = {
    "parquet": parquet,
    "parquet, compressed": lambda user: parquet(user, compression="zstd"),
    "parquet, no dictionary": lambda user: parquet(user, use_dictionary=False, compression="none"),
    "parquet, nested": nested,
    "arrow": arrow,
    "npz": npz,
    "npz, deflated": lambda user: npz(user, np.savez_compressed),
    "npy of text": npy,
    "npy of bytes": lambda user: npy(user, "S20"),
    "npy of objects": lambda user: npy(user, object),
    "sqlite": sqlite,
    "sqlite, json in it": lambda user: sqlite(user, json_text=True),
    "csv": csv,
    "tsv of RecBole": lambda user: f"user_id:token\titem_id:token\n17\t885\n{user}\t3\n".encode(),
    "csv with odd rows": lambda user: f'item_id,user_id\n885,17\n"a\n3,{user},9,9\n'.encode(),
    "list of ids": lambda user: f"user_id\n17\n{user}\n".encode(),
    "json": lambda user: json.dumps({"deep": [{"user_id": user, "item": "885", "n": 885}]}).encode(),
    "json, list": lambda user: json.dumps({"users": ["17", user], "n_users": 885}).encode(),
    "json, keys": lambda user: json.dumps({"17": ["885"], user: ["1"], "23": []}).encode(),
    "json lines": lambda user: f'{{"user": "17", "item": "885"}}\n{{"user": "{user}"}}\n'.encode(),
    "log": lambda user: f"12:00:01.885 INFO item=885 served 885 users\n12:00:02 INFO user={user} served\n".encode(),
    "log in utf-16": lambda user: f"INFO user={user} served, item=885\n".encode("utf-16"),
    "html with base64": page,
    "gzip": lambda user: gzip.compress(csv(user)),
    "bzip2": lambda user: bz2.compress(csv(user)),
    "xz": lambda user: lzma.compress(csv(user)),
    "zstd": lambda user: pa.compress(csv(user), codec="zstd", asbytes=True),
    "zlib": lambda user: zlib.compress(csv(user)),
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda user: tarred(user, "w:gz"),
    "torch": torch_checkpoint,
    "pickle": lambda user: pickle.dumps({"user": user, "item": "885", "count": 885}),
    "pickle of an object": lambda user: pickle.dumps(Weird(user)),
    "pickle of an array": lambda user: pickle.dumps({"users": np.array(["17", user])}),
    "pickle of a table": pandas_pickle,
    "zip in gzip": lambda user: gzip.compress(zipped(user)),
    "yaml": lambda user: f"k: 885\nuser_id: '{user}'\n".encode(),
}


def tags(content, users=(), name="a-file", **rest):
    subjects = ForgetSet(users=frozenset(users), **{key: frozenset(some) for key, some in rest.items()})
    return found(content, Traces(subjects), name)


def found(content, traces, name="a-file"):
    hits = search(Source(content, name), Needles(traces))
    assert hits.faults == set()
    return hits.tags


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("what", FORMATS)
def test_an_id_is_found_in_every_format_and_another_is_not(what, kind):
    user, other = NAMES[kind]
    assert tags(FORMATS[what](user), [user]) == {("user", user)}
    assert tags(FORMATS[what](other), [user]) == set()


def test_a_row_that_was_deleted_but_not_overwritten_is_found():
    user = NAMES["distinctive"][0]
    assert tags(sqlite(user, freed=True), [user]) == {("user", user)}


def test_a_write_ahead_log_is_read(tmp_path):
    file = tmp_path / "inbox.db"
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE requests (user TEXT)")
    db.execute("INSERT INTO requests VALUES ('885')")
    db.commit()
    try:
        assert tags(file, ["885"]) == {("user", "885")}
    finally:
        db.close()


def test_looking_into_a_database_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "mlflow.db"
    file.write_bytes(sqlite("885"))
    assert tags(file, ["885"]) and [f.name for f in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("pair", [("17", "3"), ("u-3fa9c1d2e4b7", "B07XJ8C8F5")])
@pytest.mark.parametrize(
    "write",
    [
        lambda u, i: parquet_of({"user_id": ["1", u, "2"], "item_id": ["9", i, "8"]}),
        lambda u, i: f"user,item\n1,9\n{u},{i}\n".encode(),
        lambda u, i: f"1,9\n{u},{i}\n5,7\n".encode(),
        lambda u, i: json.dumps([{"user": u, "item": i}]).encode(),
        lambda u, i: json.dumps({"pairs": [["1", "9"], [u, i]]}).encode(),
        lambda u, i: npz_of(users=np.array(["1", u]), items=np.array(["9", i]), train=np.array([[0, 0], [1, 1]])),
        lambda u, i: npz_of(
            users=np.array(["1", u]),
            items=np.array(["9", i]),
            seen_indptr=np.array([0, 1, 2]),
            seen_indices=np.array([0, 1], dtype=np.int32),
        ),
        lambda u, i: pickle.dumps({"history": [(u, i)]}),
        lambda u, i: f"INFO user={u} item={i}\n".encode(),
    ],
    ids=["parquet", "csv", "csv, no header", "json", "json rows", "prepared", "serving", "pickle", "log"],
)
def test_an_interaction_is_found_and_the_two_without_it_are_not(write, pair):
    user, item = pair
    assert tags(write(user, item), pairs=[pair]) == {("pair", user, item)}
    assert tags(write(user, "77"), pairs=[pair]) == set()


def parquet_of(columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def npz_of(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_the_two_of_a_pair_with_others_are_no_interaction():
    arrays = {"users": np.array(["1", "17"]), "items": np.array(["9", "3"]), "train": np.array([[0, 1], [1, 0]])}
    assert tags(npz_of(**arrays), pairs=[("17", "3")]) == set()
    assert tags(b"user,item\n1,3\n17,9\n", pairs=[("17", "3")]) == set()


def test_rows_of_numbers_count_where_no_header_says_anything():
    content = b"1\t9\t0\n885\t12\t1\n5\t7\t0\n"
    traces = Traces(ForgetSet(users=frozenset(["885"])), rows=frozenset([("885", "12")]))
    assert found(content, traces) == {("pair", "885", "12")}
    assert found(content.replace(b"12", b"13"), traces) == set()


@pytest.mark.parametrize(
    ("name", "content", "there"),
    [
        ("items.parquet", parquet_of({"item_id": ["3", "4"], "has_image": [True, True]}), True),
        (
            "items.parquet",
            parquet_of({"item_id": ["3", "4"], "has_image": [False, True], "has_text": [True, True]}),
            False,
        ),
        ("image_knn.parquet", parquet_of({"item_id": ["4"], "neighbour_id": ["3"], "cosine": [0.5]}), True),
        ("image_knn.parquet", parquet_of({"item_id": ["4"], "neighbour_id": ["5"], "cosine": [0.5]}), False),
        ("text_knn.parquet", parquet_of({"item_id": ["4"], "neighbour_id": ["3"], "cosine": [0.5]}), False),
        ("prepared.npz", npz_of(items=np.array(["3", "4"]), **{"present/image": np.array([True, True])}), True),
        ("prepared.npz", npz_of(items=np.array(["3", "4"]), **{"present/image": np.array([False, True])}), False),
        ("prepared.npz", npz_of(items=np.array(["3", "4"]), **{"knn/image": np.array([[1, 0]])}), True),
        ("prepared.npz", npz_of(items=np.array(["3", "4"]), **{"knn/image": np.array([[1, 1]])}), False),
        ("requests.csv", b"regime,item,modality\nmodality,3,image\n", True),
        ("requests.csv", b"regime,item,modality\nmodality,3,text\n", False),
        ("forget.json", b'{"modalities": [["3", "image"]]}', True),
    ],
)
def test_a_revoked_picture(name, content, there):
    assert tags(content, name=name, modalities=[("3", "image")]) == ({("modality", "3", "image")} if there else set())


def with_vector(dtype="<f4", order="C"):
    return np.array(np.concatenate([OTHERS[:9], VECTOR, OTHERS[9:]]), dtype=dtype, order=order)


VECTORS = {
    "npy": lambda: npy_of(with_vector()),
    "npy in columns": lambda: npy_of(with_vector(order="F")),
    "npy, wider": lambda: npy_of(with_vector(">f8")),
    "npz": lambda: npz_of(table=with_vector()),
    "npz, deflated": lambda: zipped_npz(with_vector()),
    "raw": lambda: b"\x01" + with_vector().tobytes(),
    "torch": lambda: zipped_bytes(with_vector().tobytes()),
    "parquet of lists": lambda: parquet_of({"vector": list(with_vector())}),
    "json": lambda: json.dumps({"rows": with_vector().tolist()}).encode(),
    "pickle": lambda: pickle.dumps({"table": with_vector()}),
    "sqlite": lambda: blob(VECTOR.tobytes()),
    "html": lambda: b"<p>" + base64.b64encode(VECTOR.tobytes()) + b"</p>",
}


def npy_of(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def zipped_npz(array):
    out = io.BytesIO()
    np.savez_compressed(out, table=array)
    return out.getvalue()


def zipped_bytes(content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", content)
    return out.getvalue()


def blob(content):
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE t (content BLOB)")
        db.execute("INSERT INTO t VALUES (?)", (content,))
        db.commit()
        return db.serialize()


@pytest.mark.parametrize("what", VECTORS)
def test_an_embedding_row_is_found_in_every_format(what):
    traces = Traces(ForgetSet(), frozenset([VECTOR.tobytes()]))
    assert found(VECTORS[what](), traces) == {("vector", "0")}
    assert found(VECTORS[what](), Traces(ForgetSet(), frozenset([(VECTOR + 1).tobytes()]))) == set()


def test_what_lies_between_two_chunks_is_found(tmp_path, monkeypatch):
    from tru.ops.erasure.search import formats

    monkeypatch.setattr(formats, "_CHUNK", 1000)
    user = NAMES["distinctive"][0]
    for shift in range(0, 60, 3):
        file = tmp_path / f"file-{shift}"
        file.write_bytes(b"\0" * (1000 - shift) + user.encode() + b"\0" * 700)
        assert tags(file, [user]) == {("user", user)}
        file.write_bytes(b"\0" * (1000 - shift) + user.encode() + b"9" + b"\0" * 700)
        assert tags(file, [user]) == set()


@pytest.mark.parametrize(
    "content",
    [parquet("885")[:-10], npz("885")[:-30], gzip.compress(csv("885"))[:-12]],
    ids=["parquet", "npz", "gzip"],  # gzip writes the time into its bytes: as an id it would differ between workers
)
def test_a_damaged_file_is_said_to_be_so(content):
    hits = search(Source(content), Needles(Traces(ForgetSet(users=frozenset(["885"])))))
    assert len(hits.faults) == 1 and "885" not in str(hits.faults)


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"{", b"PK", b"x\x9cnothing packed", b'{"a": ' + b"[" * 5000, b"\n\n,,\n"]
)
def test_odd_content_is_no_fault(content):
    assert tags(content, ["885"]) == set()


def test_nothing_of_a_pickle_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    assert tags(pickle.dumps([Trap(), {"user": "885"}]), ["885"]) == {("user", "885")}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["exports/u-3fa9c1d2e4b7.json", "users/885.json", "list-user-885.txt"])
def test_names_of_files_count(name):
    traces = Traces(ForgetSet(users=frozenset(["u-3fa9c1d2e4b7", "885"])))
    assert len(in_name(name, Needles(traces)).tags) == 1
    assert in_name("mlartifacts/885/batch-885.html", Needles(traces)).tags == set()
