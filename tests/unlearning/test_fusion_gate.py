import numpy as np
import pytest
import torch

from tru.unlearning.closed_form.fusion_gate import SHORT, patch, rewritten


@pytest.fixture
def case():
    """12 users, 60 items spread far more one way than another, forgotten pairs, a reference that wants them less."""
    generator = torch.Generator().manual_seed(0)
    stretch = torch.logspace(0, -1.5, 16)
    users, items = (torch.randn(n, 16, generator=generator) * stretch for n in (12, 60))
    pairs = np.array([[2, 5], [0, 9], [2, 30], [7, 5], [0, 1], [0, 44], [9, 12]])
    reference = users.clone()
    for user, item in pairs:
        reference[user] -= 0.3 * items[item] / items[item].norm()
    return users, items, reference, pairs


def scores(users, items, pairs):
    return (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1)


def test_forgotten_scores_come_down_to_the_reference(case):
    users, items, reference, pairs = case
    found = patch(users, items, reference, items, pairs)
    before, after, wish = (scores(u, items, pairs) for u in (users, users + found, reference))
    assert (wish < before).all()
    torch.testing.assert_close(after, wish, rtol=0, atol=0.02 * float((before - wish).max()))


def test_a_score_is_never_raised(case):
    users, items, reference, pairs = case
    reference[9] = users[9] + items[12]  # would raise the only forgotten score of user 9
    reference[2] = (
        users[2] + 0.5 * items[30] - 0.5 * (items[5] - items[30] * (items[5] @ items[30]) / items[30].norm() ** 2)
    )
    found = patch(users, items, reference, items, pairs)
    change, wish = scores(found, items, pairs), scores(reference - users, items, pairs)
    assert (found[9] == 0).all()
    assert wish[2] > 0 > wish[0]  # of the two pairs of user 2 the reference lowers one and raises the other
    assert abs(change[2]) < 0.02 * abs(wish[0])
    assert change[0] == pytest.approx(float(wish[0]), rel=0.03)


def test_other_scores_move_less_than_under_any_other_correction(case):
    users, items, reference, pairs = case
    found = patch(users, items, reference, items, pairs)
    for user in np.unique(pairs[:, 0]):
        z = items[pairs[pairs[:, 0] == user, 1]]
        plain = torch.linalg.lstsq(z, z @ found[user]).solution  # the shortest step with the same effect on the pairs
        assert torch.allclose(z @ plain, z @ found[user], atol=1e-4)
        moved, otherwise = (items @ found[user]).square().mean(), (items @ plain).square().mean()
        assert moved < 0.9 * otherwise
    kept = np.setdiff1d(np.arange(60), pairs[pairs[:, 0] == 0, 1])
    wish = (scores(users, items, pairs) - scores(reference, items, pairs))[pairs[:, 0] == 0]
    assert (items[kept] @ found[0]).abs().mean() < 0.5 * wish.mean()


def test_users_without_forgotten_pairs_stay_where_they_are(case):
    users, items, reference, pairs = case
    found = patch(users, items, reference + 1, items, pairs)
    untouched = np.setdiff1d(np.arange(12), pairs[:, 0])
    assert (found[untouched] == 0).all()
    nothing = patch(users, items, reference, items, pairs[:0])
    assert nothing.shape == users.shape
    assert (nothing == 0).all()


def test_a_user_is_solved_as_if_alone(case):
    users, items, reference, pairs = case
    found = patch(users, items, reference, items, pairs)
    for user in (0, 2, 7):
        alone = patch(users, items, reference, items, pairs[pairs[:, 0] == user])
        torch.testing.assert_close(alone[user], found[user], rtol=1e-4, atol=1e-5)


def test_an_item_that_is_gone_is_moved_away_from_by_its_last_vector(case):
    users, items, reference, _ = case
    ghosts, left = items.clone(), items[:50]
    found = patch(users, left, reference, ghosts, np.array([[0, 55], [0, 9]]))
    wish = (ghosts[[55, 9]] @ (reference[0] - users[0])).clamp_max(0)
    assert wish[1] < 0
    torch.testing.assert_close(ghosts[[55, 9]] @ found[0], wish, rtol=0.03, atol=0.003)


def test_the_correction_for_an_item_that_is_gone_is_short_and_takes_items_like_it_along(case):
    users, items, reference, _ = case
    twin = items[55] + 0.1 * items[20]
    left, pairs = torch.cat([items[:50], twin[None]]), np.array([[0, 55]])
    quiet, short = (patch(users, left, reference - items[55], items, pairs, e)[0] for e in (1e-3, SHORT))
    torch.testing.assert_close(items[55] @ short, items[55] @ quiet, rtol=0.01, atol=0)  # the same effect on the item
    assert short.norm() < 0.8 * quiet.norm()
    assert twin @ short < twin @ quiet < 0


def test_more_pairs_than_numbers_in_a_vector_are_solved_too(case):
    users, items, _, _ = case
    pairs = np.stack([np.zeros(40, dtype=int), np.arange(40)], axis=1)
    reference = users * 0
    found = patch(users, items, reference, items, pairs)
    assert torch.isfinite(found).all()
    before = scores(users, items, pairs)
    after = scores(users + found, items, pairs)
    assert after[before > 0].clamp_min(0).sum() < 0.8 * before[before > 0].sum()


@pytest.fixture
def crowd():
    """40 users who stay, 10 items with some of them, five vectors that should score three of the items lower."""
    generator = torch.Generator().manual_seed(1)
    stretch = torch.logspace(0, -1.5, 16)
    users, probes = (torch.randn(n, 16, generator=generator) * stretch for n in (40, 5))
    edges = np.array([(u, (5 * u + k) % 9) for u in range(40) for k in range(1 + u % 3)])  # nobody has item 9
    items = np.array([4, 9, 4, 2, 4])
    wishes = torch.tensor([[-0.3, 0.0], [-0.2, 0.0], [0.0, -0.5], [-0.1, 0.0], [0.4, 0.0]])
    return users, edges, torch.nn.functional.normalize(probes, dim=1), items, wishes


def whole(rows, found):
    """(c, 10, d) what is to be added to all items."""
    out = torch.zeros(len(found), 10, found.shape[2])
    out[:, torch.from_numpy(rows)] = found
    return out


def told(found, probes, items):
    """(p, c) by how much each probe's score of its item changes, in each column."""
    return torch.einsum("pd,cpd->pc", probes, found[:, torch.from_numpy(items)])


def test_rows_are_rewritten_as_wished_and_only_downwards(crowd):
    users, edges, probes, items, wishes = crowd
    rows, found = rewritten(users, edges, probes, items, wishes, 10)
    assert rows.tolist() == [2, 4, 9]
    assert found.shape == (2, 3, 16)
    found = whole(rows, found)
    torch.testing.assert_close(told(found, probes, items), wishes.clamp_max(0.0), rtol=0, atol=0.02)


def test_columns_of_wishes_add_up(crowd):
    users, edges, probes, items, wishes = crowd
    apart = rewritten(users, edges, probes, items, wishes, 10)[1].sum(0)
    together = rewritten(users, edges, probes, items, wishes.clamp_max(0.0).sum(1, keepdim=True), 10)[1][0]
    torch.testing.assert_close(apart, together, rtol=1e-3, atol=1e-5)


def test_an_items_own_users_feel_less_than_from_any_plainer_correction(crowd):
    users, edges, probes, items, wishes = crowd
    found = whole(*rewritten(users, edges, probes, items, wishes, 10))[0]
    for item in (4, 2):
        own = users[torch.from_numpy(edges[edges[:, 1] == item, 0])]
        z = probes[torch.from_numpy(items) == item]
        plain = torch.linalg.lstsq(z, z @ found[item]).solution  # the shortest step with the same effect on the probes
        assert torch.allclose(z @ plain, z @ found[item], atol=1e-4)
        assert (own @ found[item]).square().mean() < 0.5 * (own @ plain).square().mean()


def test_one_probe_by_hand():
    """Metric of the item: its one user (1, 0), and everybody's mean square (1/2, 2) as often as it is a negative, 1.

    So M = diag(3/2, 2) / 2 and for the probe (.6, .8) the correction is M^-1 z w / (z M^-1 z).
    """
    users, edges = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), np.array([[0, 0], [1, 1]])
    probe = torch.tensor([[0.6, 0.8]])
    _, found = rewritten(users, edges, probe, np.array([0]), torch.tensor([[-1.0]]), 2, epsilon=1e-6)
    inverse = np.array([2 / 1.5, 1.0])
    z = np.array([0.6, 0.8])
    np.testing.assert_allclose(found[0, 0], -inverse * z / (z @ (inverse * z)), rtol=1e-4)


def test_without_probes_nothing_is_rewritten(crowd):
    users, edges, probes, _, wishes = crowd
    rows, found = rewritten(users, edges, probes[:0], np.zeros(0, dtype=int), wishes[:0], 10)
    assert len(rows) == 0 and found.shape == (2, 0, 16)
