"""Who serves, since when and why: over a real registry and a real ledger; the models are two vectors."""

import shutil
import sqlite3
from threading import Thread

import numpy as np
import pytest

from tru.errors import Busy, ReleaseError
from tru.ops import locks
from tru.ops.release.champion import checked_reason, crown, eligible, mend, rollback, unanchored
from tru.ops.release.registry import Registry
from tru.ops.release.serving import SERVING_FILE
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.workspace import Workspace

# What the versions 1 to 4 respect, and what the gate said of them.
VERSIONS = [(0, "none"), (1, "pass"), (1, "fail"), (2, "pass")]
DONE = {"unlearn": 0.0, "retrain": 0.0, "total": 0.0}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("champions") / "workspace"
    root.mkdir()
    (root / "params.yaml").write_text("{}\n")
    ws, model = Workspace(root), root.parent / "model"
    model.mkdir()
    (model / "model.json").write_text('{"backbone": "none"}')
    np.savez(
        model / SERVING_FILE,
        users=np.array(["ann"]),
        items=np.array(["i0", "i1"]),
        user_vectors=np.ones((1, 1), np.float32),
        item_vectors=np.ones((2, 1), np.float32),
        seen_indptr=np.array([0, 0], np.int64),
        seen_indices=np.array([], np.int32),
        popular=np.array([0, 1], np.int32),
    )
    registry = Registry(ws)
    for number, (through, verdict) in enumerate(VERSIONS, start=1):
        tags = {"tru.deleted_through": through, "tru.verdict": verdict, "tru.data_md5": f"{number}.dir"}
        run = registry.log_run(
            "model", key=f"run-{number}", data_md5="1.dir", metrics={}, params={}, tags=tags, model_dir=model
        )
        registry.register(run, tags)
    return root


@pytest.fixture
def ws(template, tmp_path):
    """Four versions, none of them champion; nothing is deleted yet."""
    return Workspace(shutil.copytree(template, tmp_path / "workspace"))


def complete(ws, requests):
    """Have so many requests end as unlearned; the batch."""
    inbox = open_inbox(ws)
    inbox.add_all([Subject.of(user=f"user-{inbox.completed_through() + n}") for n in range(requests)])
    batch = inbox.claim("somebody")
    inbox.close(batch.id, "somebody", "unlearned", "pass", DONE)
    return batch.id


def champion(ws):
    return Registry(ws).champion().version


def reigns(ws):
    return [(e.facts["version"], e.facts["previous"], e.facts["why"]) for e in open_ledger(ws).entries("champion")]


def test_a_champion_is_written_down_and_its_version_names_the_entry(ws):
    crown(ws, "1", "trained")
    crown(ws, "2", "unlearned", "batch-1", method="tru")

    assert champion(ws) == "2" and Registry(ws).champion().aliases == ("champion",)
    assert reigns(ws) == [("1", None, "trained"), ("2", "1", "unlearned")]
    entry = open_ledger(ws).last("champion")
    assert entry.facts == {
        "version": "2",
        "previous": "1",
        "why": "unlearned",
        "batch": "batch-1",
        "data_md5": "2.dir",
        "deleted_through": 1,
        "method": "tru",
    }
    assert Registry(ws).get("2").tags["tru.ledger"] == entry.digest
    assert unanchored(ws) == [] and open_ledger(ws).verify() == []


@pytest.mark.parametrize("why", ["trained", "unlearned", "retrained", "released", "baseline", "rollback"])
def test_a_champion_has_one_alias_however_it_came_to_serve(ws, why):
    registry = Registry(ws)
    for alias, version in (("champion", "1"), ("challenger", "1"), ("baseline", "2")):  # as version 0.1.0 left them
        registry.set_alias(alias, version)
    crown(ws, "2", why)
    assert {v.version: v.aliases for v in registry.list_versions() if v.aliases} == {"2": ("champion",)}


def test_the_baseline_keeps_its_alias_while_another_version_serves(ws):
    Registry(ws).set_alias("baseline", "1")
    crown(ws, "2", "unlearned", "batch-1")
    assert {v.version: v.aliases for v in Registry(ws).list_versions() if v.aliases} == {
        "1": ("baseline",),
        "2": ("champion",),
    }


def test_saying_it_twice_changes_nothing(ws):
    crown(ws, "1", "trained")
    for _ in range(2):
        crown(ws, "2", "unlearned", "batch-1")
    assert reigns(ws) == [("1", None, "trained"), ("2", "1", "unlearned")]


def test_a_workspace_older_than_the_ledger_goes_on(ws):
    Registry(ws).set_alias("champion", "1")
    crown(ws, "2", "unlearned", "batch-1")
    assert reigns(ws) == [("2", "1", "unlearned")]


@pytest.mark.parametrize("broken", ["set_alias", "tag"])
def test_a_crash_in_between_is_mended_by_whoever_comes_next(ws, monkeypatch, broken):
    crown(ws, "1", "trained")
    with monkeypatch.context() as crash:
        crash.setattr(Registry, broken, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            crown(ws, "2", "unlearned", "batch-1")
    assert reigns(ws)[-1] == ("2", "1", "unlearned") and "tru.ledger" not in Registry(ws).get("2").tags

    assert mend(ws).facts["version"] == "2"
    assert champion(ws) == "2" and unanchored(ws) == []
    assert mend(ws) is None
    crown(ws, "2", "unlearned", "batch-1")  # the repeated step itself
    assert len(reigns(ws)) == 2


def test_two_at_once_end_where_the_ledger_ends(ws):
    crown(ws, "1", "trained")
    errors = []

    def work(version, batch):
        try:
            crown(ws, version, "unlearned", batch)
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=work, args=(version, f"batch-{version}")) for version in ("2", "4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert champion(ws) == reigns(ws)[-1][0]
    assert [previous for _, previous, _ in reigns(ws)] == [None, *[version for version, _, _ in reigns(ws)[:-1]]]
    assert unanchored(ws) == []


def test_who_brings_somebody_back_cannot_be_crowned(ws):
    complete(ws, 1)
    with pytest.raises(ReleaseError, match="respects deletions through 0, but 1 are completed"):
        crown(ws, "1", "trained")
    assert Registry(ws).champion() is None and reigns(ws) == []


def test_eligible_is_what_respects_all_deletions_and_failed_no_gate(ws):
    assert [v.version for v in eligible(ws)] == ["4", "2", "1"]
    complete(ws, 1)
    assert [v.version for v in eligible(ws)] == ["4", "2"]
    complete(ws, 2)
    assert eligible(ws) == []


def test_what_a_champion_respected_is_respected_ever_after(ws):
    """Between the crowning and the close the deletions are not counted as completed yet."""
    crown(ws, "1", "trained")
    crown(ws, "2", "unlearned", "batch-1")
    assert [v.version for v in eligible(ws)] == ["4", "2"]
    crown(ws, "1", "rollback")
    assert [v.version for v in eligible(ws)] == ["4", "2"]


def test_who_was_not_found_is_not_brought_back_by_an_older_version(ws):
    inbox = open_inbox(ws)
    inbox.add_all([Subject.of(user="ann"), Subject.of(user="bob")])
    batch = inbox.claim("somebody")
    assert [v.version for v in eligible(ws)] == ["4", "2", "1"]
    inbox.not_found(batch.id, "somebody", [inbox.list()[0].id])
    assert [v.version for v in eligible(ws)] == ["4"]


def test_an_unfinished_change_is_not_finished_over_completed_deletions(ws, monkeypatch):
    crown(ws, "4", "trained")
    with monkeypatch.context() as crash:
        crash.setattr(Registry, "set_alias", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            crown(ws, "1", "rollback")
    complete(ws, 1)
    assert mend(ws) is None and champion(ws) == "4"


def level(ws):
    """Every version respects the same deletions."""
    for number in range(1, len(VERSIONS) + 1):
        Registry(ws).tag(str(number), {"tru.deleted_through": "2"})


def test_rollback_takes_the_newest_other_version_or_the_one_named(ws):
    level(ws)
    crown(ws, "4", "trained")
    assert rollback(ws).version == champion(ws) == "2"
    assert rollback(ws, "1", "  lists are  empty ").version == champion(ws) == "1"
    assert rollback(ws).version == "4"
    entries = open_ledger(ws).entries("rollback")
    assert [(e.facts["previous"], e.facts["version"], e.facts["reason"]) for e in entries] == [
        ("4", "2", ""),
        ("2", "1", "lists are empty"),
        ("1", "4", ""),
    ]
    assert [why for _, _, why in reigns(ws)] == ["trained", "rollback", "rollback", "rollback"]
    assert unanchored(ws) == []


@pytest.mark.parametrize(
    ("version", "why"),
    [("1", "would come back"), ("3", "failed the gate"), ("4", "is the champion already"), ("99", "no version of")],
)
def test_rollback_refuses_with_the_list_of_those_that_are_eligible(ws, version, why):
    complete(ws, 1)
    Registry(ws).tag("4", {"tru.deleted_through": "1"})
    crown(ws, "4", "trained")
    with pytest.raises(ReleaseError, match=why) as refused:
        rollback(ws, version)
    assert "Eligible versions: 2." in str(refused.value)
    assert champion(ws) == "4" and open_ledger(ws).entries("rollback") == []


def test_without_another_version_there_is_no_way_back(ws):
    complete(ws, 2)
    crown(ws, "4", "trained")
    with pytest.raises(ReleaseError, match=r"no other version to go back to\. Eligible versions: none; `tru train`"):
        rollback(ws)


def test_no_rollback_while_a_batch_is_worked_on(ws):
    level(ws)
    crown(ws, "4", "trained")
    inbox = open_inbox(ws)
    inbox.add("user", user="ann")
    batch = inbox.claim("somebody").id
    with pytest.raises(ReleaseError, match=f"{batch} is being worked on"):
        rollback(ws)
    inbox.hold(batch, "somebody", "fail", DONE)
    assert rollback(ws).version == "2"


def test_no_rollback_while_an_erasure_destroys_or_a_night_begins(ws):
    level(ws)
    crown(ws, "4", "trained")
    with locks.serving(ws), pytest.raises(Busy, match="an erasure"):
        rollback(ws)
    assert champion(ws) == "4" and rollback(ws).version == "2"


def test_a_killed_rollback_typed_again_ends_where_it_was_going(ws, monkeypatch):
    level(ws)
    crown(ws, "4", "trained")
    with monkeypatch.context() as crash:
        crash.setattr(Registry, "set_alias", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rollback(ws)
    assert champion(ws) == "4"
    assert rollback(ws).version == champion(ws) == "2"  # and not back to 4, the newest that is not 2
    assert len(open_ledger(ws).entries("rollback")) == 1


def test_the_ledger_and_the_registry_are_held_against_each_other(ws):
    crown(ws, "1", "trained")
    Registry(ws).set_alias("champion", "2")
    assert unanchored(ws) == [
        "version 2 serves, but the ledger's last champion is version 1: "
        "the alias was moved by hand, or a change was interrupted"
    ]
    crown(ws, "4", "baseline")
    Registry(ws).tag("2", {"tru.ledger": "f" * 64})
    assert unanchored(ws) == ["version 2 was entered in the ledger as ffffffffffff, which is not there now"]


def test_a_ledger_cut_short_is_not_taken_for_a_crash(ws):
    """The tag that shows the cut must not be mended away."""
    level(ws)
    crown(ws, "4", "trained")
    rollback(ws, "2")
    crown(ws, "4", "baseline")
    with sqlite3.connect(ws.state / "inbox.db") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("DELETE FROM ledger WHERE seq > 1")
    db.close()
    assert mend(ws) is None
    assert any("version 4 was entered in the ledger as" in fault for fault in unanchored(ws))


@pytest.mark.parametrize("reason", ["", "   ", "x" * 301, "a\x1bb"])
def test_a_reason_is_short_and_printable(ws, reason):
    with pytest.raises(ReleaseError, match="1 to 300 characters"):
        checked_reason(ws, reason)


def test_a_reason_names_nobody_who_asked(ws):
    open_inbox(ws).add("user", user="u-77aa")
    open_inbox(ws).add("item", item="tape")
    for words in ("because of u-77aa.", 'it showed "tape"'):
        with pytest.raises(ReleaseError, match="names a subject") as refused:
            checked_reason(ws, words)
        assert "77aa" not in str(refused.value) and "tape" not in str(refused.value)
    assert checked_reason(ws, "lists were\nempty since 3 o'clock") == "lists were empty since 3 o'clock"
