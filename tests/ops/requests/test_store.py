import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts import Clock, InboxContract
from tru.errors import LeaseHeld, RequestError, TruError, WorkspaceError
from tru.ops.requests import MemoryInbox, State, Subject, this_owner
from tru.ops.requests.lifecycle import ENDED
from tru.ops.requests.store import _SqlRows, _SqlTransaction, open_inbox, open_suppression
from tru.ops.requests.suppression import KEY_VARIABLE
from tru.ops.workspace import Workspace


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv("TRU_DATABASE_URL", raising=False)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


class TestSqliteInbox(InboxContract):
    def open_inbox(self, folder, clock):
        return open_inbox(Workspace(folder), clock)


# case numbers


def test_a_case_number_is_nowhere_in_the_files(workspace):
    inbox = open_inbox(workspace)
    inbox.add_all([Subject.of(user="u1")], references=["CASE-2026-0042"])
    assert len(inbox.filed_under("CASE-2026-0042")) == 1
    written = b"".join(file.read_bytes() for file in workspace.state.rglob("*") if file.is_file())
    assert b"CASE-2026" not in written and b"2026-0042" not in written


def test_an_inbox_of_before_case_numbers_takes_them_from_now_on(workspace):
    inbox = open_inbox(workspace)
    request = inbox.add("user", user="u1").request
    with sqlite3.connect(workspace.state / "inbox.db") as connection:
        connection.execute('DROP TABLE "references"')
        connection.execute("UPDATE guard SET schema = 2")
    connection.close()
    inbox = open_inbox(workspace)
    assert list(inbox.list()) == [request] and list(inbox.filed_under("case/7")) == []
    inbox.add_all([Subject.of(user="u1")], references=["case/7"])
    assert list(open_inbox(workspace).filed_under("case/7")) == [request]


# opening


def test_the_inbox_outlives_its_object_and_is_for_its_owner_only(workspace):
    request = open_inbox(workspace).add("interaction", user="ü", item="i").request
    assert open_inbox(workspace).get(request.id) == request
    path = workspace.state / "inbox.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////proc/nowhere/inbox.db", "cannot be opened"),
        ("sqlite://", "needs a file"),
        ("not an address", "not a database address"),
        ("nosuchdb://host/inbox", "cannot be opened"),
        ("sqlite:///{folder}", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_opened_is_said_so(workspace, monkeypatch, url, says):
    monkeypatch.setenv("TRU_DATABASE_URL", url.format(folder=workspace.root))
    with pytest.raises(WorkspaceError, match=says):
        open_inbox(workspace)


def test_a_file_that_is_no_database_is_left_alone(workspace):
    path = workspace.state / "inbox.db"
    path.parent.mkdir()
    path.write_text("not a database, but somebody's file")
    with pytest.raises(WorkspaceError, match="not a database"):
        open_inbox(workspace)
    assert path.read_text().startswith("not a database")


def test_an_inbox_of_another_schema_is_refused(workspace):
    open_inbox(workspace)
    with sqlite3.connect(workspace.state / "inbox.db") as connection:
        connection.execute("UPDATE guard SET schema = 99")
    connection.close()
    with pytest.raises(WorkspaceError, match="schema 99"):
        open_inbox(workspace)


def test_the_key_belongs_to_the_inbox(workspace, monkeypatch):
    open_inbox(workspace).add("user", user="u1")
    key = workspace.state / "suppression.key"
    kept = key.read_text()
    key.unlink()
    for reopen in (open_inbox, open_suppression):
        with pytest.raises(RequestError, match="missing"):
            reopen(workspace)
    assert not key.exists()
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    with pytest.raises(RequestError, match="not the one this inbox was filled with"):
        open_suppression(workspace)
    monkeypatch.setenv(KEY_VARIABLE, kept.strip())
    assert open_suppression(workspace).is_user("u1")


def test_serving_never_makes_an_inbox(workspace):
    with pytest.raises(WorkspaceError, match="no inbox"):
        open_suppression(workspace)
    assert not workspace.state.exists()
    workspace.state.mkdir()
    (workspace.state / "inbox.db").touch()
    with pytest.raises(WorkspaceError, match="no inbox"):
        open_suppression(workspace)


def test_serving_sees_at_once_what_is_filed_elsewhere(workspace):
    inbox = open_inbox(workspace)
    suppression = open_suppression(workspace)
    before = suppression.version()
    assert not suppression.is_user("u1")
    inbox.add("user", user="u1")
    assert suppression.is_user("u1")
    assert suppression.version() != before


def test_thousands_at_once(workspace):
    inbox = open_inbox(workspace)
    names = [f"u{number}" for number in range(3000)]
    inbox.add_all([Subject.of(user=name) for name in names])
    assert not any(receipt.added for receipt in inbox.add_all([Subject.of(user=name) for name in names]))
    batch = inbox.claim("me")
    assert inbox.forget_set(batch.id).users == set(names)
    assert inbox.suppression().users_among([*names, "other"]) == set(names)
    inbox.not_found(batch.id, "me", [request.id for request in inbox.list()])
    assert inbox.suppression().users_among(names) == frozenset()


def test_an_error_shows_no_value(workspace, monkeypatch):
    inbox = open_inbox(workspace)
    with sqlite3.connect(workspace.state / "inbox.db") as connection:
        connection.execute("DROP TABLE requests")
    connection.close()
    with pytest.raises(RequestError, match="cannot be written: no such table") as caught:
        inbox.add("user", user="alice")
    assert "alice" not in str(caught.value)
    monkeypatch.setattr("tru.ops.requests.database.BUSY_SECONDS", 0.05)
    impatient = open_inbox(workspace)
    with impatient._rows.writing(), pytest.raises(RequestError, match="another process"):
        impatient.add("user", user="alice")


# what is erased is gone


def remains(workspace, word):
    """How often a word stands in any file of the workspace's state."""
    return sum(file.read_bytes().count(word.encode()) for file in workspace.state.rglob("*"))


def fill(inbox, count=400, start=0):
    """Names of many lengths, so that rows move between pages."""
    subjects = [Subject.of(user=f"person{number}{'x' * (number * 37 % 400)}") for number in range(start, start + count)]
    return [receipt.request for receipt in inbox.add_all(subjects)]


def test_no_file_holds_an_identifier_after_closing(workspace, monkeypatch):
    inbox = open_inbox(workspace)
    # Somebody else has the file open, so that the log is not simply deleted with the last connection.
    other = sqlite3.connect(workspace.state / "inbox.db")
    other.execute("SELECT * FROM guard").fetchall()
    with monkeypatch.context() as lazy:
        lazy.setattr(_SqlRows, "scrub", lambda self: False)
        for night in range(8):
            requests = fill(inbox, count=100 + 20 * night, start=1000 * night)
            for request in requests[:: 3 + night]:
                inbox.withdraw(request.id)
            batch = inbox.claim("me").id
            inbox.not_found(batch, "me", [request.id for request in inbox.list(batch=batch)[::7]])
            for state in ("cut", "unlearned", "promoted"):
                inbox.advance(batch, "me", state, state)
            if night < 7:
                inbox.close(batch, "me", "unlearned", "pass", {})
        assert remains(workspace, "person") > 0
    inbox.close(batch, "me", "unlearned", "pass", {})
    assert remains(workspace, "person") == 0
    other.close()


def leave_remains(workspace, word):
    """What SQLite does now and then when it moves rows between pages, secure_delete or not."""
    with sqlite3.connect(workspace.state / "inbox.db") as careless:
        careless.execute("PRAGMA secure_delete = OFF")
        careless.execute("INSERT INTO marks VALUES (?, ?, ?)", [word] * 3)
        careless.execute("DELETE FROM marks WHERE request = ?", [word])
    careless.close()
    assert remains(workspace, word) > 0


def test_the_scrub_removes_what_the_database_left_behind(workspace):
    inbox = open_inbox(workspace)
    leave_remains(workspace, "alice")
    assert inbox._rows.scrub()
    assert remains(workspace, "alice") == 0


def test_deleting_is_secure_even_before_the_scrub(workspace, monkeypatch):
    monkeypatch.setattr(_SqlRows, "scrub", lambda self: False)
    inbox = open_inbox(workspace)
    inbox.withdraw(inbox.add("user", user="alice").request.id)
    assert remains(workspace, "alice") == 0


def test_no_file_holds_an_identifier_after_withdrawing(workspace):
    inbox = open_inbox(workspace)
    inbox.add("interaction", user="alice", item="lamp")
    kept = inbox.add("user", user="bob").request
    inbox.withdraw(inbox.list()[0].id)
    assert remains(workspace, "alice") + remains(workspace, "lamp") == 0
    assert inbox.get(kept.id).user == "bob"


def test_a_scrub_that_a_crash_prevented_is_made_up_for_at_the_next_use(workspace, monkeypatch):
    inbox = open_inbox(workspace)
    inbox.add("user", user="u1")
    batch = inbox.claim("me").id
    with monkeypatch.context() as crash:
        crash.setattr(_SqlRows, "scrub", lambda self: False)
        inbox.close(batch, "me", "unlearned", "pass", {})
    leave_remains(workspace, "alice")
    open_inbox(workspace)
    assert remains(workspace, "alice") == 0


def test_a_reader_delays_the_scrub_and_nothing_else(workspace, monkeypatch):
    inbox = open_inbox(workspace)
    monkeypatch.setattr("tru.ops.requests.store.SCRUB_SECONDS", 0.05)
    request = inbox.add("user", user="alice").request
    with inbox._rows.reading() as rows:
        rows.counts()
        assert inbox.withdraw(request.id).state is State.WITHDRAWN
        assert rows.guard().endings == 0
    open_inbox(workspace)
    assert remains(workspace, "alice") == 0


# processes

CHILD = """
import sys
from pathlib import Path
from tru.errors import LeaseHeld
from tru.ops.requests import this_owner
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace
def say(word):
    print(word, flush=True)
"""


@contextmanager
def child(workspace, code):
    """A process of its own that runs ``code`` with ``workspace`` and ``say``."""
    program = CHILD + f"workspace = Workspace(Path({str(workspace.root)!r}))\n" + code
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=workspace.root
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_run_is_followed_at_once(workspace):
    inbox = open_inbox(workspace)
    inbox.add("user", user="u1")
    with child(workspace, "say(open_inbox(workspace).claim(this_owner()).id)\ninput()") as process:
        batch = process.stdout.readline().strip()
        with pytest.raises(LeaseHeld):
            inbox.claim(this_owner())
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
        process.wait()
        assert inbox.claim(this_owner()).id == batch
    assert inbox.counts()["batched"] == 1


def test_of_two_live_runs_one_gets_the_batch(workspace):
    inbox = open_inbox(workspace)
    inbox.add("user", user="u1")
    race = """
inbox = open_inbox(workspace)
say("ready")
input()
try:
    say(inbox.claim(this_owner()).id)
except LeaseHeld:
    say("held")
input()
"""
    with child(workspace, race) as one, child(workspace, race) as two:
        runs = (one, two)
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        said = sorted(run.stdout.readline().strip() for run in runs)
    assert said == [inbox.open_batch().id, "held"]
    assert inbox.open_batch().id.endswith("-01")


def test_many_may_start_a_fresh_inbox_at_the_same_time(workspace):
    workspace.state.mkdir()
    first = "say('ready')\ninput()\nsay(open_inbox(workspace).add('user', user=str(sys.argv)).request.id)"
    with child(workspace, first) as a, child(workspace, first) as b, child(workspace, first) as c:
        runs = (a, b, c)
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 3
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        ids = {run.stdout.readline().strip() for run in runs}
    # All three file the same subject under the same key, so they must end up with one request.
    assert ids == {request.id for request in open_inbox(workspace).list()}
    assert len(ids) == 1


def test_what_was_acknowledged_survives_a_kill(workspace):
    endless = """
inbox = open_inbox(workspace)
for number in range(10**6):
    say(inbox.add("user", user=str(number)).request.id)
"""
    with child(workspace, endless) as process:
        acknowledged = [process.stdout.readline().strip() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()
    inbox = open_inbox(workspace)
    kept = {request.id for request in inbox.list()}
    assert kept.issuperset(acknowledged)
    assert inbox.suppression().users_among(map(str, range(len(kept)))) == set(map(str, range(len(kept))))


# any order of events

NAMES = [Subject.of(user="u1"), Subject.of(user="u2"), Subject.of(item="i1"), Subject.of(user="u1", item="i1")]
OWNERS = st.sampled_from(["one", "two"])
EVENTS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 3)),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
    st.tuples(st.just("claim"), OWNERS),
    st.tuples(st.just("renew"), OWNERS),
    st.tuples(st.just("release"), OWNERS),
    st.tuples(st.just("advance"), OWNERS, st.sampled_from(["cut", "unlearned", "gated", "promoted"])),
    st.tuples(st.just("not found"), OWNERS, st.integers(0, 9)),
    st.tuples(st.just("close"), OWNERS, st.sampled_from(["unlearned", "retrained", "not found"])),
    st.tuples(st.just("hold"), OWNERS),
    st.tuples(st.just("retry")),
    st.tuples(st.just("lift"), OWNERS),
    st.tuples(st.just("time"), st.integers(1, 200)),
)


class Desk:
    """One inbox with the order its requests came in, so that two inboxes can be told the same things."""

    def __init__(self, inbox):
        self.inbox, self.ids = inbox, []

    def tell(self, event, *what):
        """What comes of an event, in words two inboxes have in common."""
        try:
            return self._tell(event, *what)
        except TruError as error:
            return type(error)

    def _tell(self, event, *what):
        inbox = self.inbox
        batch = inbox.open_batch() or inbox.last_batch()
        last = batch.id if batch else "none"
        some = self.ids[what[-1] % len(self.ids)] if event in ("withdraw", "not found") and self.ids else "none"
        match event:
            case "add":
                receipt = inbox.add_all([NAMES[what[0]]])[0]
                self.ids += [receipt.request.id] if receipt.added else []
                return receipt.added
            case "withdraw":
                return inbox.withdraw(some).state
            case "claim":
                found = inbox.claim(what[0])
                return found and (found.id, found.size)
            case "renew":
                return inbox.renew(last, what[0])
            case "release":
                return inbox.release(last, what[0])
            case "advance":
                return inbox.advance(last, what[0], what[1], what[1]).step
            case "not found":
                return inbox.not_found(last, what[0], [some])
            case "close":
                return inbox.close(last, what[0], what[1], "pass", {}).outcome
            case "hold":
                return inbox.hold(last, what[0], "fail", {}).outcome
            case "retry":
                return inbox.retry(last).id
            case "lift":
                return inbox.lift(last, what[0]).owner

    def look(self):
        """Everything but the random ids."""
        suppression = self.inbox.suppression()
        return (
            [(r.regime, r.state, r.outcome, r.batch, r.user, r.item) for r in self.inbox.list()],
            self.inbox.open_batch(),
            self.inbox.last_batch(),
            self.inbox.recent(3),
            self.inbox.completed_through(),
            [suppression.is_user("u1"), suppression.is_item("i1"), suppression.is_pair("u1", "i1")],
        )


def check_nothing_lost_or_ended_twice(desk, before):
    after = {request.id: request for request in desk.inbox.list()}
    assert list(after) == desk.ids
    for request in after.values():
        assert (request.state in ENDED) == (request.user is None and request.item is None)
        assert (request.state is State.CLOSED) == (request.outcome is not None)
        was = before.get(request.id)
        assert was is None or was.is_open or was == request
    open_subjects = [request.subject for request in after.values() if request.is_open]
    assert len(open_subjects) == len(set(open_subjects))
    current = desk.inbox.open_batch()
    working_on = {current.id} if current else set()
    assert {r.batch for r in after.values() if r.batch and r.is_open} <= working_on
    closed = [r for r in after.values() if r.state is State.CLOSED and r.batch not in working_on]
    assert desk.inbox.completed_through() == len(closed)
    return after


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=25), crashes=st.sets(st.integers(0, 24), max_size=3))
def test_in_any_order_of_events_no_request_is_lost_or_ends_twice(tmp_path_factory, events, crashes):
    clock = Clock()
    workspace = Workspace(tmp_path_factory.mktemp("inbox"))
    durable, double = Desk(open_inbox(workspace, clock)), Desk(MemoryInbox(clock))
    seen = {}
    for number, (event, *what) in enumerate(events):
        if event == "time":
            clock.now += timedelta(seconds=what[0])
            continue
        if number in crashes:
            crash(durable, event, *what)
            durable.inbox = open_inbox(workspace, clock)
        assert durable.tell(event, *what) == double.tell(event, *what)
        assert durable.look() == double.look()
        seen = check_nothing_lost_or_ended_twice(durable, seen)


class Crash(BaseException):
    """Ends a run where nothing catches it."""


def crash(desk, event, *what):
    """Break off an event before its last write; everything must be as before it."""
    before, ids = desk.look(), list(desk.ids)

    def die(self, *_):
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        for write in ("put_batch", "put_guard"):
            patch.setattr(_SqlTransaction, write, die)
        try:
            desk.tell(event, *what)
        except Crash:
            assert (desk.look(), desk.ids) == (before, ids)
            return
    if (desk.look(), desk.ids) != (before, ids):
        raise AssertionError(f"{event} changed something without its last write")
