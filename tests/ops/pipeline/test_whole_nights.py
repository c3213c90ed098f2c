"""A whole night on the backbones beside MGCN; everything else about nights is tested with MGCN."""

import json

import pytest
from typer.testing import CliRunner

from tests import tiny
from tests.workspaces import change, file_requests, make, remains, subjects, whole_night
from tru.cli.main import app
from tru.data.interactions import load_dataset
from tru.errors import ModelError
from tru.ops import pipeline
from tru.ops.erasure import eraser
from tru.ops.health import check
from tru.ops.preconditions import of_training
from tru.ops.release.registry import Registry
from tru.ops.requests.store import open_inbox


@pytest.mark.parametrize("name", ["lightgcn", "miggt"])
def test_a_champion_of_another_backbone_forgets_in_a_night(tmp_path, name):
    ws = make(tmp_path / "workspace")
    change(ws, "model", name=name)
    pipeline.train(ws)
    wanted = subjects(ws)
    file_requests(ws, wanted)
    whole_night(ws)
    assert Registry(ws).champion().version == "2"
    assert remains(ws, wanted) == []
    assert open_inbox(ws).open_batch() is None


def test_data_without_features_are_imported_trained_on_forgotten_and_served(tmp_path):
    """Plain collaborative filtering, from one table to a list of items."""

    def do(*words):
        done = CliRunner().invoke(app, [*map(str, words), "--workspace", str(ws.root)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    ws = make(tmp_path / "workspace")
    table = tmp_path / "ratings.parquet"
    tiny.dataset().interactions.to_parquet(table)
    assert "warning: There are no features" in do("data", "import", table)
    with pytest.raises(ModelError, match="mgcn reads features of items and the data has none: train lightgcn"):
        of_training(ws)
    (data,) = [line for line in check(ws) if line.what == "data"]
    assert data.state == "wrong" and "train lightgcn" in data.words
    change(ws, "model", name="lightgcn")
    of_training(ws)
    (data,) = [line for line in check(ws) if line.what == "data"]
    assert data.state == "ok"
    pipeline.train(ws)
    wanted = [subject for subject in subjects(ws) if subject.modality is None]
    file_requests(ws, wanted)
    whole_night(ws)
    assert Registry(ws).champion().version == "2"
    assert remains(ws, wanted) == [] and (ws.data / "items.parquet").exists()
    stays = str(load_dataset(ws.data).users[0])
    answer = json.loads(do("recommend", "--user", stays, "-k", "5", "--json"))
    assert len(answer["items"]) == 5 and answer["suppressed"] is False
    eraser.erase(ws)
    assert eraser.plan(ws).batches == []
