"""What a batch would leave, counted without cutting; and which requests can go on together."""

import numpy as np
import pytest

from tru.data.forget import ForgetParams, ForgetSet, cut, simulate
from tru.data.left import Left, fitting


@pytest.mark.parametrize("regime", ["user", "item", "interaction", "modality"])
@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_it_counts_what_the_cut_leaves(tiny, regime, fraction):
    forget = simulate(tiny, ForgetParams(regime=regime, fraction=fraction))
    assert Left.of(tiny, forget) == Left.of(cut(tiny, forget))
    assert Left.of(tiny, ForgetSet()) == Left.of(tiny)


def test_it_says_what_would_be_lacking(tiny):
    users, items = frozenset(tiny.users.tolist()), frozenset(tiny.items.tolist())
    before = Left.of(tiny)
    assert Left.of(tiny, ForgetSet(users=users - set(tiny.users[:20].tolist()))).lacks(before) == []
    everybody = Left.of(tiny, ForgetSet(users=users))
    assert not everybody.carries_a_model and everybody.items == len(items)
    gone = [f"no {split} rows would be left" for split in ("train", "val", "test")]
    assert everybody.lacks(before) == [*gone, "no user would be left"]
    assert Left.of(tiny, ForgetSet(items=items)).lacks(before)[-1] == "no item would be left"
    pictures = Left.of(tiny, ForgetSet(modalities=frozenset((i, "image") for i in items)))
    assert pictures.lacks(before) == ["no item would have the modality image any more"]
    assert pictures.lacks(pictures) == [] and pictures.carries_a_model


def test_among_thousands_the_few_that_stand_in_the_way_are_found_with_few_questions():
    bad, asked = {17, 4_000, 9_998}, []

    def fits(groups):
        asked.append(len(groups))
        return not bad.intersection(groups)

    assert fitting(range(10_000), fits) == [k for k in range(10_000) if k not in bad]
    assert len(asked) < 100


def test_who_has_the_older_claim_is_taken_first():
    sizes = [3, 5, 4, 1]
    assert fitting(sizes, lambda some: sum(some) <= 9) == [3, 5, 1]
    assert fitting([], lambda some: True) == [] and fitting([12], lambda some: sum(some) <= 9) == []


def test_it_takes_what_one_by_one_would_take():
    drawn = np.random.default_rng(0).integers(1, 9, size=40).tolist()
    taken = fitting(drawn, lambda some: sum(some) <= 50)
    one_by_one = []
    for size in drawn:
        one_by_one += [size] if sum(one_by_one) + size <= 50 else []
    assert taken == one_by_one
