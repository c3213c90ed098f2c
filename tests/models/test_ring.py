import numpy as np

from tru import randomness
from tru.models.hash_ring import Ring

NAMES = np.array([f"i{k}" for k in range(200)])


def keys(n):
    return randomness.mix(np.arange(n, dtype=np.uint64), randomness.of_word("draw"))


def test_ring_shares_lie_within_an_eighth_or_so_of_uniform():
    counts = np.bincount(Ring(NAMES).draw(keys(200_000)), minlength=200) / 1000
    assert counts.mean() == 1.0
    assert 0.09 < counts.std() < 0.17
    assert counts.min() > 0.55
    assert counts.max() < 1.55


def test_few_points_give_uneven_shares():
    assert np.bincount(Ring(NAMES, points=1).draw(keys(200_000)), minlength=200).max() > 3000


def test_removing_items_moves_only_the_draws_of_those_items():
    stay = np.arange(200) % 10 != 0
    before = NAMES[Ring(NAMES).draw(keys(20_000))]
    after = NAMES[stay][Ring(NAMES[stay]).draw(keys(20_000))]
    moved = before != after
    assert (moved == np.isin(before, NAMES[~stay])).all()
    assert 0.05 < moved.mean() < 0.15
    assert len(np.unique(after[moved])) > 100  # they spread over all others


def test_the_order_of_the_items_is_no_matter():
    order = np.random.default_rng(0).permutation(200)
    assert (NAMES[order][Ring(NAMES[order]).draw(keys(5000))] == NAMES[Ring(NAMES).draw(keys(5000))]).all()


def test_a_draw_takes_the_owner_of_the_next_place():
    places = randomness.mix(randomness.of_ids(NAMES[:7])[:, None], np.arange(64, dtype=np.uint64)[None, :])
    for wanted, drawn in zip(keys(300), Ring(NAMES[:7]).draw(keys(300)), strict=True):
        beyond = np.where(places >= wanted, places - wanted, np.uint64(2**64 - 1))
        if (places >= wanted).any():
            assert drawn == np.unravel_index(beyond.argmin(), places.shape)[0]


def test_a_key_beyond_the_last_place_comes_round_to_the_first():
    ring = Ring(NAMES)
    ends = np.array([0, 2**64 - 1], dtype=np.uint64)
    assert ring.draw(ends)[0] == ring.draw(ends)[1]
    assert (Ring(NAMES[:1]).draw(keys(10)) == 0).all()


def test_a_part_of_a_ring_is_the_ring_of_the_part():
    stay = np.arange(200) % 3 != 1
    assert (Ring(NAMES).only(stay).draw(keys(5000)) == Ring(NAMES[stay]).draw(keys(5000))).all()
    assert (Ring(NAMES).only(stay).draw(keys(20).reshape(4, 5)) == Ring(NAMES[stay]).draw(keys(20)).reshape(4, 5)).all()
