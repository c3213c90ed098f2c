"""The shipped contracts find what is wrong: a backbone and a method that break one rule fail at that rule."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import HANG

ROOT = Path(__file__).parents[1]
BROKEN = """
import numpy as np
import torch
from dataclasses import dataclass, replace
from tru.models.base import Embedding
from tru.models.lightgcn import LightGCN
from tru.testing import BackboneContract, UnlearnerContract
from tru.unlearning.baselines.cut import Cut


class Noisy(LightGCN):
    def loss(self, inputs, batch):
        return super().loss(inputs, batch) * (1 + 0.01 * torch.rand(()))


class Halved(LightGCN):
    def embed(self, inputs):
        found = super().embed(inputs)
        return Embedding(found.users, found.items, {"id": (found.users / 2, found.items / 2)})


@dataclass(frozen=True)
class Keeps(Cut):
    def unlearn(self, model, retained):
        return super().unlearn(model, retained).with_facts(who=str(model.data.users[3]))


@dataclass(frozen=True)
class Drifts(Cut):
    def unlearn(self, model, retained):
        found = super().unlearn(model, retained)
        noise = np.random.default_rng().normal(size=found.arrays["users"].shape).astype(np.float32)
        return replace(found, arrays={**found.arrays, "users": found.arrays["users"] + noise})


class OfLightGcn(BackboneContract):
    reads_features = False
    plain = {"regularisation": 0.0}


class TestNoisy(OfLightGcn):
    name = "test_broken:Noisy"


class TestHalved(OfLightGcn):
    name = "test_broken:Halved"


class TestKeeps(UnlearnerContract):
    method = "test_broken:Keeps"


class TestDrifts(UnlearnerContract):
    method = "test_broken:Drifts"
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory) -> dict[str, set[str]]:
    """Class -> the tests that it failed."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "test_broken.py").write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf", "--tb=no", "test_broken.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    found: dict[str, set[str]] = {}
    for name, test in re.findall(r"^FAILED test_broken\.py::(\w+)::(\w+)", done.stdout, flags=re.M):
        found.setdefault(name, set()).add(test)
    return found


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("TestNoisy", "test_the_loss_is_the_same_every_time"),
        ("TestNoisy", "test_a_training_goes_on_after_a_crash_and_is_saved_and_loaded_whole"),
        ("TestHalved", "test_the_branches_sum_to_the_final_vectors"),
        ("TestKeeps", "test_what_is_deleted_is_nowhere_in_it"),
        ("TestDrifts", "test_the_result_is_the_same_every_time"),
        ("TestDrifts", "test_a_change_of_nothing_leaves_the_vectors_equal"),
    ],
)
def test_a_broken_rule_is_found(failures, name, test):
    assert test in failures[name]


def test_what_is_right_is_not_found_fault_with(failures):
    assert failures["TestHalved"] == {"test_the_branches_sum_to_the_final_vectors"}
    assert failures["TestKeeps"] == {"test_what_is_deleted_is_nowhere_in_it"}
