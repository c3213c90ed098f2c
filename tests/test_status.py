import pytest

from tests.workspaces import subjects
from tru.data.interactions import load_dataset
from tru.errors import ModelError
from tru.init import create
from tru.requests.lifecycle import State
from tru.requests.store import open_inbox
from tru.status import as_words, read, recommendation

BATCH = {"id": "batch-20260101-01", "outcome": "unlearned", "verdict": "pass", "size": 3, "seconds": {}}


@pytest.fixture
def empty(tmp_path):
    return create(tmp_path / "empty")


def test_an_empty_workspace_has_no_champion_and_makes_no_store(empty):
    assert read(empty) == {"champion": None, "requests": dict.fromkeys(State, 0), "last_batch": None}
    assert not (empty.root / "mlflow.db").exists()
    assert as_words(read(empty)).splitlines()[1].split() == ["requests", "none"]


def test_without_a_champion_nothing_is_recommended(empty):
    with pytest.raises(ModelError, match="`tru train`"):
        recommendation(empty, "somebody", 5)


def test_who_serves_and_what_waits(trained):
    open_inbox(trained).add_all(subjects(trained))
    found = read(trained)
    assert found["champion"]["version"] == "1" and found["champion"]["deleted_through"] == 0
    assert found["champion"]["data_md5"].endswith(".dir")
    assert found["requests"]["queued"] == 6 and found["last_batch"] is None
    words = as_words(found)
    assert "version 1" in words and "6 queued" in words and "closed" not in words


@pytest.mark.parametrize(("outcome", "says"), [("unlearned", False), ("held", True)])
def test_a_held_batch_says_what_to_do(outcome, says):
    words = as_words({"champion": None, "requests": {}, "last_batch": {**BATCH, "outcome": outcome}})
    assert f"batch-20260101-01: {outcome}" in words
    assert ("tru batch retry" in words) is says


def test_a_stranger_gets_what_is_popular(trained):
    user = str(load_dataset(trained.data).users[0])
    known, stranger = recommendation(trained, user, 7), recommendation(trained, "a stranger", 7)
    assert len(known["items"]) == len(stranger["items"]) == 7
    assert known["items"] != stranger["items"]
    assert stranger == {**recommendation(trained, "another", 7), "suppressed": False, "model_version": "1"}
