"""The soak on a tiny workspace: real runs, one of them killed, two of them at once; and its checks can fail."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import endings, soak
from benchmarks.commands import CommandFailed, Tru
from benchmarks.mixes import forget_set, mix, write
from benchmarks.soak import Soak
from tests import tiny
from tests.workspaces import change, file_requests, subjects, whole_night
from tru.data.forget import ForgetSet
from tru.data.interactions import load_dataset
from tru.ops.requests.lifecycle import Regime, Subject
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.workspace import Workspace

STAGES = ("filled", "trained", "baseline")


@pytest.fixture
def prepared(trained, tmp_path):
    """A soak whose workspace is there and trained."""
    found = Soak(tmp_path / "soak", seed=3, largest=4)
    found.folder.mkdir()
    # Moved with its absolute paths: the workspace stays where it is, the soak is pointed at it.
    found.ws, found.tru = trained, Tru(trained.root, found.folder / "logs")
    shutil.copytree(trained.data, found.start)
    for name in STAGES:
        (found.folder / f"{name}.done").touch()
    found.set_up()
    change(trained, "gate", utility_margin=1.0, forget_margin=1.0, membership_margin=1.0, max_distance=1.0)
    return found


def test_nights_are_killed_overlap_and_end(prepared, monkeypatch):
    monkeypatch.setattr(soak, "KILLED", 1)
    monkeypatch.setattr(soak, "OVERLAPPING", 2)
    monkeypatch.setattr(soak, "ALWAYS", ("cut",))
    first = prepared.night(1)
    assert [run["event"] for run in first["runs"]] == ["killed after cut", "finished"]
    assert [run["code"] for run in first["runs"]] == [-9, 0]
    monkeypatch.setattr(soak, "KILLED", 99)
    second = prepared.night(2)
    assert [run["event"] for run in second["runs"]][:2] == ["overlapping", "overlapping"]
    assert min(run["code"] for run in second["runs"]) == 0
    assert [line["night"] for line in prepared.lines] == [1, 2]
    assert {line["outcome"] for line in prepared.lines} <= {"unlearned", "retrained"}
    checks = endings.check(prepared.ws, prepared.tru, prepared.start, prepared.filed(), prepared.forgotten())
    assert [check.words for check in checks if not check.passed] == []
    found = soak.summary(prepared, checks)
    assert found["passed"] and found["nights"] == 2 and found["killed"] == 1 and found["overlapping"] == 1
    assert found["requests"] == len(prepared.filed()) == sum(line["requests"] for line in prepared.lines)
    text = json.dumps([found, prepared.lines])
    ds = load_dataset(prepared.start)
    assert not any(str(name) in text for name in (*ds.users, *ds.items))
    assert "2 nights" in soak._words(found)


def test_a_plan_is_filed_once(prepared):
    ids = prepared._filed(1)
    (prepared.plans / "01-filed.json").unlink()  # the soak died between the filing and its note
    assert prepared._filed(1) == ids
    assert len(open_inbox(prepared.ws).list()) == len(ids)
    assert (prepared.plans / "01.json").stat().st_mode & 0o077 == 0


def test_a_night_that_does_not_end_is_an_error(prepared, monkeypatch):
    monkeypatch.setattr(soak, "ATTEMPTS", 1)
    monkeypatch.setattr(soak, "PAUSE", 0.0)
    prepared.tru = SimpleNamespace(
        ask=prepared.tru.ask, call=lambda *_, **__: 1, said=lambda _: "Error: no", logs=prepared.tru.logs
    )
    with pytest.raises(CommandFailed, match="night 1 does not end: Error: no"):
        prepared.night(1)
    assert prepared.lines == []


def test_what_was_set_up_is_not_done_again(prepared, monkeypatch):
    monkeypatch.setattr(prepared, "_fill", lambda: pytest.fail("filled again"))
    prepared.set_up()


def test_open_and_unknown_requests_are_seen(trained):
    assert endings.closed_once(trained, []).passed
    ids = file_requests(trained, subjects(trained)[:2])
    found = endings.closed_once(trained, ids)
    assert not found.passed and "2 requests are not closed" in found.words
    whole_night(trained)
    assert endings.closed_once(trained, ids).passed and endings.recorded_once(trained).passed
    assert not endings.closed_once(trained, [*ids, "req-0000000000000000"]).passed
    assert not endings.closed_once(trained, ids[:1]).passed
    open_ledger(trained).append("batch", "made-up/closed", batch="made-up", size=1)
    assert not endings.recorded_once(trained).passed


def test_a_subject_that_is_still_there_is_seen(trained):
    user = str(load_dataset(trained.data).users[0])
    assert endings.data_clean(trained, ForgetSet(users=frozenset({"nobody"}))).passed
    assert not endings.data_clean(trained, ForgetSet(users=frozenset({user}))).passed


def test_a_model_that_knows_a_forgotten_subject_is_seen(trained, tmp_path):
    user = str(load_dataset(trained.data).users[0])
    found = endings.rollbacks(trained, Tru(trained.root, tmp_path), ForgetSet(users=frozenset({user})))
    assert not found.passed and "knows a forgotten subject" in found.words


def test_a_mix_has_all_regimes_and_names_nobody_twice():
    ds = tiny.dataset()
    rows = mix(ds, 60, np.random.default_rng(1))
    assert 50 <= len(rows) <= 60 and len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows)
    assert {Subject.of(**row).regime for row in rows} == set(Regime)
    assert rows == mix(ds, 60, np.random.default_rng(1)) != mix(ds, 60, np.random.default_rng(2))
    wanted = forget_set(rows)
    assert wanted.size == len(rows)
    strangers = wanted.unknown(ds)
    assert strangers.size == len(strangers.users) < 10 and wanted.known(ds).size == len(rows) - strangers.size
    assert len(mix(ds, 1, np.random.default_rng(0))) == 1
    named = mix(ds, 12, np.random.default_rng(5), [Regime.ITEM])
    assert {Subject.of(**row).regime for row in named} <= {Regime.ITEM, Regime.USER}  # a stranger is a user


def test_a_file_is_whole_and_private(tmp_path):
    write(tmp_path / "x.json", [1])
    write(tmp_path / "x.json", [2])
    assert json.loads((tmp_path / "x.json").read_text()) == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600


def test_the_folder_is_needed():
    with pytest.raises(SystemExit):
        soak.main([])


def test_a_wrong_setting_is_said(tmp_path):
    with pytest.raises(SystemExit, match=r"is no setting"):
        soak.main(["--folder", str(tmp_path), "--set", "gate.mode"])
    assert Workspace(tmp_path / "workspace").root.exists() is False
