"""The registry on a real SQLite store: names, lineage, versions, and SIGKILL after every write."""

import multiprocessing
import os
import pickletools
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from tests.patience import HANG, until
from tru.errors import ModelError, ReleaseError, WorkspaceError
from tru.ops.release.registry import Registry, metric_name
from tru.ops.release.registry_reader import CHAMPION, ModelVersion
from tru.ops.requests.store import open_inbox
from tru.ops.servers.prefect_api import answers
from tru.ops.workspace import Workspace

MD5 = "0123456789abcdef0123456789abcdef.dir"
READS = ("get_", "search_", "list_")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes a second to build its tables; the tests share one copy."""
    folder = tmp_path_factory.mktemp("store")
    Registry(Workspace(folder))
    return folder / "mlflow.db"


@pytest.fixture
def workspace(workspace: Workspace, empty_store: Path) -> Workspace:
    shutil.copy(empty_store, workspace.root / "mlflow.db")
    return workspace


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return Registry(workspace)


@pytest.fixture
def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(workspace.tracking_uri)


def log(registry: Registry, key: str = "batch-1/unlearned", **given: Any) -> str:
    facts: dict[str, Any] = {
        "data_md5": MD5,
        "metrics": {"test/recall@20": 0.25, "forget/recall@20": 0.0, "membership_auc": 0.5},
        "params": {"train.lr": 0.001, "unlearn.method": "tru"},
        "tags": {"tru.method": "tru", "tru.batch": "batch-1", "tru.git_commit": "abc123", "tru.verdict": None},
    }
    return registry.log_run("unlearned", key=key, **facts | given)


def release(registry: Registry, key: str, model_dir: Path) -> ModelVersion:
    """All that one night does with the registry."""
    run = log(registry, key, model_dir=model_dir, artifacts=[model_dir / "model.json"])
    version = registry.register(run, {"tru.data_md5": MD5, "tru.deleted_through": 3})
    registry.set_alias(CHAMPION, version.version)
    return version


def test_new_store_is_complete_and_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "new" / "workspace"
    assert Registry(Workspace(root)).champion() is None
    assert [path.name for path in root.iterdir()] == ["mlflow.db"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]  # no ./mlruns
    default = MlflowClient(Workspace(root).tracking_uri).get_experiment("0")
    assert default.artifact_location == (root / "mlartifacts" / "0").as_uri()  # nor a note of one
    assert "MLFLOW_TRACKING_URI" not in os.environ  # no address left for child processes
    assert capfd.readouterr() == ("", "")


def test_run_carries_metrics_params_tags_and_lineage(registry: Registry, client: MlflowClient, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("fine")
    run = client.get_run(log(registry, artifacts=[report]))
    assert run.info.status == "FINISHED" and run.info.run_name == "unlearned"
    assert run.data.metrics == {"test/recall_at_20": 0.25, "forget/recall_at_20": 0.0, "membership_auc": 0.5}
    assert run.data.params == {"train.lr": "0.001", "unlearn.method": "tru"}
    assert run.data.tags["tru.method"] == "tru" and run.data.tags["mlflow.source.git.commit"] == "abc123"
    assert "tru.verdict" not in run.data.tags
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.digest, data.dataset.source_type) == (MD5, "dvc")
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.md"]


def test_many_params(registry: Registry, client: MlflowClient) -> None:
    params = {f"p{n}": n for n in range(250)}
    assert len(client.get_run(log(registry, params=params)).data.params) == 250


def test_metric_names() -> None:
    assert metric_name("test/recall@20") == "test/recall_at_20"
    assert metric_name("membership_auc") == "membership_auc"


def test_models_of_one_batch_can_be_compared(registry: Registry, client: MlflowClient) -> None:
    runs = [client.get_run(log(registry, f"b/{name}")) for name in ("original", "unlearned", "retrained")]
    assert len({run.info.run_id for run in runs}) == 3
    assert len({frozenset(run.data.metrics) for run in runs}) == 1
    assert len({run.inputs.dataset_inputs[0].dataset.digest for run in runs}) == 1


def test_same_key_gives_the_same_run(registry: Registry, workspace: Workspace, client: MlflowClient) -> None:
    first = log(registry)
    assert log(registry, metrics={"test/recall@20": 0.9}) == first == registry.find_run("batch-1/unlearned")
    assert Registry(workspace).find_run("batch-1/unlearned") == first
    assert client.get_run(first).data.metrics["test/recall_at_20"] == 0.25
    assert registry.find_run("batch-2/unlearned") is None


def test_failed_run_is_replaced(registry: Registry, client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        log(registry, artifacts=[tmp_path / "no such file"])
    assert registry.find_run("batch-1/unlearned") is None
    run = log(registry)
    assert active_runs(client) == [run]


@pytest.mark.parametrize("key", ["", "it's", "a b", "a`b"])
def test_unusable_key_is_refused(registry: Registry, key: str) -> None:
    with pytest.raises(ReleaseError, match="key of a run"):
        log(registry, key)


def test_unusable_metric_name_is_refused(registry: Registry) -> None:
    with pytest.raises(ReleaseError, match="MLflow refused"):
        log(registry, metrics={"recall%": 1.0})


def test_model_that_cannot_serve_is_not_logged(registry: Registry, client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Train one first"):
        log(registry, model_dir=tmp_path)
    assert client.get_experiment_by_name("tru") is None


def test_deleted_experiment_says_how_to_restore_it(registry: Registry, client: MlflowClient) -> None:
    log(registry)
    client.delete_experiment(client.get_experiment_by_name("tru").experiment_id)
    with pytest.raises(ReleaseError, match="mlflow experiments restore"):
        log(registry)


def test_version_life(registry: Registry, model_dir: Path, tmp_path: Path) -> None:
    assert registry.list_versions() == [] and registry.champion() is None
    first = release(registry, "one", model_dir)
    assert abs(first.created - datetime.now(UTC)) < timedelta(minutes=5)
    assert first == ModelVersion("1", first.run_id, {"tru.data_md5": MD5, "tru.deleted_through": "3"}, first.created)
    assert registry.by_alias("baseline") is None
    run = log(registry, "two", model_dir=model_dir)
    second = registry.register(run, {"tru.verdict": "pass"})
    assert registry.register(run, {"tru.verdict": "fail"}).version == second.version == "2"
    assert registry.tag("2", {"tru.batch": "b"}).tags == {"tru.verdict": "fail", "tru.batch": "b"}
    registry.set_alias("baseline", "2")
    assert [(found.version, found.aliases) for found in registry.list_versions()] == [
        ("2", ("baseline",)),
        ("1", ("champion",)),
    ]
    registry.set_alias(CHAMPION, "2")
    champion = registry.champion()
    assert champion is not None and champion.aliases == ("baseline", "champion")
    assert champion == registry.get("2")
    registry.set_champion("2")
    assert [(found.version, found.aliases) for found in registry.list_versions()] == [("2", ("champion",)), ("1", ())]
    copy = tmp_path / "deep" / "copy"
    for _ in range(2):
        assert registry.download("1", copy) == copy
        assert sorted(path.name for path in copy.iterdir()) == ["model.json", "serving.npz"]
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    assert (registry.model_dir("1") / "serving.npz").read_bytes() == (model_dir / "serving.npz").read_bytes()


def test_what_versions_say_of_themselves(registry: Registry, client: MlflowClient, model_dir: Path) -> None:
    run = log(registry, "one", model_dir=model_dir)
    for card in ("### Data", "### Data\n\nand more"):  # a repeated step says it again, perhaps differently
        registry.register(run, {}, card)
        assert client.get_model_version("tru-recommender", "1").description == card
    registry.register(run, {"tru.verdict": "pass"})
    assert client.get_model_version("tru-recommender", "1").description == card
    assert "`champion` serves" in client.get_registered_model("tru-recommender").description


def test_the_registered_model_of_an_earlier_version_gets_words_and_a_persons_stay(
    registry: Registry, client: MlflowClient, model_dir: Path
) -> None:
    client.create_registered_model("tru-recommender")
    registry.register(log(registry, "one", model_dir=model_dir), {})
    assert "`champion` serves" in client.get_registered_model("tru-recommender").description
    client.update_registered_model("tru-recommender", "Ours. Ask Kim.")
    registry.register(log(registry, "two", model_dir=model_dir), {})
    assert client.get_registered_model("tru-recommender").description == "Ours. Ask Kim."


def test_what_is_not_there_is_refused(registry: Registry) -> None:
    run = log(registry)
    for attempt in (
        lambda: registry.register(run, {}),
        lambda: registry.register("0" * 32, {}),
        lambda: registry.set_alias(CHAMPION, "7"),
        lambda: registry.get("7"),
        lambda: registry.model_dir("7"),
    ):
        with pytest.raises(ReleaseError):
            attempt()
    assert registry.list_versions() == []


def test_artifacts_are_in_the_workspace_and_hold_no_pickle(
    registry: Registry, workspace: Workspace, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release(registry, "one", model_dir)
    assert not (tmp_path / "mlruns").exists()
    files = [path for path in workspace.model_store.rglob("*") if path.is_file()]
    assert {"MLmodel", "serving_model.py", "serving.npz", "model.json"} <= {path.name for path in files}
    for path in files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays)
        else:
            assert not is_pickle(path.read_bytes()), path.name
            assert path.suffix not in {".pkl", ".pickle", ".pt", ".joblib"}


def is_pickle(content: bytes) -> bool:
    try:
        return sum(1 for _ in pickletools.genops(content)) > 1
    except Exception:
        return False


def test_artifact_loads_with_pickle_forbidden_and_only_beside_an_inbox(
    registry: Registry, workspace: Workspace, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    artifact = str(registry.model_dir(release(registry, "one", model_dir).version).parents[1])
    with pytest.raises(WorkspaceError, match="is not a workspace"):
        mlflow.pyfunc.load_model(artifact)
    monkeypatch.setenv("TRU_WORKSPACE", str(workspace.root))
    with pytest.raises(WorkspaceError, match="no inbox"):
        mlflow.pyfunc.load_model(artifact)
    open_inbox(workspace)
    served = mlflow.pyfunc.load_model(artifact)
    assert served.predict({"user_id": ["ann"], "k": [2]}) == [{"items": ["i4", "i3"], "suppressed": False}]


def test_same_over_a_tracking_server(
    workspace: Workspace, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"--backend-store-uri {workspace.tracking_uri} --artifacts-destination {tmp_path / 'far'}"
    command = f"{sys.executable} -m mlflow server {store} --workers 1 --port {port}"
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command.split(), cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        registry = Registry(workspace)
        version = release(registry, "one", model_dir)
        assert release(registry, "one", model_dir).version == version.version == "1"
        champion = registry.champion()
        assert champion is not None and champion.run_id == version.run_id == registry.find_run("one")
        copy = registry.download("1", tmp_path / "copy")
        assert (copy / "serving.npz").read_bytes() == (model_dir / "serving.npz").read_bytes()
        assert not workspace.model_store.exists()  # the server decides where artifacts are kept
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(HANG)


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    until(lambda: answers(address), alive=lambda: server.poll() is None)


# -- SIGKILL ----------------------------------------------------------------------------------------------------------


class Fuse:
    """MLflow's client, until the n-th writing call has returned; then the process is killed."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client = client
        self._left = writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name.startswith(READS):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def release_until_killed(root: Path, key: str, model_dir: Path, writes: int) -> None:
    registry = Registry(Workspace(root))
    registry._client = Fuse(registry._client, writes)  # type: ignore[assignment]
    release(registry, key, model_dir)


@pytest.fixture(scope="module")
def forge() -> Iterator[Any]:
    """Children forked from a clean process that has loaded the slow modules once."""
    context = multiprocessing.get_context("forkserver")
    stores = ["mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"]
    context.set_forkserver_preload(["pytest", "alembic.command", "tru.ops.release.serving_model", __name__, *stores])
    yield context


def active_runs(client: MlflowClient, key: str | None = None) -> list[str]:
    experiment = client.get_experiment_by_name("tru").experiment_id
    condition = f"tags.`tru.key` = '{key}'" if key else ""
    return [run.info.run_id for run in client.search_runs([experiment], condition)]


def test_killed_after_any_write_and_repeated_gives_one_run_and_one_version(
    workspace: Workspace, client: MlflowClient, model_dir: Path, forge: Any
) -> None:
    writes = 0
    while True:
        writes += 1
        key = f"killed-after-{writes}"
        child = forge.Process(target=release_until_killed, args=(workspace.root, key, model_dir, writes))
        child.start()
        child.join(HANG)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        registry = Registry(workspace)
        champion = registry.champion()
        version = release(registry, key, model_dir)
        # Before the last write nothing of this batch was promoted; after it, exactly this version.
        assert champion is None or champion.version != version.version or champion.aliases == ("champion",)
        assert active_runs(client, key) == [version.run_id]
        assert registry.find_run(key) == version.run_id
        assert [found.version for found in registry.list_versions() if found.run_id == version.run_id] == [
            version.version
        ]
        models = client.search_logged_models(
            [client.get_experiment_by_name("tru").experiment_id], f"source_run_id = '{version.run_id}'"
        )
        assert [str(model.status) for model in models] == ["READY"]
        assert (registry.model_dir(version.version) / "serving.npz").is_file()
    assert writes > 12
    assert len(registry.list_versions()) == writes


def make_store(root: Path, delay: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, delay)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    Registry(Workspace(root))


@pytest.mark.parametrize("delay", [0.2, 0.7])
def test_killed_while_the_store_is_built(tmp_path: Path, forge: Any, delay: float) -> None:
    child = forge.Process(target=make_store, args=(tmp_path, delay))
    child.start()
    child.join(HANG)
    assert not (tmp_path / "mlflow.db").exists() or child.exitcode == 0
    assert Registry(Workspace(tmp_path)).champion() is None
