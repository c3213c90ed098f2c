"""Contracts of the operations. A new implementation is tested by a three-line class; the science has `tru.testing`."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tru.errors import LeaseHeld, RequestError
from tru.ops.requests import Deadlines, Inbox, Ledger, Regime, RequestParams, State, Subject, this_owner
from tru.ops.requests.ledger import KINDS
from tru.ops.requests.lifecycle import WORKING

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

    def test_requests_are_found_again_by_the_case_numbers_they_were_filed_under(self, inbox):
        named = [Subject.of(user="u1"), Subject.of(user="u2"), Subject.of(item="i1")]
        first, second, third = inbox.add_all(named, references=[" case/7 ", "case/7", None])
        assert list(inbox.filed_under("case/7")) == [first.request, second.request]
        assert list(inbox.filed_under("case/8")) == []
        # Somebody else files the same subject under a number of theirs; each number leads to the one request.
        again = inbox.add_all([Subject.of(item="i1"), Subject.of(user="u1")], references=["B-1", "case/7"])
        assert not any(receipt.added for receipt in again)
        assert list(inbox.filed_under("B-1")) == [third.request]
        assert list(inbox.filed_under("case/7")) == [first.request, second.request]
        # Also when it has ended.
        inbox.withdraw(second.request.id)
        assert [request.state for request in inbox.filed_under("case/7")] == ["queued", "withdrawn"]

    @pytest.mark.parametrize("wrong", ["", " ", "x" * 129, "two\nlines", "a\x00b", 7])
    def test_a_case_number_is_a_line_of_text(self, inbox, wrong):
        with pytest.raises(RequestError, match="case number") as caught:
            inbox.add_all([Subject.of(user="u1")], references=[wrong])
        assert "lines" not in str(caught.value) and list(inbox.list()) == []

    def test_each_request_has_its_own_time_of_receipt(self, inbox):
        named = [Subject.of(user=name) for name in "abc"]
        days = [NIGHT - timedelta(days=40), None, NIGHT - timedelta(hours=1)]
        receipts = inbox.add_all(named, received=days)
        assert [receipt.request.received for receipt in receipts] == [day or NIGHT for day in days]
        assert inbox.overdue(RequestParams()) == Deadlines(1, 0, NIGHT - timedelta(days=10))
        with pytest.raises(ValueError, match="is shorter"):
            inbox.add_all(named, received=days[:2])

    @pytest.mark.parametrize(
        ("received", "says"),
        [
            (NIGHT + timedelta(hours=1), "in the future"),
            (datetime.max.replace(tzinfo=UTC), "in the future"),
            (NIGHT - timedelta(days=3700), "more than ten years"),
            (datetime.min.replace(tzinfo=UTC), "more than ten years"),
        ],
    )
    def test_a_time_of_receipt_that_cannot_be_files_nothing(self, inbox, received, says):
        with pytest.raises(RequestError, match=says):
            inbox.add_all([Subject.of(user="a"), Subject.of(user="b")], received=[None, received])
        assert list(inbox.list()) == []
        assert not inbox.suppression().is_user("a")

    def test_of_a_subject_that_asks_again_the_earlier_day_counts(self, inbox, clock):
        first = inbox.add("user", user="u").request
        claimed = inbox.claim("me").id
        clock.pass_seconds(3600)
        days = [NIGHT - timedelta(days=n) for n in (1, 9, 2)]
        receipts = inbox.add_all([Subject.of(user="u")] * 3, received=days)
        assert [receipt.added for receipt in receipts] == [False] * 3
        assert {receipt.request for receipt in receipts} == {dataclasses.replace(inbox.get(first.id), received=days[1])}
        assert not inbox.add("user", user="u").added
        assert inbox.get(first.id).received == days[1]
        assert inbox.forget_set(claimed).users == {"u"}
        new = inbox.add_all([Subject.of(user="v")] * 3, received=days)
        assert [(receipt.added, receipt.request.received) for receipt in new] == [
            (True, days[1]),
            (False, days[1]),
            (False, days[1]),
        ]
        assert inbox.get(new[0].request.id) == new[0].request

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

    def test_several_are_got_and_withdrawn_all_or_none(self, inbox):
        a, b, c = (inbox.add("user", user=name).request for name in "abc")
        assert list(inbox.get_all([c.id, a.id, c.id])) == [c, a]
        for ask in (inbox.get_all, inbox.withdraw_all):
            with pytest.raises(RequestError, match="2 of these ids, so nothing was done") as caught:
                ask([a.id, "alice", b.id, "bob"])
            assert "alice" not in str(caught.value)
        inbox.withdraw(c.id)
        with pytest.raises(RequestError, match="is withdrawn"):
            inbox.withdraw_all([a.id, c.id, b.id])
        assert [request.state for request in inbox.list()] == ["queued", "queued", "withdrawn"]
        ended = inbox.withdraw_all([b.id, a.id, b.id])
        assert [(request.id, request.state) for request in ended] == [(b.id, "withdrawn"), (a.id, "withdrawn")]
        assert not inbox.suppression().is_user("a") and not inbox.suppression().is_user("b")

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
        assert len(inbox.list(state=[State.QUEUED, State.BATCHED])) == 5
        assert list(inbox.list(state=[])) == []
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
        assert (found.id, found.outcome, found.facts) == (batch, None, {"reason": "utility", "attempts": 1})
        inbox.close(batch, "other", "retrained", "pass", {})
        assert inbox.counts()["closed"] == 4

    def test_a_held_batch_steps_aside_for_others_and_is_worked_on_in_its_turn(self, inbox, batch):
        inbox.advance(batch, "me", "cut", State.CUT)
        inbox.hold(batch, "me", None, {}, held=["why"])
        with pytest.raises(RequestError, match="is held"):
            inbox.claim("me")
        aside = inbox.put_aside(batch)
        assert inbox.put_aside(batch) == aside and aside.is_aside and aside.is_held
        assert (inbox.open_batch(), inbox.aside(), inbox.held()) == (None, [aside], [aside])
        assert inbox.claim("me") is None and inbox.counts()["held"] == 4
        inbox.add("user", user="another")
        other = inbox.claim("me")
        assert (other.size, other.sequence) == (1, 1)
        decided = inbox.retry(batch, owner="me", accepted="it is right")
        assert (decided.outcome, decided.step, decided.owner, decided.facts["accepted"]) == (
            None,
            "claim",
            None,
            "it is right",
        )
        assert "held" not in decided.facts and inbox.counts()["batched"] == 5
        assert inbox.claim("me").id == other.id, "it waits for its turn"
        inbox.close(other.id, "me", "unlearned", "pass", {})
        inbox.add("user", user="the next one")
        again = inbox.claim("me")
        assert (again.id, again.size, again.sequence, again.is_aside) == (batch, 4, 5, False)
        inbox.close(batch, "me", "retrained", "fail", {})
        assert inbox.completed_through() == 5

    def test_what_is_held_and_not_aside_is_taken_up_under_a_lease(self, inbox, batch):
        inbox.hold(batch, "me", None, {})
        assert inbox.retry(batch, "claim", owner="you").owner == "you"
        with pytest.raises(LeaseHeld):
            inbox.claim("me")

    def test_requests_are_taken_out_of_a_held_batch(self, inbox, batch):
        user, item, pair, picture = (request.id for request in inbox.list())
        with pytest.raises(LeaseHeld):
            inbox.take_out(batch, [user], State.WITHDRAWN, "you")
        inbox.advance(batch, "me", "cut", State.CUT)
        with pytest.raises(RequestError, match="being worked on"):
            inbox.take_out(batch, [user], State.WITHDRAWN, "me")
        inbox.hold(batch, "me", None, {})
        with pytest.raises(RequestError, match="1 of the requests"):
            inbox.take_out(batch, [user, "req-of-nobody"], State.WITHDRAWN, "me")
        left = inbox.take_out(batch, [user], State.WITHDRAWN, "you")
        assert (left.size, left.sequence, left.step, left.outcome, left.owner) == (3, 3, "claim", None, "you")
        ended = inbox.get(user)
        assert (ended.state, ended.user, ended.outcome) == ("withdrawn", None, None)
        assert not inbox.suppression().is_user("u1") and inbox.suppression().is_item("i1")
        inbox.release(batch, "you")
        left = inbox.take_out(batch, [item], State.REFUSED, "me")  # not begun again
        assert inbox.get(item).state == "refused" and not inbox.suppression().is_item("i1")
        left = inbox.take_out(batch, [pair], State.QUEUED, "me")
        waiting = inbox.get(pair)
        assert (waiting.state, waiting.batch, waiting.user) == ("queued", None, "u2") and left.size == 1
        over = inbox.take_out(batch, [picture], State.WITHDRAWN, "me")
        assert (over.outcome, over.closed is not None, inbox.open_batch()) == ("withdrawn", True, None)
        assert inbox.completed_through() == 0
        with pytest.raises(RequestError, match="is closed"):
            inbox.take_out(batch, [picture], State.WITHDRAWN, "me")

    def test_requests_are_set_apart_for_a_person(self, inbox, batch):
        user, *others = (request.id for request in inbox.list())
        apart = inbox.set_apart(batch, "me", others, ["too little would be left"])
        assert (apart.size, apart.is_held, apart.is_aside) == (3, True, True)
        assert apart.facts["held"] == ["too little would be left"] and apart.facts["apart_from"] == batch
        here = inbox.open_batch()
        assert (here.id, here.size, here.sequence) == (batch, 1, 1)
        assert inbox.get(user).state == "batched" and {inbox.get(id).state for id in others} == {"held"}
        inbox.close(batch, "me", "unlearned", "pass", {})
        assert inbox.held() == [apart] and inbox.completed_through() == 1
        with pytest.raises(RequestError, match="its models are gone"):
            inbox.lift(apart.id, "me")

    def test_every_other_open_request_is_taken_in(self, inbox, batch):
        apart = inbox.set_apart(batch, "me", [inbox.list()[0].id], ["why"])
        inbox.add("user", user="who waits")
        taken = inbox.take_in(batch, "me")
        assert (taken.size, taken.sequence) == (5, 5)
        assert {request.batch for request in inbox.list()} == {batch}
        assert (inbox.batch(apart.id).outcome, inbox.aside()) == ("withdrawn", [])
        inbox.close(batch, "me", "retired", "pass", {})
        assert inbox.suppression().retirements() == 1 and inbox.completed_through() == 5
        forgotten = inbox.suppression().forgotten(["u1", "who waits"], [], [], [])
        assert forgotten.users == {"u1", "who waits"}

    def test_what_an_attempt_found_is_forgotten_by_the_next(self, inbox, batch):
        inbox.advance(batch, "me", "retrain", State.GATED, gate={"verdict": "fail"}, retrain={"verdict": "fail"}, cut=1)
        inbox.hold(batch, "me", "fail", {}, held=["no"])
        again = inbox.retry(batch, step="check")
        assert again.facts == {"cut": 1, "attempts": 1, "decided": True} and again.step == "check"

    def test_a_person_lets_the_model_of_a_held_batch_pass(self, inbox, batch):
        inbox.advance(batch, "me", "retrain", State.GATED, retrain="fail")
        inbox.hold(batch, "me", "fail", {"total": 1.0})
        lifted = inbox.lift(batch, "person", 60)
        assert (lifted.outcome, lifted.verdict, lifted.owner, lifted.step) == (None, None, "person", "retrain")
        assert lifted.lease_until == NIGHT + timedelta(seconds=60)
        assert inbox.counts()["gated"] == 4
        with pytest.raises(LeaseHeld):
            inbox.claim("other")
        inbox.advance(batch, "person", "promote", State.PROMOTED)
        closed = inbox.close(batch, "person", "retrained", "fail", {})
        assert (closed.outcome, closed.verdict, closed.facts) == ("retrained", "fail", {"retrain": "fail"})
        assert {(r.state, r.outcome) for r in inbox.list()} == {("closed", "retrained")}
        assert inbox.completed_through() == 4

    def test_only_a_held_batch_is_lifted_and_only_once(self, inbox, batch):
        with pytest.raises(RequestError, match="not held"):
            inbox.lift(batch, "me")
        inbox.hold(batch, "me", "fail", {})
        inbox.lift(batch, "dead", 1)
        with pytest.raises(RequestError, match="not held"):
            inbox.lift(batch, "me")
        with pytest.raises(RequestError, match="no batch"):
            inbox.lift("batch-1", "me")

    def test_what_a_killed_person_had_lifted_is_taken_up_by_the_next_run(self, inbox, batch, clock):
        inbox.hold(batch, "me", "fail", {})
        inbox.lift(batch, "person", 60)
        clock.pass_seconds(61)
        assert inbox.claim("night").id == batch

    def test_closed_batches_are_found_again_the_newest_first(self, inbox, batch):
        assert list(inbox.recent(5)) == []
        assert inbox.batch(batch) == inbox.open_batch()
        first = inbox.close(batch, "me", "unlearned", "pass", {})
        inbox.add("user", user="u9")
        second = inbox.claim("me").id
        inbox.hold(second, "me", "fail", {})
        assert list(inbox.recent(5)) == [first]
        inbox.lift(second, "me")
        second = inbox.close(second, "me", "retrained", "fail", {})
        assert list(inbox.recent(5)) == [second, first]
        assert list(inbox.recent(1)) == [second]
        assert inbox.batch(batch) == first
        with pytest.raises(RequestError, match="no batch"):
            inbox.batch("batch-20261123-99")

    def test_deadlines_count_what_is_open(self, inbox, clock):
        params = RequestParams(due_days=30, warn_days=7)
        assert inbox.overdue(params) == Deadlines(0, 0, None)
        for days in (31, 29, 10):
            inbox.add("user", user=f"u{days}", received=NIGHT - timedelta(days=days))
        withdrawn = inbox.add("item", item="i1", received=NIGHT - timedelta(days=400)).request
        inbox.withdraw(withdrawn.id)
        assert inbox.overdue(params) == Deadlines(1, 1, NIGHT - timedelta(days=1))
        assert inbox.overdue(params, NIGHT + timedelta(days=2)) == Deadlines(2, 0, NIGHT - timedelta(days=1))
        batch = inbox.claim("me").id
        inbox.hold(batch, "me", "fail", {})
        assert inbox.overdue(params).overdue == 1  # a person who is called does not stop the clock
        inbox.lift(batch, "me")
        inbox.close(batch, "me", "retrained", "fail", {})
        assert inbox.overdue(params) == Deadlines(0, 0, None)
        with pytest.raises(RequestError, match="time zone"):
            inbox.overdue(params, datetime(2026, 11, 23))

    def test_the_moment_a_request_is_due_is_not_yet_late(self, inbox):
        params = RequestParams(due_days=30, warn_days=7)
        instant = timedelta(microseconds=1)
        for age, expected in (
            (timedelta(days=30) + instant, (1, 0)),
            (timedelta(days=30), (0, 1)),
            (timedelta(days=23), (0, 1)),
            (timedelta(days=23) - instant, (0, 0)),
        ):
            asked = (NIGHT - age).astimezone(timezone(timedelta(hours=-11)))
            request = inbox.add("user", user="u", received=asked).request
            assert inbox.overdue(params) == Deadlines(*expected, NIGHT - age + timedelta(days=30))
            inbox.withdraw(request.id)

    def test_a_warning_longer_than_the_promise_counts_nothing_twice(self, inbox):
        for days in (0, 4, 6):
            inbox.add("user", user=f"u{days}", received=NIGHT - timedelta(days=days))
        late = NIGHT - timedelta(days=1)
        for warn_days, soon in ((0, 0), (2, 1), (30, 2)):
            assert inbox.overdue(RequestParams(due_days=5, warn_days=warn_days)) == Deadlines(1, soon, late)

    def test_outcomes_are_counted_for_all_and_for_a_batch(self, inbox, batch):
        none = {"unlearned": 0, "retrained": 0, "not found": 0}
        assert none.items() <= inbox.outcomes().items() and set(inbox.outcomes().values()) == {0}
        first, second = (request.id for request in inbox.list()[:2])
        inbox.not_found(batch, "me", [first, second])
        assert inbox.outcomes(batch)["not found"] == 2
        inbox.close(batch, "me", "unlearned", "pass", {})
        inbox.withdraw(inbox.add("user", user="back").request.id)
        inbox.add("user", user="u9")
        other = inbox.claim("me").id
        inbox.close(other, "me", "retrained", "pass", {})
        assert none | {"unlearned": 2, "not found": 2} == {k: n for k, n in inbox.outcomes(batch).items() if k in none}
        assert inbox.outcomes(other)["retrained"] == 1 and inbox.outcomes(other)["not found"] == 0
        assert inbox.outcomes()["not found"] == 2 and inbox.outcomes()["retrained"] == 1
        assert set(inbox.outcomes("batch-20200101-01").values()) == {0}

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

    # imports

    WHAT_COMES = (
        ["u0", "u1", "u2"],
        ["i0", "i1", "i2", "i3"],
        [("u0", "i2"), ("u2", "i2"), ("u2", "i0"), ("i2", "u2")],
        [("i3", "image"), ("i3", "text"), ("i0", "image")],
    )

    def test_those_who_were_forgotten_are_known_in_new_data(self, inbox, batch):
        assert inbox.suppression().forgotten(*self.WHAT_COMES).is_empty  # open requests are the night's to find
        inbox.close(batch, "me", "unlearned", "pass", {})
        found = inbox.suppression().forgotten(*self.WHAT_COMES)
        assert (found.users, found.items) == ({"u1"}, {"i1"})
        assert (found.pairs, found.modalities) == ({("u2", "i2")}, {("i3", "image")})
        assert inbox.suppression().forgotten(["u7"], ["i7"], [("u7", "i7")], [("i7", "image")]).is_empty
        assert inbox.suppression().forgotten([], [], [], []).is_empty

    def test_a_revoked_modality_hides_nothing_in_serving_before_or_after(self, inbox, batch):
        inbox.close(batch, "me", "retrained", "fail", {})
        suppression = inbox.suppression()
        assert suppression.items_among(["i3"]) == suppression.users_among(["i3", "image"]) == frozenset()
        assert suppression.pairs_among("i3", ["image"]) == frozenset()

    def test_who_was_not_found_or_took_it_back_may_be_imported(self, inbox):
        inbox.withdraw(inbox.add("modality", item="i3", modality="image").request.id)
        request = inbox.add("user", user="u1").request
        other = inbox.add("modality", item="i0", modality="image").request
        batch = inbox.claim("me").id
        inbox.not_found(batch, "me", [request.id, other.id])
        inbox.close(batch, "me", "not found", None, {})
        assert inbox.suppression().forgotten(*self.WHAT_COMES).is_empty

    def test_who_was_forgotten_and_asks_again_stays_forgotten(self, inbox, batch):
        inbox.close(batch, "me", "unlearned", "pass", {})
        again = inbox.add("user", user="u1").request
        assert inbox.suppression().forgotten(*self.WHAT_COMES).users == {"u1"}
        second = inbox.claim("me").id
        inbox.not_found(second, "me", [again.id])
        inbox.close(second, "me", "not found", None, {})
        assert inbox.suppression().forgotten(*self.WHAT_COMES).users == {"u1"}


class LedgerContract:
    """Subclass it, name the class ``Test…`` and say in ``open_ledger`` how an empty ledger is made."""

    def open_ledger(self, folder: Path, clock: Clock) -> Ledger:
        raise NotImplementedError

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def ledger(self, tmp_path, clock):
        return self.open_ledger(tmp_path, clock)

    def test_an_empty_ledger_is_intact(self, ledger):
        assert (list(ledger.entries()), ledger.last("champion"), ledger.verify()) == ([], None, [])

    def test_entries_are_numbered_dated_and_chained(self, ledger, clock):
        first = ledger.append("champion", "champion/1", version="1", why="trained")
        clock.pass_seconds(60)
        second = ledger.append("data", "batch-1", rows=12, share=0.1, none=None)
        assert (first.seq, first.at, first.previous) == (1, NIGHT, "")
        assert (second.seq, second.at, second.previous) == (2, NIGHT + timedelta(seconds=60), first.digest)
        assert (first.facts, second.facts["share"]) == ({"version": "1", "why": "trained"}, 0.1)
        assert list(ledger.entries()) == [first, second]
        assert ledger.verify() == []

    def test_the_digest_is_the_one_that_is_documented(self, ledger):
        entry = ledger.append("data", "a key", b=[1, "zwei"], a="ü")
        text = '[1,"2026-11-23T02:30:00+00:00","data","a key",{"a":"\\u00fc","b":[1,"zwei"]},""]'
        assert entry.digest == hashlib.sha256(text.encode()).hexdigest() == entry.computed()

    def test_a_fact_is_written_once_and_the_first_stays(self, ledger, clock):
        first = ledger.append("verdict", "batch-1", verdict="fail")
        clock.pass_seconds(1)
        assert ledger.append("verdict", "batch-1", verdict="pass") == first
        assert list(ledger.entries()) == [first]
        other = ledger.append("batch", "batch-1", outcome="held")
        assert (other.seq, other.facts) == (2, {"outcome": "held"})

    def test_entries_are_found_by_kind(self, ledger):
        for number, kind in enumerate(["champion", "data", "champion", "licence"]):
            ledger.append(kind, str(number))
        assert [entry.key for entry in ledger.entries("champion")] == ["0", "2"]
        assert (ledger.last("champion").key, ledger.last("data").key, ledger.last("erasure")) == ("2", "1", None)

    def test_facts_come_back_as_json_gives_them(self, ledger):
        entry = ledger.append("baseline", "b", seeds=(1, 2), by={"1": {"x": True}})
        assert entry.facts == {"seeds": [1, 2], "by": {"1": {"x": True}}}
        assert ledger.last("baseline") == entry

    def test_what_cannot_be_kept_leaves_nothing(self, ledger):
        for kind, key, facts in (
            ("champion", "k", {"fact": object()}),
            ("champion", "k", {"fact": float("nan")}),
            ("gossip", "k", {}),
            ("champion", "", {}),
            ("champion", "k" * 256, {}),
        ):
            with pytest.raises((TypeError, ValueError, RequestError)):
                ledger.append(kind, key, **facts)
        assert (list(ledger.entries()), ledger.verify()) == ([], [])
        with pytest.raises(RequestError, match="known ones are champion, data"):
            ledger.append("gossip", "k")

    def test_every_kind_can_be_written(self, ledger):
        for kind in KINDS:
            ledger.append(kind, "k")
        assert [entry.kind for entry in ledger.entries()] == list(KINDS)
        assert ledger.verify() == []

    def test_an_entry_is_found_by_its_key(self, ledger):
        entry = ledger.append("champion", "k", version="1")
        assert ledger.find("champion", "k") == entry
        assert ledger.find("champion", "other") is None and ledger.find("data", "k") is None

    def test_there_is_no_way_to_change_or_remove_an_entry(self, ledger):
        can = {name for name in dir(ledger) if not name.startswith("_")}
        assert can == {"append", "entries", "find", "last", "verify"}
        entry = ledger.append("champion", "k", version="1")
        with pytest.raises(dataclasses.FrozenInstanceError):
            entry.key = "other"
