import json
import math

import pytest

from tru.evaluation.gate import GateParams, judge

PARAMS = GateParams()
EXACT = {"deleted users in the model": 0, "deleted items in a top-20 list": 0, "numbers that are not finite": 0}
MANY = 5000
"""So many forgotten pairs that the sampling error is below every margin."""


def metrics(ndcg=0.040, recall=0.10, auc=0.60):
    return {"test/ndcg@20": ndcg, "forget/recall@20": recall, "membership_auc": auc, "canary_auc": 0.6}


BASELINES = [metrics(), metrics(ndcg=0.042, recall=0.12, auc=0.62)]
ORIGINAL = metrics(ndcg=0.043, recall=0.65, auc=0.93)


def verdict(candidate, independent=MANY, exact=EXACT, baselines=BASELINES, params=PARAMS):
    return judge(candidate, baselines, exact, independent, params)


def finding(found, name):
    return next(f for f in found.findings if f.name == name)


def failed(found):
    return [f.name for f in found.findings if not f.passed]


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_candidate_that_equals_a_baseline_passes(baseline):
    found = verdict(baseline)
    assert found.passed
    assert found.word == "pass"
    assert len(found.reasons) == len(found.findings) == len(EXACT) + 3
    assert all("as it must be" in words or "lies in the range" in words for words in found.reasons)


def test_the_original_is_still_remembered():
    found = verdict(ORIGINAL)
    assert found.word == "fail"
    assert failed(found) == ["forget/recall@20", "membership_auc"]
    assert found.reasons == [
        "forget/recall@20 0.6500 is above the range that retraining allows (0.0700 to 0.1500): "
        "the forgotten pairs are still remembered",
        "membership_auc 0.9300 is above the range that retraining allows (0.5700 to 0.6500): "
        "the forgotten pairs are still remembered",
    ]


def test_too_much_forgetting_betrays_as_well():
    found = verdict(metrics(recall=0.0, auc=0.2))
    assert failed(found) == ["forget/recall@20", "membership_auc"]
    assert all("below" in words and "over-forgotten" in words for words in found.reasons)


def test_worse_recommendations_fail():
    found = verdict(metrics(ndcg=0.0397))  # the median is .041, and 3 % below it lies .03977
    assert failed(found) == ["test/ndcg@20"]
    assert "got worse for those who stay" in found.reasons[0]
    assert "at least 0.0398" in found.reasons[0]
    assert verdict(metrics(ndcg=0.0398)).passed


def test_better_recommendations_do_not_fail():
    assert verdict(metrics(ndcg=0.5)).passed


@pytest.mark.parametrize("words", list(EXACT))
def test_one_violation_of_what_is_exact_is_enough(words):
    found = verdict(BASELINES[0], exact={**EXACT, words: 1})
    assert failed(found) == [words]
    assert found.reasons == [f"{words}: 1, must be 0"]


@pytest.mark.parametrize("name", ["test/ndcg@20", "forget/recall@20", "membership_auc"])
@pytest.mark.parametrize("independent", [1, MANY])
def test_a_number_that_is_none_fails(name, independent):
    found = verdict({**BASELINES[0], name: math.nan}, independent)
    assert failed(found) == [name]
    assert f"{name} nan is undefined" in found.reasons[0]


@pytest.mark.parametrize("name", ["forget/recall@20", "membership_auc"])
@pytest.mark.parametrize(("offset", "passes"), [(0.029, True), (0.031, False)])
def test_margins_are_taken_on_both_sides_of_the_retrained_range(name, offset, passes):
    low, high = (b[name] for b in BASELINES)
    assert verdict({**BASELINES[0], name: high + offset}).passed is passes
    assert verdict({**BASELINES[0], name: low - offset}).passed is passes


def test_the_margins_are_the_settings():
    params = GateParams(utility_margin=0.5, forget_margin=0.6, membership_margin=0.4)
    assert verdict({**ORIGINAL, "test/ndcg@20": 0.021}, params=params).passed
    strict = GateParams(forget_margin=0.0, membership_margin=0.0)
    sharp = finding(verdict(metrics(), 10**9, params=strict), "membership_auc")
    assert (sharp.low, sharp.high) == pytest.approx((0.60, 0.62), abs=1e-4)


def test_few_independent_draws_widen_the_margins_of_the_audits_only():
    few, many = (verdict(metrics(), n) for n in (10, MANY))
    # 1.96 standard errors of a difference: .29 is the deviation of a uniform rank, the recall of .11 is binomial
    auc, recall = 1.96 * 0.29 * math.sqrt(2 / 10), 1.96 * math.sqrt(0.11 * 0.89) * math.sqrt(2 / 10)
    assert finding(few, "membership_auc").high == pytest.approx(0.62 + auc)
    assert finding(few, "membership_auc").low == pytest.approx(0.60 - auc)
    assert finding(few, "forget/recall@20").high == pytest.approx(0.12 + recall)
    assert finding(many, "membership_auc").high == pytest.approx(0.65)
    assert finding(few, "test/ndcg@20") == finding(many, "test/ndcg@20")


def test_a_gap_within_the_sampling_error_is_no_reason():
    candidate = metrics(recall=0.3, auc=0.75)
    assert verdict(candidate, 10).passed
    assert not verdict(candidate, MANY).passed


def test_a_recall_of_zero_has_a_sampling_error_too():
    baselines = [metrics(recall=0.0), metrics(recall=0.0)]
    assert verdict(metrics(recall=0.05), 30, baselines=baselines).passed


def test_without_forgotten_pairs_structure_and_utility_are_judged():
    found = verdict({"test/ndcg@20": 0.041, "forget/recall@20": math.nan, "membership_auc": math.nan}, 0)
    assert found.passed
    assert [f.name for f in found.findings] == [*EXACT, "test/ndcg@20"]
    assert not verdict(metrics(ndcg=0.01), 0).passed


def test_one_baseline_is_enough_for_the_fallback():
    assert verdict(BASELINES[1], baselines=BASELINES[:1]).passed
    assert not verdict(ORIGINAL, baselines=BASELINES[:1]).passed


def test_the_verdict_is_plain_json():
    words = json.loads(json.dumps(verdict({**ORIGINAL, "test/ndcg@20": math.nan}).to_dict(), allow_nan=False))
    assert words["verdict"] == "fail"
    assert len(words["reasons"]) == 3
    row = next(row for row in words["table"] if row["name"] == "test/ndcg@20")
    assert (row["value"], row["high"], row["passed"]) == (None, None, False)
    assert set(row) == {"name", "value", "low", "high", "passed", "words"}
