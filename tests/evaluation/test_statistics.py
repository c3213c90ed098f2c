from math import isnan, sqrt

import numpy as np
import pytest

from tru.evaluation.statistics import DRAWS, Moments, bootstrap, bootstrap_bounds, bounds, quantiles


class TestMoments:
    def test_the_mean_of_three_subjects_by_hand(self):
        found = Moments.of(np.array([0.1, 0.3, 0.8]), np.array([0, 1, 2]))
        assert found.subjects == 3
        assert found.mean == pytest.approx(0.4)
        # deviations -.3, -.1, .4: variance .26 / 2 = .13, over 3 subjects
        assert found.error == pytest.approx(sqrt(0.13 / 3))

    def test_pairs_of_one_subject_are_one_piece_of_evidence(self):
        alone = Moments.of(np.array([0.2, 0.6]), np.array([0, 1]))
        repeated = Moments.of(np.array([0.2] * 50 + [0.6] * 50), np.repeat([0, 1], 50))
        assert repeated.subjects == 2
        assert repeated.mean == pytest.approx(alone.mean)
        assert repeated.error == pytest.approx(alone.error)

    def test_weights_make_a_mean_over_users(self):
        values, users = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0, 0, 0, 1])
        found = Moments.of(values, users, np.array([1 / 3, 1 / 3, 1 / 3, 1.0]))
        assert found.mean == pytest.approx((1 / 3 + 1) / 2)

    def test_nights_are_pooled_by_adding(self):
        draw = np.random.default_rng(0)
        values, subjects = draw.normal(size=40), np.repeat(np.arange(10), 4)
        whole = Moments.of(values, subjects)
        parts = Moments.of(values[:16], subjects[:16]) + Moments.of(values[16:], subjects[16:])
        assert parts.subjects == whole.subjects
        assert (parts.mean, parts.error) == (pytest.approx(whole.mean), pytest.approx(whole.error))

    def test_too_little_has_no_error(self):
        assert isnan(Moments().mean)
        assert isnan(Moments().error)
        one = Moments.of(np.array([0.4]), np.array([0]))
        assert one.mean == pytest.approx(0.4)
        assert isnan(one.error)


class TestBounds:
    def test_quantiles_of_many_subjects_are_the_normal_ones(self):
        confidence, sure = quantiles(10**6, tests=5, alpha=0.05, power=0.95)
        assert confidence == pytest.approx(1.6449, abs=1e-3)
        assert sure == pytest.approx(2.3263, abs=1e-3)  # one hundredth: five per cent over five tests

    def test_few_subjects_have_wider_tails(self):
        assert quantiles(3, 5, 0.05, 0.95)[0] == pytest.approx(2.9200, abs=1e-3)  # Student, two degrees of freedom

    def test_interval_and_floor_by_hand(self):
        found = bounds(0.02, 0.01, 10**6, tests=5, alpha=0.05, power=0.95)
        assert found.low == pytest.approx(0.02 - 0.016449, abs=1e-4)
        assert found.high == pytest.approx(0.02 + 0.016449, abs=1e-4)
        assert found.floor == pytest.approx(0.039712, abs=1e-4)

    def test_an_equal_model_passes_all_tests_as_often_as_promised(self):
        draw, passed, rounds = np.random.default_rng(1), 0, 4000
        for _ in range(rounds):
            together = True
            for _ in range(3):  # three two-sided claims: six tests
                error = 0.01
                found = bounds(draw.normal(0, error), error, 10**6, tests=6, alpha=0.05, power=0.95)
                together &= -found.floor <= found.low and found.high <= found.floor
            passed += together
        assert 0.935 < passed / rounds < 0.975

    def test_a_model_off_by_the_margin_passes_no_oftener_than_alpha(self):
        draw, passed, rounds = np.random.default_rng(2), 0, 4000
        margin, error = 0.04, 0.01
        for _ in range(rounds):
            found = bounds(draw.normal(margin, error), error, 10**6, tests=1, alpha=0.05, power=0.95)
            passed += found.high <= margin
        assert 0.035 < passed / rounds < 0.065


class TestBootstrap:
    def test_its_spread_is_the_standard_error(self):
        values = np.random.default_rng(3).normal(size=900)
        means = bootstrap(values)
        assert means.shape == (DRAWS,)
        assert means.mean() == pytest.approx(values.mean(), abs=0.005)
        assert means.std() == pytest.approx(values.std() / 30, rel=0.1)

    def test_the_same_seed_gives_the_same_interval(self):
        values = np.random.default_rng(4).normal(size=50)
        first, again, other = (bootstrap_bounds(values, 3, 0.05, 0.95, seed) for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_equal_models_have_no_width(self):
        found = bootstrap_bounds(np.zeros(20), 3, 0.05, 0.95)
        assert (found.low, found.high, found.floor) == (0.0, 0.0, 0.0)

    def test_the_interval_covers_the_mean(self):
        values = np.random.default_rng(5).exponential(size=400) - 1
        found = bootstrap_bounds(values, 3, 0.05, 0.95)
        assert found.low < values.mean() < found.high
