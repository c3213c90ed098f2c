import pytest

from flows.train import train
from tru.errors import Busy, DataError
from tru.ops import locks, pipeline
from tru.ops.flows import run


def test_the_outcome_is_handed_on(workspace, monkeypatch):
    monkeypatch.setattr(pipeline, "train", lambda ws: {"version": "1", "test/ndcg@20": 0.25})

    assert run(workspace, "train") == {"version": "1", "test/ndcg@20": 0.25}


def test_an_error_of_the_user_is_final_and_readable(workspace, monkeypatch):
    calls = []

    def refuse(ws):
        calls.append(ws)
        raise DataError("data/items.parquet, row 3: no item_id. Fill it in and try again.")

    monkeypatch.setattr(pipeline, "train", refuse)
    state = train(workspace=str(workspace.root), return_state=True)

    assert state.is_failed() and "row 3" in state.message
    assert len(calls) == 1
    with pytest.raises(DataError):
        run(workspace, "train")


def test_a_second_run_ends_at_once_as_cancelled_and_says_why(workspace):
    with locks.training(workspace):
        state = train(workspace=str(workspace.root), return_state=True)
        assert state.is_cancelled() and "another run is training" in state.message
        with pytest.raises(Busy, match="another run is training"):
            run(workspace, "train")
