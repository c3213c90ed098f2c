"""A step that fails for good holds its batch; others do not wait behind it; and a person has ways on."""

import json
import shutil

import pytest

from tests.workspaces import change, file_requests, grow, remains, subjects, whole_night
from tru.cli.data import _refuse_meanwhile
from tru.data.interactions import load_dataset, save_dataset
from tru.errors import (
    CheckFailed,
    DataError,
    EvaluationError,
    LeaseHeld,
    ModelError,
    ReleaseError,
    RequestError,
    UnlearningError,
    WorkspaceError,
)
from tru.ops import pipeline
from tru.ops.pipeline import nightly
from tru.ops.pipeline.record import Run
from tru.ops.release.champion import is_retired, rollback
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.report.story import ending
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox, open_ledger

REASON = "the agency takes all pictures back"


def pictures(ws):
    return [Subject.of(item=item, modality="image") for item in load_dataset(ws.data).items.tolist()]


def user(ws, at=3):
    return Subject.of(user=str(load_dataset(ws.data).users[at]))


def md5(ws):
    return DataVersions(ws).md5()


def state(ws, id):
    request = open_inbox(ws).get(id)
    return str(request.state), request.outcome


@pytest.fixture
def held(trained):
    """A supplier has taken back one modality of all items, which holds the batch."""
    wanted = pictures(trained)
    ids = file_requests(trained, wanted)
    whole_night(trained)
    assert open_inbox(trained).open_batch().is_held
    return trained, wanted, ids


def failing(error):
    def raise_it(*_, **__):
        raise error

    return raise_it


class TestWhatHolds:
    @pytest.mark.parametrize(
        "error", [CheckFailed("no"), DataError("no"), UnlearningError("no"), EvaluationError("no")]
    )
    @pytest.mark.parametrize("step", ["check", "evaluate"])
    def test_an_error_that_another_run_would_meet_again(self, trained, monkeypatch, error, step):
        file_requests(trained, [user(trained)])
        broken = {"check": "_reports", "evaluate": "_measured"}[step]
        monkeypatch.setattr(nightly, broken, failing(error))
        batch = whole_night(trained)
        found = open_inbox(trained).open_batch()
        assert (found.id, found.outcome, found.verdict, found.facts["held"]) == (batch, "held", None, ["no"])
        entry = open_ledger(trained).last("batch")
        assert (entry.facts["outcome"], entry.facts["reasons"]) == ("held", ["no"])
        assert ending(found) == "stopped" and (trained.state / "reports" / f"{batch}.html").exists()
        assert Registry(trained).champion().version == "1"

    def test_a_model_that_cannot_be_trained(self, trained, monkeypatch):
        change(trained, "gate", utility_margin=-1.0)
        file_requests(trained, [user(trained)])
        monkeypatch.setattr(Run, "compare", failing(ModelError("the loss is not finite")))
        whole_night(trained)
        assert open_inbox(trained).open_batch().facts["held"] == ["the loss is not finite"]

    @pytest.mark.parametrize("error", [LeaseHeld("x"), ReleaseError("DVC is at work"), WorkspaceError("params.yaml")])
    def test_not_what_may_pass_by_itself(self, trained, monkeypatch, error):
        file_requests(trained, [user(trained)])
        with monkeypatch.context() as patch:
            patch.setattr(nightly, "_reports", failing(error))
            for _ in range(3):
                with pytest.raises(type(error)):
                    whole_night(trained)
        assert not open_inbox(trained).open_batch().is_held
        assert whole_night(trained) is not None
        assert open_inbox(trained).open_batch() is None

    def test_an_unforeseen_error_in_two_runs_by_type_and_place_only(self, trained, monkeypatch):
        file_requests(trained, [user(trained)])
        monkeypatch.setattr(nightly, "_reports", failing(KeyError("u-somebody")))
        with pytest.raises(KeyError):
            whole_night(trained)
        assert open_inbox(trained).open_batch().facts["failure"]["step"] == "check"
        whole_night(trained)
        (reason,) = open_inbox(trained).open_batch().facts["held"]
        assert "'check'" in reason and "KeyError at" in reason and "test_holding.py" in reason
        assert "u-somebody" not in str(open_inbox(trained).open_batch().facts)

    def test_not_an_unforeseen_error_of_another_step_in_the_next_run(self, trained, monkeypatch):
        file_requests(trained, [user(trained)])
        for broken in ("_reports", "_measured"):
            with monkeypatch.context() as patch, pytest.raises(KeyError):
                patch.setattr(nightly, broken, failing(KeyError("x")))
                whole_night(trained)
        assert open_inbox(trained).open_batch().facts["failure"]["step"] == "evaluate"
        whole_night(trained)
        assert open_inbox(trained).last_batch().outcome == "unlearned"

    def test_nothing_is_held_once_the_model_may_serve(self, trained, monkeypatch):
        file_requests(trained, [user(trained)])
        with monkeypatch.context() as patch:
            patch.setattr(nightly, "keep_for_erasure", failing(DataError("damaged")))
            for _ in range(3):
                with pytest.raises(DataError):
                    whole_night(trained)
        batch = open_inbox(trained).open_batch()
        assert (batch.step, batch.is_held) == ("promote", False)
        whole_night(trained)
        assert open_inbox(trained).batch(batch.id).outcome == "unlearned"


class TestOthers:
    def test_a_held_batch_steps_aside_and_its_cut_is_taken_back(self, held):
        ws, wanted, ids = held
        before = open_ledger(ws).entries("data")[0].facts["before"]
        first = open_inbox(ws).open_batch().id
        (other,) = file_requests(ws, [user(ws)])
        second = whole_night(ws)
        assert second != first and state(ws, other) == ("closed", "unlearned")
        assert len(remains(ws, wanted)) == len(wanted), "the pictures are still there"
        entries = [(e.facts["before"], e.facts["after"], e.facts["batch"]) for e in open_ledger(ws).entries("data")]
        assert [batch for *_, batch in entries] == [first, first, second]
        assert entries[0][0] == entries[1][1] == entries[2][0] == before and entries[2][1] == md5(ws)
        assert [batch.id for batch in open_inbox(ws).held()] == [first]
        assert {state(ws, id) for id in ids} == {("held", None)} and list(ws.batches.iterdir()) == []
        with pytest.raises(RequestError, match=f"{first} is held"):
            pipeline.remind(ws)
        assert whole_night(ws) is None

    def test_a_batch_that_is_aside_is_finished_in_its_turn(self, held):
        ws, wanted, ids = held
        first = open_inbox(ws).open_batch().id
        file_requests(ws, [user(ws)])
        whole_night(ws)
        with pytest.raises(ModelError, match="its models are gone"):
            pipeline.release(ws, REASON)
        pipeline.accept(ws, REASON)
        assert whole_night(ws) == first
        assert {state(ws, id) for id in ids} == {("closed", "retrained")} and remains(ws, wanted) == []
        tags = Registry(ws).champion().tags
        assert tags["tru.deleted_through"] == str(len(ids) + 1) and tags["tru.data_md5"] == md5(ws)
        assert "image" not in load_dataset(ws.data).modalities
        assert open_ledger(ws).verify() == []

    def test_who_asked_alone_does_not_wait_for_a_list(self, trained):
        (alone,) = file_requests(trained, [user(trained)])
        ids = file_requests(trained, pictures(trained))
        (late,) = file_requests(trained, [user(trained, 8)])
        whole_night(trained)
        assert state(trained, alone) == state(trained, late) == ("closed", "unlearned")
        (batch,) = open_inbox(trained).held()
        assert {request.id for request in open_inbox(trained).list(batch=batch.id)} == set(ids)
        assert batch.facts["held"] == ["no item would have the modality image any more"]
        assert (
            open_ledger(trained).find("batch", open_ledger(trained).entries("batch")[0].key).facts["batch"] == batch.id
        )
        assert (trained.state / "reports" / f"{batch.id}.html").exists()
        assert Registry(trained).champion().tags["tru.deleted_through"] == "2"

    def test_a_batch_that_was_parted_and_killed_is_not_parted_twice(self, trained, monkeypatch):
        file_requests(trained, [user(trained)])
        file_requests(trained, pictures(trained))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Run, "keep_before", failing(KeyboardInterrupt()))
            whole_night(trained)
        whole_night(trained)
        assert len(open_inbox(trained).held()) == 1
        assert [e.facts["outcome"] for e in open_ledger(trained).entries("batch")] == ["held", "unlearned"]


class TestAccept:
    def test_a_cut_that_leaves_little_is_finished_with_one_decision(self, held):
        ws, wanted, ids = held
        batch = open_inbox(ws).open_batch().id
        with pytest.raises(RequestError, match="say why"):
            pipeline.accept(ws, " ")
        assert pipeline.accept(ws, REASON) == {"batch": batch}
        assert md5(ws) == open_ledger(ws).entries("data")[0].facts["before"], "until the night it is as it was"
        assert whole_night(ws) == batch
        found = open_inbox(ws).batch(batch)
        assert (found.outcome, found.facts["accepted"]) == ("retrained", REASON)
        assert remains(ws, wanted) == [] and {state(ws, id) for id in ids} == {("closed", "retrained")}
        assert [e.facts["outcome"] for e in open_ledger(ws).entries("batch")] == ["held", "accepted", "retrained"]
        assert open_ledger(ws).entries("batch")[1].facts["reasons"] == [REASON]

    def test_statistics_that_cannot_be_passed_are_what_the_person_answers_for(self, held):
        ws, _, _ = held
        change(ws, "gate", utility_margin=-1.0)
        pipeline.accept(ws, REASON)
        batch = whole_night(ws)
        found = open_inbox(ws).batch(batch)
        assert (found.outcome, found.verdict, ending(found)) == ("retrained", "fail", "released")
        assert found.facts["released"] == REASON
        assert Registry(ws).champion().tags["tru.verdict"] == "released"

    def test_an_exact_check_is_never_overruled(self, held, monkeypatch):
        ws, _, _ = held
        change(ws, "gate", utility_margin=-1.0)
        pipeline.accept(ws, REASON)
        compare = Run.compare

        def knowing(run, *, fresh):
            found = compare(run, fresh=fresh)
            found.exact_retrained["deleted users in the model"] = 1
            found.save(run.folder / "comparison")
            return found

        monkeypatch.setattr(Run, "compare", knowing)
        whole_night(ws)
        assert open_inbox(ws).open_batch().is_held and Registry(ws).champion().version == "1"

    def test_data_that_still_name_somebody_are_never_accepted(self, held, monkeypatch):
        ws, _, _ = held
        pipeline.accept(ws, REASON)
        monkeypatch.setattr(nightly, "cut_dataset", lambda ds, forget: ds)
        whole_night(ws)
        (reason, *_) = open_inbox(ws).open_batch().facts["held"]
        assert "is left" in reason or "no item has it any more" in reason

    def test_where_a_model_stands_ready_it_serves_at_once(self, trained):
        change(trained, "gate", utility_margin=-1.0)
        file_requests(trained, subjects(trained))
        batch = whole_night(trained)
        found = pipeline.accept(trained, "good enough for a sale")
        assert (found["batch"], found["outcome"], found["version"]) == (batch, "retrained", "2")
        assert open_inbox(trained).open_batch() is None


class TestRetirement:
    @pytest.fixture
    def left(self, trained):
        """A tenant leaves: every user is on the list."""
        wanted = [Subject.of(user=name) for name in load_dataset(trained.data).users.tolist()]
        ids = file_requests(trained, wanted)
        whole_night(trained)
        assert "nothing to learn from" in open_inbox(trained).open_batch().facts["held"][0]
        return trained, wanted, ids

    def test_nobody_is_left_and_no_model_serves(self, left):
        ws, _, ids = left
        pipeline.accept(ws, "the tenant leaves")
        batch = whole_night(ws)
        assert {state(ws, id) for id in ids} == {("closed", "retired")}
        assert Registry(ws).champion() is None and is_retired(ws)
        assert not ws.data.exists() and not (ws.root / "data.dvc").exists()
        assert DataVersions(ws).git("status", "--porcelain", "data.dvc").strip() == ""
        entry = open_ledger(ws).last("champion").facts
        assert (entry["version"], entry["previous"], entry["why"], entry["batch"], entry["reason"]) == (
            None,
            "1",
            "retired",
            batch,
            "the tenant leaves",
        )
        assert ending(open_inbox(ws).batch(batch)) == "retired" and open_ledger(ws).verify() == []
        assert (ws.state / "reports" / f"{batch}.html").exists()

    def test_what_comes_in_later_is_answered_and_the_workspace_can_begin_anew(self, left, tmp_path):
        ws, _, _ = left
        whole = tmp_path / "whole"
        shutil.copytree(ws.data, whole)
        (waiting,) = file_requests(ws, [Subject.of(item=str(load_dataset(ws.data).items[0]))])
        pipeline.accept(ws, "the tenant leaves")
        for _ in range(2):
            whole_night(ws)
        assert state(ws, waiting)[0] == "closed"
        (stranger,) = file_requests(ws, [Subject.of(user="u-new")])
        assert whole_night(ws) is None and state(ws, stranger) == ("closed", "not found")
        with pytest.raises(ReleaseError):
            rollback(ws)
        ds = load_dataset(whole)
        rows = ds.interactions.assign(user_id=[f"new-{name}" for name in ds.interactions["user_id"]])
        from dataclasses import replace

        save_dataset(replace(ds, interactions=rows), ws.data)
        DataVersions(ws).add()
        DataVersions(ws).commit("Another tenant")
        assert pipeline.train(ws)["version"] == "2"
        assert Registry(ws).champion().tags["tru.deleted_through"] == str(open_inbox(ws).completed_through())
        assert not is_retired(ws)

    def test_every_other_open_request_ends_with_it(self, left):
        ws, _, ids = left
        (item,) = file_requests(ws, [Subject.of(item=str(load_dataset(ws.data).items[0]))])
        pipeline.accept(ws, "the tenant leaves")
        batch = whole_night(ws)
        assert open_inbox(ws).batch(batch).size == len(ids) + 1 and state(ws, item) == ("closed", "retired")

    def test_a_server_that_still_runs_does_not_answer(self, left):
        from tru.ops.release.serving import Recommender
        from tru.ops.requests.store import open_suppression

        ws, wanted, _ = left
        running = Recommender.load(Registry(ws).model_dir("1"), open_suppression(ws))
        assert running.recommend(wanted[0].user, 5).suppressed
        pipeline.accept(ws, "the tenant leaves")
        whole_night(ws)
        with pytest.raises(ModelError, match="Nobody of whom this model knows is left"):
            running.recommend("a stranger", 5)

    def test_everything_old_is_destroyed_and_certified(self, left):
        from tru.ops import certificates
        from tru.ops.erasure import eraser

        ws, _, ids = left
        pipeline.accept(ws, "the tenant leaves")
        whole_night(ws)
        found = eraser.erase(ws)
        assert found["certificates"] == len(ids)
        assert Registry(ws).list_versions() == [] and eraser.plan(ws).batches == []
        file = certificates.place(ws, ids[0])
        facts = certificates.verify(file.read_bytes(), certificates.trusted(ws))
        assert facts.is_retired and "after" not in facts.models and facts.verdict["released"] == "the tenant leaves"
        page = certificates.render(file.read_bytes(), True)
        assert "without a successor" in page and "the tenant leaves" in page
        assert json.loads(json.dumps(facts.to_dict()))["data"].keys() == {"before"}


class TestRetry:
    def test_a_failed_check_takes_the_cut_back_so_that_data_can_be_imported(self, held):
        ws, _, _ = held
        inbox = open_inbox(ws)
        with pytest.raises(RequestError, match="`tru batch retry` takes the cut back"):
            _refuse_meanwhile(ws, inbox)
        batch = pipeline.retry(ws)
        assert md5(ws) == open_ledger(ws).entries("data")[0].facts["before"]
        _refuse_meanwhile(ws, inbox)  # an import may come now
        grow(ws)
        assert whole_night(ws) == batch and open_inbox(ws).open_batch().is_held, "the pictures are still all that asks"

    def test_a_cut_under_way_is_no_time_for_an_import(self, trained):
        file_requests(trained, [user(trained)])
        batch = pipeline.claim(trained)
        with pipeline.open_lease(trained, batch):
            with pytest.raises(RequestError, match="a batch of deletions is open"):
                _refuse_meanwhile(trained, open_inbox(trained))
            pipeline.cut(trained, batch)
        with pytest.raises(RequestError, match="a batch of deletions is open"):
            _refuse_meanwhile(trained, open_inbox(trained))


class TestTakenOut:
    def test_a_request_is_withdrawn_and_the_rest_goes_on(self, held):
        ws, wanted, ids = held
        ended = pipeline.withdraw(ws, ids[:1])
        assert [str(request.state) for request in ended] == ["withdrawn"]
        assert md5(ws) == open_ledger(ws).entries("data")[0].facts["before"]
        batch = whole_night(ws)
        assert open_inbox(ws).batch(batch).outcome in ("unlearned", "retrained")
        assert remains(ws, wanted) == ["modality"], "the one picture that stays"
        assert Registry(ws).champion().tags["tru.deleted_through"] == str(len(ids) - 1)

    def test_a_withdrawn_user_is_suppressed_no_more(self, trained):
        wanted = [user(trained), user(trained, 8)]
        change(trained, "gate", utility_margin=-1.0)
        ids = file_requests(trained, wanted)
        whole_night(trained)
        pipeline.withdraw(trained, ids[:1])
        suppressed = open_inbox(trained).suppression()
        assert not suppressed.is_user(wanted[0].user) and suppressed.is_user(wanted[1].user)
        assert remains(trained, wanted) == ["user", "user"]

    def test_the_last_one_ends_the_batch_and_the_data_are_whole(self, trained):
        change(trained, "gate", utility_margin=-1.0)
        before = md5(trained)
        (id,) = file_requests(trained, [user(trained)])
        batch = whole_night(trained)
        pipeline.withdraw(trained, [id])
        assert open_inbox(trained).batch(batch).outcome == "withdrawn" and md5(trained) == before
        assert whole_night(trained) is None and open_inbox(trained).completed_through() == 0
        assert list(trained.batches.iterdir()) == []

    def test_a_refused_one_has_its_reason_in_the_ledger_which_names_no_request(self, held):
        ws, _, ids = held
        for _ in range(2):  # typed again, it is the same
            ended = pipeline.refuse(ws, ids[:2], "the contract says otherwise")
        assert {str(request.state) for request in ended} == {"refused"}
        (entry,) = open_ledger(ws).entries("request")
        assert (entry.facts["count"], entry.facts["reasons"]) == (2, ["the contract says otherwise"])
        assert not any(id in entry.key or id in str(entry.facts) for id in ids)
        whole_night(ws)
        assert len(open_inbox(ws).list(state="closed")) == len(ids) - 2

    def test_what_is_worked_on_or_forgotten_is_past_it(self, trained):
        (id,) = file_requests(trained, [user(trained)])
        batch = pipeline.claim(trained)
        with pipeline.open_lease(trained, batch):
            pipeline.cut(trained, batch)
            with pytest.raises(RequestError, match="being worked on"):
                pipeline.withdraw(trained, [id])
        whole_night(trained)
        with pytest.raises(RequestError, match="closed"):
            pipeline.withdraw(trained, [id])

    def test_requests_of_several_batches_are_named_batch_by_batch(self, held):
        ws, _, ids = held
        (other,) = file_requests(ws, [user(ws)])
        with pytest.raises(RequestError, match="not all of one batch"):
            pipeline.withdraw(ws, [ids[0], other])
        assert state(ws, ids[0])[0] == "held" and state(ws, other)[0] == "queued"


class TestSplit:
    def test_the_newer_half_goes_back_to_the_queue(self, held):
        ws, _, ids = held
        found = pipeline.split(ws)
        assert (found["stay"], found["back"]) == (len(ids) - len(ids) // 2, len(ids) // 2)
        assert open_inbox(ws).counts()["queued"] == len(ids) // 2
        whole_night(ws)
        assert len(open_inbox(ws).list(state="closed")) == found["stay"]
        whole_night(ws)
        assert open_inbox(ws).held()[0].size == len(ids) // 2, "without the second half no picture would be left"

    def test_by_kind_and_by_id(self, trained):
        change(trained, "gate", utility_margin=-1.0)
        ids = file_requests(trained, subjects(trained))
        whole_night(trained)
        found = pipeline.split(trained, regime="user")
        assert (found["stay"], found["back"]) == (3, 2)
        with pytest.raises(RequestError, match="no batch is held"):
            pipeline.split(trained)
        whole_night(trained)
        assert pipeline.split(trained, ids=[ids[2]])["back"] == 1
        assert open_ledger(trained).verify() == []

    def test_some_must_stay_and_some_must_go(self, held):
        ws, _, ids = held
        for parts in ({"regime": "user"}, {"ids": ids}):
            with pytest.raises(RequestError, match="would go back"):
                pipeline.split(ws, **parts)
        assert open_inbox(ws).open_batch().is_held


def test_of_several_held_batches_the_right_one_is_named(held):
    ws, _, _ = held
    first = open_inbox(ws).open_batch().id
    change(ws, "gate", utility_margin=-1.0)
    file_requests(ws, [user(ws)])
    second = whole_night(ws)
    for decide in (pipeline.retry, pipeline.split, lambda ws: pipeline.accept(ws, REASON)):
        with pytest.raises(RequestError, match=f"Several batches are held: {first}, {second}"):
            decide(ws)
    with pytest.raises(RequestError, match="is not held"):
        pipeline.retry(ws, "batch-20000101-01")
    assert pipeline.retry(ws, first) == first
