import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tru.evaluation.evidence import Evidence, Group, Reference
from tru.evaluation.gate import judge_fresh, judge_licensed
from tru.evaluation.params import GateParams
from tru.evaluation.verdict import SAME_MODEL

PARAMS = GateParams()
EXACT = {"deleted users in the model": 0, "deleted items in a top-20 list": 0, SAME_MODEL: 0}
TESTERS, SUBJECTS = 4000, 400


def evidence(seed=0, ndcg=0.0, wins=0.0, hits=0.10, noise=0.02, subjects=SUBJECTS):
    """A model: test NDCG about .4 and membership about .6, moved by so much; models differ by their noise."""
    base, own = np.random.default_rng(99), np.random.default_rng(seed)
    quality, taste, chance = (
        base.uniform(0, 0.8, TESTERS),
        base.uniform(0.3, 0.9, subjects),
        base.uniform(size=subjects),
    )
    return Evidence(
        metrics={},
        users=np.array([f"t{k:05}" for k in range(TESTERS)]),
        ndcg=quality + ndcg + own.normal(0, noise, TESTERS),
        wins=taste + wins + own.normal(0, noise, subjects),
        hits=(np.where(own.uniform(size=subjects) < 0.1, own.uniform(size=subjects), chance) < hits).astype(float),
        ranks=taste,
    )


def untested(seed=0, **changes):
    """The same of data without test rows."""
    return replace(evidence(seed, **changes), users=np.zeros(0, dtype=str), ndcg=np.zeros(0))


def groups(subjects=SUBJECTS, name="users"):
    return {name: Group(np.arange(subjects), np.arange(subjects), np.ones(subjects))} if subjects else {}


BASELINES = [evidence(1), evidence(2)]


def fresh(candidate, exact=EXACT, params=PARAMS, subjects=SUBJECTS, past=(), baselines=None):
    found = baselines or [evidence(1, subjects=subjects), evidence(2, subjects=subjects)]
    return judge_fresh(candidate, found, groups(subjects), exact, params, past)


def row(verdict, name, group="users"):
    return next(f for f in verdict.findings if (f.name, f.group) == (name, group))


class TestFresh:
    def test_another_retrained_model_passes(self):
        found = fresh(evidence(3))
        assert (found.word, found.mode, found.faults) == ("pass", "fresh", set())
        assert len(found.reasons) == len(found.findings) == len(EXACT) + 3

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"wins": 0.2}, "under-forgotten"),
            ({"wins": -0.2}, "over-forgotten"),
            ({"hits": 0.5}, "under-forgotten"),
            ({"ndcg": -0.04}, "utility"),
        ],
    )
    def test_each_fault_is_refused_by_its_name(self, change, fault):
        found = fresh(evidence(3, **change))
        assert not found.passed
        assert found.faults == {fault}
        assert len(found.reasons) == 1

    def test_few_hits_are_not_taken_for_certain(self):
        none = [evidence(seed, hits=0.0, subjects=50) for seed in (1, 2)]
        line = row(fresh(evidence(3, hits=0.0, subjects=50), subjects=50, baselines=none), "forget/recall@20")
        assert line.interval[1] == pytest.approx(1.677 * math.sqrt(2) / 50, abs=1e-3)  # Student, 49 degrees of freedom

    def test_hits_that_are_all_gone_are_over_forgotten(self):
        often = [evidence(seed, hits=0.4) for seed in (1, 2)]
        assert fresh(evidence(3, hits=0.0), baselines=often).faults == {"over-forgotten"}

    def test_better_recommendations_do_not_fail(self):
        assert fresh(evidence(3, ndcg=0.2)).passed

    @pytest.mark.parametrize("words", ["deleted users in the model", "deleted items in a top-20 list"])
    def test_one_violation_of_what_is_exact_is_enough(self, words):
        found = fresh(evidence(3), exact={**EXACT, words: 1})
        assert found.faults == {"exact"}
        assert found.reasons == [f"{words}: 1, must be 0"]

    def test_another_model_than_the_one_unlearned_is_swapped(self):
        assert fresh(evidence(3), exact={**EXACT, SAME_MODEL: 1}).faults == {"swapped"}

    def test_the_words_say_value_reference_interval_and_margin(self):
        found = row(fresh(evidence(3, wins=0.2)), "membership_auc")
        assert found.difference == pytest.approx(0.2, abs=0.01)
        assert found.interval[0] < found.difference < found.interval[1]
        assert found.margin == PARAMS.membership_margin
        assert (found.low, found.high) == (
            pytest.approx(found.reference - found.margin),
            pytest.approx(found.reference + found.margin),
        )
        assert "still remembered" in found.words
        assert f"{found.value:.4f} against {found.reference:.4f}" in found.words

    def test_a_number_that_is_none_fails(self):
        broken = evidence(3)
        broken.ndcg[5] = math.nan
        assert not fresh(broken).passed

    def test_a_pair_without_a_never_seen_item_is_left_out(self):
        bare = evidence(3)
        bare.wins[:100] = math.nan  # in the candidate alone: the reference of a licensed night comes from other pairs
        assert fresh(bare).passed
        assert row(fresh(bare), "membership_auc").n == SUBJECTS - 100

    def test_pairs_without_a_reference_are_left_out(self):
        baselines = [evidence(1), evidence(2)]
        for one in baselines:
            one.wins[:100] = math.nan
        found = fresh(evidence(3), baselines=baselines)
        assert found.passed
        assert row(found, "membership_auc").n == SUBJECTS - 100

    def test_what_passes_lies_inside_the_margin_with_its_whole_interval(self):
        off = row(fresh(evidence(3)), "membership_auc").difference
        assert fresh(evidence(3, wins=0.025 - off)).passed
        edge = fresh(evidence(3, wins=0.0295 - off))
        assert row(edge, "membership_auc").difference == pytest.approx(0.0295)  # inside, but not shown to be
        assert edge.faults == {"under-forgotten"}

    def test_scarce_data_widens_the_margin_and_says_so(self):
        few = fresh(evidence(3, noise=0.1, subjects=60), subjects=60)
        found = row(few, "membership_auc")
        assert PARAMS.membership_margin < found.margin < PARAMS.widest_margin
        assert "widened from 0.0300" in found.words

    def test_a_margin_too_wide_to_mean_anything_judges_nothing(self):
        blurred = fresh(evidence(3, noise=0.5, subjects=40), subjects=40)
        found = row(blurred, "membership_auc")
        assert (found.judged, found.n) == (False, 40)
        assert "more than 0.2" in found.words
        wished = fresh(evidence(3, noise=0.5, subjects=40), subjects=40, params=GateParams(membership_margin=0.9))
        assert row(wished, "membership_auc").judged

    def test_the_verdict_is_plain_json(self):
        broken = evidence(3)
        broken.ndcg[:] = math.nan
        words = json.loads(json.dumps(fresh(broken).to_dict(), allow_nan=False))
        assert words["verdict"] == "fail"
        assert set(words) == {"verdict", "mode", "reasons", "table", "notes", "night"}
        utility = next(r for r in words["table"] if r["name"] == "test/ndcg@20")
        assert (utility["value"], utility["high"], utility["passed"]) == (None, None, False)

    def test_a_refusal_for_other_reasons_keeps_the_table(self):
        found = fresh(evidence(3))
        refused = found.refused("a retraining is due: …")
        assert not refused.passed
        assert refused.reasons == ["a retraining is due: …"]
        assert len(refused.findings) == len(found.findings) + 1


class TestAHandful:
    def test_a_few_subjects_are_not_judged_by_statistics(self):
        found = fresh(evidence(3, wins=0.3, subjects=5), subjects=5)
        assert found.passed
        line = row(found, "membership_auc")
        assert (line.judged, line.n) == (False, 5)
        assert "too few to judge by" in line.words
        assert "exact checks decide" in found.notes[0]

    def test_the_exact_checks_still_decide(self):
        exact = {**EXACT, "deleted users in the model": 2}
        assert not fresh(evidence(3, subjects=5), subjects=5, exact=exact).passed

    def test_nights_are_pooled_until_there_are_enough(self):
        bad = [fresh(evidence(k, wins=0.3, subjects=10), subjects=10) for k in range(3, 7)]
        assert all(night.passed for night in bad)
        found = fresh(evidence(8, wins=0.3, subjects=10), subjects=10, past=[night.night for night in bad])
        assert found.faults == {"under-forgotten"}
        line = row(found, "membership_auc", "users, window")
        assert line.n == 50
        assert "several nights" in line.words

    def test_good_nights_pool_to_a_pass(self):
        good = [fresh(evidence(k, subjects=10), subjects=10).night for k in range(3, 9)]
        found = fresh(evidence(8, subjects=10), subjects=10, past=good)
        assert found.passed
        assert row(found, "membership_auc", "users, window").judged

    def test_a_night_that_is_judged_alone_is_not_pooled(self):
        past = [fresh(evidence(4, subjects=10), subjects=10).night]
        found = fresh(evidence(3), past=past)
        assert not [f for f in found.findings if "window" in (f.group or "")]

    def test_without_forgotten_pairs_structure_and_utility_are_judged(self):
        assert fresh(evidence(3, subjects=0), subjects=0).passed
        assert fresh(evidence(3, ndcg=-0.1, subjects=0), subjects=0).faults == {"utility"}


class TestScarceData:
    """What is too little to judge by must not let a proven fault through."""

    def test_an_erratic_model_does_not_take_itself_out_of_the_test(self):
        erratic = evidence(3, subjects=40)
        erratic.wins[:30] -= 0.9
        erratic.wins[30:] += 0.5
        found = fresh(erratic, subjects=40)
        assert found.faults == {"over-forgotten"}

    @pytest.mark.parametrize("users", [5, 20, 100])
    def test_a_model_that_recommends_nothing_right_is_refused(self, users):
        few = [replace(one, users=one.users[:users], ndcg=one.ndcg[:users]) for one in (evidence(1), evidence(2))]
        bad = replace(evidence(3), users=evidence(3).users[:users], ndcg=np.zeros(users))
        assert "utility" in fresh(bad, baselines=few).faults

    def test_one_test_user_proves_nothing(self):
        few = [replace(one, users=one.users[:1], ndcg=one.ndcg[:1]) for one in (evidence(1), evidence(2))]
        bad = replace(evidence(3), users=evidence(3).users[:1], ndcg=np.zeros(1))
        line = row(fresh(bad, baselines=few), "test/ndcg@20", None)
        assert (line.judged, line.passed) == (False, True)

    def test_unusable_pairs_do_not_silence_their_subject(self):
        many = np.concatenate([np.arange(40), np.full(400, 40)])
        group = {"users": Group(np.arange(440), many, 1 / np.bincount(many)[many])}
        models = [evidence(seed, subjects=440) for seed in (1, 2, 3)]
        for one in models:
            one.wins[41:] = math.nan  # of the last subject's pairs one is left
        models[2].wins[40] += 0.41
        found = judge_fresh(models[2], models[:2], group, EXACT, PARAMS)
        quiet = judge_fresh(evidence(3, subjects=440), models[:2], group, EXACT, PARAMS)
        moved = row(found, "membership_auc").difference - row(quiet, "membership_auc").difference
        assert moved == pytest.approx(0.01, abs=0.004)

    def test_where_nobody_is_tested_utility_is_not_judged_and_the_rest_is(self):
        found = fresh(untested(3), baselines=[untested(1), untested(2)])
        said = row(found, "test/ndcg@20", None)
        assert found.passed and not said.judged and "0 independent subjects" in said.words
        assert "nan" not in said.words
        json.dumps(found.to_dict(), allow_nan=False)
        assert fresh(untested(3, wins=0.2), baselines=[untested(1), untested(2)]).faults == {"under-forgotten"}
        assert not fresh(untested(3), exact={**EXACT, SAME_MODEL: 1}, baselines=[untested(1), untested(2)]).passed


class TestLicensed:
    REFERENCE = Reference(evidence(5).wins, np.full(SUBJECTS, 0.1), {}, {})

    def judge(self, candidate, reference=REFERENCE, champion=None, baseline=None):
        champion = champion or evidence(7)
        usual = evidence(8)
        return judge_licensed(
            candidate, reference, champion, baseline or (usual.users, usual.ndcg), groups(), EXACT, PARAMS
        )

    def test_a_good_candidate_passes_against_champion_and_baseline(self):
        found = self.judge(evidence(3))
        assert (found.word, found.mode) == ("pass", "licensed")
        assert row(found, "test/ndcg@20", "champion").judged
        assert row(found, "test/ndcg@20", "baseline").judged

    def test_a_loss_tonight_fails_against_the_champion(self):
        found = self.judge(evidence(3, ndcg=-0.05), baseline=(evidence(8).users, evidence(8, ndcg=-0.1).ndcg))
        assert [f.group for f in found.findings if f.fault] == ["champion"]

    def test_a_slow_decline_fails_against_the_baseline(self):
        found = self.judge(evidence(3, ndcg=-0.05), champion=evidence(7, ndcg=-0.05))
        assert [f.group for f in found.findings if f.fault] == ["baseline"]

    def test_the_baseline_is_matched_by_user(self):
        usual = evidence(8)
        half = (usual.users[::2], usual.ndcg[::2])
        assert row(self.judge(evidence(3), baseline=half), "test/ndcg@20", "baseline").n == TESTERS // 2

    def test_a_baseline_without_a_common_user_is_no_baseline(self):
        none = (np.array(["somebody else"]), np.array([0.4]))
        found = self.judge(evidence(3), baseline=none)
        assert not found.passed
        assert "nothing to compare with" in row(found, "test/ndcg@20", "baseline").words

    def test_where_nobody_is_tested_no_baseline_is_asked_for(self):
        found = self.judge(untested(3), champion=untested(7), baseline=(untested(8).users, untested(8).ndcg))
        assert found.passed
        assert not any(row(found, "test/ndcg@20", whose).judged for whose in ("champion", "baseline"))
        assert self.judge(untested(3, wins=-0.2), champion=untested(7)).faults == {"over-forgotten"}

    def test_a_reference_without_numbers_is_no_reference(self):
        blank = replace(self.REFERENCE, wins=np.full(SUBJECTS, math.nan))
        found = self.judge(evidence(3), reference=blank)
        assert not found.passed and "nothing to compare with" in row(found, "membership_auc").words

    def test_remembered_and_over_forgotten_pairs_are_refused(self):
        assert self.judge(evidence(3, wins=0.2)).faults == {"under-forgotten"}
        assert self.judge(evidence(3, wins=-0.2)).faults == {"over-forgotten"}

    def test_an_uncertain_reference_widens_the_interval(self):
        unsure = replace(self.REFERENCE, wins_error={"users": 0.03})
        sharp, blurred = (row(self.judge(evidence(3), r), "membership_auc") for r in (self.REFERENCE, unsure))
        assert blurred.interval[1] - blurred.interval[0] > 10 * (sharp.interval[1] - sharp.interval[0])
        assert blurred.margin > sharp.margin


@pytest.mark.parametrize(
    "wrong", [{"mode": "blind"}, {"alpha": 0}, {"power": 1}, {"baselines": 1}, {"max_forgotten": 2}, {"margin": 1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GateParams(**wrong)
