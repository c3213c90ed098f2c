import json

import pytest
from typer.testing import CliRunner

from tru.cli.main import app
from tru.errors import ReleaseError
from tru.ops.release.champion import crown
from tru.ops.release.registry import Registry


def tru(ws, *words):
    return CliRunner().invoke(app, [*words, "--workspace", str(ws.root)], catch_exceptions=False).stdout


@pytest.fixture
def two(trained):
    """A workspace whose champion is version 2, made like version 1."""
    registry = Registry(trained)
    first = registry.champion()
    run = registry.log_run(
        "again",
        key="again",
        data_md5=first.tags["tru.data_md5"],
        metrics={},
        params={},
        tags=first.tags,
        model_dir=registry.model_dir("1"),
    )
    crown(trained, registry.register(run, first.tags).version, "trained")
    return trained


def test_the_list_the_way_back_and_the_record_of_it(two):
    listed = tru(two, "rollback", "--list").splitlines()
    assert listed[0].startswith("version 2  train, data ") and listed[0].endswith("deletions through 0  (champion)")
    assert [line.split("  ")[0] for line in listed] == ["version 2", "version 1"]
    assert Registry(two).champion().version == "2"

    assert tru(two, "rollback", "--reason", "lists were empty").startswith("Version 1 is champion.")
    assert Registry(two).champion().version == "1"
    entries = json.loads(tru(two, "ledger", "show", "--kind", "rollback", "--json"))["entries"]
    assert [e["facts"] for e in entries] == [{"version": "1", "previous": "2", "reason": "lists were empty"}]

    found = json.loads(tru(two, "rollback", "2", "--json"))
    assert (found["version"], found["champion"], found["deleted_through"]) == ("2", True, 0)


def test_a_refusal_changes_nothing(trained):
    with pytest.raises(ReleaseError, match="Eligible versions: none"):
        tru(trained, "rollback", "1")
    with pytest.raises(ReleaseError, match="1 to 300 characters"):
        tru(trained, "rollback", "--reason", "x" * 301)
    assert Registry(trained).champion().version == "1"
