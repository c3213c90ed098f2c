from dataclasses import replace
from math import exp, isnan

import numpy as np
import pytest

from tests import tiny
from tests.tiny import without_some_edges
from tru.data.forget import ForgetSet
from tru.evaluation.audits import Stage
from tru.evaluation.research.probes import logistic, probe, probe_rows


def test_logistic_regression_by_hand():
    """At -1 no, at 1 yes, ridge 1: no intercept, and the slope w is where 2 (1 - sigmoid(w)) = w."""
    w, intercept = logistic(np.array([[-1.0], [1.0]]), np.array([False, True]))
    assert intercept == pytest.approx(0, abs=1e-6)
    assert w == pytest.approx(2 * (1 - 1 / (1 + exp(-w))))
    assert w == pytest.approx(0.6775, abs=5e-3)


def test_without_anything_to_go_by_the_intercept_says_how_many():
    w, intercept = logistic(np.zeros((4, 1)), np.array([True, False, False, False]))
    assert w == 0
    assert 1 / (1 + exp(-intercept)) == pytest.approx(0.25)


def test_a_line_is_found_and_its_absence_too():
    y = np.arange(60) % 3 == 0
    half = np.arange(60) % 2 == 0
    assert probe(np.where(y, 1.0, -1.0)[:, None], y, half) == 1
    assert probe(np.ones((60, 3)), y, half) == 0.5


def test_it_is_measured_on_users_it_has_not_learned_from():
    """Sixty users in sixty dimensions: by heart it would be perfect."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2 == 0
    found = probe(rng.normal(size=(200, 60)), y, np.arange(200) % 4 < 2)
    assert abs(found - 0.5) < 0.15


def test_few_users_are_not_probed():
    assert isnan(probe(np.ones((12, 1)), np.arange(12) < 6, np.arange(12) % 2 == 0))


def test_every_branch_is_asked():
    model = tiny.trained()
    gone = frozenset(map(str, model.data.items[[5, 20]]))
    stage = Stage.of(model.data, tiny.without(ForgetSet(items=gone)))
    found = probe_rows(model, stage)
    assert found.keys() == {("probe/auc", name) for name in ("id", "side", "final")}
    assert all(0 < value < 1 for value in found.values())


def test_a_branch_that_tells_is_caught():
    """The vectors of touched users are moved: the served ones tell, the branches do not."""
    model = tiny.trained()
    stage = Stage.of(model.data, without_some_edges(model.data, 60))
    touched = np.isin(np.arange(len(model.data.users)), stage.forgotten[:, 0])
    assert 10 < touched.sum() < 60
    told = replace(model, patch=np.where(touched[:, None], 9.0, 0.0).astype(np.float32) + model.patch)
    found = probe_rows(told, stage)
    assert found["probe/auc", "final"] > 0.99
    assert found["probe/auc", "id"] < 0.8


def test_whole_users_leave_nobody_to_look_for():
    model = tiny.trained()
    stage = Stage.of(model.data, tiny.without(ForgetSet(users=frozenset({str(model.data.users[3])}))))
    assert probe_rows(model, stage) == {}
