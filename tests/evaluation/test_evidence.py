from dataclasses import replace

import numpy as np
import pytest

from tests import tiny
from tru.data.forget import ForgetSet
from tru.errors import DataError
from tru.evaluation.audits import Stage, forget_recall, membership_auc, vectors
from tru.evaluation.evidence import Evidence, groups, observe, own_reference, profile, retrained_reference
from tru.unlearning.base import make
from tru.unlearning.params import UnlearnParams


@pytest.fixture(scope="module")
def model():
    return tiny.trained()


@pytest.fixture(scope="module")
def retained(model):
    """Without three users, two items and some pairs."""
    users, items = tiny.dataset().users, tiny.dataset().items
    return tiny.without(
        ForgetSet(
            users=frozenset(map(str, users[[1, 40, 77]])),
            items=frozenset(map(str, items[[4, 33]])),
            pairs=frozenset(tiny.train_pairs()[::10]),
        )
    )


@pytest.fixture(scope="module")
def stage(model, retained):
    return Stage.of(model.data, retained)


@pytest.fixture(scope="module")
def candidate(model, retained):
    return make(UnlearnParams(), tiny.TRAIN).unlearn(model, retained)


class TestGroups:
    BEFORE = tiny.by_hand("abcd", "wxyz", "aw ax bw by cx cz dy dz")

    def test_pairs_are_sorted_by_what_made_them_go(self):
        after = tiny.by_hand("bcd", "wxz", "bw cx dz")  # a and y are gone, and of c one pair
        found = groups(Stage.of(self.BEFORE, after))
        assert {name: len(group.at) for name, group in found.items()} == {"users": 2, "items": 2, "interactions": 1}
        assert {name: group.size for name, group in found.items()} == {"users": 1, "items": 1, "interactions": 1}

    def test_single_pairs_count_by_the_scarcer_side(self):
        after = tiny.by_hand("abcd", "wxyz", "ax by cx dy")  # aw bw cz dz: four users, two items
        found = groups(Stage.of(self.BEFORE, after))["interactions"]
        assert (len(found.at), found.size) == (4, 2)

    def test_shares_weigh_subjects_alike(self):
        after = tiny.by_hand("bcd", "wxyz", "by cx cz dy dz")  # a lost two pairs, b one
        stage = Stage.of(self.BEFORE, after)
        assert groups(stage)["users"].shares.tolist() == [0.5, 0.5]
        assert groups(stage)["interactions"].shares.tolist() == [1.0]


class TestObserve:
    def test_it_agrees_with_the_audits(self, candidate, stage):
        found, scores = observe(candidate, stage), vectors(candidate, stage)
        assert np.nanmean(found.wins) == pytest.approx(membership_auc(scores, stage, stage.forgotten))
        users, counts = np.unique(stage.forgotten[:, 0], return_inverse=True)
        by_user = np.bincount(counts, found.hits) / np.bincount(counts)
        assert by_user.mean() == pytest.approx(forget_recall(scores, stage), abs=0.02)  # canaries are not masked here
        assert len(users) == len(by_user)
        assert found.ndcg.mean() == pytest.approx(found.metrics["test/ndcg@20"])
        assert found.users.tolist() == sorted(found.users.tolist())

    def test_ranks_are_best_where_pairs_are_remembered(self, model, candidate, stage):
        original, unlearned = observe(model, stage), observe(candidate, stage)
        assert original.ranks.mean() > unlearned.ranks.mean()
        assert ((original.ranks >= 0) & (original.ranks <= 1)).all()
        assert (original.ranks[original.hits == 1] > 1 - 20 / (len(stage.before.items) - 60)).all()

    def test_it_lies_on_disk_without_pickles(self, candidate, stage, tmp_path):
        found = observe(candidate, stage)
        found.save(tmp_path / "deep" / "one.npz")
        again = Evidence.load(tmp_path / "deep" / "one.npz")
        assert again.metrics == found.metrics
        assert all(
            np.array_equal(getattr(again, n), getattr(found, n), equal_nan=n != "users")
            for n in ("users", "ndcg", "wins", "hits", "ranks")
        )
        with pytest.raises(DataError, match="evaluate"):
            Evidence.load(tmp_path / "none.npz")


class TestReferences:
    def test_retrained_models_are_averaged_pair_by_pair(self, candidate, model, stage):
        both = [observe(model, stage), observe(candidate, stage)]
        found = retrained_reference(both)
        assert found.wins == pytest.approx((both[0].wins + both[1].wins) / 2, nan_ok=True)
        assert found.hits_error == found.wins_error == {}

    def test_somebody_gone_is_compared_with_fresh_rows(self, candidate, stage):
        found = groups(stage)
        reference = own_reference(candidate, stage, found)
        gone = found["users"].at
        # A fresh row knows nothing: about half of the items of the same popularity are outscored.
        assert np.nanmean(reference.wins[gone]) == pytest.approx(0.5, abs=0.15)
        assert "users" not in reference.wins_error

    def test_single_pairs_are_compared_with_canaries(self, candidate, stage):
        found = groups(stage)
        reference = own_reference(candidate, stage, found)
        at = found["interactions"].at
        assert np.isfinite(reference.wins[at]).all()
        assert 0 < reference.wins_error["interactions"] < 0.5
        canary = membership_auc(vectors(candidate, stage), stage, stage.canary)
        assert reference.wins[at].mean() == pytest.approx(canary, abs=0.2)

    def test_the_original_stands_out_against_them(self, model, stage):
        found = groups(stage)
        reference, seen = own_reference(model, stage, found), observe(model, stage)
        at = found["interactions"].at
        assert seen.wins[at].mean() - reference.wins[at].mean() > 0.04

    def test_without_canaries_there_is_nothing_to_compare_single_pairs_with(self, candidate, stage):
        bare = replace(stage, canary=stage.canary[:0])
        found = groups(stage)
        reference = own_reference(candidate, bare, found)
        assert np.isnan(reference.hits[found["interactions"].at]).any()
        assert np.isfinite(reference.hits[found["users"].at]).all()

    def test_who_stays_without_an_edge_is_compared_with_fresh_rows(self, model):
        users = tiny.dataset().users[:20]
        emptied = frozenset(pair for pair in tiny.train_pairs() if pair[0] in set(map(str, users)))
        after = tiny.without(ForgetSet(pairs=emptied))
        stage = Stage.of(model.data, after)
        candidate = make(UnlearnParams(), tiny.TRAIN).unlearn(model, after)
        at = groups(stage)["interactions"].at
        reference, seen = own_reference(candidate, stage, groups(stage)), observe(candidate, stage)
        assert np.nanmean(reference.wins[at]) == pytest.approx(np.nanmean(seen.wins[at]), abs=0.15)
        assert np.nanmean(reference.wins[at]) < 0.7  # a canary of a user with edges wins nine times out of ten here


def test_a_profile_is_a_histogram_of_shares():
    found = profile(np.array([0.01, 0.99, 0.98, 1.0]))
    assert (len(found), found[0], found[-1], sum(found)) == (20, 0.25, 0.75, 1.0)
    assert profile(np.zeros(0)) == [0.0] * 20
