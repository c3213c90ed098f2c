from math import isnan, log, sqrt

import numpy as np
import pytest

from tru.evaluation.research.attacks import ENOUGH, likelihood_ratio, outlyingness, power, relative_ratio


def masks(inside, outside, pairs=1):
    """The first shadows learned all pairs, the rest none."""
    learned = np.repeat([True, False], [inside, outside])[:, None].repeat(pairs, axis=1)
    return learned, ~learned


def test_likelihood_ratio_of_one_pair():
    """Inside 2 and 4: mean 3, variance 2. Outside 0 and 2: mean 1, variance 2. At 3: (3 - 1)^2 / 4."""
    values = np.array([[2.0], [4.0], [0.0], [2.0]])
    assert likelihood_ratio(np.array([3.0]), values, *masks(2, 2)) == pytest.approx([1.0])
    assert likelihood_ratio(np.array([2.0]), values, *masks(2, 2)) == pytest.approx([0.0])


def test_with_few_shadows_all_pairs_share_a_variance():
    """The second pair never varies, so both have variance (2 + 0) / 2 = 1 on either side."""
    values = np.array([[2.0, 10.0], [4.0, 10.0], [0.0, 0.0], [2.0, 0.0]])
    found = likelihood_ratio(np.array([3.0, 9.0]), values, *masks(2, 2, pairs=2))
    assert found == pytest.approx([2.0, 81 / 2 - 1 / 2])


def test_with_many_shadows_a_pair_has_its_own():
    """Inside 5 ± 1, variance 16/15; outside 0 ± 2, variance 64/15; the second pair is there to be shared with."""
    assert ENOUGH == 16
    first = np.concatenate([np.tile([4.0, 6.0], 8), np.tile([-2.0, 2.0], 8)])
    values = np.stack([first, np.arange(32.0) ** 2], axis=1)
    found = likelihood_ratio(np.array([5.0, 0.0]), values, *masks(16, 16, pairs=2))
    assert found[0] == pytest.approx(log(2) + 25 / (2 * 64 / 15))


def test_a_pair_that_no_shadow_learned_has_no_ratio():
    values = np.ones((3, 1))
    assert isnan(likelihood_ratio(np.ones(1), values, *masks(0, 3))[0])
    assert isnan(likelihood_ratio(np.ones(1), values, *masks(3, 0))[0])
    assert isnan(relative_ratio(np.ones(1), values, *masks(3, 0))[0])


def test_offline_is_a_standard_score():
    values = np.array([[100.0], [0.0], [2.0]])
    assert outlyingness(np.array([3.0]), values, masks(1, 2)[1]) == pytest.approx([sqrt(2)])


def test_relative_ratio():
    """p is .8 here, .6 inside and .2 outside: twice its mean."""
    values = np.log([[0.6], [0.2]])
    assert relative_ratio(np.log([0.8]), values, *masks(1, 1)) == pytest.approx([log(2)])


def test_auc_counts_ties_half():
    assert power(np.array([3.0, 2.0, 1.0]), np.array([2.0, 0.0]))["auc"] == pytest.approx(4.5 / 6)
    assert power(np.ones(5), np.ones(3))["auc"] == 0.5


def test_true_positives_at_few_false_ones():
    """Of 0 ... 99 one may be accused: thresholds are 98, and 1 from below; with five, 94 and 5."""
    found = power(np.array([98.5, 96.0, 50.0, -1.0]), np.arange(100.0))
    assert found["tpr@1%"] == 0.25
    assert found["tpr@5%"] == 0.5
    assert found["flipped@1%"] == found["flipped@5%"] == 0.25


def test_ties_are_not_counted_as_found():
    found = power(np.ones(4), np.ones(200))
    assert found["tpr@1%"] == found["tpr@5%"] == found["flipped@5%"] == 0


def test_nobody_on_a_side_is_no_number():
    found = power(np.array([np.nan]), np.ones(3))
    assert len(found) == 5
    assert all(map(isnan, found.values()))
