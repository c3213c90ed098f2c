import re
from pathlib import Path

import pytest
import yaml

from tru.errors import WorkspaceError
from tru.models.params import BACKBONES
from tru.ops.settings import Settings, load_settings
from tru.ops.workspace import Workspace
from tru.unlearning.params import UNLEARNERS

REPOSITORY = Path(__file__).parents[2]


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
    ("words", "meant"),
    [
        ("tain: {}", "did you mean train?"),
        ("train: {epoch: 3}", "did you mean train.epochs?"),
        ("epochs: 3", "did you mean train.epochs?"),  # the right key in no block
        ("data: {synthetic: {usres: 10}}", "did you mean data.synthetic.users?"),
        ("unlearn: {rivals: {ssd: {selction: 2}}}", "did you mean unlearn.rivals.ssd.selection?"),
        ("requests: {wobble: 1}", "there are due_days, warn_days"),
        ("model: {name: mgnc}", "did you mean mgcn?"),
        ("unlearn: {method: tur}", "did you mean tru?"),
    ],
)
def test_what_was_meant_is_suggested(read, words, meant):
    with pytest.raises(WorkspaceError, match=re.escape(meant)):
        read(words)


@pytest.mark.parametrize(("key", "known"), [("model.name", BACKBONES), ("unlearn.method", UNLEARNERS)])
def test_a_name_that_nobody_bears_is_told_those_there_are(read, key, known):
    block, name = key.split(".")
    with pytest.raises(WorkspaceError, match=rf"{key}: .*'zzz' \(there are {', '.join(known)}\)"):
        read(f"{block}: {{{name}: zzz}}")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("model: {width: -1}", "model.width"),
        ("model: {width: wide}", "model.width"),
        ("train: {canaries: -3}", "train.canaries"),
        ("forget: {regime: everything}", "forget.regime"),
        ("forget: {fraction: 5}", "forget.fraction"),
        ("forget: {count: 0}", "forget.count"),
        ("data: {synthetic: {users: 0}}", "data.synthetic.users"),
        ("data: {synthetic: {mean_interactions: 5}}", "data.synthetic"),  # less than the fewest
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_any_editor_may_write_it(read, tmp_path, encoding, ends):
    words = ends.join(["# Größe", "train:", "  epochs: 3", ""])
    (tmp_path / "params.yaml").write_bytes(words.encode(encoding))
    assert load_settings(Workspace(tmp_path)).train.epochs == 3


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (b"train:\n\tepochs: 3\n", "line 2 is indented with a tab"),
        (b"train:\n  epochs: 3\n\tpatience: 2\n", "line 3 is indented with a tab"),
        (b"train:\n  epochs:\t3\n", "line 2 has a tab where"),
        (b"train:\n  epochs: 3\n  epochs: 4\n", "line 3: the key epochs stands twice"),
        (b"train: [1, 2\n", "line 2: expected"),
        (b"- train\n", "holds no keys with values"),
        (b"train: \x00\n", "unacceptable character"),
        ("train: {}".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained_in_one_line(tmp_path, words, fault):
    (tmp_path / "params.yaml").write_bytes(words)
    with pytest.raises(WorkspaceError, match=rf"params\.yaml cannot be read: .*{fault}") as caught:
        load_settings(Workspace(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("strength", "fault"), [("strong", "'canary'"), ("{users: 1}", "items: Field required"), ("{usrs: 1}", "usrs: ")]
)
def test_a_value_of_several_kinds_is_named_by_its_key(read, strength, fault):
    with pytest.raises(WorkspaceError, match=rf"params\.yaml: unlearn\.strength: .*{fault}"):
        read(f"unlearn: {{strength: {strength}}}")


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
