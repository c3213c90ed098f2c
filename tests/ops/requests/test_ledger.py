import json
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts import LedgerContract
from tests.ops.requests.test_store import child
from tru.errors import RequestError, WorkspaceError
from tru.ops.requests import MemoryLedger
from tru.ops.requests.ledger import KINDS
from tru.ops.requests.store import open_inbox, open_ledger, open_suppression
from tru.ops.workspace import Workspace

UNPROTECTED = [f"DROP TRIGGER ledger_no_{event}" for event in ("update", "delete", "insert")]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("TRU_DATABASE_URL", "TRU_SUPPRESSION_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


class TestMemoryLedger(LedgerContract):
    def open_ledger(self, folder, clock):
        return MemoryLedger(clock)


class TestSqliteLedger(LedgerContract):
    def open_ledger(self, folder, clock):
        return open_ledger(Workspace(folder), clock)


def tamper(workspace, *statements):
    """Do to the database what only somebody with a file in hand and bad intent does."""
    with closing(sqlite3.connect(workspace.state / "inbox.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def filled(workspace, count=5):
    ledger = open_ledger(workspace)
    for number in range(1, count + 1):
        ledger.append("champion", f"champion/{number}", version=str(number), why="trained")
    return ledger


# one database with the inbox


def test_it_lives_beside_the_inbox_and_survives_its_clean_up(workspace):
    inbox, ledger = open_inbox(workspace), filled(workspace)
    inbox.withdraw(inbox.add("user", user="alice").request.id)  # rewrites the file
    assert ledger.verify() == []
    assert len(open_ledger(workspace).entries()) == 5
    filled(workspace, 7)
    assert inbox.add("user", user="u1").added
    assert ledger.verify() == []


def test_asking_need_not_make_one(workspace):
    with pytest.raises(WorkspaceError, match="no ledger"):
        open_ledger(workspace, create=False)
    assert not workspace.state.exists()
    filled(workspace)
    assert len(open_ledger(workspace, create=False).entries()) == 5


# it is only added to


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger SET facts = '{}' WHERE seq = 2",
        "DELETE FROM ledger WHERE seq = 2",
        "DELETE FROM ledger",
        "INSERT OR REPLACE INTO ledger SELECT seq, at, kind, key, '{}', previous, digest FROM ledger WHERE seq = 5",
        "INSERT OR REPLACE INTO ledger SELECT 2, at, kind, 'new', '{}', previous, digest FROM ledger WHERE seq = 5",
    ],
)
def test_the_database_itself_refuses_to_change_or_remove_an_entry(workspace, change):
    ledger = filled(workspace)
    before = list(ledger.entries())
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        tamper(workspace, change)
    assert list(ledger.entries()) == before
    assert ledger.verify() == []


# it shows what was done to it


@pytest.mark.parametrize(
    ("done", "says"),
    [
        (["UPDATE ledger SET facts = '{}' WHERE seq = 2"], ["Entry 2 (champion) was changed"]),
        (["UPDATE ledger SET facts = 'no JSON' WHERE seq = 2"], ["Entry 2 (champion) was changed"]),
        (["UPDATE ledger SET at = 'yesterday' WHERE seq = 1"], ["Entry 1 (champion) was changed"]),
        (["UPDATE ledger SET at = '2026-01-01T00:00:00' WHERE seq = 1"], ["Entry 1 (champion) was changed"]),
        (["UPDATE ledger SET kind = 'data' WHERE seq = 3"], ["Entry 3 (data) was changed"]),
        (["UPDATE ledger SET kind = X'00FF' WHERE seq = 3"], ["Entry 3 ("]),
        (["UPDATE ledger SET key = 'x' WHERE seq = 5"], ["Entry 5 (champion) was changed"]),
        (
            ["UPDATE ledger SET digest = 'x' WHERE seq = 2"],
            ["Entry 2 (champion) was changed", "Entry 3 does not follow"],
        ),
        (["UPDATE ledger SET previous = 'x' WHERE seq = 2"], ["Entry 2 does not follow", "Entry 2 (champion) was"]),
        (["DELETE FROM ledger WHERE seq = 1"], ["Entry 1 is missing"]),
        (["DELETE FROM ledger WHERE seq IN (2, 3)"], ["Entries 2 to 3 are missing"]),
        (["DELETE FROM ledger WHERE seq > 3"], ["The end was cut off: 5 entries were written, the last one here is 3"]),
        (["DELETE FROM ledger"], ["The end was cut off: 5 entries were written, the last one here is 0"]),
        (
            ["DELETE FROM ledger WHERE seq = 2", "UPDATE ledger SET seq = seq - 1 WHERE seq > 2"],
            [
                "Entry 2 does not follow",
                "Entry 2 (champion) was changed",
                "Entry 3 (",
                "Entry 4 (",
                "The end was cut off",
            ],
        ),
        (
            ["INSERT INTO ledger SELECT 6, at, kind, 'six', facts, digest, 'x' FROM ledger WHERE seq = 5"],
            [
                "Entry 6 (champion) was changed",
                "Entries were added past the ledger: 5 were written, the last one here is 6",
            ],
        ),
        (["UPDATE guard SET head = 'x'"], ["The last entry, 5, is not the one that was written last"]),
        (["UPDATE guard SET entries = 7"], ["The end was cut off: 7"]),
    ],
)
def test_each_kind_of_tampering_shows(workspace, done, says):
    ledger = filled(workspace)
    tamper(workspace, *UNPROTECTED, *done)
    found = ledger.verify()
    assert [sentence[: len(start)] for sentence, start in zip(found, says, strict=True)] == says
    ledger.entries()  # what is left can still be read


def test_an_entry_replaced_by_one_with_a_fitting_digest_shows(workspace):
    ledger = filled(workspace)
    facts = {"version": "9", "why": "trained"}
    digest = replace(ledger.entries()[1], facts=facts).computed()
    change = f"UPDATE ledger SET facts = '{json.dumps(facts)}', digest = '{digest}' WHERE seq = 2"
    tamper(workspace, *UNPROTECTED, change)
    assert ledger.verify() == ["Entry 3 does not follow from the one before it: one of the two was replaced."]


def test_a_whole_new_chain_has_another_head_than_the_one_that_versions_carry(workspace, tmp_path_factory):
    """What the ledger alone cannot see: `tru ledger verify --against` compares with the model versions."""
    tag = filled(workspace).last("champion").digest
    other = Workspace(tmp_path_factory.mktemp("forged"))
    open_ledger(other).append("champion", "champion/1", version="9")
    (other.state / "inbox.db").replace(workspace.state / "inbox.db")
    ledger = open_ledger(workspace)
    assert ledger.verify() == []
    assert tag not in {entry.digest for entry in ledger.entries()}


def test_a_cut_end_stays_visible_when_the_ledger_goes_on(workspace):
    ledger = filled(workspace)
    tamper(workspace, *UNPROTECTED, "DELETE FROM ledger WHERE seq > 3")
    assert ledger.append("data", "next").seq == 6
    assert ledger.verify() == ["Entries 4 to 5 are missing."]


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
FACTS = st.dictionaries(st.text(max_size=5), NUMBERS | st.text() | st.none() | st.lists(st.booleans()))


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=st.lists(FACTS, min_size=1, max_size=4), data=st.data())
def test_any_facts_are_kept_and_any_other_facts_in_their_place_show(tmp_path_factory, facts, data):
    workspace = Workspace(tmp_path_factory.mktemp("ledger"))
    ledger = open_ledger(workspace)
    for number, some in enumerate(facts):
        ledger.append(data.draw(st.sampled_from(KINDS)), str(number), facts=some)
    assert [entry.facts["facts"] for entry in ledger.entries()] == facts
    assert ledger.verify() == []
    seq = data.draw(st.integers(1, len(facts)))
    tamper(workspace, *UNPROTECTED, f"UPDATE ledger SET facts = '{{\"other\": 1}}' WHERE seq = {seq}")
    assert any(f"Entry {seq} " in sentence for sentence in ledger.verify())


# processes


def test_many_processes_write_one_chain_and_the_same_fact_once(workspace):
    filled(workspace, 1)
    code = """
from tru.ops.requests.store import open_ledger
ledger = open_ledger(workspace)
say("ready")
input()
for number in range(30):
    ledger.append("data", f"shared/{number}", by=NAME)
    ledger.append("data", f"NAME/{number}")
say("done")
"""
    with (
        child(workspace, code.replace("NAME", "1")) as one,
        child(workspace, code.replace("NAME", "2")) as two,
        child(workspace, code.replace("NAME", "3")) as three,
    ):
        runs = (one, two, three)
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 3
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        assert [run.stdout.readline() for run in runs] == ["done\n"] * 3
    ledger = open_ledger(workspace)
    assert len(ledger.entries()) == 1 + 30 + 3 * 30
    assert ledger.verify() == []


def test_what_was_written_survives_a_kill_and_the_chain_goes_on(workspace):
    endless = """
from tru.ops.requests.store import open_ledger
ledger = open_ledger(workspace)
for number in range(10**6):
    say(ledger.append("data", str(number)).digest)
"""
    with child(workspace, endless) as process:
        acknowledged = [process.stdout.readline().strip() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()
    ledger = open_ledger(workspace)
    assert {entry.digest for entry in ledger.entries()}.issuperset(acknowledged)
    assert ledger.append("data", "0").digest == acknowledged[0]
    assert ledger.append("champion", "after").seq == len(ledger.entries())
    assert ledger.verify() == []


# databases of before there was a ledger

SCHEMA_1 = [
    *UNPROTECTED,
    "DROP TABLE ledger",
    'DROP TABLE "references"',
    "ALTER TABLE guard RENAME TO guard_2",
    "CREATE TABLE guard (id INTEGER NOT NULL, schema INTEGER NOT NULL, completed BIGINT NOT NULL, "
    "marks BIGINT NOT NULL, endings BIGINT NOT NULL, scrubbed BIGINT NOT NULL, key_check VARCHAR(64), "
    "PRIMARY KEY (id))",
    "INSERT INTO guard SELECT id, 1, completed, marks, endings, scrubbed, key_check FROM guard_2",
    "DROP TABLE guard_2",
]


def old_inbox(workspace):
    """An inbox with one closed batch and one open request, as schema 1 had it."""
    inbox = open_inbox(workspace)
    inbox.add("user", user="u1")
    inbox.close(inbox.claim("me").id, "me", "unlearned", "pass", {"total": 1.5})
    inbox.add("modality", item="i3", modality="image")
    known = (inbox.list(), inbox.last_batch(), inbox.completed_through())
    tamper(workspace, *SCHEMA_1)
    return known


def test_a_database_of_before_the_ledger_is_brought_up_with_all_it_holds(workspace):
    known = old_inbox(workspace)
    inbox = open_inbox(workspace)
    assert (inbox.list(), inbox.last_batch(), inbox.completed_through()) == known
    assert inbox.suppression().is_user("u1")
    ledger = filled(workspace)
    assert ledger.verify() == []
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        tamper(workspace, "DELETE FROM ledger")
    # a modality that waited since then is kept out of imports like any other
    inbox.close(inbox.claim("me").id, "me", "unlearned", "pass", {})
    assert inbox.suppression().forgotten([], [], [], [("i3", "image")]).modalities == {("i3", "image")}
    assert inbox.suppression().forgotten(["u1"], [], [], []).users == {"u1"}


def test_serving_and_the_ledger_bring_it_up_too(workspace):
    old_inbox(workspace)
    assert open_suppression(workspace).is_user("u1")
    tamper(workspace, *SCHEMA_1)
    assert open_ledger(workspace, create=False).entries() == []


def test_many_may_bring_it_up_at_the_same_time(workspace):
    known = old_inbox(workspace)
    code = "say('ready')\ninput()\nsay(len(open_inbox(workspace).list()))"
    with child(workspace, code) as a, child(workspace, code) as b, child(workspace, code) as c:
        runs = (a, b, c)
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 3
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        assert [run.stdout.readline() for run in runs] == ["2\n"] * 3
    assert open_inbox(workspace).list() == known[0]


def test_bringing_it_up_is_done_wholly_or_not_at_all(workspace, monkeypatch):
    old_inbox(workspace)

    def die(connection):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tru.ops.requests.database._protect", die)
        with pytest.raises(KeyboardInterrupt):
            open_ledger(workspace)
    with closing(sqlite3.connect(workspace.state / "inbox.db")) as connection:
        assert connection.execute("SELECT schema FROM guard").fetchone() == (1,)
        assert "ledger" not in {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert filled(workspace).verify() == []


def test_a_ledger_that_cannot_be_written_says_so(workspace):
    ledger = filled(workspace)
    tamper(workspace, "DROP TABLE ledger")
    with pytest.raises(RequestError, match="no such table"):
        ledger.append("data", "k")
