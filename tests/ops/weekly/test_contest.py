"""Two models on the same test users: who serves."""

from dataclasses import replace

import numpy as np
import pytest

from tests.tiny import MODEL, TRAIN, dataset, prepared, trained
from tru.data.prepare import prepare
from tru.evaluation.params import GateParams
from tru.ops.judging.contest import Contest
from tru.training import fit


def contest(newcomer, champion, margin=0.03):
    return Contest.between(newcomer, champion, prepared(), margin, GateParams())


def spoiled(model):
    """The same model with the item rows, and so its taste, turned upside down."""
    arrays = {**model.arrays, "items": model.arrays["items"][::-1].copy(), "users": -model.arrays["users"]}
    return replace(model, arrays=arrays)


def part(users, items):
    """A model of a part of the data."""
    ds = dataset()
    rows = ds.interactions
    keep = np.isin(ds.items, ds.items[items])
    rows = rows[rows["user_id"].isin(ds.users[users]) & rows["item_id"].isin(ds.items[keep])].reset_index(drop=True)
    features = {m: ds.features[m][keep] for m in ds.modalities}
    smaller = replace(
        ds,
        interactions=rows,
        items=ds.items[keep],
        features=features,
        present={m: ds.present[m][keep] for m in ds.modalities},
    )
    return fit(smaller, MODEL, TRAIN.model_copy(update={"epochs": 2, "min_epochs": 1}))


def test_a_model_is_as_good_as_itself_and_no_better():
    found = contest(trained(), trained(), margin=0.0)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.is_as_good and not found.is_better
    assert found.n == len(np.intersect1d(prepared().test[:, 0], prepared().edges[:, 0]))
    assert found.newcomer == found.champion > 0


def test_the_numbers_are_those_of_the_evaluation():
    from tru.evaluation.audits import Stage, evaluate

    stage = Stage.of(trained().data, trained().data)
    assert contest(trained(), trained()).champion == pytest.approx(evaluate(trained(), stage)["test/ndcg@20"], abs=1e-6)


def test_a_better_model_wins_and_a_worse_one_does_not():
    better, worse = contest(trained(), spoiled(trained())), contest(spoiled(trained()), trained())
    assert better.is_better and better.low > 0 and "better by more than the margin" in better.words
    assert not worse.is_better and not worse.is_as_good and "worse" in worse.words
    assert better.difference == pytest.approx(-worse.difference)
    assert not contest(trained(), spoiled(trained()), margin=1e6).is_better


def test_only_what_both_know_counts():
    half = part(slice(0, 60), slice(0, 50))
    found = contest(trained(), half)
    assert 0 < found.n < contest(trained(), trained()).n
    assert contest(half, trained()).n == found.n
    assert np.isfinite([found.low, found.high, found.newcomer, found.champion]).all()


def test_models_without_common_users_cannot_be_compared():
    one = part(slice(0, 60), slice(0, 80))
    found = Contest.between(one, part(slice(60, 120), slice(0, 80)), prepared(), 0.03, GateParams())
    assert found.n == 0 and not found.is_better and not found.is_as_good
    assert "cannot be compared" in found.words
    assert found.facts == dict.fromkeys(("baseline", "champion", "difference", "low", "high", "margin"), None) | {
        "n": 0
    }


def test_the_words_name_nobody():
    words = str(contest(trained(), spoiled(trained())).facts) + contest(trained(), trained()).words
    data = prepare(dataset(), 0.0)
    assert not any(name in words for name in [*data.users.tolist(), *data.items.tolist()])
