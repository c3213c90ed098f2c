import stat

import numpy as np
import pytest

from tests import tiny
from tru.data.forget import ForgetSet, cut
from tru.errors import DataError
from tru.ops.erasure.places import folder, pending
from tru.ops.erasure.search.traces import Traces
from tru.ops.workspace import Workspace


@pytest.fixture(scope="module")
def batch():
    ds = tiny.dataset()
    user, item = tiny.train_pairs()[7]
    return ForgetSet(
        users=frozenset(ds.users[[1, 5]].tolist()),
        items=frozenset(ds.items[[4]].tolist()),
        pairs=frozenset([(user, item)]),
        modalities=frozenset([(str(ds.items[9]), "image")]),
    )


@pytest.fixture(scope="module")
def traces(batch):
    return Traces.of(batch, tiny.dataset(), cut(tiny.dataset(), batch), tiny.trained())


def test_vectors_are_the_exact_bytes_of_the_rows_that_went(traces):
    ds, model = tiny.dataset(), tiny.trained()
    user, item = model.data.users.tolist().index(str(ds.users[1])), model.data.items.tolist().index(str(ds.items[4]))
    served = model.embed()
    for row in (
        model.arrays["users"][user],
        model.arrays["items"][item],
        served.users.numpy()[user],
        served.items.numpy()[item],
        ds.features["image"][4],
        ds.features["text"][4],
        ds.features["image"][9],
        model.data.features["image"][9],
    ):
        assert row.astype(row.dtype.newbyteorder("<")).tobytes() in traces.vectors


def test_nothing_of_those_who_stay_is_a_trace(traces):
    ds, model = tiny.dataset(), tiny.trained()
    rows = [model.arrays["users"][2], model.arrays["items"][9], ds.features["text"][9], ds.features["image"][10]]
    assert all(row.tobytes() not in traces.vectors for row in rows)


def test_a_picture_that_another_item_has_too_and_a_row_that_says_nothing_are_no_traces(batch):
    from dataclasses import replace

    ds = tiny.dataset()
    features = {m: matrix.copy() for m, matrix in ds.features.items()}
    features["image"][30] = features["image"][4]  # used twice
    features["text"][4] = 1.0  # the same number everywhere
    ds = replace(ds, features=features)
    found = Traces.of(batch, ds, cut(ds, batch), None)
    revoked = features["image"][9]
    assert found.vectors == {revoked.tobytes(), revoked.astype(np.float32).tobytes()}


def test_the_interactions_of_a_deleted_user_are_rows(traces, batch):
    ds = tiny.dataset()
    table = ds.interactions
    wanted = table[table["user_id"].isin(batch.users) | table["item_id"].isin(batch.items)]
    assert traces.rows == set(zip(wanted["user_id"], wanted["item_id"], strict=True))


def test_half_precision_features_are_looked_for_in_single_precision_too(batch):
    from dataclasses import replace

    ds = tiny.dataset()
    ds = replace(ds, features={m: matrix.astype(np.float16) for m, matrix in ds.features.items()})
    found = Traces.of(batch, ds, cut(ds, batch), None)
    assert ds.features["image"][4].tobytes() in found.vectors
    assert ds.features["image"][4].astype(np.float32).tobytes() in found.vectors


def test_they_come_back_as_they_were_and_only_this_account_reads_them(traces, tmp_path):
    ws = Workspace(tmp_path)
    traces.save(folder(ws, "batch-20261124-01"))
    traces.save(folder(ws, "batch-20261124-01"))
    place = folder(ws, "batch-20261124-01")
    assert Traces.load(place) == traces
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()] == [0o600]


def test_what_a_killed_run_left_does_not_count(traces, tmp_path):
    ws = Workspace(tmp_path)
    assert pending(ws) == []
    for name in ("batch-20261124-100", "batch-20261124-99", "batch-20261123-02"):
        traces.save(folder(ws, name))
    folder(ws, "batch-20261125-01").mkdir()
    (folder(ws, "batch-20261125-01") / "traces.npz.new").write_bytes(b"half")
    assert pending(ws) == ["batch-20261123-02", "batch-20261124-99", "batch-20261124-100"]


def test_damaged_traces_are_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "traces.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="--subjects FILE"):
        Traces.load(tmp_path)
    with pytest.raises(DataError, match="missing or damaged"):
        Traces.load(tmp_path / "nowhere")


def test_two_batches_together(traces):
    other = Traces(ForgetSet(users=frozenset(["u-other"])), frozenset([b"0123456789abcdef"]), frozenset([("u", "i")]))
    both = traces | other
    assert both.subjects.users == traces.subjects.users | {"u-other"}
    assert both.vectors > traces.vectors and ("u", "i") in both.rows
    assert traces | Traces.none() == traces


def test_nobody_is_named_by_its_repr(traces):
    assert not any(name in repr(traces) for name in traces.names) and "5 subjects" in repr(traces)


def test_names_are_all_ids_and_nothing_is_empty_but_nothing(traces, batch):
    (user, item), (revoked, _) = next(iter(batch.pairs)), next(iter(batch.modalities))
    assert traces.names == batch.users | batch.items | {user, item, revoked}
    assert Traces.none().is_empty and not traces.is_empty
