from math import isnan
from types import SimpleNamespace

import pytest
import torch

from tests import tiny
from tru.data.forget import cut
from tru.data.params import SyntheticParams
from tru.data.planted import PlantParams, plant
from tru.data.prepare import prepare
from tru.data.synthetic import generate
from tru.evaluation.audits import Stage
from tru.evaluation.research.exposure import exposure, exposure_rows
from tru.models.base import Embedding
from tru.models.params import ModelParams
from tru.training import fit, refit


@pytest.fixture
def model():
    """a wants w, x, y; b wants x, y, w; c wants z, w, y, x. c has z already, so is shown the rest."""
    users = torch.tensor([[4.0, 3, 2, 1], [2, 4, 3, 1], [3, 1, 2, 4]])
    data = tiny.by_hand("abc", "wxyz", "cz")
    return SimpleNamespace(data=data, embed=lambda: Embedding(users, torch.eye(4), {}))


@pytest.mark.parametrize(
    ("items", "users", "k", "expected"),
    [
        ({"w"}, None, 1, 2 / 3),  # a and c, of a, b, c
        ({"x"}, None, 1, 1 / 3),
        ({"x"}, None, 2, 2 / 3),
        ({"z"}, None, 3, 0.0),  # c has it and is not counted
        ({"z"}, None, 20, 1.0),  # a and b; at the end of the list of c stands what may not be shown
        ({"w", "x"}, None, 1, 3 / 6),
        ({"w"}, {"a", "b"}, 1, 1 / 2),
        ({"nobody knows it"}, None, 1, 0.0),
        ({"w", "nobody knows it"}, None, 1, 2 / 6),
    ],
)
def test_exposure_by_hand(model, items, users, k, expected):
    assert exposure(model, items, users=users, k=k) == pytest.approx(expected)


def test_nobody_to_show_it_to_is_no_number(model):
    assert isnan(exposure(model, {"z"}, users={"c"}))
    assert isnan(exposure(model, set()))


def test_an_item_taken_down_is_exposed_by_the_original_only():
    before = tiny.by_hand("ab", "wx", "aw bx")
    stage = Stage.of(before, tiny.by_hand("ab", "w", "aw"))
    vectors = Embedding(torch.ones(2, 2), torch.eye(2), {})
    old = SimpleNamespace(data=before, embed=lambda: vectors)
    new = SimpleNamespace(data=stage.after, embed=lambda: Embedding(torch.ones(2, 2), torch.eye(2)[:1], {}))
    assert exposure_rows(old, stage) == {("exposure@20", "taken down"): 1.0}  # a may be shown x; b has it
    assert exposure_rows(new, stage) == {("exposure@20", "taken down"): 0.0}


def test_planted_users_push_their_targets_until_they_are_forgotten():
    """From data to list: trained with them, and retrained without."""
    real = generate(SyntheticParams(users=200, items=300))
    planted = plant(real, PlantParams(users=60))
    original = fit(planted.dataset, ModelParams(name="lightgcn", width=16), tiny.TRAIN)
    retained = prepare(cut(planted.dataset, planted.forget), original.recipe.canary_rate)
    stage = Stage.of(original.data, retained)
    retrained = refit(retained, original, tiny.TRAIN)
    pushed, normal = (
        exposure_rows(model, stage, planted.targets)["exposure@20", "planted"] for model in (original, retrained)
    )
    assert pushed > normal + 0.1
