from dataclasses import replace
from math import isnan, sqrt

import numpy as np
import pytest
import torch

from tests import tiny
from tests.tiny import without_some_edges
from tru.data.forget import ForgetSet
from tru.evaluation.audits import (
    Scores,
    Stage,
    evaluate,
    forget_recall,
    ks_distance,
    last_vector_auc,
    listed_strangers,
    membership_auc,
    never_seen,
    vectors,
    z_scores,
)
from tru.unlearning.base import make
from tru.unlearning.params import UnlearnParams

LETTERS = "abcdefghijklmnopqrstuvwxy"  # 25 items


def column(*values):
    """(n, 1) vectors: with a user at 1, an item's score is its number."""
    return torch.tensor(values, dtype=torch.float32)[:, None]


@pytest.fixture(scope="module")
def model():
    return tiny.trained()


@pytest.fixture(scope="module")
def retained(model):
    """Without three users, two items, some pairs and a picture."""
    users, items = tiny.dataset().users, tiny.dataset().items
    return tiny.without(
        ForgetSet(
            users=frozenset(map(str, users[[1, 40, 77]])),
            items=frozenset(map(str, items[[4, 33]])),
            pairs=frozenset(tiny.train_pairs()[::30]),
            modalities=frozenset({(str(items[9]), "image")}),
        )
    )


@pytest.fixture(scope="module")
def stage(model, retained):
    return Stage.of(model.data, retained)


@pytest.fixture(scope="module")
def candidate(model, retained):
    return make(UnlearnParams(), tiny.TRAIN).unlearn(model, retained)


class TestStage:
    def test_pairs_are_compared_by_id(self):
        before = tiny.by_hand("123", "abcd", "1a 1b 2a 3c 3d", canaries="1c 2d")
        after = tiny.by_hand("13", "dcb", "1b 3d", canaries="1c")  # 2 and a are gone, and the pair 3c
        found = Stage.of(before, after)
        assert found.forgotten.tolist() == [[0, 0], [1, 0], [2, 2]]
        assert found.canary.tolist() == [[0, 2]]  # the canary of user 2 went with it and is no forgotten pair

    def test_equal_data_has_nothing_forgotten(self, model):
        found = Stage.of(model.data, model.data)
        assert found.forgotten.shape == (0, 2)
        assert len(found.canary) == model.data.canary.sum()


class TestForgetRecall:
    """Users want items from a to y. User 1 has a, b and v, user 2 c and y; v, b and c, y are the forgotten ones."""

    BEFORE = tiny.by_hand("12", LETTERS, "1a 1b 1v 2c 2y 2a")
    SCORES = Scores(column(1, 1), column(*range(25, 0, -1)))

    def test_it_is_the_one_computed_by_hand(self):
        stage = Stage.of(self.BEFORE, tiny.by_hand("12", LETTERS, "1a 2a"))
        # a is masked, so the lists are b to u; v (22nd) is outside and y (25th) too.
        assert forget_recall(self.SCORES, stage) == pytest.approx((1 / 2 + 1 / 2) / 2)

    def test_forgotten_pairs_are_not_masked_and_retained_ones_are(self):
        stage = Stage.of(self.BEFORE, tiny.by_hand("12", LETTERS, "1a 1b 2a 2c"))
        # of 25 items v is the 22nd; with a and b masked it is the 20th. y, 23rd without a and c, is outside.
        assert forget_recall(self.SCORES, stage) == pytest.approx((1 + 0) / 2)

    def test_no_forgotten_pairs_give_no_number(self):
        assert isnan(forget_recall(self.SCORES, Stage.of(self.BEFORE, self.BEFORE)))


class TestMembership:
    """a and b, c and d are equally popular; of each two, each user has had one, so the other is what is compared."""

    DATA = tiny.by_hand("12345", "abcd", "1a 2b 3c 4d 1c 2d 3a 4b 5a 5c")
    PAIRS = np.array([[0, 0], [1, 1], [2, 2], [3, 3]])

    def auc(self, *items, pairs=PAIRS):
        stage = Stage(self.DATA, self.DATA, pairs, pairs[:0])
        return membership_auc(Scores(column(1, 1, 1, 1, 1), column(*items)), stage, pairs)

    def test_popularity_is_that_of_the_edges_in_powers_of_two(self):
        assert self.DATA.popularity.tolist() == [3, 2, 3, 2]

    def test_it_is_the_one_computed_by_hand(self):
        # unseen: b and d for users 1 and 3, a and c for 2 and 4. With a > b = c > d:
        # 1a beats both, 2b ties with c and loses to a, 3c ties with b and beats d, 4d loses to both.
        drawn, valid = never_seen(self.DATA, self.PAIRS, self.DATA.popularity)
        share_of_c = (drawn[1] == 2)[valid[1]].mean()
        share_of_d = (drawn[2] == 3)[valid[2]].mean()
        expected = (1 + 0.5 * share_of_c + (share_of_d + 0.5 * (1 - share_of_d)) + 0) / 4
        assert self.auc(3, 2, 2, 1) == pytest.approx(expected)

    def test_the_ends_and_the_middle(self):
        assert self.auc(9, 1, 9, 1, pairs=self.PAIRS[[0, 2]]) == 1
        assert self.auc(1, 9, 1, 9, pairs=self.PAIRS[[0, 2]]) == 0
        assert self.auc(5, 5, 5, 5) == 0.5
        assert isnan(self.auc(1, 2, 3, 4, pairs=self.PAIRS[:0]))

    def test_a_pair_with_nothing_to_compare_is_left_out(self):
        data = tiny.by_hand("12", "abc", "1a 1b 1c 2a")  # 1 has everything
        pairs = np.array([[0, 1], [1, 0]])
        scores = Scores(column(1, 1), column(3, 2, 1))
        stage = Stage(data, data, pairs, pairs[:0])
        assert isnan(membership_auc(scores, stage, pairs[:1]))
        assert isnan(membership_auc(scores, stage, pairs[1:]))  # nobody is as popular as a

    def test_last_vectors_are_those_of_whoever_has_no_edge_left(self):
        """1 is gone, 2 stays without edges, 3 has c left. Whoever has -1 likes backwards."""
        after = tiny.by_hand("2345", "abcd", "3c 4d 5a 5c")
        stage = Stage(self.DATA, after, np.array([[0, 0], [1, 1], [2, 0]]), self.PAIRS[:0])
        items = column(4, 2, 3, 1)
        now, then = Scores(column(1, 1, 1, 1, 1), items), Scores(column(-1, 1, -1, -1, -1), items)
        # Last, 1 liked a less than b or d (0 of the unseen), 2 liked b less than a and c (0). 3 is not asked.
        assert last_vector_auc(now, stage, then) == 0
        assert last_vector_auc(then, stage, now) == 0.5  # 1: all of the unseen below a; 2: none below b
        assert isnan(last_vector_auc(now, replace(stage, forgotten=stage.forgotten[2:]), then))
        wide = Scores(now.users.repeat(1, 2), now.items.repeat(1, 2))
        assert isnan(last_vector_auc(wide, stage, then))  # a copy does not fit an ensemble's vectors

    def test_never_seen_items_are_as_popular_and_never_seen(self):
        data = tiny.prepared()
        pairs, bucket = data.train[::7], np.ceil(np.log2(data.popularity + 1))
        drawn, valid = never_seen(data, pairs, data.popularity)
        assert drawn.shape == valid.shape == (len(pairs), 20)
        assert (bucket[drawn] == bucket[pairs[:, 1]][:, None]).all()
        had = {tuple(row) for row in np.concatenate([data.train, data.val, data.test]).tolist()}
        for (user, _), items, usable in zip(pairs.tolist(), drawn.tolist(), valid, strict=True):
            assert [(user, item) not in had for item in items] == usable.tolist()

    def test_a_pair_s_draws_are_its_own(self):
        data = tiny.prepared()
        pairs = data.train[::7]
        drawn, _ = never_seen(data, pairs, data.popularity)
        again, _ = never_seen(data, pairs[::-1], data.popularity)
        assert (again[::-1] == drawn).all()


class TestDistributions:
    def test_z_scores_are_those_computed_by_hand(self):
        scores = Scores(column(1, -2), column(0, 1, 2, 3, 4))
        found = z_scores(scores, np.array([[0, 4], [0, 2], [1, 4]]))
        assert found == pytest.approx([2 / sqrt(2.5), 0, -2 / sqrt(2.5)], abs=1e-6)

    def test_a_user_who_likes_all_the_same_has_z_scores_of_zero(self):
        assert z_scores(Scores(column(1), column(3, 3, 3)), np.array([[0, 1]])) == pytest.approx([0])

    def test_many_pairs_are_scored_as_few_are(self):
        generator = torch.Generator().manual_seed(0)
        scores = Scores(torch.randn(50, 4, generator=generator), torch.randn(60, 4, generator=generator))
        pairs = np.stack([np.arange(3000) % 50, np.arange(3000) % 60], axis=1)
        assert z_scores(scores, pairs)[2500:] == pytest.approx(z_scores(scores, pairs[2500:]), abs=1e-5)

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ([0, 1, 2, 3], [2, 3, 4, 5], 1 / 2),
            ([1, 2, 3], [3, 2, 1], 0),
            ([1, 2], [3, 4, 5], 1),
            ([0, 0, 1], [0, 1, 1], 1 / 3),
            ([5], [1, 2, 9, 9], 1 / 2),
        ],
    )
    def test_ks_is_the_one_computed_by_hand(self, a, b, expected):
        assert ks_distance(np.array(a), np.array(b)) == pytest.approx(expected)
        assert ks_distance(np.array(b), np.array(a)) == pytest.approx(expected)

    def test_ks_of_nothing_is_no_number(self):
        assert isnan(ks_distance(np.zeros(0), np.ones(3)))
        assert isnan(ks_distance(np.ones(3), np.zeros(0)))


class TestVectors:
    def test_a_model_that_lost_nobody_is_scored_as_it_serves(self, model, stage):
        found, served = vectors(model, stage), model.embed()
        torch.testing.assert_close(found.users, served.users)
        torch.testing.assert_close(found.items, served.items)

    def test_phantoms_do_not_disturb_those_who_stay(self, candidate, stage):
        found, served = vectors(candidate, stage), candidate.embed()
        users, items = (np.isin(getattr(stage.before, s), getattr(stage.after, s)) for s in ("users", "items"))
        torch.testing.assert_close(found.users[users], served.users, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.items[items], served.items, rtol=1e-4, atol=1e-6)
        assert np.abs(candidate.patch).sum() > 0  # the patch is part of what is judged

    def test_a_deleted_user_is_its_initial_row_without_edges(self, candidate, stage):
        gone = ~np.isin(stage.before.users, stage.after.users)
        rows = candidate.recipe.user_rows(stage.before.users[gone], candidate.params.width)
        expected = torch.from_numpy(rows) / (candidate.params.layers + 1)
        assert len(rows) == 3
        torch.testing.assert_close(vectors(candidate, stage).users[gone], expected)

    def test_a_deleted_item_keeps_its_features(self, candidate, stage):
        gone = ~np.isin(stage.before.items, stage.after.items)
        rows = candidate.recipe.item_rows(stage.before.items[gone], candidate.params.width)
        found = vectors(candidate, stage).items[gone]
        plain = torch.from_numpy(rows) / (candidate.params.layers + 1)
        assert (found - plain).norm(dim=1).min() > 0.01  # the modality side adds to it


class TestEvaluate:
    def test_every_model_gets_the_same_names(self, model, candidate, stage):
        original, found = evaluate(model, stage), evaluate(candidate, stage)
        assert list(original) == list(found)
        assert set(found) == {
            *(f"test/{m}@{k}" for m in ("recall", "ndcg") for k in (10, 20)),
            *("forget/recall@20", "membership_auc", "canary_auc"),
        }
        assert all(0 <= value <= 1 for value in (*original.values(), *found.values()))

    def test_it_sees_what_is_still_remembered(self, model, candidate, stage):
        original, found = evaluate(model, stage), evaluate(candidate, stage)
        for name in ("forget/recall@20", "membership_auc"):
            assert original[name] > found[name] + 0.1

    def test_utility_is_that_of_users_with_edges(self, model):
        user = int(model.data.test[0, 0])
        stay = model.data.train[:, 0] != user
        data = replace(model.data, train=model.data.train[stay], canary=model.data.canary[stay])
        shorter = replace(data, test=data.test[data.test[:, 0] != user])
        same = replace(model, data=data)
        assert evaluate(same, Stage.of(model.data, data)) == evaluate(same, Stage.of(model.data, shorter))

    def test_nothing_forgotten_has_utility_only(self, model):
        found = evaluate(model, Stage.of(model.data, model.data))
        assert isnan(found["forget/recall@20"])
        assert isnan(found["membership_auc"])
        assert found["test/ndcg@20"] > 0
        assert found["canary_auc"] > 0.5


def test_items_that_are_gone_are_found_in_lists(model, candidate, stage):
    gone = np.setdiff1d(stage.before.items, stage.after.items)
    assert listed_strangers(candidate, gone) == 0
    assert listed_strangers(candidate, gone[:0]) == 0
    found = model.embed()
    scores = (found.users @ found.items.T).numpy()
    scores[model.data.train[:, 0], model.data.train[:, 1]] = -np.inf
    lists = np.argsort(-scores, axis=1)[:, :20]
    expected = np.isin(lists, np.flatnonzero(np.isin(model.data.items, gone))).sum()
    assert listed_strangers(model, gone) == expected > 0


def test_canaries_that_go_are_audited_no_more(model):
    data = without_some_edges(model.data, 10)
    fewer = replace(data, train=data.train[~data.canary], canary=data.canary[~data.canary])
    assert len(Stage.of(model.data, fewer).canary) == 0
    assert isnan(evaluate(replace(model, data=fewer), Stage.of(model.data, fewer))["canary_auc"])
