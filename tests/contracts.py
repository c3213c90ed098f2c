"""Contracts: what every implementation of a seam must do. A new implementation is tested by a three-line class."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tru.errors import LeaseHeld, RequestError
from tru.requests import Inbox, Regime, State, Subject, this_owner
from tru.requests.lifecycle import WORKING

NIGHT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@dataclass
class Clock:
    """Time that passes when told."""

    now: datetime = NIGHT

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class InboxContract:
    """Subclass it, name the class ``Test…`` and say in ``open_inbox`` how an empty inbox is made."""

    def open_inbox(self, folder: Path, clock: Clock) -> Inbox:
        raise NotImplementedError

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def inbox(self, tmp_path, clock):
        return self.open_inbox(tmp_path, clock)

    @pytest.fixture
    def batch(self, inbox):
        """A batch of one request per regime, claimed by "me"."""
        inbox.add("user", user="u1")
        inbox.add("item", item="i1")
        inbox.add("interaction", user="u2", item="i2")
        inbox.add("modality", item="i3", modality="image")
        return inbox.claim("me").id

    # filing

    def test_a_filed_request_waits_with_its_subject_and_a_month_to_answer(self, inbox):
        receipt = inbox.add(Regime.INTERACTION, user=" u1 ", item="i1")
        request = receipt.request
        assert receipt.added
        assert (request.state, request.regime, request.outcome, request.batch) == ("queued", "interaction", None, None)
        assert (request.user, request.item, request.modality) == ("u1", "i1", None)
        assert (request.received, request.due) == (NIGHT, NIGHT + timedelta(days=30))
        assert re.fullmatch(r"req-[0-9a-f]{16}", request.id)
        assert inbox.get(request.id) == request
        assert list(inbox.list()) == [request]

    def test_the_time_of_receipt_can_be_given_with_its_zone(self, inbox):
        then = datetime.fromisoformat("2026-11-01T12:00:00+02:00")
        assert inbox.add("user", user="u", received=then).request.received == then
        with pytest.raises(RequestError, match="time zone"):
            inbox.add("user", user="v", received=datetime(2026, 11, 1))

    def test_an_open_subject_is_filed_once(self, inbox):
        first = inbox.add("user", user="u1")
        again = inbox.add("user", user="u1 ")
        assert not again.added
        assert again.request == first.request
        assert inbox.add("item", item="u1").added
        assert inbox.add("interaction", user="u1", item="u1").added

    def test_many_are_filed_all_or_none_and_repetitions_are_told(self, inbox):
        subjects = [Subject.of("user", user=name) for name in ("a", "b", "a")]
        receipts = inbox.add_all(subjects)
        assert [receipt.added for receipt in receipts] == [True, True, False]
        assert receipts[0].request == receipts[2].request
        assert [request.user for request in inbox.list()] == ["a", "b"]
        assert list(inbox.add_all([])) == []

    def test_a_filing_that_names_too_little_or_too_much_changes_nothing(self, inbox):
        with pytest.raises(RequestError, match="names user and nothing else"):
            inbox.add("user", user="u", item="i")
        assert list(inbox.list()) == []
        assert not inbox.suppression().is_user("u")

    def test_a_withdrawn_request_is_erased_and_may_be_filed_again(self, inbox):
        request = inbox.add("user", user="u1").request
        ended = inbox.withdraw(request.id)
        assert (ended.state, ended.user, ended.outcome) == ("withdrawn", None, None)
        assert inbox.get(request.id) == ended
        with pytest.raises(RequestError, match="is withdrawn"):
            inbox.withdraw(request.id)
        assert inbox.add("user", user="u1").added

    def test_what_a_batch_has_taken_up_cannot_be_withdrawn(self, inbox, batch):
        with pytest.raises(RequestError, match="is batched"):
            inbox.withdraw(inbox.list()[0].id)

    def test_unknown_names_are_refused_without_repeating_them(self, inbox):
        for ask in (inbox.get, inbox.withdraw):
            with pytest.raises(RequestError, match="tru requests list") as caught:
                ask("alice")
            assert "alice" not in str(caught.value)
        with pytest.raises(RequestError, match="known ones are received, queued"):
            inbox.list(state="done")
        with pytest.raises(RequestError, match="no batch"):
            inbox.advance("batch-1", "me", "cut")

    def test_requests_are_listed_by_state_and_batch_and_counted(self, inbox, batch):
        late = inbox.add("user", user="late").request
        assert list(inbox.list(state=State.QUEUED)) == [late]
        assert {request.regime for request in inbox.list(batch=batch)} == set(Regime)
        assert list(inbox.list(state="queued", batch=batch)) == []
        assert inbox.counts() == {state.value: {"queued": 1, "batched": 4}.get(state.value, 0) for state in State}

    # claiming

    def test_nothing_waiting_is_nothing_to_claim(self, inbox):
        assert inbox.claim("me") is None
        assert inbox.open_batch() is None

    def test_a_batch_takes_all_that_waits_and_later_ones_wait(self, inbox, batch):
        late = inbox.add("user", user="late").request
        assert batch == "batch-20261123-01"
        assert {request.state for request in inbox.list(batch=batch)} == {State.BATCHED}
        assert inbox.get(late.id).batch is None
        found = inbox.claim("me")
        assert (found.id, found.size, found.sequence, found.step, found.outcome) == (batch, 4, 4, "claim", None)
        assert inbox.open_batch() == found

    def test_a_live_run_keeps_its_batch(self, inbox, batch, clock):
        clock.pass_seconds(119)
        with pytest.raises(LeaseHeld, match=batch):
            inbox.claim("other")
        inbox.renew(batch, "me")
        clock.pass_seconds(119)
        with pytest.raises(LeaseHeld, match="in 1 s"):
            inbox.claim("other")

    def test_a_lease_that_ran_out_is_taken_over_and_the_first_run_is_told_to_stop(self, inbox, batch, clock):
        clock.pass_seconds(121)
        inbox.renew(batch, "me", 1)  # late, but nobody else had come
        clock.pass_seconds(2)
        assert inbox.claim("other").owner == "other"
        for act in (
            lambda: inbox.renew(batch, "me"),
            lambda: inbox.advance(batch, "me", "cut", State.CUT),
            lambda: inbox.not_found(batch, "me", []),
            lambda: inbox.hold(batch, "me", "fail", {}),
            lambda: inbox.close(batch, "me", "unlearned", "pass", {}),
        ):
            with pytest.raises(LeaseHeld, match="Stop here"):
                act()
        inbox.release(batch, "me")
        assert inbox.open_batch().owner == "other"

    def test_a_dead_owner_on_this_host_is_followed_at_once(self, inbox):
        inbox.add("user", user="u1")
        host, pid, start = this_owner().rsplit(":", 2)
        batch = inbox.claim(f"{host}:{pid}:{int(start) - 1}").id  # the pid lives, but it is another process
        assert inbox.claim(this_owner()).id == batch

    def test_an_owner_elsewhere_is_given_its_time(self, inbox):
        inbox.add("user", user="u1")
        inbox.claim("elsewhere:1:1")
        with pytest.raises(LeaseHeld, match="elsewhere"):
            inbox.claim(this_owner())

    def test_a_released_batch_is_free(self, inbox, batch):
        inbox.release(batch, "me")
        assert inbox.claim("other").id == batch

    # working

    def test_a_finished_step_is_recorded_with_its_facts_however_often_it_is_told(self, inbox, batch):
        for _ in range(2):
            inbox.advance(batch, "me", "cut", "cut", md5="5f")
        found = inbox.advance(batch, "me", "check", expectations=7)
        assert (found.step, found.facts) == ("check", {"md5": "5f", "expectations": 7})
        assert inbox.open_batch() == found
        assert {request.state for request in inbox.list(batch=batch)} == {State.CUT}

    def test_every_working_state_can_be_reached_by_a_step_and_no_other(self, inbox, batch):
        for state in State:
            if state in WORKING:
                inbox.advance(batch, "me", "step", state)
                assert inbox.counts()[state.value] == 4
            else:
                with pytest.raises(RequestError, match="cannot move"):
                    inbox.advance(batch, "me", "step", state)

    def test_an_error_in_the_middle_leaves_everything_as_it_was(self, inbox, batch):
        before = list(inbox.list()), inbox.open_batch()
        with pytest.raises((TypeError, ValueError)):
            inbox.advance(batch, "me", "cut", State.CUT, fact=object())
        with pytest.raises((TypeError, ValueError)):
            inbox.close(batch, "me", "unlearned", "pass", {}, fact=float("nan"))
        assert (list(inbox.list()), inbox.open_batch()) == before

    def test_the_forget_set_is_what_the_open_requests_name(self, inbox, batch):
        forget = inbox.forget_set(batch)
        assert (forget.users, forget.items) == ({"u1"}, {"i1"})
        assert (forget.pairs, forget.modalities) == ({("u2", "i2")}, {("i3", "image")})
        inbox.not_found(batch, "me", [inbox.list()[0].id])
        assert inbox.forget_set(batch).users == frozenset()

    def test_a_subject_that_is_not_in_the_data_is_answered_so(self, inbox, batch):
        request = inbox.list()[0]
        for _ in range(2):
            inbox.not_found(batch, "me", [request.id])
        found = inbox.get(request.id)
        assert (found.state, found.outcome, found.user, found.batch) == ("closed", "not found", None, batch)
        assert not inbox.suppression().is_user("u1")
        inbox.close(batch, "me", "unlearned", "pass", {})
        assert inbox.get(request.id).outcome == "not found"
        assert inbox.completed_through() == 4
        other = inbox.add("user", user="later").request
        inbox.claim("me")
        with pytest.raises(RequestError, match="1 of the requests"):
            inbox.not_found(inbox.open_batch().id, "me", [request.id, other.id])

    # ending

    def test_closing_ends_every_request_once_and_erases_it(self, inbox, batch, clock):
        inbox.advance(batch, "me", "gate", State.GATED, seconds_of_step=1)
        clock.pass_seconds(60)
        closed = inbox.close(batch, "me", "unlearned", "pass", {"total": 2.5}, version="3")
        assert (closed.outcome, closed.verdict, closed.seconds) == ("unlearned", "pass", {"total": 2.5})
        assert closed.facts == {"seconds_of_step": 1, "version": "3"}
        assert (closed.closed, closed.owner, closed.lease_until) == (clock.now, None, None)
        assert inbox.last_batch() == closed
        assert inbox.open_batch() is None
        for request in inbox.list():
            assert (request.state, request.outcome) == ("closed", "unlearned")
            assert (request.user, request.item, request.modality) == (None, None, None)
        assert inbox.forget_set(batch).is_empty

    def test_a_batch_cannot_end_twice_nor_go_on_after_its_end(self, inbox, batch):
        inbox.close(batch, "me", "unlearned", "pass", {})
        again = inbox.close(batch, "me", "unlearned", "pass", {"total": 9})
        assert again.seconds == {}
        assert inbox.completed_through() == 4
        with pytest.raises(RequestError, match="cannot end twice"):
            inbox.close(batch, "me", "retrained", "pass", {})
        for act in (
            lambda: inbox.advance(batch, "me", "cut"),
            lambda: inbox.hold(batch, "me", "fail", {}),
            lambda: inbox.renew(batch, "me"),
        ):
            with pytest.raises(RequestError, match="closed"):
                act()
        with pytest.raises(RequestError, match="not held"):
            inbox.retry(batch)
        inbox.release(batch, "me")
        assert inbox.claim("me") is None

    def test_completed_requests_are_counted_in_order(self, inbox, batch):
        assert inbox.completed_through() == 0
        inbox.close(batch, "me", "retrained", "pass", {})
        inbox.add("user", user="u1")  # closed subjects may ask again
        second = inbox.claim("me")
        assert (second.id, second.sequence, inbox.completed_through()) == ("batch-20261123-02", 5, 4)
        inbox.close(second.id, "me", "unlearned", "pass", {})
        assert inbox.completed_through() == 5

    def test_a_batch_of_unknown_subjects_is_closed_as_not_found(self, inbox, batch):
        with pytest.raises(RequestError, match="4 open requests"):
            inbox.close(batch, "me", "not found", None, {})
        inbox.not_found(batch, "me", [request.id for request in inbox.list()])
        with pytest.raises(RequestError, match="0 open requests"):
            inbox.close(batch, "me", "unlearned", "pass", {})
        assert inbox.close(batch, "me", "not found", None, {}).verdict is None
        assert inbox.completed_through() == 4

    def test_a_held_batch_waits_for_a_person(self, inbox, batch):
        inbox.advance(batch, "me", "gate", State.GATED, reason="utility")
        for _ in range(2):
            held = inbox.hold(batch, "me", "fail", {"total": 1.0})
        assert (held.outcome, held.verdict, held.step, held.closed) == ("held", "fail", "gate", None)
        assert inbox.last_batch() == held
        assert inbox.counts()["held"] == 4
        assert inbox.list()[0].user == "u1"
        for act in (lambda: inbox.claim("me"), lambda: inbox.close(batch, "me", "unlearned", "pass", {})):
            with pytest.raises(RequestError, match="is held"):
                act()
        assert inbox.completed_through() == 0
        assert inbox.retry(batch, step="check").step == "check"
        found = inbox.claim("other")
        assert (found.id, found.outcome, found.facts) == (batch, None, {"reason": "utility"})
        inbox.close(batch, "other", "retrained", "pass", {})
        assert inbox.counts()["closed"] == 4

    def test_the_last_batch_is_the_newest_with_an_outcome(self, inbox, batch):
        assert inbox.last_batch() is None
        inbox.close(batch, "me", "unlearned", "pass", {})
        inbox.add("user", user="u9")
        inbox.claim("me")
        assert inbox.last_batch().id == batch

    # suppression

    def test_a_subject_is_suppressed_from_filing_and_after_closing(self, inbox, batch):
        suppression = inbox.suppression()
        for _ in range(2):
            assert suppression.is_user("u1")
            assert suppression.is_item("i1")
            assert suppression.is_pair("u2", "i2")
            assert not suppression.is_user("u2")
            assert not suppression.is_item("i2")
            assert not suppression.is_item("i3")
            assert not suppression.is_pair("i2", "u2")
            if inbox.open_batch():
                inbox.close(batch, "me", "unlearned", "pass", {})

    def test_whole_lists_are_asked_at_once(self, inbox, batch):
        suppression = inbox.suppression()
        assert suppression.users_among(["u0", "u1", "u2"]) == {"u1"}
        assert suppression.items_among(["i0", "i1", "i2"]) == {"i1"}
        assert suppression.pairs_among("u2", ["i0", "i1", "i2"]) == {"i2"}
        assert suppression.pairs_among("u1", ["i0", "i1", "i2"]) == frozenset()

    def test_suppression_shows_a_new_version_whenever_it_changes(self, inbox):
        suppression = inbox.suppression()
        seen = [suppression.version()]
        request = inbox.add("item", item="i1").request
        seen.append(suppression.version())
        inbox.add("item", item="i1")
        assert suppression.version() == seen[-1]
        inbox.withdraw(request.id)
        seen.append(suppression.version())
        assert len(set(seen)) == 3
        assert not suppression.is_item("i1")

    def test_lifting_one_request_leaves_what_another_suppresses(self, inbox, batch):
        inbox.close(batch, "me", "unlearned", "pass", {})
        inbox.withdraw(inbox.add("user", user="u1").request.id)
        assert inbox.suppression().is_user("u1")
