import hashlib

import numpy as np
import pytest

from tru import randomness

NAMES = np.array([f"i{k}" for k in range(200)])


def test_an_id_has_the_same_key_on_every_machine():
    expected = int.from_bytes(hashlib.blake2b("u-ä1".encode(), digest_size=8).digest(), "little")
    assert randomness.of_ids(np.array(["x", "u-ä1"]))[1] == expected == randomness.of_word("u-ä1")
    assert randomness.of_ids(NAMES).dtype == np.uint64
    assert len(np.unique(randomness.of_ids(NAMES))) == len(NAMES)
    assert randomness.of_ids(NAMES[:0]).shape == (0,)
    assert (randomness.of_ids(randomness.of_ids(NAMES)) == randomness.of_ids(NAMES)).all()


def test_mixing_is_splitmix():
    # The first outputs of SplitMix64 from state 0: its state advances by a constant, its output is the mixed state.
    assert randomness.mix(0)[0] == 0xE220A8397B1DCDAF
    assert randomness.mix(0x9E3779B97F4A7C15)[0] == 0x6E789E6AA1B965F4


def test_mixing_depends_on_every_part_and_their_order():
    keys = randomness.of_ids(NAMES)
    found = [randomness.mix(keys, 1, 2), randomness.mix(keys, 2, 1), randomness.mix(keys, 1), randomness.mix(1, keys)]
    assert len(np.unique(np.concatenate(found))) == 4 * len(keys)
    assert (randomness.mix(keys[5:6], 1, 2) == found[0][5]).all()


def test_uniform_draws_fill_the_unit_interval_evenly():
    draws = randomness.uniform(randomness.mix(np.arange(100_000, dtype=np.uint64)))
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts, _ = np.histogram(draws, bins=100, range=(0, 1))
    assert abs(counts - 1000).max() < 160  # five standard deviations
    assert randomness.uniform(np.array([2**64 - 1], dtype=np.uint64))[0] < 1.0
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.02


def test_a_row_is_a_function_of_its_id_and_the_seed_alone():
    rows = randomness.table(NAMES, 16, 0.25, 3)
    some = np.array([150, 7, 30])
    assert (randomness.table(NAMES[some], 16, 0.25, 3) == rows[some]).all()
    assert rows.dtype == np.float32
    assert rows.shape == (200, 16)
    assert not (randomness.table(NAMES, 16, 0.25, 4) == rows).any(axis=1).any()
    assert not (randomness.table(NAMES, 16, 0.25, randomness.of_word("user"), 3) == rows).any(axis=1).any()


def test_rows_are_uniform_within_the_bound():
    rows = randomness.table(NAMES, 64, 0.25, 3)
    assert 0.249 < np.abs(rows).max() <= 0.25
    assert rows.std() == pytest.approx(0.25 / 3**0.5, rel=0.02)
    assert abs(rows.mean()) < 0.005
