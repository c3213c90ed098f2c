"""The whole night on tiny data, by the real flow with every part doing its real work."""

import json

import pytest
from typer.testing import CliRunner

from flows.unlearn import unlearn_nightly
from tests.workspaces import change, file_requests, grow, named_in_inbox, remains, subjects
from tru.cli.main import app
from tru.errors import ReleaseError, RequestError
from tru.ops.flows.outcomes import ended
from tru.ops.release.registry import Registry
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox

pytestmark = pytest.mark.usefixtures("workspace")  # Prefect's server of this test session


def run(ws):
    return unlearn_nightly(workspace=str(ws.root))


def tru(ws, *words):
    """What a command prints."""
    return CliRunner().invoke(app, [*words, "--workspace", str(ws.root)], catch_exceptions=False).stdout


def read(ws, *words):
    return json.loads(tru(ws, *words, "--json"))


def champion(ws):
    return Registry(ws).champion().version


def test_a_night_from_the_request_to_the_promoted_model(trained):
    wanted = subjects(trained)
    leaver, item, pair = wanted[0].user, wanted[2].item, wanted[3]
    before = read(trained, "recommend", "--user", leaver, "-k", "5")
    assert set(before) == {"items", "model_version", "suppressed"}
    assert before["model_version"] == "1" and before["suppressed"] is False and len(before["items"]) == 5

    ids = file_requests(trained, wanted)
    waiting = read(trained, "recommend", "--user", leaver)
    assert waiting["suppressed"] is True and waiting["model_version"] == "1"
    assert item not in read(trained, "recommend", "--user", pair.user, "-k", "80")["items"]

    md5 = read(trained, "status")["champion"]["data_md5"]
    found = run(trained)
    assert {key: found[key] for key in ("outcome", "verdict", "version", "size")} == {
        "outcome": "unlearned",
        "verdict": "pass",
        "version": "2",
        "size": 6,
    }
    assert found["not_found"] == 1
    assert ended(found) == (
        f"{found['batch']}: unlearned; version 2 is champion. 1 of 6 requests named nobody and nothing in the data: "
        "closed as “not found”, see `tru requests list --state closed`."
    )

    status = read(trained, "status")
    assert set(status) == {
        *("champion", "champion_problem", "retired", "requests", "open_batch", "last_batch", "deadlines"),
        *("baseline", "drift", "licences", "erasure", "urgent"),
    }
    assert status["deadlines"] == {"overdue": 0, "soon": 0, "next_due": None}
    assert status["drift"]["nights"] == 1 and 0 < status["drift"]["forgotten_share"] < 0.2
    assert set(status["champion"]) == {"version", "data_md5", "deleted_through"}
    assert status["champion"]["version"] == "2" and status["champion"]["deleted_through"] == 6
    assert status["champion"]["data_md5"] not in (None, md5)
    assert {state: n for state, n in status["requests"].items() if n} == {"closed": 6}
    assert set(status["last_batch"]) == {"id", "outcome", "verdict", "size", "not_found", "seconds"}
    assert (status["last_batch"]["id"], status["last_batch"]["outcome"]) == (found["batch"], "unlearned")
    assert status["last_batch"]["verdict"] == "pass" and status["last_batch"]["size"] == 6
    seconds = status["last_batch"]["seconds"]
    assert set(seconds) == {"unlearn", "retrain", "total"}
    assert 0 < seconds["unlearn"] < seconds["total"] and 0 < seconds["retrain"] < seconds["total"]

    listed = read(trained, "requests", "list")
    assert [set(r) for r in listed] == [{"id", "regime", "state", "outcome", "received", "due", "batch"}] * 6
    assert [r["id"] for r in listed] == ids
    assert [r["outcome"] for r in listed] == ["unlearned"] * 5 + ["not found"]
    assert not any(name in str(listed) for s in wanted for name in (s.user, s.item) if name)

    gone = read(trained, "recommend", "--user", leaver, "-k", "80")
    assert gone["suppressed"] is True and gone["model_version"] == "2"
    for user in (leaver, pair.user, "a stranger"):
        assert item not in read(trained, "recommend", "--user", user, "-k", "80")["items"]
    assert pair.item not in read(trained, "recommend", "--user", pair.user, "-k", "80")["items"]
    assert remains(trained, wanted) == [] and named_in_inbox(trained, wanted) == 0

    tags = Registry(trained).champion().tags
    assert tags["tru.not_found"] == "1" == str(open_inbox(trained).batch(found["batch"]).facts["not_found"])
    ledger = {entry["kind"]: entry["facts"] for entry in read(trained, "ledger", "show")["entries"]}
    assert ledger["data"]["not_found"] == ledger["batch"]["not_found"] == 1
    assert tags["tru.batch"] == found["batch"] and tags["tru.method"] == "tru" and tags["tru.verdict"] == "pass"
    assert Registry(trained).champion().aliases == ("champion",)
    assert "ledger intact" in tru(trained, "ledger", "verify", "--against")
    with pytest.raises(ReleaseError, match=r"there is no version of that number\. Eligible versions: none"):
        tru(trained, "rollback", "1")  # it was destroyed
    assert found["erased"] == [found["batch"]] and status["erasure"]["waiting"] == []
    assert [v.version for v in Registry(trained).list_versions()] == ["2"]
    certified = tru(trained, "certificate", "list")
    assert all((request["id"] in certified) == (request["outcome"] == "unlearned") for request in listed)

    assert run(trained) == {"batch": None, "erased": []}


def test_a_batch_of_strangers_closes_and_changes_nothing(trained):
    file_requests(trained, [Subject.of(user="u-nobody"), Subject.of(item="no-such-thing")])
    md5 = read(trained, "status")["champion"]["data_md5"]

    found = run(trained)

    assert found["outcome"] == "not found" and found["not_found"] == 2
    assert [r["outcome"] for r in read(trained, "requests", "list")] == ["not found"] * 2
    status = read(trained, "status")
    assert (status["champion"]["version"], status["champion"]["data_md5"]) == ("1", md5)
    assert not open_inbox(trained).suppression().is_user("u-nobody")
    assert list(trained.batches.iterdir()) == []
    assert run(trained) == {"batch": None, "erased": []}


def test_a_batch_that_fails_twice_is_held_until_somebody_mends_it(trained):
    change(trained, "gate", utility_margin=-1.0)
    wanted = subjects(trained)
    file_requests(trained, wanted)

    with pytest.raises(ReleaseError, match="neither the unlearned nor the retrained model passed"):
        run(trained)

    status = read(trained, "status")
    assert status["champion"]["version"] == "1" and len(Registry(trained).list_versions()) == 1
    assert {state: n for state, n in status["requests"].items() if n} == {"held": 5, "closed": 1}
    assert (status["last_batch"]["outcome"], status["last_batch"]["verdict"]) == ("held", "fail")
    assert "tru batch retry" in tru(trained, "status")
    assert read(trained, "recommend", "--user", wanted[0].user)["suppressed"] is True

    with pytest.raises(RequestError, match="is held") as refused:
        run(trained)
    assert "`tru batch retry`" in str(refused.value)
    change(trained, "gate", utility_margin=0.5)
    assert "Next: `tru run`" in tru(trained, "batch", "retry")

    found = run(trained)
    assert (found["batch"], found["outcome"]) == (status["last_batch"]["id"], "unlearned")
    assert champion(trained) == found["version"] == "2"
    assert remains(trained, wanted) == [] and named_in_inbox(trained, wanted) == 0
    with pytest.raises(RequestError, match="no batch is held"):
        tru(trained, "batch", "retry")


def test_a_person_releases_a_held_batch_and_the_ledger_says_why(trained):
    change(trained, "gate", utility_margin=-1.0)
    wanted = subjects(trained)
    file_requests(trained, wanted)
    with pytest.raises(ReleaseError, match="is held"):
        run(trained)
    held = read(trained, "status")["last_batch"]["id"]

    with pytest.raises(ReleaseError, match="names a subject"):
        tru(trained, "batch", "release", "--reason", f"{wanted[0].user} must go")
    assert CliRunner().invoke(app, ["batch", "release", "--workspace", str(trained.root)]).exit_code == 2
    said = tru(trained, "batch", "release", "--reason", "a small loss is better than a late answer")

    assert said.strip() == f"{held}: released; version 2 (the retrained model) is champion."
    status = read(trained, "status")
    assert {state: n for state, n in status["requests"].items() if n} == {"closed": 6}
    assert (status["last_batch"]["outcome"], status["last_batch"]["verdict"]) == ("retrained", "fail")
    assert remains(trained, wanted) == [] and named_in_inbox(trained, wanted) == 0
    reigns = read(trained, "ledger", "show", "--kind", "champion")["entries"]
    assert [(e["facts"]["version"], e["facts"]["why"]) for e in reigns] == [("1", "trained"), ("2", "released")]
    assert "a small loss is better" in tru(trained, "ledger", "show", "--json")
    assert "ledger intact" in tru(trained, "ledger", "verify", "--against")
    assert [v["version"] for v in read(trained, "rollback", "--list")] == ["2"]
    with pytest.raises(RequestError, match="no batch is held"):
        tru(trained, "batch", "release", "--reason", "again")


def test_a_release_that_was_killed_is_finished_by_the_next_run(trained, monkeypatch):
    from tru.ops.pipeline import decisions

    change(trained, "gate", utility_margin=-1.0)
    file_requests(trained, subjects(trained))
    with pytest.raises(ReleaseError, match="is held"):
        run(trained)
    with monkeypatch.context() as crash:
        crash.setattr(decisions, "close", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tru(trained, "batch", "release", "--reason", "a late answer is worse")

    assert champion(trained) == "2"
    assert run(trained)["outcome"] == "retrained"
    assert champion(trained) == "2" and read(trained, "status")["last_batch"]["verdict"] == "fail"


def test_data_that_grew_is_retrained_and_the_next_night_unlearns_again(trained):
    grow(trained)
    wanted = subjects(trained)
    file_requests(trained, wanted)

    found = run(trained)

    assert (found["outcome"], found["version"]) == ("retrained", "2")
    batch = open_inbox(trained).last_batch()
    assert "rows that the model was not trained on" in batch.facts["gate"]["reasons"][0]
    assert batch.facts["retrain"]["verdict"] == "pass"
    assert read(trained, "status")["last_batch"]["seconds"]["unlearn"] == 0  # nothing was unlearned
    assert Registry(trained).champion().tags["tru.method"] == "retrain"
    assert read(trained, "recommend", "--user", "u-newcomer")["suppressed"] is False

    file_requests(trained, [Subject.of(user="u-newcomer")])
    assert run(trained)["outcome"] == "unlearned"
    assert read(trained, "status")["champion"]["deleted_through"] == 7
