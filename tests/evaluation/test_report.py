import json
from dataclasses import replace
from math import nan

import numpy as np
import pytest

from tests import tiny
from tru.data.forget import ForgetSet
from tru.errors import DataError
from tru.evaluation.audits import Stage
from tru.evaluation.comparison import Comparison, changed_lists, compare, exact_checks, nested
from tru.evaluation.params import GateParams
from tru.training import refit
from tru.unlearning.base import make
from tru.unlearning.params import UnlearnParams

CHECKS = (
    "deleted users in the model",
    "deleted items in the model",
    "forgotten pairs in the model's graph",
    "retained pairs missing from the model",
    "revoked modalities in the model",
    "deleted items in a top-20 list",
    "numbers that are not finite",
)


@pytest.fixture(scope="module")
def model():
    return tiny.trained().with_facts(train_seconds=3.5)


@pytest.fixture(scope="module")
def retained():
    """Without two users, an item, some pairs and two pictures."""
    users, items = tiny.dataset().users, tiny.dataset().items
    return tiny.without(
        ForgetSet(
            users=frozenset(map(str, users[[1, 40]])),
            items=frozenset({str(items[4])}),
            pairs=frozenset(tiny.train_pairs()[::12]),
            modalities=frozenset({(str(items[9]), "image"), (str(items[10]), "image")}),
        )
    )


@pytest.fixture(scope="module")
def stage(model, retained):
    return Stage.of(model.data, retained)


@pytest.fixture(scope="module")
def candidate(model, retained):
    return make(UnlearnParams(), tiny.TRAIN).unlearn(model, retained)


@pytest.fixture(scope="module")
def retrains(model, retained):
    return [refit(retained, model, tiny.TRAIN, seed=seed) for seed in (None, 1)]


@pytest.fixture(scope="module")
def comparison(stage, model, candidate, retrains):
    return compare(stage, model, candidate, retrains)


def test_an_unlearned_model_has_nothing_it_may_not_have(candidate, stage):
    assert exact_checks(candidate, stage) == dict.fromkeys(CHECKS, 0)


def test_the_original_is_caught_in_every_check(model, stage):
    found = exact_checks(model, stage)
    assert found["deleted users in the model"] == 2
    assert found["deleted items in the model"] == 1
    of_the_deleted_item = sum(int(present[4]) for present in model.data.present.values())
    assert found["revoked modalities in the model"] == 2 + of_the_deleted_item
    assert found["forgotten pairs in the model's graph"] >= len(stage.forgotten)
    assert found["deleted items in a top-20 list"] > 0
    assert found["numbers that are not finite"] == 0


@pytest.mark.parametrize("value", [nan, float("inf")])
def test_numbers_that_are_not_finite_are_found(candidate, stage, value):
    patch = candidate.patch.copy()
    patch[3, 2] = value
    assert exact_checks(replace(candidate, patch=patch), stage)["numbers that are not finite"] == 1
    items = candidate.arrays["items"].copy()
    items[5, :2] = value
    broken = replace(candidate, arrays={**candidate.arrays, "items": items})
    assert exact_checks(broken, stage)["numbers that are not finite"] > 2  # the two, and what they are propagated to


def test_a_single_pair_that_is_left_in_the_graph_is_found(candidate, stage):
    user, item = next(
        (str(stage.before.users[u]), str(stage.before.items[i]))
        for u, i in stage.forgotten
        if stage.before.users[u] in stage.after.users and stage.before.items[i] in stage.after.items
    )
    data = candidate.data
    edge = [[np.flatnonzero(data.users == user)[0], np.flatnonzero(data.items == item)[0]]]
    kept = replace(data, train=np.concatenate([data.train, edge]), canary=np.append(data.canary, False))
    found = exact_checks(replace(candidate, data=kept), stage)
    assert found["forgotten pairs in the model's graph"] == 1


def test_a_retained_pair_that_is_missing_means_another_model(candidate, stage):
    data = candidate.data
    fewer = replace(data, train=data.train[2:], canary=data.canary[2:])
    assert exact_checks(replace(candidate, data=fewer), stage)["retained pairs missing from the model"] == 2


def test_all_models_are_measured_under_the_same_names(comparison, stage):
    rows = comparison.rows()
    assert list(rows) == list(comparison.models()) == ["original", "unlearned", "retrained"]
    assert rows["original"].keys() == rows["unlearned"].keys() == comparison.retrained[1].metrics.keys()
    assert comparison.models()["retrained"] == nested(comparison.retrained[0].metrics)
    assert (comparison.exact, comparison.exact_retrained) == (dict.fromkeys(CHECKS, 0),) * 2
    assert comparison.pairs == len(stage.forgotten)
    assert comparison.seeds == [0, 1]


def test_pairs_of_one_subject_are_not_counted_as_separate_evidence(model):
    one_user = tiny.without(ForgetSet(users=frozenset({str(model.data.users[5])})))
    found = compare(Stage.of(model.data, one_user), model, None, [])
    assert found.pairs > found.groups["users"].size == 1


def test_it_is_the_same_after_a_night_on_disk(comparison, tmp_path):
    comparison.save(tmp_path)
    again = Comparison.load(tmp_path)
    assert again.verdict(GateParams()) == comparison.verdict(GateParams())
    assert again.fallback_verdict(GateParams()) == comparison.fallback_verdict(GateParams())
    assert (again.profiles(), again.seconds) == (comparison.profiles(), comparison.seconds)
    (tmp_path / "unlearned.npz").write_bytes(b"torn")
    with pytest.raises(DataError, match="evaluate"):
        Comparison.load(tmp_path)


def test_without_a_retrain_it_is_judged_under_a_licence(stage, model, candidate, tmp_path):
    found = compare(stage, model, candidate, [], own=True)
    found.save(tmp_path)
    users, ndcg = found.original.users, found.original.ndcg
    verdict = Comparison.load(tmp_path).licensed_verdict(GateParams(), (users, ndcg))
    assert verdict == found.licensed_verdict(GateParams(), (users, ndcg))
    assert {f.group for f in verdict.findings if f.name == "test/ndcg@20"} == {"champion", "baseline"}
    with pytest.raises(DataError, match="evaluate"):
        compare(stage, model, candidate, []).licensed_verdict(GateParams(), (users, ndcg))


def test_profiles_are_shares_of_the_forgotten_pairs(comparison):
    found = comparison.profiles()
    assert list(found) == ["edges", "original", "unlearned", "retrained", "canaries"]
    assert len(found["edges"]) == 21
    assert all(sum(found[name]) == pytest.approx(1, abs=1e-3) for name in list(found)[1:])
    assert found["original"][-1] > found["retrained"][-1]  # remembered pairs are on top


def test_changed_lists_is_a_distance(model, candidate, retrains):
    assert changed_lists(model, model) == 0
    there, back = changed_lists(model, candidate), changed_lists(candidate, model)
    assert 0 < there < 1
    assert back == pytest.approx(there, abs=0.01)
    assert changed_lists(model, retrains[1]) <= there + changed_lists(candidate, retrains[1]) + 1e-9


def test_seconds_are_those_of_each_way(comparison, candidate, retrains):
    retrain = float(np.median([m.facts["seconds"] for m in retrains]))
    assert comparison.seconds == {"train": 3.5, "unlearn": candidate.facts["seconds"], "retrain": retrain}


def test_no_identifier_is_in_the_table_or_the_verdict(comparison, model):
    words = json.dumps([comparison.models(), comparison.exact, comparison.verdict(GateParams()).to_dict()])
    assert not any(name in words for name in (*model.data.users.tolist(), *model.data.items.tolist()))


def test_the_retrained_model_is_judged_against_the_others(comparison):
    found = comparison.fallback_verdict(GateParams(utility_margin=0.5))
    assert found.passed
    assert [f.value for f in found.findings if f.name == "test/ndcg@20"] == [
        pytest.approx(comparison.retrained[0].metrics["test/ndcg@20"])
    ]


def test_the_original_does_not_pass_as_its_own_candidate(stage, model, retrains):
    found = compare(stage, model, model, retrains).verdict(GateParams())
    assert found.word == "fail"
    words = " ".join(found.reasons)
    assert "deleted users in the model: 2, must be 0" in words
    assert "still remembered" in words


def test_a_comparison_without_candidate_has_no_row_for_it(stage, model, retrains):
    found = compare(stage, model, None, retrains)
    assert list(found.models()) == ["original", "retrained"]
    assert found.exact == {}
    assert found.seconds["unlearn"] is None


def test_names_become_groups_and_no_number_becomes_null():
    row = {"test/ndcg@20": 0.12345678, "test/recall@20": nan, "membership_auc": 0.5}
    assert nested(row) == {"test": {"ndcg@20": 0.123457, "recall@20": None}, "membership_auc": 0.5}
