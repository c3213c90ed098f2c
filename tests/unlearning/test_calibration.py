import numpy as np

from tests.tiny import by_hand
from tru.evaluation.audits import Stage
from tru.unlearning.closed_form.calibration import FEWEST, _classes

ITEMS = "abcdefghijklmnopqrstuvwxyz"


def stage(counts):
    """Users with so many edges left each; everybody forgets item y, and has item z as a canary."""
    users = [chr(ord("A") + k) for k in range(len(counts))]
    own = [user + item for user, count in zip(users, counts, strict=True) for item in ITEMS[:count]]
    rest = " ".join(own)
    canaries = " ".join(user + "z" for user in users)
    before = by_hand("".join(users), ITEMS, f"{rest} {' '.join(user + 'y' for user in users)}", canaries=canaries)
    return Stage.of(before, by_hand("".join(users), ITEMS, rest, canaries=canaries))


def test_users_of_like_many_edges_are_compared_and_then_everybody_at_once():
    found = _classes(stage([1] * FEWEST + [3] * (FEWEST + 2)))
    assert [(own.sum(), canary.sum()) for own, canary, _ in found] == [(10, 10), (12, 12), (22, 22)]
    assert [n for _, _, n in found] == [5, 6, 11]  # 1 / (1/n + 1/n)
    first, second, all_of_them = (own for own, _, _ in found)
    assert not (first & second).any() and (all_of_them == first | second).all()


def test_one_class_is_everybody_already():
    (only,) = _classes(stage([2] * FEWEST + [3]))
    assert only[0].sum() == FEWEST + 1


def test_who_has_no_edge_left_is_in_no_class():
    found = _classes(stage([0] * FEWEST + [1] * FEWEST + [5] * FEWEST))
    assert [own.sum() for own, _, _ in found] == [10, 10, 20]
    assert not np.any([own[:FEWEST].any() for own, _, _ in found])


def test_too_few_are_no_class():
    assert _classes(stage([1] * (FEWEST - 1))) == []
