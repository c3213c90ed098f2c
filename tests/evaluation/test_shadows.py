from dataclasses import replace
from math import e, log
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.tiny import without_some_edges
from tru.errors import EvaluationError
from tru.evaluation.audits import Scores, Stage
from tru.evaluation.research import shadows
from tru.evaluation.research.shadows import membership_rows, seen, shadow_data
from tru.training import refit


def test_each_pair_is_in_half_of_the_shadows():
    data = tiny.prepared()
    learned = np.stack([~shadow.canary for shadow in shadow_data(data, 6)])
    assert (learned.sum(axis=0) == 3).all()
    assert all(abs(row.mean() - 0.5) < 0.06 for row in learned)
    assert (learned[0] != learned[1]).any()
    assert all(shadow.train is data.train for shadow in shadow_data(data, 6))


def test_users_are_in_or_out_as_a_whole():
    data = tiny.prepared()
    for side, unit in enumerate(("user", "item")):
        for shadow in shadow_data(data, 4, share=0.75, unit=unit):
            groups = [shadow.canary[data.train[:, side] == k] for k in np.unique(data.train[:, side])]
            assert all(len(set(group.tolist())) == 1 for group in groups)


def test_without_some_pairs_the_shares_of_others_stay():
    data = tiny.prepared()
    stays = np.arange(len(data.train)) % 3 != 0
    fewer = replace(data, train=data.train[stays], canary=data.canary[stays])
    for whole, part in zip(shadow_data(data, 4), shadow_data(fewer, 4), strict=True):
        assert np.array_equal(whole.canary[stays], part.canary)


@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (4, 0.0), (4, 1.0), (4, 0.95)])
def test_shadows_that_tell_nothing_apart_are_refused(count, share):
    with pytest.raises(EvaluationError, match="Take more"):
        shadow_data(tiny.prepared(), count, share=share)


def test_what_is_seen_of_a_pair():
    """Scores 0, 1, 2: mean 1, deviation 1."""
    z, share = seen(Scores(torch.ones(1, 1), torch.tensor([[0.0], [1.0], [2.0]])), np.array([[0, 2], [0, 0]]))
    assert z == pytest.approx([1, -1])
    assert share == pytest.approx([1 - log(1 / e + 1 + e), -1 - log(1 / e + 1 + e)])


@pytest.fixture
def stage():
    """Forgotten ax and bx; retained ay, by, cy; canaries az, cz."""
    users, items = "abc", "wxyz"
    before = tiny.by_hand(users, items, "ax bx ay by cy", canaries="az cz")
    return Stage.of(before, tiny.by_hand(users, items, "ay by cy", canaries="az cz"))


def scores_of(*rows):
    return Scores(torch.tensor(rows, dtype=torch.float32), torch.eye(4))


def test_one_threshold_for_all_by_hand(stage):
    """z: three equal scores and a 1 give it 1.5, and -.5 to the others; so do three 1 and a 0 the other way round."""
    original = scores_of([0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])  # x, x, y
    forgot = scores_of([0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0])  # z, w, y
    found = membership_rows({"original": original, "retrained-0": forgot}, stage)
    first, second = found["original"], found["retrained-0"]
    assert first["mia/population/auc", "forget"] == 1  # ax and bx 1.5, az and cz -.5
    assert second["mia/population/auc", "forget"] == 0.25  # ax and bx -.5; az 1.5, cz -.5
    assert first["mia/population/auc", "retain"] == pytest.approx((0.5 + 0.5 + 1) / 3)  # ay, by -.5; cy 1.5
    assert first["mia/population/retrained-auc", "forget"] == 1
    assert "mia/population/retrained-auc" not in {metric for metric, _ in second}
    assert first["mia/population/tpr@1%", "forget"] == 1
    assert second["mia/population/flipped@1%", "forget"] == 0


def test_lira_by_hand(stage, monkeypatch):
    """Shadows that learned ax give it 1.5, the others -.5; the original is like the former, the retrain like these."""
    likes = {True: [0, 1, 0, 0], False: [0, 0, 0, 1]}
    models = [
        SimpleNamespace(data=tiny.by_hand("abc", "wxyz", "ax" if learned else "az", canaries="cz"), learned=learned)
        for learned in (True, False, True, False)
    ]
    rest = [[0, 0, 1, 0], [0, 0, 1, 0]]
    monkeypatch.setattr(shadows, "vectors", lambda model, _: scores_of(likes[model.learned], *rest))
    given = {"original": scores_of(likes[True], *rest), "retrained-0": scores_of(likes[False], *rest)}
    found = membership_rows(given, stage, models)
    for attack in ("lira", "rmia"):
        assert found["original"][f"mia/{attack}/retrained-auc", "forget"] == 1
    # Members: ax; of bx, which no shadow learned, nothing is said. Others: az, learned where ax was not.
    assert found["original"]["mia/lira/auc", "forget"] == 1
    assert found["retrained-0"]["mia/lira/auc", "forget"] == 0


def test_ruli_compares_what_was_unlearned_with_what_never_was(stage, monkeypatch):
    monkeypatch.setattr(shadows, "vectors", lambda *_: scores_of([0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]))
    with_it, without, rest = (SimpleNamespace(data=tiny.by_hand("abc", "wxyz", t)) for t in ("ax ay", "ay", "ay by"))
    pairs = np.array([[0, 1], [0, 2], [1, 2]])  # ax, ay, by
    found = shadows._of_unlearned([(with_it, without), (rest, without)], stage, pairs)
    assert found.inside.tolist() == [[True, False, False], [False, False, True]]
    assert found.outside.tolist() == [[False, False, True], [True, False, False]]


def test_members_of_a_real_model_are_found_and_forgotten_ones_are_not():
    model = tiny.trained()
    retained = without_some_edges(model.data, 8)
    stage = Stage.of(model.data, retained)
    retrained = refit(retained, model, tiny.TRAIN)
    some = [refit(data, model, tiny.TRAIN, seed=9 + k) for k, data in enumerate(shadow_data(model.data, 4))]
    from tru.evaluation.audits import vectors

    found = membership_rows({"original": vectors(model, stage), "retrained-0": vectors(retrained, stage)}, stage, some)
    for attack in ("lira", "lira-offline", "rmia"):
        first, second = (found[name][f"mia/{attack}/auc", "forget"] for name in ("original", "retrained-0"))
        assert first > 0.65
        assert second < first - 0.15
        assert found["retrained-0"][f"mia/{attack}/auc", "retain"] > 0.65
