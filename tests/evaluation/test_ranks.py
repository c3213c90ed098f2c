import numpy as np
import pytest
import torch

from tests import tiny
from tru.evaluation.audits import Scores, Stage
from tru.evaluation.research.ranks import apart, rank_rows, tolerance

ITEMS = "tuvwxyz"


def ordered(best_first):
    """Scores of one user who wants the items in this order."""
    return Scores(torch.tensor([[-float(best_first.index(item)) for item in ITEMS]]), torch.eye(len(ITEMS)))


@pytest.fixture
def stage():
    """a keeps v, t and u are forgotten: five other items may be shown."""
    return Stage.of(tiny.by_hand("a", ITEMS, "at au av"), tiny.by_hand("a", ITEMS, "av"))


def test_rows_by_hand(stage):
    scores = {
        "unlearned": ordered("vtwxyzu"),  # t 1, u 0
        "retrained-0": ordered("vwtuxyz"),  # t .8, u .6
        "retrained-1": ordered("vwtxuyz"),  # t .8, u .4
    }
    found = rank_rows(scores, stage)
    mine, other = found["unlearned"], found["retrained-1"]
    assert mine["forget/percentile", "all"] == pytest.approx(0.5)
    assert mine["forget/hit@20", "all"] == mine["forget/recall@20", "all"] == 1
    assert mine["forget/ks/percentile", "all"] == 0.5
    assert other["forget/ks/percentile", "all"] == 0.5
    assert mine["forget/below/share", "all"] == 0.5
    assert mine["forget/below/clear", "all"] == 0.5  # u by .6; two retrains differ by .19 at most
    assert mine["forget/above/clear", "all"] == 0.5  # t by .2
    assert other["forget/below/share", "all"] == 0.75  # t as before, u below
    assert mine["forget/below/mean", "all"] == pytest.approx(0.2)
    assert not any("/ks/" in metric or "/below/" in metric for metric, _ in found["retrained-0"])
    assert {group for _, group in mine} == {"all"}  # of a batch of one kind there is no more to say


def test_two_retrains_say_what_noise_is():
    assert tolerance([np.zeros(4), np.array([0.1, 0.2, 0.3, 0.4])]) == pytest.approx(0.385)
    assert tolerance([np.zeros(4)]) == 0


def test_pushed_below_and_above():
    found = apart(np.array([0.5, 0.5, 0.2, 0.9]), np.array([0.5, 0.6, 0.9, 0.2]), 0.15)
    expected = {"below/share": 0.625, "below/clear": 0.25, "above/clear": 0.25, "below/mean": 0.025}
    assert found == pytest.approx(expected)


def test_nothing_forgotten_nothing_said():
    data = tiny.by_hand("a", ITEMS, "at")
    assert rank_rows({"retrained-0": ordered(ITEMS)}, Stage.of(data, data)) == {}


def test_a_mixed_batch_is_split_by_what_made_pairs_go():
    before = tiny.by_hand("ab", ITEMS, "at au bt bv")
    stage = Stage.of(before, tiny.by_hand("a", ITEMS, "at"))
    two = Scores(torch.rand(2, 7), torch.eye(7))
    found = rank_rows({"unlearned": two, "retrained-0": two}, stage)["unlearned"]
    assert {group for _, group in found} == {"all", "users", "interactions"}
