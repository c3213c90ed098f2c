"""A simulated batch, forgotten twice: what is drawn, and what earns a licence."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.tiny import dataset, prepared, trained
from tru.evaluation.params import RehearsalParams
from tru.ops.judging.baseline import REGIMES
from tru.ops.judging.rehearsal import EXACT_ONLY, draw, rehearse
from tru.ops.settings import Settings
from tru.unlearning.base import Unlearner, make
from tru.unlearning.params import UnlearnParams

WIDE = {
    "utility_margin": 1.0,
    "forget_margin": 1.0,
    "membership_margin": 1.0,
    "min_subjects": 4,
    "widest_margin": 1.0,
    "widest_loss": 1.0,
    "power": 0.8,
}
SIZES = {"users": 12, "items": 8, "interactions": 100, "modalities": 6}


def settings(**blocks):
    return Settings.model_validate({"baseline": {"rehearsal": SIZES}, "gate": WIDE, **blocks})


def outcomes(given, folder, word="week 1", past=()):
    found = rehearse(trained(), dataset(), given, folder, word, past)
    return {outcome.regime: outcome for outcome in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The retrained model of "week 1" is the same for all; it is trained once."""
    return tmp_path_factory.mktemp("rehearsal")


def test_a_mixed_batch_is_drawn():
    found = draw(prepared(), RehearsalParams(**SIZES), "week 1")
    sizes = [len(found.users), len(found.items), len(found.pairs), len(found.modalities)]
    assert sizes == [12, 8, 100, 6]
    edges = {(str(prepared().users[u]), str(prepared().items[i])) for u, i in prepared().edges}
    assert found.pairs <= edges
    users, items = [user for user, _ in found.pairs], {item for _, item in found.pairs}
    assert len(set(users)) == len(users)  # pairs of one user are no independent evidence
    assert not found.users & set(users) and not found.items & items
    assert not found.items & {item for item, _ in found.modalities}
    assert found.known(dataset()) == found


def test_the_draw_is_a_hash_of_its_name():
    params = RehearsalParams(**SIZES)
    assert draw(prepared(), params, "week 1") == draw(prepared(), params, "week 1")
    one, two = draw(prepared(), params, "week 1"), draw(prepared(), params, "week 2")
    for name in ("users", "items", "pairs", "modalities"):
        assert getattr(one, name) != getattr(two, name)


def test_at_most_a_tenth_is_drawn():
    found = draw(prepared(), RehearsalParams(users=10**6, items=10**6, interactions=10**6, modalities=10**6), "x")
    assert len(found.users) == 12 and len(found.items) == 8
    assert len(found.pairs) <= len(prepared().edges) // 10
    assert len(found.modalities) <= 2 * 72 // 10
    nothing = draw(prepared(), RehearsalParams(users=0, items=0, interactions=0, modalities=0), "x")
    assert nothing.is_empty


def test_what_comes_up_to_a_retrain_earns_a_licence(folder):
    found = outcomes(settings(), folder)
    assert list(found) == list(REGIMES)
    assert all(outcome.passed for outcome in found.values())
    assert [outcome.size for outcome in found.values()] == [12, 8, 100, 6]
    for regime in ("user", "item", "interaction"):
        groups = {row["group"] for row in found[regime].table if row["group"]}
        assert groups == {REGIMES[regime]} and found[regime].reasons == []
    assert found["modality"].reasons == [EXACT_ONLY]
    assert {row["group"] for row in found["modality"].table} == {None}
    assert {row["name"] for row in found["user"].table} >= {"test/ndcg@20", "forget/recall@20", "membership_auc"}


def test_no_identifier_and_nothing_but_json_leaves_a_rehearsal(folder):
    words = json.dumps([vars(outcome) for outcome in outcomes(settings(), folder).values()], allow_nan=False)
    assert not any(name in words for name in [*dataset().users.tolist(), *dataset().items.tolist()])


def test_a_method_that_only_cuts_is_found_out(folder):
    given = settings(
        gate={**WIDE, "membership_margin": 0.01, "forget_margin": 0.01, "power": 0.6, "alpha": 0.2},
        unlearn={"attribution": False, "fusion_gate": False, "neutral_rows": False, "strength": 1.0},
    )
    found = outcomes(given, folder)["interaction"]
    assert not found.passed
    assert any("still remembered" in reason for reason in found.reasons)
    assert {row["fault"] for row in found.table if not row["passed"]} == {"under-forgotten"}


@dataclass(frozen=True)
class Spoiling(Unlearner):
    """Forgets as TRU does, and turns everybody's taste around."""

    inner: Unlearner

    @classmethod
    def build(cls, params, train, checkpoint):
        return cls(make(UnlearnParams(), train))

    def unlearn(self, model, retained):
        found = self.inner.unlearn(model, retained)
        return replace(found, arrays={**found.arrays, "users": -found.arrays["users"]})


def test_what_concerns_everybody_ends_all_licences(folder):
    given = settings(gate={**WIDE, "utility_margin": 0.1}, unlearn={"method": f"{__name__}:Spoiling"})
    found = outcomes(given, folder)
    assert not any(outcome.passed for outcome in found.values())
    assert all("got worse for those who stay" in outcome.reasons[0] for outcome in found.values())


def test_a_fault_in_one_regime_leaves_the_others_their_licence(folder):
    given = settings(
        gate={**WIDE, "membership_margin": 0.01, "forget_margin": 0.01, "power": 0.6, "alpha": 0.2},
        unlearn={"attribution": False, "fusion_gate": False, "neutral_rows": False, "strength": 1.0},
    )
    found = outcomes(given, folder)
    assert found["modality"].passed and not found["interaction"].passed


def test_a_method_that_cannot_leaves_the_reason(folder):
    found = outcomes(settings(unlearn={"method": "wishing"}), folder)
    assert list(found) == list(REGIMES)
    assert all(not outcome.passed and "wishing" in outcome.reasons[0] for outcome in found.values())


def test_few_subjects_earn_nothing_alone_and_count_together(folder):
    few = settings(gate={**WIDE, "min_subjects": 13})
    found = outcomes(few, folder)["user"]
    assert not found.passed and "Raise baseline.rehearsal.users" in found.reasons[0]
    assert "13 independent ones are needed" in found.reasons[0]

    pooled = outcomes(few, folder, past=[found.night])["user"]
    assert pooled.passed and {row["group"] for row in pooled.table} >= {"users, window"}
    other = outcomes(few, folder)["item"].night
    assert not outcomes(few, folder, past=[other])["user"].passed


def test_a_regime_that_is_not_rehearsed_has_no_outcome(folder, tmp_path):
    given = settings(baseline={"rehearsal": {"users": 0, "items": 3, "interactions": 0, "modalities": 0}})
    assert list(outcomes(given, tmp_path)) == ["item"]


def test_a_finished_retrain_is_not_made_again(folder):
    outcomes(settings(), folder)
    before = (folder / "retrained" / "arrays.npz").stat().st_mtime_ns
    first = outcomes(settings(), folder)
    assert (folder / "retrained" / "arrays.npz").stat().st_mtime_ns == before
    assert np.isfinite(first["user"].table[-1]["difference"])
    assert not (folder / "retrained.npz").exists()
