"""A workspace even smaller than the others: a night in it takes about a second."""

import pytest

from tests import workspaces
from tru.ops import pipeline

SMALL = {
    **workspaces.PARAMS,
    "data": {"name": "small", "synthetic": {"users": 24, "items": 12}},
    "model": {"width": 8},
    "train": {"epochs": 2, "min_epochs": 1, "batch": 64, "canaries": 10},
}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A workspace with very little data and a champion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspaces, "PARAMS", SMALL)
        ws = workspaces.make(tmp_path_factory.mktemp("small") / "workspace")
    pipeline.train(ws)
    return ws
