from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests import tiny
from tru.data.forget import ForgetSet, cut, simulate
from tru.data.interactions import TRAIN as TRAIN_ROWS
from tru.data.params import ForgetParams, SyntheticParams
from tru.data.prepare import prepare
from tru.data.synthetic import generate
from tru.errors import UnlearningError
from tru.evaluation.audits import Stage, evaluate
from tru.models.graph import Inputs
from tru.models.params import ModelParams, TrainParams
from tru.testing import UnlearnerContract
from tru.training import fit, refit
from tru.unlearning.base import make
from tru.unlearning.change import Change
from tru.unlearning.closed_form.attribution import Basis
from tru.unlearning.closed_form.calibration import LEAST, MOST, calibrate
from tru.unlearning.closed_form.deletion import Deletion, second_hand
from tru.unlearning.closed_form.method import Tru
from tru.unlearning.params import Strength, UnlearnParams

TRAIN = TrainParams(epochs=15, min_epochs=15, patience=15, batch=256, learning_rate=1e-2, canaries=150)
STRUCTURE = UnlearnParams(
    neutral_rows=False, attribution=False, branches=False, fusion_gate=False, isolation=True, strength=1.0
)
"""The cut alone: nothing is reversed."""


class TestTru(UnlearnerContract):
    def make(self):
        return make(UnlearnParams(method="tru"), tiny.TRAIN)


@cache
def dataset():
    """200 users, 120 items: about as little as lets a model learn something that can be forgotten."""
    return generate(SyntheticParams(users=200, items=120))


@cache
def trained():
    model = fit(dataset(), ModelParams(width=32), TRAIN)
    return model.with_facts(gamma=calibrate(model, UnlearnParams()).model_dump(mode="json"))


@pytest.fixture(scope="module")
def model():
    return trained()


def without(forget):
    return prepare(cut(dataset(), forget), trained().recipe.canary_rate)


def simulated(regime, seed=8):
    share = 0.1 if regime in ("interaction", "modality") else 0.05
    return simulate(dataset(), ForgetParams(regime=regime, seed=seed, fraction=share))


@cache
def measured(regime):
    """Metrics of the keyed retrain, of the cut alone, and of TRU."""
    model, retained = trained(), without(simulated(regime))
    stage = Stage.of(model.data, retained)
    models = (
        refit(retained, model, TRAIN),
        Tru(STRUCTURE).unlearn(model, retained),
        Tru(UnlearnParams()).unlearn(model, retained),
    )
    return [evaluate(each, stage) for each in models]


class TestFidelity:
    """The target is a model retrained with the same dice, not a score of zero."""

    @pytest.mark.parametrize("metric", ["forget/recall@20", "membership_auc"])
    def test_forgotten_pairs_end_where_retraining_leaves_them(self, metric):
        retrained, structure, tru = (m[metric] for m in measured("interaction"))
        assert structure - retrained > 0.04  # the cut alone remembers
        assert abs(tru - retrained) < 0.4 * abs(structure - retrained)
        assert abs(tru - retrained) < 0.03

    @pytest.mark.parametrize("metric", ["forget/recall@20", "membership_auc"])
    def test_deleted_users_end_nearer_to_retraining(self, metric):
        retrained, structure, tru = (m[metric] for m in measured("user"))
        assert abs(tru - retrained) < abs(structure - retrained)

    def test_deleted_items_end_no_further_away(self):
        retrained, structure, tru = (m["membership_auc"] for m in measured("item"))
        assert abs(tru - retrained) < abs(structure - retrained) + 0.02

    @pytest.mark.parametrize("regime", ["interaction", "user", "item", "modality"])
    def test_those_who_stay_are_served_as_well(self, regime):
        retrained, _, tru = (m["test/ndcg@20"] for m in measured(regime))
        assert tru > 0.94 * retrained


class TestRegimes:
    @pytest.mark.parametrize("regime", ["user", "item", "interaction", "modality"])
    def test_the_result_stands_on_what_stays(self, model, regime):
        forget = simulated(regime)
        retained = without(forget)
        found = Tru(UnlearnParams()).unlearn(model, retained)
        assert found.data is retained
        assert not forget.users & set(found.data.users.tolist())
        assert not forget.items & set(found.data.items.tolist())
        edges = {(found.data.users[u], found.data.items[i]) for u, i in found.data.train}
        assert not forget.pairs & edges
        assert np.isfinite(found.embed().users.numpy()).all()
        assert found.facts["forgotten_edges"] == len(Change.between(model.data, retained).forgotten)

    def test_a_revoked_modality_moves_no_row_and_is_read_no_more(self, model):
        forget = simulated("modality")
        found = Tru(UnlearnParams()).unlearn(model, without(forget))
        assert all(np.array_equal(found.arrays[name], array) for name, array in model.arrays.items())
        assert not found.patch.any()
        for item, modality in forget.modalities:
            at = np.flatnonzero(found.data.items == item)[0]
            assert not found.data.present[modality][at]
            assert not found.data.features[modality][at].any()
        assert not np.allclose(found.embed().items, model.embed().items)

    def test_all_regimes_at_once(self, model):
        parts = [simulated(regime) for regime in ("user", "item", "interaction", "modality")]
        forget = ForgetSet(parts[0].users, parts[1].items, parts[2].pairs, parts[3].modalities)
        retained = without(forget)
        found = evaluate(Tru(UnlearnParams()).unlearn(model, retained), Stage.of(model.data, retained))
        assert all(np.isfinite(value) for value in found.values())

    def test_nothing_forgotten_is_nothing_changed(self, model):
        found = Tru(UnlearnParams(isolation=False)).unlearn(model, model.data)
        assert all(np.array_equal(found.arrays[name], array) for name, array in model.arrays.items())
        assert not found.patch.any()


class TestPatch:
    def test_a_deleted_item_is_moved_away_from_and_not_around(self, model):
        """The same pairs, with the item gone and with all its pairs but one: items like it are left alone only where
        it stays in the catalogue."""
        data, item = model.data, int(np.argmax(model.data.popularity))
        users = data.users[data.edges[data.edges[:, 1] == item, 0]]
        name, last = str(data.items[item]), model.embed().items[item].numpy()
        pairs = frozenset((str(user), name) for user in users[1:])
        towards = []
        for forget in (ForgetSet(items=frozenset([name])), ForgetSet(pairs=pairs)):
            found = Tru(UnlearnParams(strength=1.0)).unlearn(model, without(forget))
            at = np.flatnonzero(np.isin(found.data.users, users[1:]) & found.patch.any(axis=1))
            patch = found.patch[at]
            towards.append(np.mean(patch @ -last / np.linalg.norm(patch, axis=1) / np.linalg.norm(last)))
        assert towards[0] > towards[1] + 0.1 > 0.1


class TestSecondHand:
    """A deleted item's vector was made from the rows of those it resembles, so its users taught these as well."""

    @pytest.fixture
    def gone(self):
        return ForgetSet(items=frozenset(map(str, trained().data.items[[3, 50]])))

    def resembled(self, model):
        """Ids of the items whose rows the two deleted ones were made from."""
        data = model.data
        links = np.concatenate([data.knn[m] for m in data.modalities])
        return set(data.items[links[np.isin(links[:, 0], [3, 50]), 1]].tolist()) - set(data.items[[3, 50]].tolist())

    def moved(self, model, found):
        """Ids of the items whose rows are others than before."""
        before = dict(zip(model.data.items.tolist(), model.arrays["items"], strict=True))
        after = zip(found.data.items.tolist(), found.arrays["items"], strict=True)
        return {item for item, row in after if not np.array_equal(row, before[item])}

    @pytest.mark.parametrize("gate", [True, False])
    def test_the_rows_of_items_that_it_resembles_move_and_no_others(self, model, gone, gate):
        found = make(UnlearnParams(fusion_gate=gate), TRAIN).unlearn(model, without(gone))
        assert self.moved(model, found) == self.resembled(model)

    def test_the_former_users_would_like_those_items_less(self, model, gone):
        found = make(UnlearnParams(), TRAIN).unlearn(model, without(gone))
        data, users = model.data, model.embed().users.numpy()
        former = users[np.unique(data.edges[np.isin(data.edges[:, 1], [3, 50]), 0])].mean(0)
        before = dict(zip(data.items.tolist(), model.arrays["items"], strict=True))
        after = dict(zip(found.data.items.tolist(), found.arrays["items"], strict=True))
        drop = [former @ (after[item] - before[item]) for item in self.resembled(model)]
        assert np.mean(drop) < 0

    def test_they_pulled_towards_their_final_vectors_and_nowhere_else(self, model):
        rare = int(np.argmin(np.where(model.data.popularity > 0, model.data.popularity, np.inf)))
        gone = ForgetSet(items=frozenset([str(model.data.items[rare])]))
        found = make(UnlearnParams(fusion_gate=False), TRAIN).unlearn(model, without(gone))
        before, after = (dict(zip(m.data.items.tolist(), m.arrays["items"], strict=True)) for m in (model, found))
        moved = np.stack([after[item] - before[item] for item in self.moved(model, found)])
        users = np.unique(model.data.edges[model.data.edges[:, 1] == rare, 0])
        basis = Basis.of(model.embed().users).directions[users].numpy()
        assert len(moved) and len(users) < basis.shape[1] // 2  # or anything would lie in their span
        weights = np.linalg.lstsq(basis.T, moved.T, rcond=None)[0]
        assert np.allclose(basis.T @ weights, moved.T, atol=1e-6)

    def test_a_backbone_without_a_graph_of_items_has_nothing_to_take_back(self, gone):
        model = fit(dataset(), ModelParams(name="lightgcn", width=16), TRAIN)
        found = make(UnlearnParams(strength=1.0), TRAIN).unlearn(model, without(gone))
        assert not self.moved(model, found)

    def test_who_was_taught_by_hand(self):
        """Item 0 resembles 1 and 2, item 3 resembles 2; users 5 and 6 have item 0, user 6 has item 3."""
        links, edges = np.array([[0, 1], [0, 2], [3, 2]]), np.array([[5, 0], [6, 3], [6, 0], [7, 1]])
        assert second_hand(links, edges).tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]


class TestEmptied:
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, model):
        """Somebody who stays but whose every train pair is to be forgotten."""
        rows = dataset().interactions
        user = str(rows["user_id"].iloc[0])
        own = rows[(rows["user_id"] == user) & (rows["split"] == TRAIN_ROWS)]
        retained = without(ForgetSet(pairs=frozenset((user, str(item)) for item in own["item_id"])))
        return model, retained, int(np.flatnonzero(retained.users == user)[0])

    def test_a_user_who_lost_every_edge_becomes_the_neutral_row(self, case):
        model, retained, at = case
        found = Tru(UnlearnParams()).unlearn(model, retained)
        neutral = model.recipe.user_rows(retained.users[[at]], model.params.width, "neutral user")
        assert np.array_equal(found.arrays["users"][[at]], neutral)
        assert not found.patch[at].any()
        # nobody who knows the training's dice finds the neutral row among those it began with
        assert not np.allclose(neutral, model.recipe.user_rows(retained.users[[at]], model.params.width))

    def test_an_earlier_patch_goes_too(self, case):
        model, retained, at = case
        patched = replace(model, patch=np.ones_like(model.patch))
        found = Tru(UnlearnParams()).unlearn(patched, retained)
        assert not found.patch[at].any()
        assert found.patch[at + 1].any()

    def test_without_neutral_rows_it_keeps_what_it_learned(self, case):
        model, retained, at = case
        found = Tru(UnlearnParams(neutral_rows=False)).unlearn(model, retained)
        before = model.arrays["users"][np.flatnonzero(model.data.users == retained.users[at])]
        assert np.array_equal(found.arrays["users"][[at]], before)

    def test_an_item_that_nobody_has_any_more_becomes_neutral_too(self, model):
        rows = dataset().interactions
        item = str(rows["item_id"].value_counts().index[-1])
        own = rows[(rows["item_id"] == item) & (rows["split"] == TRAIN_ROWS)]
        forget = ForgetSet(pairs=frozenset((str(user), item) for user in own["user_id"]))
        retained = without(forget)
        found = Tru(UnlearnParams()).unlearn(model, retained)
        at = np.flatnonzero(retained.items == item)
        neutral = model.recipe.item_rows(retained.items[at], model.params.width, "neutral item")
        assert len(forget.pairs) > 0
        assert np.array_equal(found.arrays["items"][at], neutral)


class TestSwitches:
    @pytest.fixture(scope="class")
    @classmethod
    def retained(cls):
        """Without some pairs, and without every edge of one user, so that each intervention has something to do."""
        rows = dataset().interactions
        user = str(rows["user_id"].iloc[0])
        own = rows[(rows["user_id"] == user) & (rows["split"] == TRAIN_ROWS)]
        return without(ForgetSet(pairs=simulated("interaction").pairs | {(user, str(item)) for item in own["item_id"]}))

    @pytest.fixture(scope="class")
    @classmethod
    def full(cls, model, retained):
        return Tru(UnlearnParams(strength=1.0)).unlearn(model, retained)

    @pytest.mark.parametrize(
        "setting",
        [
            {"neutral_rows": False},
            {"attribution": False},
            {"branches": False},
            {"fusion_gate": False},
            {"isolation": False},
            {"strength": 1.5},
            {"ridge": 1.0},
        ],
        ids=lambda setting: next(iter(setting)),
    )
    def test_each_changes_the_result(self, model, retained, full, setting):
        found = Tru(UnlearnParams(**{"strength": 1.0, **setting})).unlearn(model, retained)
        assert np.abs(found.embed().users.numpy() - full.embed().users.numpy()).max() > 1e-4

    def test_it_is_the_same_every_time(self, model, retained, full):
        again = Tru(UnlearnParams(strength=1.0)).unlearn(model, retained)
        assert all(np.array_equal(again.arrays[name], array) for name, array in full.arrays.items())
        assert np.array_equal(again.patch, full.patch)

    def test_all_off_is_the_cut_alone(self, model, retained):
        found = Tru(STRUCTURE).unlearn(model, retained)
        assert all(np.array_equal(found.arrays[name], array) for name, array in model.arrays.items())
        assert not found.patch.any()

    def test_without_the_gate_the_user_rows_themselves_are_reversed(self, model, retained, full):
        found = Tru(UnlearnParams(strength=1.0, fusion_gate=False)).unlearn(model, retained)
        assert not found.patch.any()
        assert full.patch.any()
        assert np.abs(found.arrays["users"] - full.arrays["users"]).max() > 1e-3


class TestStrength:
    @pytest.fixture(scope="class")
    @classmethod
    def retained(cls):
        return without(simulated("interaction"))

    def test_a_number_is_used_as_it_is(self, model, retained):
        """What is above one counts in full where eight edges stay, and half of them."""
        single, double = (Tru(UnlearnParams(strength=s)).unlearn(model, retained) for s in (0.9, 1.8))
        assert single.facts["gamma"] == {"users": 0.9, "items": 0.9, "gone": []}
        assert double.facts["gamma"] == {"users": 1.8, "items": 1.8, "gone": []}
        change = Change.between(model.data, retained)
        deletion = Deletion(UnlearnParams(), model, retained, change, Inputs.of(model.data), model.embed())
        share = np.zeros_like(single.arrays["items"])
        share[deletion.touched] = deletion.item_shares[0]
        before, after = model.data.popularity[change.items], retained.popularity
        counts = np.minimum(1, after / np.maximum(before / 2, 8))[:, None]
        touched = np.abs(share).max(axis=1) > 0
        assert {False, True} <= set((counts[touched] < 1).ravel().tolist())
        step = single.arrays["items"] - double.arrays["items"]
        assert np.allclose(step, (1.8 - 0.9) * counts * share, atol=1e-5)

    def test_the_strength_found_after_training_is_used(self, model, retained):
        assert Tru(UnlearnParams()).unlearn(model, retained).facts["gamma"] == model.facts["gamma"]
        found = Strength(users=1.2, items=1.9, gone=(3.0, 2.0))
        assert Tru(UnlearnParams()).strength(model.with_facts(gamma=found.model_dump(mode="json"))) == found
        assert Tru(UnlearnParams(strength=0.5)).strength(model) == Strength(users=0.5, items=0.5)
        assert Tru(UnlearnParams(strength=found)).strength(model) == found

    def test_users_and_items_have_a_strength_of_their_own(self, model, retained):
        base, users, items = (
            Tru(UnlearnParams(strength=Strength(users=u, items=i))).unlearn(model, retained)
            for u, i in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0))
        )
        assert np.array_equal(base.arrays["items"], users.arrays["items"])
        assert not np.array_equal(base.patch, users.patch)
        assert not np.array_equal(base.arrays["items"], items.arrays["items"])

    def test_users_who_are_gone_have_one_by_how_many_edges_they_had(self, model):
        retained = without(simulated("user"))
        change = Change.between(model.data, retained)
        edges = np.bincount(change.forgotten[:, 0])
        busiest = int(np.log2(edges.max()))
        plain = Strength(users=1.0, items=1.0)

        def rows(*gone):
            return Tru(UnlearnParams(strength=plain.model_copy(update={"gone": gone}))).unlearn(model, retained)

        base, same, last = rows(), rows(1.0), rows(*[1.0] * busiest, 2.0)
        assert np.array_equal(base.arrays["items"], same.arrays["items"])
        moved = np.flatnonzero((base.arrays["items"] != last.arrays["items"]).any(axis=1))
        of_busy = np.unique(change.forgotten[edges[change.forgotten[:, 0]] >= 2**busiest, 1])
        assert len(moved) and set(moved) <= set(np.flatnonzero(np.isin(change.items, of_busy)))
        assert np.array_equal(base.patch, last.patch)  # nobody who stays had an edge of theirs

    @pytest.fixture(scope="class")
    @classmethod
    def left_by_all_but_one(cls, model):
        """An item that all users leave but one: how many, their share, and its row's moves at strengths 1 and 4."""
        data = model.data
        item = int(np.argmax(data.popularity))
        users = np.unique(data.edges[data.edges[:, 1] == item, 0])
        retained = without(ForgetSet(users=frozenset(map(str, data.users[users[1:]]))))
        change = Change.between(data, retained)
        params = UnlearnParams(fusion_gate=False)
        deletion = Deletion(params, model, retained, change, Inputs.of(data), model.embed())
        at = retained.items.tolist().index(data.items[item])
        strengths = [Strength(users=1.0, items=1.0, gone=(gone,)) for gone in (1.0, 4.0)]
        moved = [deletion.apply(each).arrays["items"][at] - model.arrays["items"][item] for each in strengths]
        share = deletion.item_shares[:, deletion.touched == at].sum((0, 1))
        return len(users), share.numpy(), *moved

    def test_where_hardly_anybody_of_an_item_stays_the_strength_nears_one(self, left_by_all_but_one):
        """With 1 of n left, a strength of 4 counts as 1 + 3 * 2 / n there."""
        n, share, once, more = left_by_all_but_one
        assert np.abs(share).max() > 1e-3
        assert np.allclose(once - more, 3 * 2 / n * share, rtol=1e-4, atol=1e-6)

    def test_where_hardly_anybody_of_an_item_stays_everybody_likes_it_less(self, model, left_by_all_but_one):
        """Beside the share, what the item gained with all users goes as they go: it lies along their means."""
        _, share, once, _ = left_by_all_but_one
        common, found = once + share, model.embed()
        started = model.recipe.user_rows(model.data.users, model.params.width)
        means = np.stack([x.mean(0) for x in (found.users.numpy(), found.branches["side"][0].numpy(), started)])
        weights = np.linalg.lstsq(means.T, common, rcond=None)[0]
        assert np.linalg.norm(common) > 1e-3
        assert np.allclose(means.T @ weights, common, atol=1e-5)
        assert means[0] @ common < 0

    def test_strengths_beyond_the_last_class_are_the_last(self):
        found = Strength(users=1.0, items=1.5, gone=(3.0, 2.0))
        assert found.of_gone(4) == [3.0, 2.0, 2.0, 2.0]
        assert Strength(users=1.0, items=1.5).of_gone(2) == [1.5, 1.5]
        assert found.times(2).gone == (6.0, 4.0)

    def test_a_model_without_one_is_calibrated_now(self, model):
        facts = {name: fact for name, fact in model.facts.items() if name != "gamma"}
        for old in (facts, {**facts, "gamma": 1.5}):  # the second one is of a version with one strength
            assert (
                Tru(UnlearnParams()).strength(replace(model, facts=old)).model_dump(mode="json") == model.facts["gamma"]
            )

    def test_calibration_is_the_same_every_time(self, model):
        found = calibrate(model, UnlearnParams())
        assert found.model_dump(mode="json") == model.facts["gamma"]
        assert all(LEAST < value < MOST for value in (found.users, found.items))
        assert all(LEAST <= value <= MOST for value in found.gone)
        assert len(found.gone) > 2

    def test_no_canary_is_no_calibration(self, model, retained):
        data = model.data
        bare = replace(model, facts={}, data=replace(data, canary=np.zeros_like(data.canary)))
        with pytest.raises(UnlearningError, match=r"no canary.*Set unlearn\.strength to a number.*train\.canaries"):
            Tru(UnlearnParams()).unlearn(bare, retained)
        assert Tru(UnlearnParams(strength=1.25)).strength(bare) == Strength(users=1.25, items=1.25)


class TestSuccession:
    """Night after night equals all at once, nearly."""

    @pytest.fixture(scope="class")
    @classmethod
    def nights(cls, model):
        pairs = sorted(simulated("interaction").pairs)
        first, both = (without(ForgetSet(pairs=frozenset(p))) for p in (pairs[::2], pairs))
        tru = Tru(UnlearnParams())
        one = tru.unlearn(model, first)
        return first, both, one, tru.unlearn(one, both), tru.unlearn(model, both)

    def test_two_batches_forget_as_one_of_the_same_pairs(self, model, nights):
        _, both, _, second, at_once = nights
        stage = Stage.of(model.data, both)
        found, expected = evaluate(second, stage), evaluate(at_once, stage)
        structure = measured("interaction")[1]
        assert found["membership_auc"] == pytest.approx(expected["membership_auc"], abs=0.02)
        assert found["forget/recall@20"] == pytest.approx(expected["forget/recall@20"], abs=0.05)
        assert found["test/ndcg@20"] > 0.95 * expected["test/ndcg@20"]
        assert found["forget/recall@20"] < structure["forget/recall@20"]

    def test_forgotten_edges_add_up(self, nights):
        *_, one, second, at_once = nights
        assert one.facts["forgotten_edges"] < second.facts["forgotten_edges"] == at_once.facts["forgotten_edges"]

    def test_the_patch_of_the_first_night_is_kept(self, nights):
        first, both, one, second, _ = nights
        only_first = np.setdiff1d(np.flatnonzero(one.patch.any(axis=1)), Change.between(first, both).forgotten[:, 0])
        assert len(only_first) > 3
        assert (first.users == both.users).all()
        assert np.array_equal(second.patch[only_first], one.patch[only_first])

    def test_a_deleted_user_cannot_be_forgotten_twice(self, nights):
        first, _, _, second, _ = nights
        with pytest.raises(UnlearningError, match="only takes away"):
            Tru(UnlearnParams()).unlearn(second, first)
