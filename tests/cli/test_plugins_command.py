import json

import pytest
from typer.testing import CliRunner

from tests.test_plugins import forget_what_was_found, install
from tru.cli.main import app
from tru.models.params import BACKBONES
from tru.unlearning.params import UNLEARNERS


def say(*words):
    return CliRunner().invoke(app, list(words), catch_exceptions=False).stdout


@pytest.mark.parametrize(("command", "table"), [("backbones", BACKBONES), ("unlearners", UNLEARNERS)])
def test_each_is_listed_with_a_sentence_of_one_line(command, table):
    lines = [line.split(maxsplit=1) for line in say(command).splitlines()]
    assert [name for name, _ in lines] == list(table.builtin)
    for _, sentence in lines:
        assert sentence[0].isupper() and sentence.endswith(".") and len(sentence) <= 110


@pytest.mark.parametrize(("command", "table"), [("backbones", BACKBONES), ("unlearners", UNLEARNERS)])
def test_the_same_for_programs(command, table):
    found = json.loads(say(command, "--json"))
    assert {row["name"]: row["path"] for row in found} == table.builtin
    assert {row["package"] for row in found} == {"tru"} and all(row["summary"] for row in found)


def test_those_of_other_packages_are_listed_with_their_package_and_broken_ones_say_why(tmp_path, monkeypatch):
    entries = {"wide": "listpack:Wide", "broken": "listpack:Absent"}
    install(tmp_path / "site", "listpack", backbones=entries)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    forget_what_was_found()
    try:
        lines = say("backbones").splitlines()
    finally:
        forget_what_was_found()
    assert lines[-1].split(maxsplit=1) == ["wide", "A backbone for tests. [listpack]"]
    assert lines[-2].startswith("broken") and "cannot be loaded from listpack:Absent" in lines[-2]
    assert lines[0].startswith("concatenation")
