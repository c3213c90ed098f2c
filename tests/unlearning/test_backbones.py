"""TRU on the backbones beside MGCN: nothing in the unlearner knows them."""

import numpy as np
import pytest

from tests import tiny
from tru.models.params import ModelParams
from tru.testing import UnlearnerContract
from tru.training import fit
from tru.unlearning.change import Change
from tru.unlearning.closed_form.calibration import calibrate
from tru.unlearning.closed_form.method import Tru
from tru.unlearning.params import UnlearnParams


class OnABackbone(UnlearnerContract):
    """Subclass it, name the class ``Test…`` and say in ``name`` which backbone."""

    name = ""

    def make(self):
        return Tru(UnlearnParams(strength=1.5))

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return fit(tiny.dataset(), ModelParams(name=cls.name, width=16), tiny.TRAIN)

    def test_only_rows_of_touched_nodes_move(self, model, retained, found):
        change = Change.between(model.data, retained)
        for name, array in model.arrays.items():
            if name not in ("users", "items"):
                assert np.array_equal(found.arrays[name], array), name
        for column, side in enumerate(("users", "items")):
            where = getattr(change, side)
            moved = (found.arrays[side] != model.arrays[side][where]).any(axis=1)
            assert not moved[~np.isin(where, change.forgotten[:, column])].any()
        assert sum(found.facts["isolation"].values()) == pytest.approx(1, abs=0.01)
        assert {"users", "items"} <= found.facts["isolation"].keys()

    def test_its_strength_can_be_calibrated(self, model):
        found = calibrate(model, UnlearnParams())
        assert np.isfinite([found.users, found.items, *found.gone]).all()


class TestOnLightGcn(OnABackbone):
    name = "lightgcn"


class TestOnMigGt(OnABackbone):
    name = "miggt"
