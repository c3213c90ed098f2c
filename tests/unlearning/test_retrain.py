import numpy as np
import pytest

from tests import tiny
from tests.tiny import without_some_edges
from tru.errors import UnlearningError
from tru.testing import UnlearnerContract
from tru.unlearning.base import make
from tru.unlearning.params import UnlearnParams
from tru.unlearning.retrain import Retrain


class TestRetrain(UnlearnerContract):
    trains_from_scratch = True

    def make(self):
        return make(UnlearnParams(method="retrain"), tiny.TRAIN)


def test_another_seed_gives_an_independent_model_of_the_same_recipe():
    model = tiny.trained()
    data = without_some_edges(model.data, 10)
    own, other = (Retrain(tiny.TRAIN, seed=seed).unlearn(model, data) for seed in (None, 7))
    assert own.recipe == model.recipe
    assert (other.recipe.seed, other.recipe.epochs) == (7, model.recipe.epochs)
    assert all(not np.array_equal(own.arrays[side], other.arrays[side]) for side in ("users", "items"))
    assert own.facts["method"] == "retrain"


def test_the_checkpoint_of_other_data_is_not_resumed(tmp_path):
    model, file = tiny.trained(), tmp_path / "checkpoint.npz"
    make(UnlearnParams(method="retrain"), tiny.TRAIN, file).unlearn(model, model.data)
    assert file.exists()
    data = without_some_edges(model.data, 10)
    found = make(UnlearnParams(method="retrain"), tiny.TRAIN, file).unlearn(model, data)
    expected = make(UnlearnParams(method="retrain"), tiny.TRAIN).unlearn(model, data)
    assert all(np.array_equal(found.arrays[name], expected.arrays[name]) for name in expected.arrays)


def test_an_unknown_method_is_told_the_known_ones():
    with pytest.raises(UnlearningError, match=r"'magic'.*retrain, .*tru"):
        make(UnlearnParams(method="magic"), tiny.TRAIN)
