"""The real command in a process of its own, settings from the command line, and the night's cost."""

import json
import re

import pytest

from benchmarks import night
from benchmarks.commands import CommandFailed, Tru, fresh_workspace, parse_settings, set_params
from benchmarks.provenance import data_hash, provenance
from tests import tiny
from tests.workspaces import file_requests, subjects, whole_night
from tru.data.interactions import load_dataset
from tru.errors import WorkspaceError
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace

SMALL = {"data.synthetic.users": 60, "data.synthetic.items": 40, "gate.mode": "licensed"}


def test_a_workspace_is_made_with_its_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("TRU_WORKSPACE", str(tmp_path / "elsewhere"))
    tru = Tru(tmp_path / "workspace", tmp_path / "logs")
    fresh_workspace(tru, None, SMALL)
    ws = Workspace(tru.root)
    assert len(load_dataset(ws.data).items) == 40 and load_settings(ws).gate.mode == "licensed"
    assert tru.ask("status", log="status")["champion"] is None
    assert not (tmp_path / "elsewhere").exists()
    fresh_workspace(tru, ws.data, {})  # it may be repeated, and imports
    assert len(load_dataset(ws.data).items) == 40


def test_a_command_that_fails_is_told_with_its_error(tmp_path):
    tru = Tru(tmp_path, tmp_path / "logs")
    with pytest.raises(CommandFailed, match=r"`tru status` ended with 1: Error: .* is not a workspace"):
        tru.do("status", log="status")
    assert tru.call("status", log="again") == 1
    assert tru.said("again").startswith("Error: ")


@pytest.mark.parametrize(
    ("given", "words"),
    [({"gate.mode": "guess"}, "gate.mode"), ({"gate.nothing": 1}, "gate.nothing"), ({"gate.mode.x": 1}, "not a block")],
)
def test_a_wrong_setting_is_refused(tmp_path, given, words):
    (tmp_path / "params.yaml").write_text("gate:\n  mode: auto\n")
    with pytest.raises(WorkspaceError, match=re.escape(words)):
        set_params(Workspace(tmp_path), given)


def test_settings_are_read_as_yaml():
    given = parse_settings(["gate.budget_seconds=60", "gate.mode=fresh", "gate.approval=false"])
    assert given == {"gate.budget_seconds": 60, "gate.mode": "fresh", "gate.approval": False}
    with pytest.raises(WorkspaceError, match=r"'gate\.mode' is no setting"):
        parse_settings(["gate.mode"])


def test_the_cost_of_a_night_is_read_from_its_record(trained, tmp_path):
    file_requests(trained, subjects(trained)[:3])
    whole_night(trained)
    logs = tmp_path / "logs"
    logs.mkdir()
    lines = ["12:00:01.000 | INFO | Task run 'cut' - cut: data is now abc (0.4 s)", "cut is not a step (9 s)"]
    (logs / "run.err").write_text("\n".join(lines))
    found = night._night(trained, Tru(trained.root, logs), 5.0, 1000.0)
    assert found["steps"] == {"cut": 0.4}
    assert found["ratio"] == round(found["night_seconds"] / 1000, 4) < night.GOAL
    assert found["mode"] == "fresh" and not found["passed"]  # cheap, but judged by a retrain
    assert found["regimes"] == {"users": 2, "items": 1}
    assert json.dumps(found)


def test_one_retraining_is_measured_on_the_data_as_it_is(trained):
    assert 0 < night._retraining(trained) < 60


def test_a_figure_says_where_it_comes_from():
    found = provenance(tiny.dataset())
    assert set(found) == {"data", "data_hash", "commit", "torch", "python", "cpus"}
    assert re.fullmatch(r"[0-9a-f]{7,}\+?|none\+?", found["commit"])
    assert found["data_hash"] == data_hash(tiny.dataset())
