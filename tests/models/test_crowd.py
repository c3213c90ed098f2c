import numpy as np
import torch

from tru import randomness
from tru.models.sampling import Crowd

IDS = np.array([f"node-{k}" for k in range(200)])
KEYS = randomness.mix(randomness.of_ids(IDS)[:, None], np.arange(50, dtype=np.uint64)[None, :])


def crowd(gone=()):
    """Everybody has edges but every tenth, less those who are gone."""
    return Crowd(np.delete(IDS, gone), np.delete(np.arange(200) % 10 != 0, gone))


def test_only_nodes_with_edges_are_drawn_and_all_of_them_about_equally_often():
    draws = crowd().draw(KEYS)
    assert draws.shape == KEYS.shape
    counts = np.bincount(draws.numpy().ravel(), minlength=200)
    assert (counts[::10] == 0).all()
    assert counts[np.arange(200) % 10 != 0].min() > 0.4 * 10_000 / 180
    assert counts.max() < 2 * 10_000 / 180


def test_only_draws_of_a_removed_node_change():
    gone = [13, 77]
    before, after = IDS[crowd().draw(KEYS).numpy()], np.delete(IDS, gone)[crowd(gone).draw(KEYS).numpy()]
    hit = np.isin(before, IDS[gone])
    assert 0 < hit.sum() < 0.05 * hit.size
    assert (before == after)[~hit].all()
    assert not np.isin(after, IDS[gone]).any()


def test_a_part_draws_what_a_crowd_made_anew_draws():
    stay = np.flatnonzero(np.arange(200) % 7 != 3)[::-1]  # in any order
    connected = crowd().connected[stay] & (stay % 5 != 1)
    part, anew = crowd().part(stay, connected), Crowd(IDS[stay], connected)
    assert (part.ids == anew.ids).all() and (part.keys == anew.keys).all()
    assert torch.equal(part.draw(KEYS), anew.draw(KEYS))
    smaller = np.flatnonzero(stay > 20)
    assert torch.equal(
        part.part(smaller, connected[smaller]).draw(KEYS), Crowd(anew.ids[smaller], connected[smaller]).draw(KEYS)
    )


def test_what_serving_draws_in_a_part_is_what_it_draws_in_a_crowd_made_anew():
    stay = np.flatnonzero(np.arange(200) % 7 != 3)[::-1]
    connected = crowd().connected[stay] & (stay % 5 != 1)
    found = crowd().part(stay, connected).fixed(30, 3)
    assert torch.equal(found, Crowd(IDS[stay], connected).companions(30, 3))
    assert connected[found.numpy()].all()


def test_no_draws_are_no_positions():
    assert crowd().draw(KEYS[:, :0]).shape == (200, 0)


def test_companions_follow_their_node_and_word_and_fixed_ones_are_kept():
    one = crowd()
    found = one.companions(7, 3)
    assert found.shape == (200, 7)
    assert torch.equal(one.fixed(7, 3), found)
    assert one.fixed(7, 3) is one.fixed(7, 3)
    assert not torch.equal(one.fixed(7, 4), found)
    assert torch.equal(one.companions(5, 3), found[:, :5])


def test_a_mask_drops_its_share_keeps_the_mean_and_follows_its_node_and_word():
    mask = crowd().mask(64, 0.25, 1)
    assert mask.shape == (200, 64)
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, np.float32(256 / 192)}
    assert abs(float((mask == 0).float().mean()) - 0.25) < 0.02
    assert abs(float(mask.mean()) - 1) < 0.02
    assert len(torch.unique(mask, dim=0)) == 200
    assert not torch.equal(mask, crowd().mask(64, 0.25, 2))
    assert torch.equal(torch.from_numpy(np.delete(mask.numpy(), [4], axis=0)), crowd([4]).mask(64, 0.25, 1))
    assert (crowd().mask(5, 0.0, 1) == 1).all()
