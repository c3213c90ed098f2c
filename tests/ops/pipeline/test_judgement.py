"""How a night is judged: mode by cost, what a licence needs, when a retraining is due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.workspaces import change, file_requests, grow, subjects, whole_night
from tru.data.forget import ForgetSet
from tru.errors import ModelError, RequestError
from tru.evaluation.params import GateParams
from tru.evaluation.verdict import Verdict
from tru.models.trained import TrainedModel
from tru.ops import pipeline
from tru.ops.judging.baseline import REGIMES, Baseline, keep, latest, method_facts
from tru.ops.judging.plan import Plan, drift, due, in_full, plan, refused, warnings
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.report.story import ending
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.prose import duration

FORGET = ForgetSet(users=frozenset({"a", "b"}), pairs=frozenset({("c", "x")}))
NONE = {"nights": 0, "forgotten_share": 0.0, "distance": 0.0}


def champion(ws):
    return TrainedModel.load(Registry(ws).model_dir(Registry(ws).champion().version))


def planned(ws, model=None):
    return plan(ws, model or champion(ws), FORGET, load_settings(ws))


def with_baseline(ws, days=0.0):
    """A baseline of the champion's own numbers, so many days old."""
    from tru.evaluation.audits import Stage
    from tru.evaluation.evidence import observe

    model = champion(ws)
    found = observe(model, Stage.of(model.data, model.data))
    keep(
        ws,
        Baseline(
            version="1",
            data_md5=DataVersions(ws).md5(),
            made=datetime.now(UTC) - timedelta(days=days),
            deleted_through=0,
            seeds=[0, 1],
            seconds=3.0,
            metrics=[{"test/ndcg@20": float(found.ndcg.mean())}] * 2,
            noise={"test/ndcg@20": 0.0},
            users=found.users,
            ndcg=np.stack([found.ndcg, found.ndcg]),
        ),
    )


def with_licences(ws, size=50, days=35.0):
    """A passed rehearsal of every regime."""
    now = datetime.now(UTC)
    for regime in REGIMES:
        open_ledger(ws).append(
            "licence",
            f"rehearsal/{regime}",
            regime=regime,
            size=size,
            passed=True,
            reasons=[],
            table=[],
            night={},
            granted=now.isoformat(),
            expires=(now + timedelta(days=days)).isoformat(),
            **method_facts(ws.data, load_settings(ws)),
        )


@pytest.fixture
def licensed(trained):
    """A workspace that retrains nothing unless it has to."""
    change(trained, "gate", mode="licensed")
    with_baseline(trained)
    with_licences(trained)
    return trained


class TestPlan:
    def test_auto_takes_what_the_budget_allows(self, trained):
        found = planned(trained)
        assert (found.mode, found.can_judge) == ("fresh", True)
        assert found.expected_seconds == pytest.approx(2 * champion(trained).facts["train_seconds"], abs=0.1)
        assert f"the budget is {duration(found.budget_seconds)}: mode fresh" in found.words
        change(trained, "gate", budget_seconds=0)
        assert planned(trained).mode == "licensed"

    def test_a_set_mode_is_kept_whatever_it_costs(self, trained):
        change(trained, "gate", mode="fresh", budget_seconds=0)
        found = planned(trained)
        assert found.mode == "fresh" and "set by gate.mode" in found.words

    def test_an_unknown_cost_is_said(self, trained):
        model = champion(trained)
        bare = replace(model, facts={k: v for k, v in model.facts.items() if k != "train_seconds"})
        assert "takes an unknown time" in planned(trained, bare).words

    def test_without_baseline_and_licences_it_says_what_is_missing(self, trained):
        change(trained, "gate", mode="licensed")
        found = planned(trained)
        assert not found.can_judge
        assert [words.split(":")[0] for words in found.missing] == [
            "there is no baseline yet",
            "no rehearsal has been made for users",
            "no rehearsal has been made for interactions",
        ]

    def test_with_them_it_names_the_licences(self, licensed):
        found = planned(licensed)
        assert found.can_judge and found.missing == []
        assert found.licences == ["rehearsal/user", "rehearsal/interaction"]

    def test_a_stale_baseline(self, licensed):
        with_baseline(licensed, days=9)
        assert planned(licensed).missing == ["the baseline is 9 days old, more than 8: `tru baseline` makes a new one"]

    def test_data_imported_since_the_baseline(self, licensed):
        grow(licensed)
        assert planned(licensed).missing[0].startswith("data was imported since the baseline was made")

    def test_a_champion_without_canaries(self, licensed):
        model = champion(licensed)
        bare = replace(model, data=replace(model.data, canary=np.zeros_like(model.data.canary)))
        assert "canaries of fewer than 10 users" in planned(licensed, bare).missing[0]

    def test_a_batch_above_the_licence(self, licensed):
        many = ForgetSet(users=frozenset(f"u{k}" for k in range(51)))
        found = plan(licensed, champion(licensed), many, load_settings(licensed))
        assert found.missing == ["the licence is good for up to 50 users, this batch has 51"]

    def test_other_settings_need_another_rehearsal(self, licensed):
        change(licensed, "unlearn", ridge=0.2)
        assert len(planned(licensed).missing) == 2


class TestDrift:
    PARAMS = GateParams()

    @pytest.mark.parametrize(("name", "value"), [("forgotten_share", 0.11), ("nights", 31), ("distance", 0.51)])
    def test_a_used_up_budget_is_a_reason(self, name, value):
        assert due(NONE, self.PARAMS) == []
        reasons = due({**NONE, name: value}, self.PARAMS)
        assert len(reasons) == 1 and "a retraining is due" in reasons[0]

    def test_a_warning_comes_first(self):
        assert warnings({**NONE, "forgotten_share": 0.06}, self.PARAMS)
        assert not warnings({**NONE, "forgotten_share": 0.04}, self.PARAMS)
        assert not warnings({**NONE, "forgotten_share": 0.2}, self.PARAMS)  # then it is a reason

    def test_it_refuses_a_candidate_that_passed(self):
        passed = Verdict(True, ())
        free, spent = (
            in_full(passed, Plan("fresh", "…", 1.0, 2.0, [], []), {**NONE, "nights": n}, self.PARAMS) for n in (1, 99)
        )
        assert (free["verdict"], spent["verdict"]) == ("pass", "fail")
        assert "99 nights" in spent["reasons"][0]
        assert free["cost"] == {"expected_seconds": 1.0, "budget_seconds": 2.0, "words": "…"}

    def test_what_is_missing_refuses_without_a_measurement(self):
        found = refused(Plan("licensed", "…", 1.0, 0.0, [], ["no baseline"]), NONE, self.PARAMS)
        assert found["reasons"] == ["it cannot be judged without a retrain: no baseline"]

    def test_nights_add_up_and_a_retraining_starts_anew(self, trained):
        users = [s for s in subjects(trained) if s.regime == "user"]
        for number, subject in enumerate(users[:2], start=1):
            file_requests(trained, [subject])
            whole_night(trained)
            found = drift(champion(trained))
            assert found["nights"] == number
            assert found["forgotten_share"] > 0 and found["distance"] > 0
        change(trained, "gate", max_nights=2)
        file_requests(trained, [subjects(trained)[4]])
        whole_night(trained)
        assert open_inbox(trained).last_batch().outcome == "retrained"
        assert drift(champion(trained)) == NONE


class TestLicensedNights:
    def test_nothing_is_retrained(self, licensed):
        file_requests(licensed, subjects(licensed))
        batch = whole_night(licensed)
        found = open_inbox(licensed).batch(batch)
        assert (found.outcome, found.verdict) == ("unlearned", "pass")
        assert found.facts["gate"]["mode"] == found.facts["evaluate"]["mode"] == "licensed"
        assert set(found.facts["evaluate"]["models"]) == {"original", "unlearned", "baseline"}
        assert found.seconds["retrain"] == 0
        assert found.facts["gate"]["licences"] == [f"rehearsal/{regime}" for regime in REGIMES]
        assert found.facts["gate"]["drift"]["nights"] == 1

    def test_the_baseline_forgets_the_users_too(self, licensed):
        wanted = [s for s in subjects(licensed) if s.regime == "user"]
        before = set(latest(licensed).users.tolist())
        file_requests(licensed, wanted)
        whole_night(licensed)
        assert set(latest(licensed).users.tolist()) == before - {s.user for s in wanted}

    def test_what_is_missing_leads_to_retraining(self, trained):
        change(trained, "gate", mode="licensed")
        file_requests(trained, subjects(trained))
        found = open_inbox(trained).batch(whole_night(trained))
        assert found.outcome == "retrained"
        assert found.facts["gate"]["reasons"][0].startswith(
            "it cannot be judged without a retrain: there is no baseline"
        )
        assert found.facts["retrain"]["verdict"] == "pass"
        assert found.facts["evaluate"]["mode"] == "licensed"
        assert "retrained" in found.facts["evaluate"]["models"]

    def test_small_nights_are_pooled_since_the_last_training(self, licensed):
        from tru.ops.judging.plan import window

        wanted = [s for s in subjects(licensed) if s.regime == "user"]
        params = load_settings(licensed).gate
        assert window(licensed, params) == []
        for subject in wanted[:2]:
            file_requests(licensed, [subject])
            whole_night(licensed)
        nights = window(licensed, params)
        assert len(nights) == 2
        assert nights[0]["licensed/membership_auc/users"]["subjects"] == 1


class TestPeopleDecide:
    @pytest.fixture
    def held(self, trained):
        """Both candidates refused: an improvement of all the quality there is was demanded."""
        change(trained, "gate", utility_margin=-1.0)
        file_requests(trained, subjects(trained))
        batch = whole_night(trained)
        assert open_inbox(trained).open_batch().outcome == "held"
        return trained, batch

    def test_the_hold_is_on_record(self, held):
        ws, batch = held
        entries = open_ledger(ws).entries("batch")
        assert [(e.facts["batch"], e.facts["outcome"]) for e in entries] == [(batch, "held")]
        assert [e.facts["candidate"] for e in open_ledger(ws).entries("verdict")] == ["unlearned", "retrained"]
        assert (ws.state / "reports" / f"{batch}.html").exists()

    def test_a_release_promotes_the_retrained_model_and_says_why(self, held):
        ws, batch = held
        with pytest.raises(RequestError, match="say why"):
            pipeline.release(ws, "  ")
        found = pipeline.release(ws, "the margin was set by mistake")
        assert (found["batch"], found["outcome"], found["verdict"]) == (batch, "retrained", "fail")
        champion = Registry(ws).champion()
        assert (champion.tags["tru.method"], champion.tags["tru.verdict"]) == ("retrain", "released")
        entries = [e.facts for e in open_ledger(ws).entries("batch")]
        assert [e["outcome"] for e in entries] == ["held", "released", "retrained"]
        assert entries[1]["reasons"] == ["the margin was set by mistake"]
        assert open_ledger(ws).verify() == []
        assert all(r.state == "closed" for r in open_inbox(ws).list())

    def test_exact_checks_cannot_be_overruled(self, held):
        from tru.evaluation.comparison import Comparison

        ws, batch = held
        folder = ws.batches / batch / "comparison"
        found = Comparison.load(folder)
        replace(found, exact_retrained={**found.exact_retrained, "deleted users in the model": 1}).save(folder)
        with pytest.raises(ModelError, match="deleted users in the model"):
            pipeline.release(ws, "never mind")
        assert open_inbox(ws).open_batch().outcome == "held"

    def test_a_swapped_model_is_not_released(self, held):
        ws, batch = held
        champion(ws).save(ws.batches / batch / "retrained" / "seed-0")
        with pytest.raises(ModelError, match="is not the one that the gate judged"):
            pipeline.release(ws, "never mind")
        assert open_inbox(ws).open_batch().outcome == "held"

    def test_what_is_retrained_is_ready_for_the_nights_to_come_before_it_is_on_record(self, held):
        ws, batch = held
        folder = ws.batches / batch / "retrained" / "seed-0"
        assert "gamma" in TrainedModel.load(folder).facts
        assert sorted(p.name for p in folder.parent.iterdir()) == ["seed-0", "seed-1"]

    def test_a_retry_is_planned_anew(self, held):
        from tru.ops.pipeline.record import Run

        ws, batch = held
        assert Run(ws, batch).plan.mode == "fresh"
        change(ws, "gate", mode="licensed")
        assert Run(ws, batch).plan.mode == "fresh"  # as it was measured
        pipeline.retry(ws)
        assert Run(ws, batch).plan.mode == "licensed"

    def test_a_model_that_passed_is_released_with_its_verdict(self, trained):
        file_requests(trained, subjects(trained))
        batch = pipeline.claim(trained)
        with pipeline.open_lease(trained, batch):
            for step in ("cut", "check", "unlearn", "evaluate", "gate"):
                getattr(pipeline, step)(trained, batch)
            pipeline.hold(trained, batch, "nobody approved it within 24 hours")
        assert open_inbox(trained).last_batch().verdict == "pass"
        found = pipeline.release(trained, "approved by telephone")
        assert (found["outcome"], found["verdict"]) == ("unlearned", "pass")
        assert ending(open_inbox(trained).batch(batch)) == "released"

    def test_a_retry_starts_from_who_serves_now(self, held):
        ws, batch = held
        change(ws, "gate", utility_margin=0.5)
        assert pipeline.retry(ws) == batch
        whole_night(ws)
        assert open_inbox(ws).batch(batch).outcome == "unlearned"

    def test_without_a_held_batch_there_is_nothing_to_decide(self, trained):
        with pytest.raises(RequestError, match="no batch is held"):
            pipeline.release(trained, "why not")


def test_a_model_changed_after_the_verdict_is_not_promoted(trained):
    file_requests(trained, subjects(trained))
    batch = pipeline.claim(trained)
    with pipeline.open_lease(trained, batch):
        for step in ("cut", "check", "unlearn", "evaluate", "gate"):
            getattr(pipeline, step)(trained, batch)
        champion(trained).save(trained.batches / batch / "unlearned")
        with pytest.raises(ModelError, match="is not the one that the gate judged"):
            pipeline.promote(trained, batch)
    assert Registry(trained).champion().version == "1"
    whole_night(trained)  # made anew
    assert open_inbox(trained).batch(batch).outcome == "unlearned"


def test_a_retrained_model_changed_after_the_verdict_is_not_promoted(trained):
    change(trained, "gate", max_distance=1e-6)
    file_requests(trained, subjects(trained))
    batch = pipeline.claim(trained)
    with pipeline.open_lease(trained, batch):
        for step in ("cut", "check", "unlearn", "evaluate", "gate", "retrain"):
            getattr(pipeline, step)(trained, batch)
        champion(trained).save(trained.batches / batch / "retrained" / "seed-0")
        with pytest.raises(ModelError, match=r"the retrained model .* is not the one that the gate judged"):
            pipeline.promote(trained, batch)
    assert Registry(trained).champion().version == "1"
    whole_night(trained)
    assert open_inbox(trained).batch(batch).outcome == "retrained"


@pytest.mark.parametrize("file", ["comparison.json", "groups.npz"])
def test_a_comparison_half_written_is_measured_anew(trained, file):
    change(trained, "gate", max_distance=1e-6)
    file_requests(trained, subjects(trained))
    batch = pipeline.claim(trained)
    with pipeline.open_lease(trained, batch):
        for step in ("cut", "check", "unlearn", "evaluate", "gate"):
            getattr(pipeline, step)(trained, batch)
        half = trained.batches / batch / "comparison" / file
        half.write_bytes(half.read_bytes()[:100])
        assert pipeline.retrain(trained, batch)["verdict"] == "pass"


def test_a_model_changed_before_the_verdict_is_called_swapped(trained):
    file_requests(trained, subjects(trained))
    batch = pipeline.claim(trained)
    with pipeline.open_lease(trained, batch):
        for step in ("cut", "check", "unlearn"):
            getattr(pipeline, step)(trained, batch)
        champion(trained).save(trained.batches / batch / "unlearned")
        pipeline.evaluate(trained, batch)
        found = pipeline.gate(trained, batch)
    faults = {row["fault"] for row in found["table"]}
    assert {"swapped", "exact"} <= faults
