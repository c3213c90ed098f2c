from dataclasses import replace

import numpy as np
import pytest

from tests.tiny import by_hand, dataset, prepared, train_pairs
from tru.data.forget import ForgetSet, cut
from tru.data.prepare import prepare
from tru.errors import UnlearningError
from tru.unlearning.change import Change

BEFORE = by_hand("abcde", "zxyw", "ax ay bx by cz dw", canaries="bz", test="dx ez")


def test_what_is_gone_is_told_by_its_position_before():
    # c and item z are deleted, and the pairs ay, by and dw with them; e never had an edge.
    change = Change.between(BEFORE, by_hand("abde", "xyw", "bx ax", test="dx"))
    assert change.users.tolist() == [0, 1, 3, 4]
    assert change.items.tolist() == [1, 2, 3]
    assert change.forgotten.tolist() == [[0, 2], [1, 2], [2, 0], [3, 3]]
    assert change.emptied_users.tolist() == [False, False, True, False]
    assert change.emptied_items.tolist() == [False, True, True]


def test_equal_data_is_no_change():
    change = Change.between(BEFORE, BEFORE)
    assert change.forgotten.shape == (0, 2)
    assert change.users.tolist() == [0, 1, 2, 3, 4]
    assert change.items.tolist() == [0, 1, 2, 3]
    assert not change.emptied_users.any()
    assert not change.emptied_items.any()


def test_a_deleted_canary_or_held_out_row_is_nothing_to_unlearn():
    after = by_hand("abcde", "zxyw", "ax ay bx by cz dw")
    assert len(Change.between(BEFORE, after).forgotten) == 0


@pytest.mark.parametrize(
    "grown",
    [
        by_hand("abcdef", "zxyw", "ax"),
        by_hand("abcde", "zxywv", "ax"),
        by_hand("abcde", "zxyw", "ax az"),
        by_hand("abcde", "zxyw", "ax bz"),  # trained on what was withheld
        by_hand("Abcde", "zxyw", "bx"),
    ],
)
def test_data_that_grew_is_refused(grown):
    with pytest.raises(UnlearningError, match=r"only takes away.*tru train"):
        Change.between(BEFORE, grown)


def test_a_real_cut_is_found_again():
    ds, data = dataset(), prepared()
    pairs = train_pairs()[::9]
    forget = ForgetSet(users=frozenset({str(ds.users[8])}), items=frozenset({str(ds.items[2])}), pairs=frozenset(pairs))
    rate = 60 / 1236
    after = prepare(cut(ds, forget), rate)
    change = Change.between(data, after)
    assert (data.users[change.users] == after.users).all()
    assert (data.items[change.items] == after.items).all()
    gone = {(str(data.users[u]), str(data.items[i])) for u, i in data.edges}
    gone -= {(str(after.users[u]), str(after.items[i])) for u, i in after.edges}
    assert {(str(data.users[u]), str(data.items[i])) for u, i in change.forgotten} == gone
    assert len(change.forgotten) == len(gone) == len(data.edges) - len(after.edges)
    for emptied, column in ((change.emptied_users, 0), (change.emptied_items, 1)):
        assert (emptied <= ~np.isin(np.arange(len(emptied)), after.edges[:, column])).all()


def test_a_revoked_picture_changes_no_edge():
    change = Change.between(BEFORE, replace(BEFORE, features={"image": BEFORE.features["image"] * 0}))
    assert len(change.forgotten) == 0
