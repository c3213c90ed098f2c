from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.tiny import without_some_edges
from tru.data.forget import ForgetSet
from tru.evaluation.audits import Stage, haunted
from tru.evaluation.research.relearning import Lesson, batches, relearn, relearning_rows, steps_until
from tru.training import refit


@pytest.fixture(scope="module")
def stage():
    return Stage.of(tiny.trained().data, without_some_edges(tiny.trained().data, 8))


@pytest.mark.parametrize(
    ("curve", "steps"),
    [([0.2, 0.4, 0.8], 1.5), ([0.2, 0.6], 1.0), ([0.7, 0.9], 0.0), ([0.1, 0.2, 0.3], 3.0)],
)
def test_steps_until_six_tenths(curve, steps):
    assert steps_until(np.array(curve), 0.6) == pytest.approx(steps)


def test_a_lesson_has_every_forgotten_pair_once_and_no_negative_that_its_user_had(stage):
    taught = haunted(tiny.trained(), stage)
    found = batches(taught, stage, Lesson(batch=50), epoch=0)
    users, positives, negatives = (
        torch.cat([getattr(batch, name) for batch in found]).numpy() for name in ("users", "positives", "negatives")
    )
    n = len(stage.before.items)
    assert sorted(users * n + positives) == sorted(stage.forgotten[:, 0] * n + stage.forgotten[:, 1])
    assert not np.isin(users * n + negatives, stage.before.train[:, 0] * n + stage.before.train[:, 1]).any()
    assert [sum(batch.chunks) for batch in found] == [len(batch.users) for batch in found]
    assert len(found) == -(-len(users) // 50)
    again = batches(taught, stage, Lesson(batch=50), epoch=1)
    assert not torch.equal(found[0].users, again[0].users)


def test_all_models_are_taught_the_same_by_id():
    """A model that lost a user has other positions; the pairs and negatives are the same."""
    model = tiny.trained()
    gone = tiny.without(ForgetSet(users=frozenset({str(model.data.users[3])})))
    stage = Stage.of(model.data, gone)
    both = []
    for known in (model, refit(gone, model, tiny.TRAIN)):
        taught = haunted(known, stage)
        batch = batches(taught, stage, Lesson(), epoch=0)[0]
        ids = taught.data.users[batch.users], taught.data.items[batch.positives], taught.data.items[batch.negatives]
        both.append(np.stack(ids))
    assert np.array_equal(*both)
    assert set(both[0][0]) == {model.data.users[3]}


def test_a_hidden_memory_comes_back_at_once_and_a_retrained_model_needs_time(stage):
    model = tiny.trained()
    before = {name: array.copy() for name, array in model.arrays.items()}
    hidden = replace(model, data=stage.after)
    found = relearning_rows(
        {"original": model, "unlearned": hidden, "retrained-0": refit(stage.after, model, tiny.TRAIN)},
        stage,
        Lesson(steps=30),
    )
    assert found.keys() == {"unlearned", "retrained-0"}
    steps = [found[name]["relearn/steps", "forget"] for name in ("unlearned", "retrained-0")]
    assert steps[0] + 3 < steps[1]
    assert found["unlearned"]["relearn/reached", "forget"] == 1
    assert found["unlearned"]["relearn/epochs", "forget"] == steps[0]  # one step is an epoch here
    assert found["unlearned"]["relearn/recall", "forget"] > found["retrained-0"]["relearn/recall", "forget"]
    assert all(np.array_equal(before[name], model.arrays[name]) for name in before)


def test_it_is_the_same_every_time_and_ends(stage):
    model = tiny.trained()
    first, second = (relearn(model, stage, Lesson(steps=3)) for _ in range(2))
    assert len(first) == 4
    assert np.array_equal(first, second)
    assert len(relearn(model, stage, Lesson(steps=3), target=0.0)) == 1


def test_nothing_forgotten_nothing_taught():
    data = tiny.trained().data
    assert relearning_rows({"original": tiny.trained()}, Stage.of(data, data), Lesson()) == {}
