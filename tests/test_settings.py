from pathlib import Path

import pytest
import yaml

from tru.errors import WorkspaceError
from tru.settings import Settings, load_settings
from tru.workspace import Workspace

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def read(tmp_path):
    """Settings of a workspace whose params.yaml says this."""

    def read(words: str) -> Settings:
        (tmp_path / "params.yaml").write_text(words)
        return load_settings(Workspace(tmp_path))

    return read


def leaves(block, path=()):
    """Every key of nested dictionaries, by its path."""
    if not isinstance(block, dict):
        return {".".join(path)}
    return set().union(*(leaves(value, (*path, name)) for name, value in block.items()))


@pytest.mark.parametrize("words", ["", "# nothing but this\n", "{}", "null"])
def test_an_empty_file_gives_the_defaults(read, words):
    assert read(words) == Settings()


def test_what_is_not_said_keeps_its_default(read):
    found = read("train: {epochs: 3}\nunlearn: {strength: 1.25}\n")
    assert (found.train.epochs, found.unlearn.strength) == (3, 1.25)
    assert (found.train.patience, found.unlearn.method) == (Settings().train.patience, "tru")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("tain: {}", "tain"),
        ("train: {epoch: 3}", "train.epoch"),
        ("gate: {margin: 0.1}", "gate.margin"),
        ("data: {synthetic: {persons: 10}}", "data.synthetic.persons"),
    ],
)
def test_an_unknown_key_is_named(read, words, key):
    with pytest.raises(WorkspaceError, match=rf"params\.yaml: {key}: .*not permitted.*Correct it"):
        read(words)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("model: {width: -1}", "model.width"),
        ("model: {width: wide}", "model.width"),
        ("train: {canaries: -3}", "train.canaries"),
        ("forget: {regime: everything}", "forget.regime"),
        ("unlearn: {strength: strong}", "unlearn.strength"),
        ("unlearn: {fusion_gate: perhaps}", "unlearn.fusion_gate"),
        ("gate: 3", "gate"),
    ],
)
def test_a_wrong_value_is_named(read, words, key):
    with pytest.raises(WorkspaceError, match=rf"params\.yaml: {key}"):
        read(words)


def test_all_that_is_wrong_is_said_at_once(read):
    with pytest.raises(WorkspaceError, match=r"model\.width: .*; train\.epoch: "):
        read("model: {width: 0}\ntrain: {epoch: 3}\n")


def test_a_file_that_is_no_yaml_is_named(read):
    with pytest.raises(WorkspaceError, match=r"params\.yaml cannot be read"):
        read("train: [1, 2\n")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WorkspaceError, match=r"params\.yaml cannot be read"):
        load_settings(Workspace(tmp_path))


def test_settings_do_not_change(read):
    with pytest.raises(ValueError, match="frozen"):
        read("").train.epochs = 3


def test_the_repository_s_own_file_names_known_keys_only():
    words = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    found = load_settings(Workspace(REPOSITORY))
    assert leaves(words) <= leaves(Settings().model_dump())
    assert leaves(words["unlearn"]) == leaves(found.unlearn.model_dump())
    assert leaves(words["gate"]) == leaves(found.gate.model_dump())
