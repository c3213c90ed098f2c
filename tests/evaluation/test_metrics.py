from math import log2

import numpy as np
import pytest
import torch

from tests import tiny
from tru.evaluation.metrics import per_user_metrics, rank_metrics, top_items

LETTERS = "abcdefghijklmnopqrstuvwxy"  # 25 items


@pytest.fixture
def case():
    """Users 1 and 3 want items from a to y, user 2 from y to a; user 4 has nothing to be found. 1 has seen a, 2 y."""
    pairs = "1b 1m 1y 2w " + " ".join(f"3{item}" for item in LETTERS[2:14])
    data = tiny.by_hand("1234", LETTERS, "1a", canaries="2y", test=pairs)
    rising = torch.arange(25.0)
    users = torch.tensor([[1.0], [-1.0], [1.0], [1.0]])
    return users, (25 - rising)[:, None], data


def test_recall_and_ndcg_are_those_computed_by_hand(case):
    found = per_user_metrics(*case, case[2].test)
    # 1: b, m, y stand at ranks 1, 12 and 24; 2: w at rank 2; 3: twelve items at ranks 3 to 14.
    gains = [1 / log2(rank + 1) for rank in range(1, 26)]
    ideal = [sum(gains[:3]), gains[0], sum(gains[:10]), sum(gains[:12])]
    assert found["recall@10"] == pytest.approx([1 / 3, 1, 8 / 12])
    assert found["recall@20"] == pytest.approx([2 / 3, 1, 1])
    assert found["ndcg@10"] == pytest.approx([gains[0] / ideal[0], gains[1], sum(gains[2:10]) / ideal[2]])
    assert found["ndcg@20"] == pytest.approx([(gains[0] + gains[11]) / ideal[0], gains[1], sum(gains[2:14]) / ideal[3]])


def test_the_metrics_are_means_over_users_with_pairs(case):
    found = rank_metrics(*case, case[2].test)
    assert found["recall@10"] == pytest.approx((1 / 3 + 1 + 2 / 3) / 3)
    assert found["recall@20"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found["ndcg@10"] == pytest.approx(per_user_metrics(*case, case[2].test)["ndcg@10"].mean())
    assert list(found) == ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]


def test_the_order_of_the_pairs_is_no_matter(case):
    shuffled = np.random.default_rng(0).permutation(case[2].test)
    assert rank_metrics(*case, shuffled) == rank_metrics(*case, case[2].test)


def test_no_pairs_give_no_number(case):
    assert all(np.isnan(value) for value in rank_metrics(*case, case[2].val).values())
    assert len(per_user_metrics(*case, case[2].val)["ndcg@20"]) == 0


def test_lists_hold_the_best_items_that_may_be_shown():
    rng = np.random.default_rng(3)
    users, items = (torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32)) for n in (2300, 60))
    masked = np.stack([rng.integers(0, 2300, 9000), rng.integers(0, 60, 9000)], axis=1)
    scores = (users @ items.T).numpy()
    scores[masked[:, 0], masked[:, 1]] = -np.inf
    who = np.arange(0, 2300, 2)[::-1].copy()
    chunks = list(top_items(users, items, masked, who, 5))
    assert [len(chunk) for chunk, _ in chunks] == [1024, 126]
    assert (np.concatenate([chunk for chunk, _ in chunks]) == who).all()
    assert (np.concatenate([top for _, top in chunks]) == np.argsort(-scores[who], axis=1)[:, :5]).all()


def test_a_list_is_no_longer_than_the_catalogue():
    ((_, top),) = top_items(torch.ones(1, 1), torch.arange(3.0)[:, None], np.zeros((0, 2), int), np.array([0]), 20)
    assert top.tolist() == [[2, 1, 0]]


def test_a_catalogue_shorter_than_the_cutoff_is_measured_in_full():
    data = tiny.by_hand("1", "abc", "1a", test="1c")
    found = rank_metrics(torch.ones(1, 1), torch.tensor([[3.0], [2.0], [1.0]]), data, data.test)
    assert found["recall@20"] == 1
    assert found["ndcg@20"] == pytest.approx(1 / log2(3))
