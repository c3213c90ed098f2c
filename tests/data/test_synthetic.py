from __future__ import annotations

import re

import numpy as np
import pytest

from tru.data.params import DataParams, SyntheticParams
from tru.data.synthetic import generate

# Made on x86-64 with the pinned packages. If this changes, data.dvc no longer names what `tru data generate` writes.
TINY_SHA256 = {
    "dataset.json": "e39edaeb3715b1d20dc90c074cee11df0c1df3793cdd57d672bd84e23f6dacc4",
    "image.npy": "3d601ad7edab40674a37e4f2639e38d0ad7ea89d3bf3b471f51b7c4fe92c705c",
    "interactions.parquet": "d21bdbfa0656b63f48334bc1fb21cb78f23ea485a3d9a1077847179744e2cce4",
    "items.parquet": "9b8fc0dee95505b3ffe1a436df55341bda342fc49d2af889433a83ba423e5efa",
    "text.npy": "c0d337cc5a287655e6ce6fe928ff4a267f44a3ae87d93422c7ecb9f0661de80f",
}


@pytest.fixture(scope="module")
def full():
    return generate(SyntheticParams())


def test_the_default_size_is_as_stated(full):
    assert len(full.users) == 1000 and len(full.items) == 600
    assert 18_000 < len(full.interactions) < 22_000
    assert {m: f.shape[1] for m, f in full.features.items()} == {"image": 64, "text": 32}
    assert all(f.dtype == np.float16 for f in full.features.values())


def test_ids_look_like_those_of_real_systems(full):
    assert all(re.fullmatch("u-[0-9a-f]{12}", user) for user in full.users)
    assert all(re.fullmatch("B0[0-9A-Z]{8}", item) for item in full.items)
    assert len(set(full.items)) == len(full.items)


def test_the_bytes_are_the_same_everywhere(folder, fingerprint):
    assert fingerprint(folder) == TINY_SHA256


def test_another_seed_is_another_data_set(tiny):
    other = generate(SyntheticParams(users=120, items=80, seed=1))
    assert set(other.users).isdisjoint(tiny.users)


def test_popularity_has_a_long_tail(full):
    counts = np.sort(full.interactions["item_id"].value_counts().to_numpy())[::-1]
    assert counts[: len(full.items) // 10].sum() > 0.25 * counts.sum()


def test_params_refuse_unknown_keys_and_have_defaults():
    assert DataParams().synthetic == SyntheticParams()
    with pytest.raises(ValueError, match="usres"):
        SyntheticParams(usres=3)


def _matrices(ds):
    """Train and test as dense matrices (users, items)."""
    columns = {item: k for k, item in enumerate(ds.items)}
    rows = np.searchsorted(ds.users, ds.interactions["user_id"].to_numpy(dtype=str))
    cols, split = ds.interactions["item_id"].map(columns).to_numpy(), ds.interactions["split"].to_numpy()
    both = np.zeros((2, len(ds.users), len(ds.items)))
    for k, code in enumerate((0, 2)):
        both[k, rows[split == code], cols[split == code]] = 1
    return both


def _recall(scores, train, test, k=20):
    top = np.argsort(-np.where(train > 0, -np.inf, scores), axis=1, kind="stable")[:, :k]
    some = test.sum(axis=1) > 0
    return (np.take_along_axis(test, top, axis=1).sum(axis=1)[some] / test.sum(axis=1)[some]).mean()


def _cooccurrence(train):
    degree = np.maximum(train.sum(axis=0), 1)
    together = train.T @ train / np.sqrt(np.outer(degree, degree))
    np.fill_diagonal(together, 0)
    return together


def test_who_took_what_says_more_than_popularity(full):
    train, test = _matrices(full)
    popular = _recall(np.tile(train.sum(axis=0), (len(train), 1)), train, test)
    item_knn = _recall(train @ _cooccurrence(train), train, test)
    assert item_knn > 2 * popular > 0.1


@pytest.mark.parametrize("modality", ["image", "text"])
def test_items_that_look_alike_are_taken_by_the_same_people(full, modality):
    together = _cooccurrence(_matrices(full)[0])
    vectors = full.features[modality].astype(np.float32)
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -2)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :9]
    assert np.take_along_axis(together, nearest, axis=1).mean() > 2 * together.mean()
