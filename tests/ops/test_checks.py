from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tru.data.forget import ForgetSet, cut, simulate
from tru.data.interactions import TEST, VAL
from tru.data.params import ForgetParams, SyntheticParams
from tru.data.synthetic import generate
from tru.errors import CheckFailed
from tru.ops.checks import check_cut, check_raw


@pytest.fixture(scope="module")
def tiny():
    return generate(SyntheticParams(users=120, items=80))


@pytest.fixture(scope="module")
def before(tiny):
    n = len(tiny.items)
    ends = [(tiny.items[i], tiny.items[(i + step) % n]) for i in range(n) for step in range(4)]
    graph = pd.DataFrame(ends, columns=["item_id", "neighbour_id"], dtype="str")
    graph["cosine"] = np.linspace(-1, 1, len(graph), dtype=np.float32)
    times = pd.array(range(len(tiny.interactions)), dtype="Int64")
    return replace(tiny, interactions=tiny.interactions.assign(timestamp=times), neighbours={"image": graph})


def _rows(ds, change):
    rows = ds.interactions.copy()
    return replace(ds, interactions=change(rows))


def _cell(column, value, row=3):
    def change(rows):
        rows.loc[rows.index[row], column] = value
        return rows

    return lambda ds: _rows(ds, change)


def _feature(modality, row, value):
    def change(ds):
        matrix = ds.features[modality].copy()
        matrix[row] = value
        return replace(ds, features=ds.features | {modality: matrix})

    return change


def _matrix(change):
    return lambda ds: replace(ds, features=ds.features | {"text": change(ds.features["text"])})


def _graph(column, row, value):
    def change(ds):
        graph = ds.neighbours["image"].copy()
        graph.loc[graph.index[row], column] = value
        return replace(ds, neighbours={"image": graph})

    return change


def _failed(report):
    return [e.words for e in report.expectations if not e.ok]


def test_good_data_pass(before, tiny):
    assert check_raw(before).passed and check_raw(tiny).passed


BROKEN_RAW = [
    (_cell("user_id", None), "no user id is missing"),
    (_cell("item_id", None), "no item id is missing"),
    (_cell("split", 5), "every split is train, val or test"),
    (_cell("item_id", "elsewhere"), "every interaction is with an item of the data set"),
    (lambda ds: _rows(ds, lambda r: pd.concat([r, r.iloc[[0]]])), "no user and item are paired twice"),
    (lambda ds: _rows(ds, lambda r: r.iloc[:0]), "there are train rows"),
    (lambda ds: replace(ds, items=ds.items[[0, *range(79)]]), "no item is listed twice"),
    (lambda ds: replace(ds, items=ds.items[:-1]), "text: one feature row per item"),
    (_feature("text", 3, np.nan), "text: every feature is a finite number"),
    (_feature("text", 3, 0), "text: a feature row is zero exactly where the item lacks it"),
    (_graph("neighbour_id", 2, "elsewhere"), "image: every neighbour relation is between items that have it"),
    (_graph("cosine", 2, 2.0), "image: every cosine is from -1 to 1"),
]


@pytest.mark.parametrize(("damage", "words"), BROKEN_RAW)
def test_bad_data_fail_in_words(before, damage, words):
    report = check_raw(damage(before))
    assert words in _failed(report)
    with pytest.raises(CheckFailed, match=words):
        report.raise_if_failed()


@pytest.mark.parametrize("missing", [VAL, TEST])
def test_data_that_never_had_validation_or_test_rows_pass_raw_and_cut(before, missing):
    less = _rows(before, lambda rows: rows[rows["split"] != missing].reset_index(drop=True))
    assert check_raw(less).passed
    forget = simulate(less, ForgetParams(fraction=0.01))
    assert check_cut(less, cut(less, forget), forget).passed


@pytest.mark.parametrize("regime", ["user", "item", "interaction", "modality"])
def test_a_true_cut_passes(before, regime):
    forget = simulate(before, ForgetParams(regime=regime))
    report = check_cut(before, cut(before, forget), forget)
    report.raise_if_failed()
    assert report.passed and len(report.expectations) > 20


@pytest.mark.parametrize("regime", ["user", "item", "interaction", "modality"])
def test_no_cut_at_all_fails(before, regime):
    assert not check_cut(before, before, simulate(before, ForgetParams(regime=regime))).passed


def _mixed(ds):
    rows = ds.interactions
    return ForgetSet(
        users=frozenset({rows["user_id"].iloc[0]}),
        items=frozenset({str(ds.items[7])}),
        pairs=frozenset({tuple(rows.iloc[-1][["user_id", "item_id"]])}),
        modalities=frozenset({(str(ds.items[20]), "image")}),
    )


BROKEN_CUTS = [
    (
        lambda ds: _rows(ds, lambda r: r.iloc[1:]),
        "interactions: rows before, less those of the batch, are the rows after",
    ),
    (lambda ds: _rows(ds, lambda r: r.iloc[::-1]), "interactions: all others are there, in their order"),
    (_cell("split", 2, row=0), "interactions: no row changed its split"),
    (_cell("timestamp", -1), "interactions: timestamp is unchanged"),
    (lambda ds: _rows(ds, lambda r: r.drop(columns="timestamp")), "interactions: timestamp is unchanged"),
    (_cell("item_id", "elsewhere"), "interactions: no orphan, every item is still an item"),
    (lambda ds: replace(ds, items=ds.items[::-1]), "items: all others are there, in their order"),
    (lambda ds: replace(ds, items=ds.items[:-1]), "items: items before, less those of the batch, are the items after"),
    (_feature("text", 3, 0.5), "text: every other feature row is unchanged"),
    (_feature("image", 19, 0.5), "image: nothing revoked is left"),
    (_matrix(lambda m: m[1:]), "text: one feature row per item"),
    (_matrix(lambda m: m.astype(np.float32)), "text: every other feature row is unchanged"),
    (lambda ds: replace(ds, neighbours={}), "image: neighbour relations before, less those of the batch"),
    (_graph("neighbour_id", 2, "elsewhere"), "image: no orphan, both ends of a neighbour relation are items"),
    (_graph("cosine", 2, 0.123), "image: all other neighbour relations are there, in their order"),
]


@pytest.mark.parametrize(("damage", "words"), BROKEN_CUTS)
def test_a_wrong_cut_fails_in_words(before, damage, words):
    forget = _mixed(before)
    after = cut(before, forget)
    assert check_cut(before, after, forget).passed
    assert any(failed.startswith(words) for failed in _failed(check_cut(before, damage(after), forget)))


LEFTOVERS = [
    ("users", "interactions: none of the batch is left"),
    ("pairs", "interactions: none of the batch is left"),
    ("items", "items: none of the batch is left"),
    ("modalities", "image: nothing revoked is left"),
]


@pytest.mark.parametrize(("kind", "words"), LEFTOVERS)
def test_each_part_of_the_batch_is_looked_for(before, kind, words):
    forget = _mixed(before)
    less = replace(forget, **{kind: frozenset()})
    assert words in _failed(check_cut(before, cut(before, less), forget))


def test_a_cut_that_takes_more_than_the_batch_is_noticed(before):
    """All of every user's train rows but one are gone, and the batch asked for one of them."""
    rows = before.interactions
    heavy = rows[rows["split"] == 0].groupby("user_id").tail(9)
    pairs = list(heavy[["user_id", "item_id"]].itertuples(index=False, name=None))
    taken, asked = (ForgetSet(pairs=frozenset(some)) for some in (pairs, pairs[:1]))
    failed = _failed(check_cut(before, cut(before, taken), asked))
    assert "a user has as many rows on average as the batch explains" in failed
    assert "the share of train rows is what the batch explains" in failed


def _most_rows(ds):
    rows = ds.interactions
    heavy = rows[rows["split"] == 0].groupby("user_id").tail(9)
    return ForgetSet(pairs=frozenset(heavy[["user_id", "item_id"]].itertuples(index=False, name=None)))


LARGE = [
    _most_rows,
    lambda ds: ForgetSet(users=frozenset(ds.users[4:].tolist())),
    lambda ds: ForgetSet(items=frozenset(ds.items[10:].tolist())),
    lambda ds: ForgetSet(modalities=frozenset((i, "image") for i in ds.items[1:].tolist())),
]


@pytest.mark.parametrize("batch", LARGE)
def test_a_large_batch_passes_however_much_it_takes(before, batch):
    forget = batch(before)
    check_cut(before, cut(before, forget), forget).raise_if_failed()


TOO_LARGE = [
    (lambda ds: ForgetSet(modalities=frozenset((i, "image") for i in ds.items.tolist())), "no item has the modality"),
    (lambda ds: ForgetSet(pairs=_pairs(ds, 1)), "no val rows are left"),
    (lambda ds: ForgetSet(pairs=_pairs(ds, 2)), "no test rows are left"),
]


def _pairs(ds, split):
    rows = ds.interactions[ds.interactions["split"] == split]
    return frozenset(rows[["user_id", "item_id"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(("batch", "reason"), TOO_LARGE)
def test_a_person_may_say_that_too_little_is_enough(before, batch, reason):
    forget = batch(before)
    report = check_cut(before, cut(before, forget), forget)
    with pytest.raises(CheckFailed) as failed:
        report.raise_if_failed()
    assert len(failed.value.reasons) == 1 and reason in failed.value.reasons[0]
    report.raise_if_failed(overruled=True)


@pytest.mark.parametrize(("kind", "words"), LEFTOVERS)
def test_nobody_may_overrule_that_somebody_is_left(before, kind, words):
    forget = _mixed(before)
    less = replace(forget, **{kind: frozenset()})
    with pytest.raises(CheckFailed) as failed:
        check_cut(before, cut(before, less), forget).raise_if_failed(overruled=True)
    assert any(words in reason for reason in failed.value.reasons)


def test_what_was_never_there_is_not_missed(before):
    """A published split without validation rows; that is for the training to say, not for each night."""
    bare = _rows(before, lambda r: r[r["split"] != 1].reset_index(drop=True))
    forget = ForgetSet(users=frozenset({str(bare.users[0])}))
    assert check_cut(bare, cut(bare, forget), forget).passed


def test_reports_name_no_one(before, capfd, caplog):
    forget = _mixed(before)
    report = check_cut(before, before, forget)
    with pytest.raises(CheckFailed) as caught:
        report.raise_if_failed()
    out, err = capfd.readouterr()
    everything = "".join([str(report), str(report.to_dict()), str(caught.value), out, err, caplog.text])
    assert not any(str(name) in everything for name in (*before.users, *before.items))
    assert str(report).startswith("data after the cut: ") and "FAILED" in str(report)
    assert out == err == "", "Great Expectations is quiet"
