"""What a baseline leaves behind, and when a licence counts."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from tru.errors import ReleaseError
from tru.evaluation.params import BaselineParams, RehearsalParams
from tru.ops.judging import baseline
from tru.ops.judging.baseline import Baseline, Licence, exclusive, forget_rows, keep, latest
from tru.ops.requests.store import open_ledger
from tru.ops.settings import Settings
from tru.ops.workspace import Workspace
from tru.unlearning.params import UnlearnParams

NOW = datetime(2026, 11, 29, 3, 30, tzinfo=UTC)
FOUND = Baseline(
    version="3",
    data_md5="0123.dir",
    made=NOW,
    deleted_through=4,
    seeds=[7, 8],
    seconds=61.5,
    metrics=[{"test/ndcg@20": 0.25}, {"test/ndcg@20": 0.27}],
    noise={"test/ndcg@20": 0.0141},
    users=np.array(["ann", "bob", "cem"]),
    ndcg=np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
)


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"name": "tiny"}))
    return Workspace(tmp_path)


# -- the baseline -----------------------------------------------------------------------------------------------------


def test_what_is_kept_comes_back(ws):
    assert latest(ws) is None
    keep(ws, FOUND)
    found = latest(ws)
    assert {k: v for k, v in vars(found).items() if k not in ("users", "ndcg")} == {
        k: v for k, v in vars(FOUND).items() if k not in ("users", "ndcg")
    }
    assert found.users.tolist() == FOUND.users.tolist() and (found.ndcg == FOUND.ndcg).all()
    assert found.age_days(NOW + timedelta(hours=36)) == 1.5

    keep(ws, replace(FOUND, version="9"))
    assert latest(ws).version == "9"


def test_only_this_account_reads_it(ws):
    keep(ws, FOUND)
    files = [file for file in baseline.folder(ws).iterdir() if file.is_file()]
    assert files and all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_a_crash_while_writing_leaves_the_last_one(ws, monkeypatch):
    keep(ws, FOUND)
    with monkeypatch.context() as patched:

        def half(out, **_):
            out.write(b"PK half of it")
            raise OSError("no space left")

        patched.setattr(np, "savez", half)
        with pytest.raises(OSError, match="no space"):
            keep(ws, replace(FOUND, version="9"))
    assert latest(ws).version == "3"
    keep(ws, replace(FOUND, version="9"))
    assert latest(ws).version == "9"


@pytest.mark.parametrize("bytes_", [b"", b"not an archive", b"PK\x03\x04 torn"])
def test_a_damaged_file_says_what_to_do(ws, bytes_):
    keep(ws, FOUND)
    file = next(baseline.folder(ws).glob("*.npz"))
    file.write_bytes(bytes_)
    with pytest.raises(ReleaseError, match="`tru baseline`"):
        latest(ws)
    forget_rows(ws, ["ann"])
    assert latest(ws) is None


def test_deleted_users_lose_their_rows(ws):
    forget_rows(ws, ["ann"])
    assert latest(ws) is None
    keep(ws, FOUND)
    for _ in range(2):
        forget_rows(ws, {"ann", "cem", "somebody else"})
        found = latest(ws)
        assert found.users.tolist() == ["bob"] and found.ndcg.tolist() == [[0.2], [0.5]]
    forget_rows(ws, set())
    assert latest(ws).users.tolist() == ["bob"]
    assert found.metrics == FOUND.metrics
    assert not list(baseline.folder(ws).glob("*.new"))


def test_what_a_killed_run_left_goes_with_them_and_a_live_run_is_spared(ws):
    work = baseline.work(ws)
    work.mkdir(parents=True)
    beside = baseline.folder(ws) / "baseline.npz.new"
    with exclusive(ws):
        forget_rows(ws, ["ann"])
        assert work.exists()
    beside.write_bytes(b"half of a baseline")
    forget_rows(ws, ["ann"])
    assert not work.exists() and not beside.exists()


def test_one_baseline_at_a_time(ws):
    with exclusive(ws), pytest.raises(ReleaseError, match="another run"), exclusive(ws):
        pass
    with exclusive(ws):
        pass


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": 1}, {"margin": -0.1}, {"margin": float("nan")}, {"licence_days": 0}, {"rehearsal": {"users": -1}}],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        BaselineParams.model_validate(wrong)
    assert BaselineParams().rehearsal == RehearsalParams()


# -- licences ---------------------------------------------------------------------------------------------------------

SETTINGS = Settings()


def grant(ws, regime="user", size=100, *, day=0, passed=True, reasons=(), settings=SETTINGS, data="tiny"):
    """Write down a rehearsal that was made ``day`` days after NOW."""
    at = NOW + timedelta(days=day)
    bound = {**baseline.method_facts(ws.data, settings), "data": data}
    return open_ledger(ws).append(
        "licence",
        f"baseline-{day}-{size}/{regime}",
        regime=regime,
        size=size,
        passed=passed,
        reasons=list(reasons),
        table=[{"name": "membership_auc"}],
        night={},
        granted=at.isoformat(),
        expires=(at + timedelta(days=35)).isoformat(),
        **bound,
    )


def ask(ws, regime="user", size=1, *, day=0, settings=SETTINGS):
    return baseline.licence(ws, regime, size, settings, NOW + timedelta(days=day))


def test_without_a_rehearsal_there_is_no_licence(ws):
    assert ask(ws) == (None, "no rehearsal has been made for users: `tru baseline` makes one")


def test_a_passed_rehearsal_is_a_licence_for_its_regime_and_size(ws):
    entry = grant(ws)
    found, words = ask(ws, size=100)
    assert found == Licence(
        id="baseline-0-100/user",
        granted=NOW,
        expires=NOW + timedelta(days=35),
        regime="user",
        size=100,
        method="tru",
        settings=entry.facts["settings"],
        backbone="mgcn",
        data="tiny",
        table=[{"name": "membership_auc"}],
    )
    assert words == "tru on mgcn and tiny is good for batches of up to 100 users until 2027-01-03"
    assert ask(ws, size=101) == (None, "the licence is good for up to 100 users, this batch has 101")
    assert ask(ws, "item")[0] is None


def test_a_licence_for_modalities_says_what_it_rests_on(ws):
    grant(ws, "modality")
    assert "judged by the exact checks and utility only" in ask(ws, "modality")[1]


def test_a_licence_expires(ws):
    grant(ws)
    assert ask(ws, day=34.9)[0] is not None
    assert ask(ws, day=35) == (None, "the licence for users expired on 2027-01-03")


def test_the_newest_that_covers_the_batch_counts(ws):
    grant(ws, size=100)
    grant(ws, size=50, day=7)
    assert ask(ws, size=50, day=8)[0].id == "baseline-7-50/user"
    assert ask(ws, size=80, day=8)[0].id == "baseline-0-100/user"
    assert ask(ws, size=80, day=36) == (None, "the licence is good for up to 50 users, this batch has 80")


def test_a_failed_rehearsal_ends_the_licences_before_it(ws):
    grant(ws)
    grant(ws, day=7, passed=False, reasons=["the forgotten pairs are still remembered"])
    found, words = ask(ws, day=8)
    assert found is None
    assert words == (
        "no rehearsal has passed for users: the last one, on 2026-12-06, failed "
        "(the forgotten pairs are still remembered)"
    )
    grant(ws, size=20, day=14)
    assert ask(ws, size=20, day=15)[0].size == 20
    assert ask(ws, size=80, day=15)[0] is None  # what was granted before the failure does not come back


def test_a_licence_is_bound_to_method_settings_backbone_and_data(ws):
    other = SETTINGS.model_copy(update={"unlearn": UnlearnParams(ridge=0.2)})
    grant(ws, settings=other)
    grant(ws, day=1, data="another shop")
    assert ask(ws, day=2) == (
        None,
        "the rehearsals for users were made with another method, settings, backbone or data set",
    )
    assert ask(ws, day=2, settings=other)[0] is not None
    # a failure of another method says nothing of this one
    grant(ws, day=3)
    grant(ws, day=4, passed=False, settings=other)
    assert ask(ws, day=5)[0] is not None and ask(ws, day=5, settings=other)[0] is None


def test_a_margin_of_the_gate_does_not_end_a_licence(ws):
    grant(ws)
    wider = SETTINGS.model_copy(update={"gate": SETTINGS.gate.model_copy(update={"utility_margin": 0.2})})
    assert ask(ws, settings=wider)[0] is not None


def test_all_regimes_at_a_glance(ws):
    grant(ws, "item", 40)
    found = baseline.standing(ws, SETTINGS, NOW)
    assert list(found) == ["user", "item", "interaction", "modality"]
    assert [held is not None for held, _ in found.values()] == [False, True, False, False]
    assert "no rehearsal has been made for interactions" in found["interaction"][1]


def test_without_data_there_is_nothing_to_be_licensed_for(ws):
    (ws.data / "dataset.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"no readable dataset\.json"):
        ask(ws)
