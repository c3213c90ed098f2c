"""What is looked up beyond a batch's record, in a workspace; a whole night's is in tests/ops/erasure/test_eraser.py."""

from datetime import UTC, datetime, timedelta

import pytest

from tests import nights
from tests.ops.report.test_page import US, a_batch, finish
from tru.cli.init import create
from tru.ops.report.sequel import look_up
from tru.ops.requests.store import open_inbox, open_ledger


@pytest.fixture
def ws(tmp_path):
    return create(tmp_path / "shop")


def looked_up(ws, batch):
    return look_up(ws, open_inbox(ws).batch(batch))


def crown(ws, version, batch=None):
    facts = {"version": version, "previous": None, "why": "unlearned", "batch": batch}
    return open_ledger(ws).append("champion", f"champion/{version}", **facts)


def test_nothing_is_known_of_a_batch_that_has_just_been_opened(ws):
    found = looked_up(ws, a_batch(ws, ["u-1"]))
    assert (found.serving, found.served, found.since, found.until, found.erasure) == (None,) * 5
    assert not found.certificates and not found.links
    assert datetime.now(UTC) - found.written < timedelta(hours=1)


def test_who_served_then_and_who_serves_now(ws):
    crown(ws, "1")
    batch = a_batch(ws, ["u-1"])
    assert looked_up(ws, batch).served == looked_up(ws, batch).serving == "1"
    own = crown(ws, "2", batch)
    finish(ws, batch)
    found = looked_up(ws, batch)
    assert (found.served, found.serving, found.since, found.until) == ("2", "2", own.at, None)
    later = crown(ws, "3")
    crown(ws, "4")
    found = looked_up(ws, batch)
    assert (found.served, found.serving, found.since, found.until) == ("2", "4", own.at, later.at)


def test_every_prefect_run_that_worked_on_it_is_named_the_last_one_first(ws):
    batch = a_batch(ws, ["u-1"], prefect_runs=["one", "two"])
    assert [(link.name, link.text, link.address) for link in looked_up(ws, batch).links] == [
        ("Prefect run", "two", None),
        ("Earlier Prefect run", "one", None),
    ]


def test_a_version_that_is_gone_is_not_linked_to(ws):
    batch = a_batch(ws, ["u-1"])
    finish(ws, batch)
    (link,) = looked_up(ws, batch).links
    assert (link.name, link.text, link.address) == ("MLflow version", "2 of tru-recommender, no longer there", None)


def test_a_batch_that_found_nobody_has_no_version_of_its_own(ws):
    batch = a_batch(ws, ["u-1"])
    open_inbox(ws).advance(batch, US, "promote", None, **nights.not_found().facts)
    assert not looked_up(ws, batch).links
