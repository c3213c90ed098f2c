from __future__ import annotations

import stat
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tru.data.forget import ForgetSet, cut, simulate
from tru.data.interactions import load_dataset, save_dataset
from tru.data.params import ForgetParams
from tru.data.prepare import prepare
from tru.errors import DataError, NothingLeft


@pytest.fixture(scope="module")
def with_graph(tiny):
    """The small data set with a made-up neighbour graph: each item and the next three."""
    n = len(tiny.items)
    ends = [(tiny.items[i], tiny.items[(i + step) % n]) for i in range(n) for step in range(4)]
    graph = pd.DataFrame(ends, columns=["item_id", "neighbour_id"], dtype="str")
    graph["cosine"] = np.linspace(-1, 1, len(graph), dtype=np.float32)
    return replace(tiny, neighbours={"image": graph})


def _first_pair(ds):
    return tuple(ds.interactions.iloc[0][["user_id", "item_id"]])


def test_cutting_a_user_removes_their_rows_and_nothing_else(with_graph):
    user = with_graph.users[3]
    after = cut(with_graph, ForgetSet(users=frozenset({user})))
    expected = with_graph.interactions[with_graph.interactions["user_id"] != user].reset_index(drop=True)
    pd.testing.assert_frame_equal(after.interactions, expected)
    assert np.array_equal(after.items, with_graph.items)
    assert all(np.array_equal(after.features[m], with_graph.features[m]) for m in after.modalities)
    pd.testing.assert_frame_equal(after.neighbours["image"], with_graph.neighbours["image"])


def test_cutting_an_item_removes_rows_features_and_neighbours_on_both_sides(with_graph):
    item = with_graph.items[5]
    after = cut(with_graph, ForgetSet(items=frozenset({item})))
    stay = with_graph.items != item
    assert np.array_equal(after.items, with_graph.items[stay])
    assert item not in set(after.interactions["item_id"])
    for m in after.modalities:
        assert np.array_equal(after.features[m], with_graph.features[m][stay])
        assert len(after.present[m]) == len(after.items)
    graph, old = after.neighbours["image"], with_graph.neighbours["image"]
    assert not (graph[["item_id", "neighbour_id"]] == item).any(axis=None)
    assert len(graph) == len(old) - 7  # four from it, four to it, one of which is itself


def test_cutting_a_pair_removes_that_row_only(tiny):
    pair = _first_pair(tiny)
    after = cut(tiny, ForgetSet(pairs=frozenset({pair})))
    pd.testing.assert_frame_equal(after.interactions, tiny.interactions.iloc[1:].reset_index(drop=True))


def test_revoking_a_modality_zeroes_the_row_and_drops_its_relations(with_graph):
    item = with_graph.items[5]
    after = cut(with_graph, ForgetSet(modalities=frozenset({(item, "image")})))
    assert np.array_equal(after.items, with_graph.items)
    assert not after.present["image"][5] and not after.features["image"][5].any()
    assert after.present["text"][5] and np.array_equal(after.features["text"], with_graph.features["text"])
    others = np.arange(len(after.items)) != 5
    assert np.array_equal(after.features["image"][others], with_graph.features["image"][others])
    assert not (after.neighbours["image"][["item_id", "neighbour_id"]] == item).any(axis=None)
    pd.testing.assert_frame_equal(after.interactions, with_graph.interactions)
    assert with_graph.features["image"][5].any(), "the data set given must not change"


def test_splits_do_not_move(tiny):
    forget = simulate(tiny, ForgetParams(regime="interaction", fraction=0.3))
    after = cut(tiny, forget).interactions.merge(tiny.interactions, on=["user_id", "item_id"])
    assert (after["split_x"] == after["split_y"]).all()


def test_cutting_twice_is_cutting_once(tiny, fingerprint, tmp_path):
    from tru.data.interactions import save_dataset

    forget = simulate(tiny, ForgetParams(regime="item"))
    save_dataset(cut(tiny, forget), tmp_path / "once")
    save_dataset(cut(cut(tiny, forget), forget), tmp_path / "twice")
    assert fingerprint(tmp_path / "once") == fingerprint(tmp_path / "twice")


def test_an_emptied_data_set_is_refused(tiny):
    with pytest.raises(NothingLeft, match="no train row"):
        cut(tiny, ForgetSet(users=frozenset(tiny.users.tolist())))


@pytest.mark.parametrize("gone", [("image",), ("image", "text")])
def test_a_modality_that_nobody_has_any_more_goes_as_a_whole(tiny, tmp_path, gone):
    after = cut(tiny, ForgetSet(modalities=frozenset((i, m) for i in tiny.items.tolist() for m in gone)))
    save_dataset(after, tmp_path / "data")
    loaded = load_dataset(tmp_path / "data")
    assert set(loaded.modalities) == {"image", "text"} - set(gone)
    assert len(loaded.items) == len(tiny.items) and len(loaded.interactions) == len(tiny.interactions)
    data = prepare(loaded, 0.05)
    assert set(data.features) == set(loaded.modalities) and all(np.isfinite(x).all() for x in data.features.values())


def test_known_and_unknown_part_the_set(tiny):
    user, item = _first_pair(tiny)
    theirs = set(tiny.interactions.loc[tiny.interactions["user_id"] == user, "item_id"])
    stranger = next(str(i) for i in tiny.items if i not in theirs)
    known = ForgetSet(frozenset({user}), frozenset({item}), frozenset({(user, item)}), frozenset({(item, "text")}))
    unknown = ForgetSet(
        frozenset({"nobody"}), frozenset({"nothing"}), frozenset({(user, stranger), ("nobody", item)}),
        frozenset({(item, "smell"), ("nothing", "text")}),
    )  # fmt: skip
    both = ForgetSet(*(getattr(known, f) | getattr(unknown, f) for f in ("users", "items", "pairs", "modalities")))
    assert both.known(tiny) == known and both.unknown(tiny) == unknown
    assert both.size == 10 and not both.is_empty and ForgetSet().is_empty
    # What was cut is not there any more, a revoked modality included.
    assert known.known(cut(tiny, ForgetSet(modalities=known.modalities))).modalities == frozenset()
    assert known.known(cut(tiny, ForgetSet(items=known.items))).is_empty is False
    assert known.known(cut(tiny, known)).is_empty


def test_a_set_survives_the_disk_and_only_its_owner_may_read_it(tiny, tmp_path):
    forget = simulate(tiny, ForgetParams(regime="modality"))
    forget.save(tmp_path / "batch" / "forget.json")
    assert ForgetSet.load(tmp_path / "batch" / "forget.json") == forget
    assert stat.S_IMODE((tmp_path / "batch" / "forget.json").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "batch").iterdir()] == ["forget.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"pairs": [1]}', '{"pairs": [["a"]]}'])
def test_a_damaged_set_is_refused(tmp_path, content):
    (tmp_path / "forget.json").write_text(content)
    with pytest.raises(DataError, match=r"forget\.json"):
        ForgetSet.load(tmp_path / "forget.json")


@pytest.mark.parametrize(
    ("regime", "field"), [("user", "users"), ("item", "items"), ("interaction", "pairs"), ("modality", "modalities")]
)
def test_a_simulated_batch_is_drawn_from_what_is_there(tiny, regime, field):
    forget = simulate(tiny, ForgetParams(regime=regime, count=3))
    assert forget.size == len(getattr(forget, field)) == 3
    assert forget.unknown(tiny).is_empty
    assert simulate(tiny, ForgetParams(regime=regime, count=3)) == forget
    assert simulate(tiny, ForgetParams(regime=regime, count=3, seed=8)) != forget


def test_the_fraction_counts_what_has_train_rows(tiny):
    train = tiny.interactions[tiny.interactions["split"] == 0]
    assert simulate(tiny, ForgetParams(regime="user", fraction=0.1)).size == 12
    assert simulate(tiny, ForgetParams(regime="interaction", fraction=0.1)).size == round(0.1 * len(train))
    assert simulate(tiny, ForgetParams(fraction=0.0001)).size == 1


@pytest.mark.parametrize("params", [{"count": 120}, {"fraction": 0.999}])
def test_everybody_cannot_be_forgotten(tiny, params):
    with pytest.raises(DataError, match="Cannot forget"):
        simulate(tiny, ForgetParams(**params))


@pytest.mark.parametrize("params", [{"count": 0}, {"count": -1}, {"fraction": 0}, {"fraction": 1.0}, {"fraction": 5}])
def test_shares_and_counts_that_no_data_set_could_have_are_no_settings(params):
    with pytest.raises(ValidationError, match=next(iter(params))):
        ForgetParams(**params)
