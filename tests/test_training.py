from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests import tiny
from tests.tiny import without_some_edges
from tru import training
from tru.data.forget import ForgetSet
from tru.data.interactions import TEST, TRAIN, VAL
from tru.errors import DataError, ModelError
from tru.evaluation.metrics import rank_metrics
from tru.models.mgcn import MGCN
from tru.models.params import TrainParams
from tru.training import fit, fresh_recipe, refit

SHORT = TrainParams(epochs=40, min_epochs=3, patience=2, batch=256, learning_rate=3e-2, canaries=60)


def same(one, other):
    return all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


@pytest.fixture(scope="module")
def model():
    return fit(tiny.dataset(), tiny.MODEL, SHORT)


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def crash(monkeypatch):
    """Let the n-th batch from now on crash."""

    def at(n):
        count, loss = iter(range(n)), MGCN.loss

        def until(self, *args):
            if next(count, None) is None:
                raise Crash
            return loss(self, *args)

        monkeypatch.setattr(MGCN, "loss", until)

    return at


# settings


@pytest.mark.parametrize(
    ("users", "pairs", "batch", "batches", "chunks"),
    [
        (120, 1236, 64, 20, 1),
        (10_000, 60_000, 4096, 15, 8),
        (1_000_000, 8_000_000, 4096, 1954, 8),
        (1900, 50_000, 1024, 49, 2),
    ],
)
def test_the_batch_follows_from_the_number_of_users(users, pairs, batch, batches, chunks):
    recipe = fresh_recipe(users, 80, pairs, tiny.MODEL, TrainParams())
    assert (recipe.batches, recipe.chunks) == (batches, chunks)
    assert recipe == fresh_recipe(users, 80, pairs, tiny.MODEL, TrainParams(batch=batch))


def test_the_recipe_withholds_so_many_canaries_but_at_most_one_in_twenty():
    assert fresh_recipe(10, 10, 60_000, tiny.MODEL, TrainParams()).canary_rate == 0.01
    assert fresh_recipe(10, 10, 1000, tiny.MODEL, TrainParams()).canary_rate == 0.05
    assert fresh_recipe(10, 10, 1000, tiny.MODEL, TrainParams(canaries=0)).canary_rate == 0


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": 0}, {"learning_rate": 0}, {"seed": -1}, {"rate": 1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainParams(**wrong)


def _only(*splits):
    ds = tiny.dataset()
    rows = ds.interactions[ds.interactions["split"].isin(splits)]
    return replace(ds, interactions=rows.reset_index(drop=True))


def test_data_without_train_rows_is_refused():
    with pytest.raises(DataError, match="no train rows"):
        fit(_only(VAL, TEST), tiny.MODEL, SHORT)


@pytest.mark.parametrize("splits", [(TRAIN, TEST), (TRAIN,)])
def test_without_validation_rows_all_epochs_are_run_and_it_is_said_once(splits, capsys):
    found = fit(_only(*splits), tiny.MODEL, SHORT.model_copy(update={"epochs": 5}))
    assert (found.facts["epochs"], found.recipe.epochs, found.facts["validation"]) == (5, 5, [])
    said = capsys.readouterr().err.splitlines()
    assert sum("no validation rows: training cannot stop early" in line for line in said) == 1
    assert "no validation rows" in said[0]
    again = refit(found.data, found, SHORT)
    assert same(again, found)


def test_what_the_data_lacks_is_said_before_the_training_and_nothing_where_nothing_is_lacking(capsys):
    fit(_only(TRAIN, VAL), tiny.MODEL, SHORT.model_copy(update={"epochs": 1, "min_epochs": 0}))
    assert "no test rows" in capsys.readouterr().err
    fit(tiny.dataset(), tiny.MODEL, SHORT.model_copy(update={"epochs": 1, "min_epochs": 0}))
    assert capsys.readouterr().err == ""


# a first training


def test_training_finds_what_people_like(model):
    data = model.data
    found, recipe = model.embed(), model.recipe
    rows = {"users": recipe.user_rows(data.users, 16), "items": recipe.item_rows(data.items, 16)}
    start = replace(model, arrays={**model.arrays, **rows}).embed()
    popular = torch.from_numpy(data.popularity[:, None].astype(np.float32))
    cases = (found.users, found.items), (start.users, start.items), (torch.ones(len(data.users), 1), popular)
    trained, untrained, popularity = (rank_metrics(*case, data, data.test)["ndcg@20"] for case in cases)
    assert trained > 2.5 * popularity
    assert trained > 2.5 * untrained


def test_it_stops_early_and_keeps_the_best_epoch(model):
    history = model.facts["validation"]
    best = int(np.argmax(history)) + 1
    assert model.recipe.epochs == best
    assert model.facts["epochs"] == len(history) == max(SHORT.min_epochs, best + SHORT.patience) < SHORT.epochs
    found = model.embed()
    score = rank_metrics(found.users, found.items, model.data, model.data.val)["ndcg@20"]
    assert round(score, 6) == history[best - 1]


def test_it_runs_at_least_and_at_most_so_many_epochs():
    few = fit(tiny.dataset(), tiny.MODEL, SHORT.model_copy(update={"epochs": 2, "min_epochs": 0}))
    assert few.facts["epochs"] == 2
    many = fit(tiny.dataset(), tiny.MODEL, SHORT.model_copy(update={"min_epochs": 40, "patience": 1}))
    assert many.facts["epochs"] == 40
    assert many.recipe.epochs < 39


def test_the_dice_fall_the_same_way_every_time(model):
    again = fit(tiny.dataset(), tiny.MODEL, SHORT)
    assert same(again, model)
    assert again.recipe == model.recipe
    other = fit(tiny.dataset(), tiny.MODEL, SHORT.model_copy(update={"seed": 1}))
    assert not np.array_equal(other.arrays["query.weight"], model.arrays["query.weight"])


def test_a_training_that_diverges_says_what_to_do():
    with pytest.raises(ModelError, match=r"train: the loss is not finite.*train\.learning_rate"):
        fit(tiny.dataset(), tiny.MODEL, SHORT.model_copy(update={"learning_rate": 1e30}))


# training again


def test_a_retrain_on_the_same_data_is_the_original_bit_for_bit(model):
    again = refit(model.data, model, tiny.TRAIN.model_copy(update={"learning_rate": SHORT.learning_rate}))
    assert same(again, model)
    assert again.recipe == model.recipe
    assert again.facts["epochs"] == model.recipe.epochs < model.facts["epochs"]


def test_a_retrain_on_less_data_differs_and_starts_from_the_same_rows(model):
    less = without_some_edges(model.data, 10)
    found = refit(less, model, SHORT)
    assert not same(found, model)
    cosine = (found.arrays["items"] * model.arrays["items"]).sum() / np.linalg.norm(found.arrays["items"])
    independent = refit(less, model, SHORT, seed=9)
    other = (independent.arrays["items"] * model.arrays["items"]).sum() / np.linalg.norm(independent.arrays["items"])
    assert cosine > 2 * abs(other)


def draws(data, recipe, epoch):
    """(user id, item id) -> number of its batch, place in it, and id of its negative."""
    loop = training._Loop(data, tiny.MODEL, recipe, SHORT, stop_early=False, title="", checkpoint=None)
    found = {}
    for number, batch in enumerate(loop._batches(epoch)):
        for place, (u, i, n) in enumerate(zip(batch.users, batch.positives, batch.negatives, strict=True)):
            found[str(data.users[u]), str(data.items[i])] = (number, place, str(data.items[n]))
        assert sum(batch.chunks) == len(batch.users)
        assert 0 not in batch.chunks
    return found


def test_removing_pairs_and_items_leaves_the_draws_of_all_others(model):
    ds = tiny.dataset()
    item = str(ds.items[0])
    forget = ForgetSet(items=frozenset({item}), pairs=frozenset(tiny.train_pairs()[::8]))
    less = tiny.without(forget)
    recipe = replace(model.recipe, chunks=3)
    before, after = draws(model.data, recipe, 4), draws(less, recipe, 4)
    assert set(after) < set(before)
    assert len(after) == len(less.edges)
    for pair, (number, _, negative) in after.items():
        assert before[pair][0] == number
        assert negative == before[pair][2] or before[pair][2] == item
    assert [pair for pair in before if pair in after] == list(after)  # their order, too
    later = draws(model.data, recipe, 5)
    assert sum(before[pair][0] == later[pair][0] for pair in before) < 0.4 * len(before)
    assert sum(before[pair][2] == later[pair][2] for pair in before) < 0.2 * len(before)


def test_canaries_are_never_drawn_as_something_to_learn(model):
    data = model.data
    canaries = {(str(data.users[u]), str(data.items[i])) for u, i in data.train[data.canary]}
    found = draws(data, model.recipe, 0)
    assert len(found) == len(data.edges)
    assert not canaries & set(found)


# checkpoints


def test_a_training_that_crashed_resumes_bit_for_bit(model, crash, tmp_path, monkeypatch):
    file = tmp_path / "deep" / "checkpoint.npz"
    batches = model.recipe.batches
    with monkeypatch.context():
        crash(2 * batches + 2)
        with pytest.raises(Crash):
            fit(tiny.dataset(), tiny.MODEL, SHORT, checkpoint=file)
    monkeypatch.undo()
    left = model.facts["epochs"] - 2
    crash(left * batches)  # one batch more than what is left would crash again: two epochs are not done twice
    found = fit(tiny.dataset(), tiny.MODEL, SHORT, checkpoint=file)
    assert same(found, model)
    assert found.recipe == model.recipe
    assert found.facts["validation"] == model.facts["validation"]


def test_a_retrain_that_crashed_resumes_bit_for_bit(model, crash, tmp_path, monkeypatch):
    less, file = without_some_edges(model.data, 10), tmp_path / "checkpoint.npz"
    expected = refit(less, model, SHORT)
    crash(model.recipe.batches + 1)
    with pytest.raises(Crash):
        refit(less, model, SHORT, checkpoint=file)
    monkeypatch.undo()
    assert same(refit(less, model, SHORT, checkpoint=file), expected)
    crash(0)
    assert same(refit(less, model, SHORT, checkpoint=file), expected)  # finished: nothing is trained again


def test_the_checkpoint_of_another_training_is_not_resumed(model, tmp_path):
    file = tmp_path / "checkpoint.npz"
    refit(model.data, model, SHORT, checkpoint=file)
    item = str(model.data.items[0])
    picture = tiny.without(ForgetSet(modalities=frozenset({(item, "image")})))
    assert np.array_equal(picture.train, model.data.train)
    for data, seed in ((picture, None), (model.data, 5)):
        found = refit(data, model, SHORT, seed=seed, checkpoint=file)
        assert same(found, refit(data, model, SHORT, seed=seed))
        assert not same(found, model)


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04 torn"])
def test_a_torn_checkpoint_is_started_over(model, tmp_path, content):
    file = tmp_path / "checkpoint.npz"
    file.write_bytes(content)
    assert same(refit(model.data, model, SHORT, checkpoint=file), model)


def test_a_checkpoint_holds_no_pickle_and_nothing_half_written_is_left(model, tmp_path):
    file = tmp_path / "checkpoint.npz"
    refit(model.data, model, SHORT, checkpoint=file)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]
    with np.load(file, allow_pickle=False) as stored:
        assert not any(stored[name].dtype.hasobject for name in stored.files)


def test_progress_goes_to_standard_error(capsys):
    refit(tiny.prepared(), tiny.trained(), tiny.TRAIN, title="again")
    found = capsys.readouterr()
    assert found.out == ""
    assert "again: epoch 10 of at most" in found.err


def test_a_training_leaves_the_threads_of_its_host_alone(monkeypatch):
    """Whoever uses the library decides how many torch uses; during a training it is what ``train.threads`` says."""
    before, during = torch.get_num_threads(), []
    epoch = training._Loop._epoch
    monkeypatch.setattr(training._Loop, "_epoch", lambda loop: during.append(torch.get_num_threads()) or epoch(loop))
    torch.set_num_threads(2)
    try:
        fit(tiny.dataset(), tiny.MODEL, TrainParams(epochs=1, threads=1))
        assert torch.get_num_threads() == 2 and set(during) == {1}
    finally:
        torch.set_num_threads(before)
