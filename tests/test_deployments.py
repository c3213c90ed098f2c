"""Which file of which flow is run: the workspace's own, else the one that comes with tru."""

from pathlib import Path

import pytest
import yaml

from tru import templates
from tru.cli import init
from tru.errors import WorkspaceError
from tru.ops import flows
from tru.ops.servers import deployments
from tru.ops.servers.deployments import entrypoint, prefect_file
from tru.ops.workspace import Workspace

NAMES = {"unlearn-nightly", "train", "baseline-weekly", "rollback"}
BROUGHT = Path(templates.__file__).parent / "flows"


@pytest.fixture
def made(tmp_path):
    """A workspace as `tru init` makes it."""
    return init.create(tmp_path / "made")


@pytest.fixture
def old(tmp_path):
    """A workspace that has no flows of its own, as version 0.1.0 made them."""
    (tmp_path / "old" / ".tru").mkdir(parents=True)
    (tmp_path / "old" / "params.yaml").touch()
    return Workspace(tmp_path / "old")


def deployed(ws):
    """Name and entry point of everything that is deployed."""
    return {row["name"]: row["entrypoint"] for row in yaml.safe_load(prefect_file(ws).read_text())["deployments"]}


def test_a_new_workspace_runs_its_own_flows(made):
    assert prefect_file(made) == made.root / "prefect.yaml"
    assert deployed(made).keys() == NAMES
    assert deployed(made)["unlearn-nightly"] == "flows/unlearn.py:unlearn_nightly"
    assert entrypoint(made, "unlearn-nightly") == f"{made.root}/flows/unlearn.py:unlearn_nightly"


def test_a_workspace_of_version_0_1_0_runs_those_that_come_with_tru(old):
    assert deployed(old).keys() == NAMES
    for name, place in deployed(old).items():
        assert place == entrypoint(old, name)
        file, _, function = place.partition(":")
        assert Path(file).parent == BROUGHT and f"def {function}(" in Path(file).read_text()
    assert yaml.safe_load(prefect_file(old).read_text())["pull"]  # a run has to come back into the workspace


def test_what_version_0_1_0_named_by_module_is_found(old):
    (old.root / "prefect.yaml").write_text(
        "pull: []\n"
        "deployments:\n"
        "- {name: unlearn-nightly, entrypoint: flows.unlearn.unlearn_nightly, schedules: [{cron: 5 4 * * *}]}\n"
        "- {name: mine, entrypoint: shop.flows.mine}\n"
    )
    assert deployed(old) == {
        "unlearn-nightly": f"{BROUGHT}/unlearn.py:unlearn_nightly",
        "mine": "shop.flows.mine",
    }
    (copy,) = [d for d in yaml.safe_load(prefect_file(old).read_text())["deployments"] if d["name"] != "mine"]
    assert copy["schedules"] == [{"cron": "5 4 * * *"}]
    assert entrypoint(old, "train") == f"{BROUGHT}/train.py:train"  # which its prefect.yaml does not know


def test_another_file_can_be_named(made):
    words = (made.root / "prefect.yaml").read_text().replace("flows/train.py:train", "ours/first.py:first")
    (made.root / "prefect.yaml").write_text(words)
    assert entrypoint(made, "train") == f"{made.root}/ours/first.py:first"


def test_an_edited_flow_is_what_runs_and_nothing_shadows_a_library(made, monkeypatch):
    import sys

    flow = made.root / "flows" / "train.py"
    flow.write_text("import helper\nfrom prefect import flow\n\n@flow\ndef train(workspace): return helper.answer()\n")
    (made.root / "flows" / "helper.py").write_text("def answer(): return {'version': '42'}\n")
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))

    assert flows.load(made, "train").fn("") == {"version": "42"}
    assert sys.path[: len(before)] == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("import no_such_library\n", r"train\.py:train cannot be loaded \(ModuleNotFoundError: .*no_such_library"),
        ("", r"train\.py:train names no flow"),
        (None, r"gone\.py:train cannot be loaded .*or its name in prefect\.yaml"),
    ],
)
def test_a_flow_that_cannot_be_loaded_is_named(made, words, said):
    flow = made.root / "flows" / "train.py"
    flow.write_text(words or "")
    if words is None:
        (made.root / "prefect.yaml").write_text("deployments: [{name: train, entrypoint: 'gone.py:train'}]")
    with pytest.raises(WorkspaceError, match=said):
        flows.load(made, "train")


def test_a_deployment_that_nobody_knows_is_said(made):
    with pytest.raises(WorkspaceError, match="no deployment 'nightly'"):
        entrypoint(made, "nightly")


def test_a_prefect_yaml_that_is_no_yaml_is_said(made):
    (made.root / deployments.NAME).write_text("deployments: [")
    with pytest.raises(WorkspaceError, match=r"prefect\.yaml cannot be read"):
        prefect_file(made)
