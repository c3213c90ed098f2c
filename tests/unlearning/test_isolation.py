from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.tiny import without_some_edges
from tru.models.graph import Inputs
from tru.unlearning.change import Change
from tru.unlearning.closed_form.isolation import RATE, STEPS, chosen, sensitivity, uniform_reverse
from tru.unlearning.closed_form.method import Tru
from tru.unlearning.params import UnlearnParams

OFF = UnlearnParams(isolation=False, strength=1.0)


@pytest.fixture(scope="module")
def model():
    return tiny.trained()


@pytest.fixture(scope="module")
def retained(model):
    return without_some_edges(model.data, 40)


@pytest.fixture(scope="module")
def change(model, retained):
    return Change.between(model.data, retained)


@pytest.fixture(scope="module")
def shares(model, change):
    return sensitivity(model, change, Inputs.of(model.data))


@pytest.fixture(scope="module")
def cut(model, retained):
    """The model on the retained graph, nothing else done."""
    return replace(model, data=retained)


def shared(model):
    return {name: array for name, array in model.arrays.items() if name not in ("users", "items")}


class TestSensitivity:
    def test_every_layer_has_its_share_and_the_largest_comes_first(self, model, shares):
        assert set(shares) == {name.rsplit(".", 1)[0] for name in model.arrays}
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert all(share >= 0 for share in shares.values())

    def test_the_rows_hold_most_of_what_only_the_forgotten_pairs_taught(self, shares):
        assert shares["users"] + shares["items"] > 0.6
        assert {"users", "items"} <= set(chosen(shares))

    def test_it_is_the_same_every_time_and_leaves_the_model_alone(self, model, change, shares):
        before = {name: array.copy() for name, array in model.arrays.items()}
        assert sensitivity(model, change, Inputs.of(model.data)) == shares
        assert all(np.array_equal(model.arrays[name], array) for name, array in before.items())


class TestChosen:
    def test_the_smallest_set_with_95_percent(self):
        shares = {"d": 0.02, "a": 0.6, "c": 0.08, "b": 0.3}
        assert chosen(shares) == ["a", "b", "c"]
        assert chosen({"a": 0.95, "b": 0.05}) == ["a"]
        assert chosen({"a": 0.94, "b": 0.06}) == ["a", "b"]

    def test_nothing_measured_is_nothing_chosen(self):
        assert chosen({}) == []


class TestIsolated:
    """With isolation on only rows of touched nodes move."""

    @pytest.fixture(scope="class", params=[True, False], ids=["gate", "rows"])
    @classmethod
    def found(cls, request, model, retained):
        return Tru(UnlearnParams(strength=1.0, fusion_gate=request.param)).unlearn(model, retained)

    def test_no_shared_layer_changes(self, model, found):
        assert len(shared(model)) == 15
        assert all(np.array_equal(found.arrays[name], array) for name, array in shared(model).items())

    def test_rows_of_untouched_nodes_stay_to_the_bit(self, model, change, found):
        for column, side in enumerate(("users", "items")):
            moved = (found.arrays[side] != model.arrays[side]).any(axis=1)
            touched = np.isin(np.arange(len(moved)), change.forgotten[:, column])
            assert not moved[~touched].any()
            assert (~touched).sum() > 10
        assert not found.patch[~np.isin(np.arange(len(found.patch)), change.forgotten[:, 0])].any()

    def test_rows_of_touched_nodes_do_move(self, model, change, found):
        moved = (found.arrays["items"] != model.arrays["items"]).any(axis=1)
        # not all: where the forgotten neighbours explain nothing, their weights are zero
        assert moved[np.unique(change.forgotten[:, 1])].mean() > 0.6

    def test_the_report_is_kept(self, found, shares):
        assert found.facts["isolation"] == {name: round(share, 4) for name, share in shares.items()}
        assert found.facts["layers"] == chosen(shares)


class TestUniformReverse:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, cut, change):
        return uniform_reverse(cut, change.forgotten)

    def test_every_layer_moves_a_little(self, model, found):
        assert found.arrays.keys() == model.arrays.keys()
        for name, array in model.arrays.items():
            moved = np.abs(found.arrays[name] - array)
            assert 0 < moved.max() < 2 * STEPS * RATE
            assert found.arrays[name].dtype == array.dtype

    def test_forgotten_pairs_lose_more_than_retained_ones(self, cut, found, change, retained):
        with torch.no_grad():
            inputs = Inputs.of(retained)
            change_of = found.embed(inputs).users @ found.embed(inputs).items.T
            change_of = change_of - cut.embed(inputs).users @ cut.embed(inputs).items.T
        forgotten, kept = (change_of[tuple(torch.from_numpy(p.T.copy()))] for p in (change.forgotten, retained.edges))
        assert forgotten.mean() < kept.mean()
        assert forgotten.mean() < 0

    def test_it_is_the_same_every_time_and_leaves_the_model_alone(self, cut, found, change):
        before = {name: array.copy() for name, array in cut.arrays.items()}
        again = uniform_reverse(cut, change.forgotten)
        assert all(np.array_equal(again.arrays[name], array) for name, array in found.arrays.items())
        assert all(np.array_equal(cut.arrays[name], array) for name, array in before.items())

    def test_nothing_forgotten_is_nothing_done(self, cut, change):
        assert uniform_reverse(cut, change.forgotten[:0]) is cut

    def test_it_follows_the_closed_form_where_isolation_is_off(self, model, retained, change):
        on, off = (Tru(OFF.model_copy(update={"isolation": on})).unlearn(model, retained) for on in (True, False))
        expected = uniform_reverse(on, change.forgotten)
        assert all(np.array_equal(off.arrays[name], array) for name, array in expected.arrays.items())
        assert np.array_equal(off.patch, on.patch)
        assert (off.facts["isolation"], off.facts["layers"]) == ({}, [])

    def test_emptied_rows_stay_neutral(self, model):
        data = model.data
        lonely = int(data.edges[0, 0])
        stay = (data.train[:, 0] != lonely) & (np.arange(len(data.train)) % 50 != 0)
        retained = replace(data, train=data.train[stay], canary=data.canary[stay])
        off = Tru(OFF).unlearn(model, retained)
        neutral = model.recipe.user_rows(data.users[[lonely]], model.params.width, "neutral user")
        assert np.array_equal(off.arrays["users"][[lonely]], neutral)
        assert off.facts["layers"] == []
