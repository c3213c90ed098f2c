"""A person's yes on Prefect's page: a real server, a real pause, a real answer."""

import time
from contextlib import suppress
from threading import Thread
from types import SimpleNamespace

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.exceptions import PrefectHTTPStatusError

from tests.patience import HANG
from tests.workspaces import change, file_requests, subjects
from tru.errors import ReleaseError
from tru.ops import pipeline
from tru.ops.flows import approval
from tru.ops.pipeline.approval import is_needed
from tru.ops.requests.store import open_inbox, open_ledger

VERDICT = {"verdict": "pass", "mode": "fresh", "reasons": [], "table": [], "notes": ["look at me"]}


@pytest.fixture
def batch(workspace, trained, monkeypatch):
    """A batch that passed the gate, as far as its record says, and waits for a yes."""
    monkeypatch.setattr(approval, "POLL_SECONDS", 0.2)
    serve(monkeypatch, "http://the-server-of-this-test-session")
    with get_client(sync_client=True) as client:
        client.hello()  # from here on it runs; two threads that ask for it first would start two
    change(trained, "gate", approval=True, approval_hours=0.02)
    file_requests(trained, subjects(trained))
    batch = pipeline.claim(trained)
    record(trained, batch, step="gate", forgotten=5, gate=VERDICT, retrain=None)
    return batch


def serve(monkeypatch, url):
    """Have the temporary server of the tests, a real one, counted as one that lasts; or as none."""
    monkeypatch.setattr(approval, "get_current_settings", lambda: SimpleNamespace(api=SimpleNamespace(url=url)))


def record(ws, batch, step, **facts):
    from tru.ops.requests.owner import this_owner

    open_inbox(ws).advance(batch, this_owner(), step, None, **facts)


def ask(ws, batch, answer=None):
    """What the flow hears; ``answer`` is typed by somebody as soon as the run waits."""
    heard = []

    @flow(name="asks", persist_result=False)
    def asks():
        heard.append(approval.ask(ws, batch, VERDICT))

    seen = {}
    typing = Thread(target=_type, args=(answer, seen))
    if answer is not None:
        typing.start()
    asks(return_state=True)  # after a missed deadline Prefect calls the run failed, whatever it returns
    if answer is not None:
        typing.join(HANG)
        assert "look at me" in seen["form"] and batch in seen["form"]
    return heard[0]


def _type(answer, seen):
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}})
    end = time.monotonic() + HANG
    with get_client(sync_client=True) as client:
        while time.monotonic() < end:
            time.sleep(0.2)
            for run in client.read_flow_runs(flow_run_filter=wanted):
                keys = run.state.state_details.run_input_keyset
                with suppress(PrefectHTTPStatusError):  # it is written a moment after the run is paused
                    seen["form"] = str(client.read_flow_run_input(run.id, keys["description"]))
                    client.resume_flow_run(run.id, run_input=answer)
                    return


def answers(ws):
    return [(e.facts["answer"], e.facts["words"]) for e in open_ledger(ws).entries("approval")]


def test_a_yes_lets_the_candidate_serve_and_is_not_asked_for_twice(trained, batch):
    assert ask(trained, batch, {"approve": True, "words": "looks fine"}) is None
    assert answers(trained) == [("approved", "looks fine")]
    assert not is_needed(trained, batch)
    assert ask(trained, batch) is None  # a run killed after the answer goes on
    assert len(answers(trained)) == 1
    record(trained, batch, step="gate", gate={**VERDICT, "notes": ["another candidate"]})
    assert is_needed(trained, batch)


def test_a_no_is_the_reason_of_the_hold_and_asked_anew_after_a_retry(trained, batch):
    said = ask(trained, batch, {"approve": False, "words": "too many lists changed"})
    assert said == "a person declined it: too many lists changed"
    assert is_needed(trained, batch)
    assert ask(trained, batch, {"approve": True}) is None
    assert answers(trained) == [("declined", "too many lists changed"), ("approved", "")]


def test_an_answer_that_names_a_subject_is_kept_without_its_words(trained, batch):
    name = subjects(trained)[0].user
    said = ask(trained, batch, {"approve": False, "words": f"not for {name}"})
    assert name not in said and "not kept" in said
    assert name not in str(answers(trained))


def test_no_answer_in_time_is_a_no(trained, batch):
    change(trained, "gate", approval_hours=0.0005)
    assert ask(trained, batch) == "nobody approved it within 0.0005 hours"
    assert answers(trained) == [("expired", "")]


def test_without_a_lasting_server_the_run_says_what_to_do(trained, batch, monkeypatch):
    serve(monkeypatch, None)
    with pytest.raises(ReleaseError, match="`tru up`"):
        approval.refuse_without_a_page(trained, batch)
    change(trained, "gate", approval=False)
    approval.refuse_without_a_page(trained, batch)


def test_nothing_to_approve(trained, batch):
    record(trained, batch, step="promote")
    assert not is_needed(trained, batch)
    record(trained, batch, step="gate", forgotten=0)
    assert not is_needed(trained, batch)
