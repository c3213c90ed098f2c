from __future__ import annotations

import numpy as np

from tru.data.split import assign_split


def test_shares_are_about_eighty_ten_ten(tiny):
    shares = np.bincount(assign_split(tiny.interactions, 0), minlength=3) / len(tiny.interactions)
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=0.03)


def test_every_user_keeps_a_train_row(tiny):
    # With one row per user the draw alone would hold out a fifth of them.
    single = tiny.interactions.drop_duplicates("user_id")
    assert (assign_split(single, 0) == 0).all()


def test_a_row_keeps_its_place_whatever_the_others(tiny):
    rows = tiny.interactions
    split = assign_split(rows, 0)
    shuffled = rows.sample(frac=1, random_state=1)
    assert np.array_equal(assign_split(shuffled, 0), split[shuffled.index])
    others = (rows["user_id"] != rows["user_id"].iloc[0]).to_numpy()
    assert np.array_equal(assign_split(rows[others], 0), split[others])


def test_another_seed_draws_another_split(tiny):
    assert not np.array_equal(assign_split(tiny.interactions, 0), assign_split(tiny.interactions, 1))
