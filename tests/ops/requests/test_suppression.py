import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tru.errors import RequestError
from tru.ops.requests import Subject
from tru.ops.requests.suppression import KEY_VARIABLE, Key, load_key
from tru.ops.workspace import Workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return Workspace(tmp_path)


def test_the_key_is_made_once_for_its_owner_only(workspace):
    key = load_key(workspace, create=True)
    path = workspace.state / "suppression.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 64
    assert load_key(workspace, create=True).matches(key.check)
    assert [file.name for file in workspace.state.iterdir()] == ["suppression.key"]


def test_many_who_make_it_at_once_get_the_same(workspace):
    with ThreadPoolExecutor(8) as pool:
        checks = list(pool.map(lambda _: load_key(workspace, create=True).check, range(32)))
    assert len(set(checks)) == 1


def test_the_environment_goes_first(workspace, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    assert load_key(workspace, create=False).matches(Key(b"k" * 32).check)
    assert not workspace.state.exists()


def test_a_missing_short_or_unreadable_key_is_refused(workspace, monkeypatch):
    with pytest.raises(RequestError, match="missing"):
        load_key(workspace, create=False)
    path = workspace.state / "suppression.key"
    path.mkdir(parents=True)
    with pytest.raises(RequestError, match="cannot be read"):
        load_key(workspace, create=False)
    path.rmdir()
    path.write_text("")
    with pytest.raises(RequestError, match="shorter than 32"):
        load_key(workspace, create=True)
    monkeypatch.setenv(KEY_VARIABLE, "hunter2")
    with pytest.raises(RequestError, match="shorter than 32") as caught:
        load_key(workspace, create=True)
    assert "hunter2" not in str(caught.value)


def test_a_hash_depends_on_the_key_and_on_where_the_parts_end():
    key, other = Key(b"a" * 32), Key(b"b" * 32)
    assert key.digest("pair", "ab", "c") != key.digest("pair", "a", "bc")
    assert key.digest("user", "u") != other.digest("user", "u")
    assert key.digest("user", "u") != key.digest("item", "u")
    assert key.of_subject(Subject.of(user="u", item="i")) != key.of_subject(Subject.of(user="u"))
    assert "aaaa" not in repr(key)
