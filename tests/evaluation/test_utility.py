from math import log2

import numpy as np
import pytest
import torch

from tests import tiny
from tru.evaluation.audits import Scores, Stage
from tru.evaluation.research.utility import affected, masks, revoked, utility_rows

TRAIN = "av aw bv bx cw cy dz"


def stage_without(train: str, **words):
    held = {"val": "ay", "test": "ax bw cx"}
    return Stage.of(tiny.by_hand("abcd", "vwxyz", TRAIN, **held), tiny.by_hand("abcd", "vwxyz", train, **held, **words))


@pytest.fixture
def stage():
    """Forgotten: a has v."""
    return stage_without("aw bv bx cw cy dz")


def test_who_is_near_to_what_went(stage):
    """v lost one of two edges, so b lost .25 of the surroundings, c and d nothing."""
    found = affected(stage)
    assert found["touched"].tolist() == [True, False, False, False]
    assert found["near"].tolist() == [False, True, False, False]
    assert found["far"].tolist() == [False, False, True, True]


def test_who_has_an_item_with_a_revoked_modality_is_touched():
    stage = stage_without(TRAIN, present="vxyz")
    assert revoked(stage).tolist() == [False, True, False, False, False]
    assert affected(stage)["touched"].tolist() == [True, False, True, False]


def test_an_item_that_is_gone_is_not_revoked():
    after = tiny.by_hand("abcd", "wxyz", "aw bx cw cy dz")
    assert not revoked(Stage.of(tiny.by_hand("abcd", "vwxyz", TRAIN), after)).any()


def test_two_maskings(stage):
    assert len(masks(stage.after)["train"]) == 6
    assert len(masks(stage.after)["train+val"]) == 7


def test_utility_by_hand(stage):
    users = torch.tensor(
        [
            [0.1, 9.0, 0.2, 0.3, 0.4],  # a has w; then z, y, x: third, or second where y is masked
            [0.5, 1.0, 0.2, 0.0, -1.0],  # b has v and x; w is first
            [0.0, 0.5, 1.0, 0.2, -1.0],  # c has w and y; x is first
            [0.0, 0.0, 0.0, 0.0, 1.0],
        ]
    )
    found = utility_rows(Scores(users, torch.eye(5)), stage)
    assert found["test/train/ndcg@20", "all"] == pytest.approx((1 / log2(4) + 2) / 3)
    assert found["test/train+val/ndcg@20", "all"] == pytest.approx((1 / log2(3) + 2) / 3)
    assert found["test/train/ndcg@10", "touched"] == pytest.approx(0.5)
    assert found["test/train/ndcg@10", "near"] == found["test/train/ndcg@10", "far"] == pytest.approx(1)
    assert found["test/train/recall@20", "all"] == 1
    # Retained train pairs, nothing masked: a and d first; b and c have theirs on the second and third place.
    second_and_third = (1 / log2(3) + 1 / log2(4)) / (1 + 1 / log2(3))
    assert found["retain/ndcg@20", "all"] == pytest.approx((2 + 2 * second_and_third) / 4)


def test_a_group_without_anybody_has_no_row():
    stage = stage_without(TRAIN)
    found = utility_rows(Scores(torch.rand(4, 5), torch.eye(5)), stage)
    assert {group for _, group in found} == {"all", "far"}
    assert np.isfinite(list(found.values())).all()
