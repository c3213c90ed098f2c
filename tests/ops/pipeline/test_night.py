"""The steps of the night one by one; whole nights are in tests/flows/test_nightly.py and test_crash.py."""

import pytest

from tests.workspaces import change, file_requests, make, subjects, whole_night
from tru.errors import Busy, CheckFailed, LeaseHeld, ModelError, RequestError
from tru.ops import locks, pipeline
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox


@pytest.fixture
def batch(trained):
    """A claimed batch of all regimes."""
    file_requests(trained, subjects(trained))
    return pipeline.claim(trained)


def test_every_step_may_be_repeated(trained, batch):
    for step in ("cut", "check", "unlearn", "evaluate", "gate", "promote"):
        first = getattr(pipeline, step)(trained, batch)
        assert getattr(pipeline, step)(trained, batch) == first, step
        assert open_inbox(trained).open_batch().step == step
    assert [v.version for v in Registry(trained).list_versions()].count(first) == 1


def test_no_step_records_an_identifier(trained, batch):
    wanted = subjects(trained)
    for step in ("cut", "check", "unlearn", "evaluate", "gate"):
        getattr(pipeline, step)(trained, batch)
    facts = str(open_inbox(trained).open_batch().facts)
    assert not any(name in facts for s in wanted for name in (s.user, s.item) if name)
    assert open_inbox(trained).open_batch().facts["regimes"] == {
        "users": 2,
        "items": 1,
        "interactions": 1,
        "modalities": 1,
    }


def test_the_cut_makes_a_version_of_the_data(trained, batch):
    before = DataVersions(trained).md5(), DataVersions(trained).git_commit()
    md5 = pipeline.cut(trained, batch)
    assert md5 == DataVersions(trained).md5() != before[0]
    assert DataVersions(trained).git_commit() != before[1]


def test_data_that_still_names_somebody_stops_the_night_and_names_nobody(trained, batch):
    from tru.data.interactions import load_dataset, save_dataset

    whole = load_dataset(trained.data)
    wanted = subjects(trained)
    pipeline.cut(trained, batch)
    save_dataset(whole, trained.data)
    with pytest.raises(CheckFailed) as failed:
        pipeline.check(trained, batch)
    assert not any(name in str(failed.value) for s in wanted for name in (s.user, s.item) if name)
    assert open_inbox(trained).open_batch().step == "cut"


def test_what_has_not_passed_is_not_promoted(trained, batch):
    change(trained, "gate", utility_margin=-1.0)
    for step in ("cut", "check", "unlearn", "evaluate", "gate"):
        found = getattr(pipeline, step)(trained, batch)
    assert found["verdict"] == "fail" and found["reasons"][0].startswith("test/ndcg@20")
    with pytest.raises(ModelError, match="has not passed the gate"):
        pipeline.promote(trained, batch)
    assert Registry(trained).champion().version == "1"


def test_a_step_works_on_the_open_batch_only(trained, batch):
    with pytest.raises(RequestError, match="is not the open batch"):
        pipeline.cut(trained, "batch-20000101-01")
    with pytest.raises(RequestError, match="no batch is held"):
        pipeline.retry(trained)


def test_a_live_run_is_left_alone(trained, batch):
    from tru.ops.requests.owner import this_owner

    inbox = open_inbox(trained)
    with pipeline.open_lease(trained, batch), pytest.raises(LeaseHeld):
        inbox.claim(f"elsewhere:{this_owner().split(':', 1)[1]}")
    assert inbox.claim("elsewhere:1:1") is not None  # let go of at the end of the block


def test_no_batch_opens_under_the_hands_of_an_erasure(trained):
    file_requests(trained, subjects(trained))
    with locks.serving(trained), pytest.raises(Busy, match="an erasure"):
        pipeline.claim(trained)
    assert open_inbox(trained).open_batch() is None
    assert pipeline.claim(trained) is not None


def test_one_training_at_a_time(trained):
    with locks.training(trained), pytest.raises(Busy, match="another run is training"):
        pipeline.train(trained)
    assert Registry(trained).champion().version == "1"


def test_nobody_is_trained_over_an_open_batch(trained, batch):
    pipeline.cut(trained, batch)
    with pytest.raises(RequestError, match="a batch of deletions is open"):
        pipeline.train(trained)


def test_without_a_champion_requests_wait(tmp_path):
    ws = make(tmp_path / "untrained")
    assert pipeline.claim(ws) is None
    file_requests(ws, [Subject.of(user="somebody")])
    for _ in range(2):
        with pytest.raises(ModelError, match="`tru train`"):
            pipeline.claim(ws)
    assert open_inbox(ws).open_batch() is None
    open_inbox(ws).claim("an older version of tru")  # which opened the batch all the same
    assert pipeline.train(ws)["version"] == "1"


def test_what_comes_in_while_training_is_not_trained_over(trained, monkeypatch):
    reproduce = DataVersions.reproduce

    def meanwhile(versions, *rest, **more):
        found = reproduce(versions, *rest, **more)
        file_requests(trained, subjects(trained)[:1])
        whole_night(trained)
        return found

    monkeypatch.setattr(DataVersions, "reproduce", meanwhile)
    with pytest.raises(RequestError, match="came in between"):
        pipeline.train(trained)
    assert [v.version for v in Registry(trained).list_versions()] == ["2", "1"]
    assert Registry(trained).champion().version == "2"


def test_a_model_that_stands_on_other_data_is_trained_again(trained):
    from dataclasses import replace

    from tru.models.trained import TrainedModel
    from tru.ops.stages import stands_on

    folder = trained.artifacts / "original"
    model = TrainedModel.load(folder)
    assert stands_on(trained, model)
    replace(model, data=replace(model.data, train=model.data.train[:-1], canary=model.data.canary[:-1])).save(folder)
    forced = []
    reproduce = DataVersions.reproduce

    def noted(versions, targets=(), *, force=False):
        forced.append(force)
        # DVC would see that the file was changed by hand; what is tested is that it did not.
        return reproduce(versions, targets, force=force) if force else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataVersions, "reproduce", noted)
        pipeline.train(trained)
    assert forced == [False, True]
    assert len(TrainedModel.load(folder).data.train) == len(model.data.train)


def test_the_first_champion_says_what_it_stands_on(trained):
    tags = Registry(trained).champion().tags
    assert tags["tru.data_md5"] == DataVersions(trained).md5()
    assert tags["tru.method"] == "train" and tags["tru.deleted_through"] == "0"


def test_nights_follow_each_other(trained):
    ids = [s for s in subjects(trained) if s.regime == "user"]
    for night_number, subject in enumerate(ids[:2], start=1):
        file_requests(trained, [subject])
        assert whole_night(trained) is not None
        tags = Registry(trained).champion().tags
        assert tags["tru.method"] == "tru" and tags["tru.deleted_through"] == str(night_number)
    assert Registry(trained).champion().version == "3"
    assert whole_night(trained) is None


def test_somebody_whom_only_the_champion_knows_is_forgotten(trained):
    from dataclasses import replace

    from tru.data.interactions import load_dataset, save_dataset
    from tru.models.trained import TrainedModel

    ds = load_dataset(trained.data)
    user = str(ds.users[3])
    rows = ds.interactions[ds.interactions["user_id"] != user].reset_index(drop=True)
    save_dataset(replace(ds, interactions=rows), trained.data)  # an import in which the source has left them out
    DataVersions(trained).add()
    file_requests(trained, [Subject.of(user=user)])
    found = open_inbox(trained).batch(whole_night(trained))
    assert found.outcome == "unlearned"
    champion = Registry(trained).champion()
    assert user not in TrainedModel.load(Registry(trained).model_dir(champion.version)).data.users


def test_after_a_night_about_strangers_the_champion_may_still_be_rolled_back_to(trained):
    file_requests(trained, [Subject.of(user="u-nobody-knows-me")])
    assert open_inbox(trained).batch(whole_night(trained)).outcome == "not found"
    assert Registry(trained).champion().tags["tru.deleted_through"] == "1"


def test_strangers_say_nothing_of_a_champion_that_came_later(trained, batch):
    """It was crowned while the batch was open, so it may know them."""
    from tru.ops.release.champion import crown

    inbox = open_inbox(trained)
    inbox.not_found(batch, inbox.open_batch().owner, [r.id for r in inbox.list()])
    for step in ("cut", "check", "unlearn", "evaluate", "gate"):
        getattr(pipeline, step)(trained, batch)
    first = Registry(trained).champion()
    tags = {k: v for k, v in first.tags.items() if k != "tru.ledger"}
    crown(trained, Registry(trained).register(_logged_again(trained), tags).version, "baseline")
    assert pipeline.promote(trained, batch) == "2"
    assert Registry(trained).champion().tags["tru.deleted_through"] == "0"


def _logged_again(ws):
    return Registry(ws).log_run(
        "again", key="again", data_md5="0", metrics={}, params={}, tags={}, model_dir=ws.artifacts / "original"
    )


def test_a_report_that_cannot_be_written_stops_nothing(trained, monkeypatch, caplog):
    from tru.ops.pipeline import nightly
    from tru.ops.tracking import runs

    def broken(*_):
        raise ValueError("u-somebody")

    monkeypatch.setattr(runs, "compose", broken)
    monkeypatch.setattr(nightly, "write_report", broken)
    file_requests(trained, subjects(trained))
    found = open_inbox(trained).batch(whole_night(trained))
    assert found.outcome == "unlearned"
    assert "could not be written (ValueError)" in caplog.text and "u-somebody" not in caplog.text
    assert "could not be kept in MLflow (ValueError)" in caplog.text
