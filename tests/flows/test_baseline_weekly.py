"""`baseline-weekly` by the real flow, with every part doing its real work."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.baseline import baseline_weekly
from tests.patience import HANG
from tests.workspaces import change, file_requests
from tru.data.interactions import load_dataset
from tru.errors import Busy, RequestError
from tru.ops import pipeline
from tru.ops.flows import run
from tru.ops.flows.outcomes import of_baseline
from tru.ops.judging import baseline
from tru.ops.pipeline import weekly
from tru.ops.release.registry import Registry
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_ledger

pytestmark = pytest.mark.usefixtures("workspace")  # Prefect's server of this test session
ROOT = Path(__file__).parents[2]


def artifact(key):
    """The newest artifact with this key on Prefect's page."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return max(found, key=lambda one: one.created).data


def test_the_flow_makes_a_baseline_and_says_so(trained):
    change(trained, "gate", min_subjects=5)
    found = baseline_weekly(workspace=str(trained.root))
    assert found["version"] == Registry(trained).by_alias("baseline").version == baseline.latest(trained).version
    assert len(open_ledger(trained).entries("licence")) == len(found["licences"]) == 4
    page = artifact("baseline")
    assert found["id"] in page and all(row["words"] in page for row in found["licences"])
    ds = load_dataset(trained.data)
    assert not any(name in page + str(found) for name in [*ds.users.tolist(), *ds.items.tolist()])


def test_an_error_of_the_user_is_final_and_readable(trained, monkeypatch):
    file_requests(trained, [Subject.of(user=str(load_dataset(trained.data).users[3]))])
    pipeline.claim(trained)
    calls = []
    monkeypatch.setattr(weekly, "train", lambda *_: calls.append(1))
    state = baseline_weekly(workspace=str(trained.root), return_state=True)
    assert state.is_failed() and "Finish it first: `tru run`" in state.message
    with pytest.raises(RequestError):
        run(trained, "baseline-weekly")
    assert calls == []


def test_two_at_once_do_not_mix(trained):
    with baseline.exclusive(trained):
        state = baseline_weekly(workspace=str(trained.root), return_state=True)
        assert state.is_cancelled() and "another run is making a baseline" in state.message
        with pytest.raises(Busy, match="another run is making a baseline"):
            run(trained, "baseline-weekly")


def test_a_killed_flow_is_finished_by_the_next(trained, environment):
    killed = subprocess.run(
        [sys.executable, "-m", "flows.baseline", "-w", trained.root],
        env={**environment, "TRU_CRASH_AFTER": "measure", "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]},
        capture_output=True,
        timeout=HANG,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert baseline.work(trained).exists()
    made = baseline.latest(trained)

    found = baseline_weekly(workspace=str(trained.root))

    assert found["version"] == made.version and found["seeds"] == made.seeds
    assert len(open_ledger(trained).entries("baseline")) == 1
    assert not baseline.work(trained).exists()


def test_the_result_in_words():
    found = {"version": "7", "words": "as good", "licences": [{"words": "good for 100 users"}]}
    assert of_baseline({**found, "crowned": True}) == ["Version 7 is champion: as good.", "good for 100 users"]
    assert of_baseline({**found, "crowned": False})[0] == "Version 7 is the baseline; the champion stays: as good."


def test_it_runs_every_sunday():
    deployments = {d["name"]: d for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    found = deployments["baseline-weekly"]
    file, _, name = found["entrypoint"].rpartition(":")
    assert Path(baseline_weekly.fn.__code__.co_filename).samefile(ROOT / file)
    assert name == baseline_weekly.fn.__name__
    assert [schedule["cron"] for schedule in found["schedules"]] == ["30 3 * * 0"]
