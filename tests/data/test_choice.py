import numpy as np
import pandas as pd
import pytest

from tests import tiny
from tru.data.choice import SHARE, coreness, extreme, standings
from tru.data.forget import simulate
from tru.data.interactions import TRAIN
from tru.data.params import ForgetParams


def test_coreness_by_hand():
    """0 and 1 share both items; 2 hangs on one of them, and 3 with an item of its own on nobody."""
    left, right = coreness(np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 0, 1, 0, 2]))
    assert left.tolist() == [2, 2, 1, 1]
    assert right.tolist() == [2, 2, 1]


@pytest.fixture
def train():
    """The same graph, by name."""
    return pd.DataFrame(["ax", "ay", "bx", "by", "cx", "dz"]).pipe(
        lambda f: pd.DataFrame({"user_id": f[0].str[0], "item_id": f[0].str[1]})
    )


def test_popularity_of_users_items_and_pairs(train):
    users, items, rows = standings(train, "popular")
    assert items.to_dict() == {"x": 3, "y": 2, "z": 1}
    assert users.to_dict() == {"a": 2.5, "b": 2.5, "c": 3, "d": 1}
    assert rows.tolist() == [3, 2, 3, 2, 3, 1]


def test_centrality_of_users_items_and_pairs(train):
    """Coreness, and the degree as a part of the largest plus one."""
    users, items, rows = standings(train, "core")
    assert users.to_dict() == pytest.approx({"a": 2 + 2 / 3, "b": 2 + 2 / 3, "c": 1 + 1 / 3, "d": 1 + 1 / 3})
    assert items.to_dict() == pytest.approx({"x": 2 + 3 / 4, "y": 2 + 2 / 4, "z": 1 + 1 / 4})
    assert rows.tolist() == pytest.approx([2 + 2 / 3, 2.5, 2 + 2 / 3, 2.5, 1 + 1 / 3, 1.25])


def test_the_extreme_fifth_or_as_many_as_are_wanted():
    names = [f"n{k}" for k in range(10)]
    standing = np.arange(10.0)
    assert SHARE == 0.2
    assert extreme(names, standing, "core", 1, 0).tolist() == [8, 9]
    assert extreme(names, standing, "edge", 1, 0).tolist() == [0, 1]
    assert extreme(names, standing, "unpopular", 4, 0).tolist() == [0, 1, 2, 3]


def test_among_equals_the_seed_decides():
    names = [f"n{k}" for k in range(50)]
    first, second = (extreme(names, np.ones(50), "popular", 1, seed) for seed in (0, 1))
    assert len(first) == 10
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("regime", ["user", "item", "interaction", "modality"])
@pytest.mark.parametrize("choice", ["popular", "unpopular", "core", "edge"])
def test_every_regime_knows_every_choice(regime, choice):
    found = simulate(tiny.dataset(), ForgetParams(regime=regime, choice=choice, count=5))
    assert found.size == 5
    assert found == simulate(tiny.dataset(), ForgetParams(regime=regime, choice=choice, count=5))
    assert found != simulate(tiny.dataset(), ForgetParams(regime=regime, choice=choice, count=5, seed=8))


def drawn(counts, **words):
    """Train rows of the users or items that are drawn."""
    found = simulate(tiny.dataset(), ForgetParams(count=5, **words))
    return counts[sorted(found.users | found.items)]


def test_popular_items_are_more_popular_than_unpopular_ones():
    rows = tiny.dataset().interactions
    counts = rows.loc[rows["split"] == TRAIN, "item_id"].value_counts()
    popular, unpopular = (drawn(counts, regime="item", choice=choice) for choice in ("popular", "unpopular"))
    assert popular.min() > counts.median() > unpopular.max()


def test_the_core_has_more_edges_than_the_edge():
    rows = tiny.dataset().interactions
    counts = rows.loc[rows["split"] == TRAIN, "user_id"].value_counts()
    core, edge = (drawn(counts, choice=choice) for choice in ("core", "edge"))
    assert core.min() > edge.max()
