"""Parents and children, real times, and what becomes known later, on a real SQLite store."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tru.errors import ReleaseError
from tru.ops.release.names import VIEW, Span, metric_name
from tru.ops.release.runs import RunLog
from tru.ops.workspace import Workspace

MD5 = "0123456789abcdef0123456789abcdef.dir"
NIGHT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@pytest.fixture
def runs(workspace: Workspace) -> RunLog:
    return RunLog(workspace)


@pytest.fixture
def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(workspace.tracking_uri)


def log(runs: RunLog, key: str, **given: Any) -> str:
    facts: dict[str, Any] = {"data_md5": MD5, "metrics": {"test/ndcg@20": 0.25}, "params": {}, "tags": {}}
    return runs.log_run(key.rpartition("/")[2], key=key, **facts | given)


def names(client: MlflowClient, parent: str) -> set[str]:
    experiment = client.get_experiment_by_name("tru").experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.info.run_name for run in found}


def test_children_stand_below_their_parent_however_often_they_are_logged(runs: RunLog, client: MlflowClient) -> None:
    for _ in range(2):
        parent = log(runs, "batch-1/x/parent", metrics={})
        for name in ("original", "unlearned"):
            log(runs, f"batch-1/x/{name}", parent=parent)
    assert names(client, parent) == {"original", "unlearned"}
    assert len(client.search_runs([runs.experiment_id()])) == 3


def test_a_half_logged_parent_is_replaced_and_its_children_follow(runs: RunLog, client: MlflowClient) -> None:
    half = client.create_run(runs.experiment_id(), tags={"tru.key": "batch-1/x/parent"}).info.run_id
    child = log(runs, "batch-1/x/original", parent=half)
    parent = log(runs, "batch-1/x/parent")
    assert parent != half and client.get_run(half).info.lifecycle_stage == "deleted"
    assert log(runs, "batch-1/x/original", parent=parent) == child
    assert names(client, parent) == {"original"}


def test_a_run_of_an_earlier_version_gets_a_parent_and_keeps_what_it_says(runs: RunLog, client: MlflowClient) -> None:
    old = log(runs, "batch-1/x/original", metrics={"test/ndcg@20": 0.5})
    parent = log(runs, "batch-1/x/parent")
    assert log(runs, "batch-1/x/original", parent=parent) == old
    assert log(runs, "batch-1/x/original") == old  # said without a parent, it stays where it is
    assert names(client, parent) == {"original"}
    assert client.get_run(old).data.metrics == {"test/ndcg_at_20": 0.5}


def test_times_are_those_of_the_work(runs: RunLog, client: MlflowClient) -> None:
    span = Span.until(NIGHT, 90.5)
    info = client.get_run(log(runs, "a/b", span=span)).info
    assert datetime.fromtimestamp(info.start_time / 1000, UTC) == NIGHT - timedelta(seconds=90.5)
    assert datetime.fromtimestamp(info.end_time / 1000, UTC) == NIGHT
    runs.amend_run(info.run_id, ended=NIGHT + timedelta(hours=1))
    after = client.get_run(info.run_id).info
    assert (after.start_time, after.end_time) == (info.start_time, info.end_time + 3_600_000)
    assert after.status == "FINISHED"


def test_what_is_known_later_is_added_once(runs: RunLog, client: MlflowClient, tmp_path: Path) -> None:
    report, plots = tmp_path / "report.html", tmp_path / "plots"
    report.write_text("first")
    plots.mkdir()
    (plots / "quality.png").write_bytes(b"PNG")
    run = log(runs, "a/b", note="at first", artifacts=[plots])
    for _ in range(2):
        tags = {"tru.verdict": "pass", "tru.prefect_run": None}
        runs.amend_run(run, metrics={"test/ndcg@20": 0.5}, tags=tags, note="then", artifacts=[report])
    data = client.get_run(run).data
    assert data.tags["tru.verdict"] == "pass" and data.tags["mlflow.note.content"] == "then"
    assert "tru.prefect_run" not in data.tags
    assert [point.value for point in client.get_metric_history(run, "test/ndcg_at_20")] == [0.25, 0.5]
    assert [file.path for file in client.list_artifacts(run)] == ["plots", "report.html"]
    assert [file.path for file in client.list_artifacts(run, "plots")] == ["plots/quality.png"]
    report.write_text("second")
    runs.amend_run(run, artifacts=[report])
    assert Path(client.download_artifacts(run, "report.html", str(tmp_path))).read_text() == "second"


def test_a_run_that_is_not_there_cannot_be_amended(runs: RunLog) -> None:
    with pytest.raises(ReleaseError, match="MLflow refused"):
        runs.amend_run("0" * 32, tags={"a": "b"})


def test_the_experiment_shows_models_and_says_what_it_holds(runs: RunLog, client: MlflowClient) -> None:
    tags = client.get_experiment(runs.experiment_id()).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "test/recall@20" in tags["mlflow.note.content"]
    view = json.loads(tags[f"mlflow.sharedViewState.{VIEW}"])
    measured = {f"metrics.`{metric_name(name)}`" for name in ("test/ndcg@20", "forget/recall@20", "membership_auc")}
    assert measured < set(view["selectedColumns"])


def test_an_experiment_of_an_earlier_version_is_furnished_and_a_persons_words_stay(
    workspace: Workspace, client: MlflowClient
) -> None:
    id = client.create_experiment("tru", tags={"mlflow.note.content": "Ours."})
    assert RunLog(workspace).experiment_id() == id
    tags = client.get_experiment(id).tags
    assert tags["mlflow.note.content"] == "Ours." and tags["mlflow.experimentKind"] == "custom_model_development"
