"""What a shard ensemble is served as."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tru.models.base import Batch
from tru.models.concatenation import Concatenation
from tru.models.graph import Inputs
from tru.models.params import ModelParams
from tru.models.trained import TrainedModel


@pytest.fixture
def model():
    data = tiny.by_hand("ab", "xyz", "ax ay bz")
    rows = {"users": np.array([[1.0, 0, 0, 2], [0, 3, 1, 0]]), "items": np.arange(12.0).reshape(3, 4)}
    return replace(
        tiny.trained(),
        params=ModelParams(name="concatenation", width=4),
        arrays={name: table.astype(np.float32) for name, table in rows.items()},
        data=data,
        patch=np.zeros((2, 4), dtype=np.float32),
    )


def test_vectors_are_final_as_they_are(model):
    found = model.embed()
    assert np.array_equal(found.users, model.arrays["users"])
    assert np.array_equal(found.items, model.arrays["items"])
    assert set(found.branches) == {"id", "final"}


def test_it_can_be_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model")
    assert torch.equal(TrainedModel.load(tmp_path / "model").embed().items, model.embed().items)


def test_its_loss_is_the_ranking_loss(model):
    module, at = model.module(), torch.tensor([0])
    assert isinstance(module, Concatenation)
    assert module.item_bases() == ("final",)
    found = module.loss(Inputs.of(model.data), Batch(at, torch.tensor([1]), at, chunks=[1]))
    assert float(found.detach()) == pytest.approx(np.log1p(np.exp(-12.0)))  # leads by 1 * 4 + 2 * 4
