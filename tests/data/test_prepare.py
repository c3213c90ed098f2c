from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.tiny import dataset, prepared, train_pairs
from tru import randomness
from tru.data.forget import ForgetSet, cut
from tru.data.interactions import TEST, TRAIN, VAL
from tru.data.prepare import Prepared, nearest, pair_keys, prepare, standardised
from tru.errors import DataError


def names(data, pairs):
    """(user id, item id) of pairs of positions."""
    return set(zip(data.users[pairs[:, 0]].tolist(), data.items[pairs[:, 1]].tolist(), strict=True))


# positions


def test_every_row_is_there_under_its_position():
    data = prepared()
    for pairs, split in ((data.train, TRAIN), (data.val, VAL), (data.test, TEST)):
        assert pairs.dtype == np.int64
        assert names(data, pairs) == set(train_pairs(split))
        assert len(pairs) == len(train_pairs(split))
    assert (data.users == np.unique(data.users)).all()
    assert (data.items == dataset().items).all()
    assert data.modalities == ("image", "text")


def test_popularity_counts_edges_only():
    data = prepared()
    assert data.popularity.sum() == len(data.edges) == len(data.train) - data.canary.sum()
    assert data.popularity[3] == (data.edges[:, 1] == 3).sum()


# canaries


def test_about_the_asked_share_of_the_train_pairs_are_canaries():
    shares = [prepare(dataset(), 0.2, seed).canary.mean() for seed in range(3)]
    assert all(abs(share - 0.2) < 0.04 for share in shares)
    assert not prepare(dataset(), 0.0).canary.any()
    assert not names(prepared(), prepared().edges) & names(prepared(), prepared().train[prepared().canary])


def test_a_higher_rate_keeps_the_canaries_and_another_seed_does_not():
    few, more, others = prepare(dataset(), 0.05), prepare(dataset(), 0.2), prepare(dataset(), 0.2, 1)
    assert more.canary[few.canary].all()
    assert others.canary[more.canary].mean() < 0.4


def test_canaries_stay_the_same_when_rows_and_items_are_deleted():
    ds = dataset()
    forget = ForgetSet(
        users=frozenset({str(ds.users[0])}), items=frozenset({str(ds.items[1])}), pairs=frozenset(train_pairs()[::7])
    )
    before, after = prepare(ds, 0.2), prepare(cut(ds, forget), 0.2)
    marked = names(before, before.train[before.canary])
    assert names(after, after.train[after.canary]) == marked & names(after, after.train)
    assert len(after.train) < len(before.train)


def test_keys_of_pairs_follow_the_ids_and_not_the_positions():
    data = prepared()
    fewer = np.arange(0, len(data.users), 2)
    pairs = np.array([[1, 5], [3, 2]])
    expected = pair_keys(data.users, data.items, pairs * [2, 1], 9)
    assert (pair_keys(data.users[fewer], data.items, pairs, 9) == expected).all()
    flipped = pair_keys(data.items, data.users, pairs[:, ::-1] * [1, 2], 9)
    assert not (flipped == expected).any()
    assert randomness.mix(1, 2) != randomness.mix(2, 1)


def test_withholding_everything_is_refused():
    with pytest.raises(DataError, match=r"lower train\.canaries"):
        prepare(dataset(), 1.0)


# features and neighbours


def test_features_are_centred_and_scaled_over_the_items_that_have_them():
    rng = np.random.default_rng(0)
    present = rng.random(50) > 0.3
    found = standardised((rng.normal(5, 3, (50, 8)) * present[:, None]).astype(np.float16), present)
    assert found.dtype == np.float32
    assert np.allclose(found[present].mean(0), 0, atol=1e-5)
    assert found[present].std() == pytest.approx(1, abs=1e-5)
    assert (found[~present] == 0).all()
    assert np.isfinite(standardised(np.ones((3, 2), np.float32), np.ones(3, bool))).all()


def test_standardising_leaves_its_input_alone():
    features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    before = features.copy()
    standardised(features, np.array([True] * 5 + [False]))
    assert (features == before).all()


@pytest.mark.parametrize("n", [12, 1500])
def test_the_nearest_are_those_with_the_largest_cosine(n):
    rng = np.random.default_rng(n)
    features = rng.normal(size=(n, 6)).astype(np.float32)
    present = rng.random(n) > 0.2
    edges, cosines = nearest(features, present, k=4)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    scores = unit @ unit.T
    scores[:, ~present] = -np.inf
    expected = {(i, j) for i in np.flatnonzero(present) for j in np.argsort(-scores[i])[:4]}
    assert set(map(tuple, edges.tolist())) == expected
    assert len(edges) == 4 * present.sum()
    assert np.allclose(cosines, scores[edges[:, 0], edges[:, 1]], atol=1e-6)
    assert {(i, i) for i in np.flatnonzero(present)} <= expected


def test_fewer_items_than_neighbours_are_all_neighbours():
    edges, _ = nearest(np.eye(3, dtype=np.float32), np.array([True, True, False]))
    assert sorted(map(tuple, edges.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_revoked_picture_is_nobodys_neighbour():
    ds = dataset()
    data = prepare(cut(ds, ForgetSet(modalities=frozenset({(str(ds.items[4]), "image")}))), 0.0)
    assert 4 not in data.knn["image"]
    assert 4 in data.knn["text"]
    assert not data.present["image"][4]
    assert (data.features["image"][4] == 0).all()


def test_a_published_graph_is_taken_as_it_is():
    ds = dataset()
    table = pd.DataFrame(
        {"item_id": ds.items[[7, 7, 2]], "neighbour_id": ds.items[[3, 1, 7]], "cosine": [0.5, 0.25, 1]}
    )
    data = prepare(replace(ds, neighbours={"text": table}), 0.0)
    assert data.knn["text"].tolist() == [[7, 3], [7, 1], [2, 7]]
    assert data.similarity["text"].tolist() == [0.5, 0.25, 1]
    assert (data.knn["image"] == prepared().knn["image"]).all()


# on disk


def test_it_is_saved_and_loaded_whole(tmp_path):
    data = prepared()
    data.save(tmp_path / "prepared.npz")
    loaded = Prepared.load(tmp_path / "prepared.npz")
    assert loaded.arrays().keys() == data.arrays().keys()
    for name, array in data.arrays().items():
        assert loaded.arrays()[name].dtype == array.dtype
        assert np.array_equal(loaded.arrays()[name], array)
    with np.load(tmp_path / "prepared.npz", allow_pickle=False) as stored:
        assert not any(stored[name].dtype.hasobject for name in stored.files)


def damage(file, how):
    if how == "missing":
        file.unlink()
    elif how == "torn":
        file.write_bytes(file.read_bytes()[:-1000])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "pickled":
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(file, **arrays | {"users": arrays["users"].astype(object)})
    elif how == "incomplete":
        np.savez(file, users=np.array(["u"]))
    else:
        file.write_bytes(b"no archive at all")


@pytest.mark.parametrize("how", ["missing", "torn", "empty", "pickled", "incomplete", "foreign"])
def test_a_damaged_file_is_refused(tmp_path, how):
    file = tmp_path / "prepared.npz"
    prepared().save(file)
    damage(file, how)
    with pytest.raises(DataError, match=r"prepared\.npz: not a prepared data set.*dvc repro prepare"):
        Prepared.load(file)
