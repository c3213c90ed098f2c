"""Old models on a real MLflow store: nothing of them is left, everything that is needed is, and SIGKILL anywhere."""

import multiprocessing
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType

from tests import tiny, workspaces
from tests.ops.release.test_registry import wait_for
from tests.patience import HANG
from tests.s3 import Store
from tru.errors import ReleaseError
from tru.models.trained import TrainedModel
from tru.ops.erasure.mlflow import artifacts, database
from tru.ops.erasure.mlflow import purge as model_purge
from tru.ops.erasure.mlflow.purge import ModelPurge, doomed
from tru.ops.erasure.mlflow.store import Holdings, Model, Run, Version
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import CHAMPION, MODEL_NAME, ModelVersion
from tru.ops.storage import sqlite
from tru.ops.storage.s3 import open_bucket
from tru.ops.workspace import Workspace

MARK = 3
RESIDUE = "residue-of-somebody"
"""In everything that must go."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory; its residue is what a forgotten subject would be in a real one."""
    return saved(tmp_path_factory.mktemp("models") / "old", RESIDUE)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "new", "nothing")


def saved(folder: Path, note: str) -> Path:
    tiny.trained().with_facts(note=note).save(folder)
    return folder


def night(
    registry: Registry, model: Path | None, mark: int, name: str = "candidate", key: str = "", **tags: str
) -> str:
    """One run as a night or the weekly baseline logs it."""
    # The numbers of a baseline stay, and there is nothing in them but numbers.
    note = "nothing" if mark >= MARK or "tru.method" in tags else RESIDUE
    said = {"tru.deleted_through": mark} if model else {}
    return registry.log_run(
        name,
        key=key or f"batch-{mark}/x/{name}",
        data_md5=f"{note}-{mark}",
        metrics={"test/ndcg@20": 0.5},
        params={"note": note},
        tags={**said, "note": note, **tags},
        model_dir=model,
        artifacts=[model / "model.json"] if model else [],
    )


def group(registry: Registry, key: str, mark: int, artifact: Path, **tags: str) -> str:
    """The parent of a night, a baseline or an experiment, with a picture."""
    note = "nothing" if mark >= MARK or tags else RESIDUE
    return registry.log_run(
        key.partition("/")[0],
        key=f"{key}/parent",
        data_md5=f"{note}-{mark}",
        metrics={"test/ndcg@20": 0.5},
        params={"note": note},
        tags={"tru.deleted_through": mark, "note": note, **tags},
        artifacts=[artifact],
    )


def research(registry: Registry, key: str, artifact: Path, **tags: Any) -> None:
    """What one `dvc repro` logs."""
    parent = registry.log_run(
        "5 % of users, seed 7, tru",
        key=f"{key}/parent",
        data_md5="nothing",
        metrics={"test/ndcg@20": 0.5},
        params={"forget.seed": 7},
        tags=tags,
        artifacts=[artifact],
    )
    facts: dict[str, Any] = {"data_md5": "nothing", "metrics": {"test/ndcg@20": 0.5}, "params": {}}
    registry.log_run("unlearned", key=f"{key}/unlearned", tags=tags, parent=parent, artifacts=[artifact], **facts)


def grow(ws: Workspace, old: Path, new: Path) -> str:
    """Three nights, a weekly baseline, and all the litter that MLflow collects; returns the run of the baseline."""
    registry, client = Registry(ws), MlflowClient(ws.tracking_uri, registry_uri=ws.tracking_uri)
    for mark in (1, 2):
        run = night(registry, old, mark)
        registry.register(run, {"tru.deleted_through": mark, "note": RESIDUE})
        night(registry, None, mark, "original")
        group(registry, f"batch-{mark}/x", mark, old / "model.json")
    research(registry, "research/1.dir/x", old / "model.json")
    group(registry, "baseline-1", 2, old / "model.json", **{"tru.method": "baseline"})
    baseline = night(registry, old, 2, "baseline", "baseline-1/seed-0", **{"tru.method": "baseline"})
    night(registry, None, 2, "baseline-1", "baseline-1/seed-1", **{"tru.method": "baseline"})
    registry.set_alias("baseline", registry.register(baseline, {"tru.deleted_through": 2}).version)
    experiment = client.get_experiment_by_name("tru").experiment_id
    # a version that MLflow says is deleted, with its tags; and the number after it
    gone = registry.register(night(registry, old, 0, key="batch-0/x/candidate"), {"note": RESIDUE})
    client.delete_model_version(MODEL_NAME, gone.version)
    run = night(registry, new, MARK)
    champion = registry.register(run, {"tru.deleted_through": MARK})
    registry.set_alias(CHAMPION, champion.version)
    night(registry, None, MARK, "original")
    group(registry, f"batch-{MARK}/x", MARK, new / "model.json")
    # the champion's run has another model, and a copy of an old version stands under another name
    other = client.create_logged_model(experiment, name="other", source_run_id=run, params={"note": RESIDUE})
    client.log_model_artifacts(other.model_id, str(old))
    client.create_registered_model("copy")
    first = registry.get("1")
    client.create_model_version("copy", client.get_model_version(MODEL_NAME, "1").source, first.run_id)
    # in the trash, failed, elsewhere, in a deleted experiment, of nobody
    trash = night(registry, old, 1, "trash", "batch-1/x/trash")
    client.delete_run(trash)
    failed = client.create_run(experiment, tags={"note": RESIDUE})
    client.log_artifact(failed.info.run_id, str(old / "model.json"))
    client.set_terminated(failed.info.run_id, "FAILED")
    for place, name in ((ws.root / "mlruns" / "7", "notebook"), (ws.model_store / "bin", "bin")):
        id = client.create_experiment(name, artifact_location=place.as_uri())
        loose = client.create_run(id, tags={"note": RESIDUE})
        client.log_batch(loose.info.run_id, metrics=[Metric("x", 1.0, 0, 0)])
        client.log_artifact(loose.info.run_id, str(old / "model.json"))
    client.delete_experiment(client.get_experiment_by_name("bin").experiment_id)
    for orphan in (ws.model_store / "tru" / "models" / f"m-{'0' * 32}", ws.root / "mlruns" / "9" / ("f" * 32)):
        (orphan / "artifacts").mkdir(parents=True)
        (orphan / "artifacts" / "note.txt").write_text(RESIDUE)
    (ws.root / "mlruns" / "9" / "meta.yaml").write_text(RESIDUE)
    record_call(client, experiment)
    return baseline


def record_call(client: MlflowClient, experiment: str) -> None:
    """What `mlflow.trace` keeps of a call: its input and its output."""
    span = client.start_trace("recommend", inputs={"user_id": RESIDUE}, experiment_id=experiment)
    client.end_trace(span.trace_id, outputs=[RESIDUE])
    mlflow.flush_trace_async_logging()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, old: Path, new: Path) -> Path:
    root = tmp_path_factory.mktemp("grown") / "workspace"
    root.mkdir()
    (root / "params.yaml").write_text("{}\n")
    before = mlflow.get_tracking_uri()
    ws = Workspace(root)
    mlflow.set_tracking_uri(ws.tracking_uri)  # traces are written to the global address
    try:
        (root.parent / "baseline").write_text(grow(ws, old, new))
    finally:
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    return root


@pytest.fixture
def ws(template: Path, tmp_path: Path, workspace: Workspace) -> Workspace:
    """A workspace of one's own with three nights in it."""
    return workspaces.copy(template, tmp_path / "grown")


def residue(root: Path) -> list[str]:
    """Files with the residue in their bytes."""
    return sorted(
        str(file.relative_to(root))
        for file in root.rglob("*")
        if file.is_file() and (RESIDUE.encode() in file.read_bytes() or RESIDUE in file.name)
    )


def kept(ws: Workspace) -> ModelVersion:
    """The champion, which must load, whatever happened."""
    champion = Registry(ws).champion()
    assert champion is not None and champion.tags["tru.deleted_through"] == str(MARK)
    assert TrainedModel.load(Registry(ws).model_dir(champion.version)).facts["note"] == "nothing"
    return champion


def is_clean(ws: Workspace) -> None:
    champion = kept(ws)
    assert residue(ws.root) == []
    assert [version.version for version in Registry(ws).list_versions()] == [champion.version]
    assert {row.what: row.count for row in ModelPurge(ws).plan(MARK, [champion.version])} == dict.fromkeys(
        ("mlflow model versions", "mlflow models", "mlflow runs", "mlflow artifacts"), 0
    )


def test_nothing_old_is_left_and_all_that_is_needed_is(ws: Workspace, template: Path) -> None:
    champion = kept(ws)
    assert len(residue(ws.root)) > 10
    planned = {row.what: row for row in ModelPurge(ws).plan(MARK, [champion.version])}
    assert len(residue(ws.root)) > 10
    found = {row.what: row for row in ModelPurge(ws).purge(MARK, [champion.version])}
    is_clean(ws)
    for what in ("mlflow model versions", "mlflow models", "mlflow runs"):
        assert found[what] == planned[what]
    assert found["mlflow model versions"].count == 4  # two nights, the baseline, the copy
    assert found["mlflow traces"].count == 1
    assert found["mlflow artifacts"].bytes >= planned["mlflow artifacts"].bytes > 100_000
    assert found["mlflow database"].bytes > 0 and found["mlflow database"].count > 0
    client = MlflowClient(ws.tracking_uri)
    baseline = (template.parent / "baseline").read_text()
    runs = client.search_runs([e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)])
    # the champion, what it was compared with that night, and the numbers of the latest baseline
    # and those of an experiment; each with its parent
    assert sorted(run.info.run_name for run in runs) == [
        "5 % of users, seed 7, tru",
        *("baseline", "baseline-1", "baseline-1", "batch-3", "candidate", "original", "unlearned"),
    ]
    assert sorted(run.info.run_name for run in runs if client.list_artifacts(run.info.run_id)) == [
        "batch-3",
        "candidate",
    ]
    numbers = client.get_run(baseline)
    assert numbers.data.metrics == {"test/ndcg_at_20": 0.5} and numbers.outputs.model_outputs == []
    assert client.list_artifacts(baseline) == []
    assert Registry(ws).by_alias("baseline") is None
    assert [e.name for e in client.search_experiments(view_type=ViewType.ALL)] == ["notebook", "tru", "Default"]
    assert ModelPurge(ws).unreachable() == ["memory of serving processes that were started before: restart them"]


def test_runs_that_somebody_else_keeps_in_a_shared_place_stay(ws: Workspace, tmp_path: Path, old: Path) -> None:
    """Version 0.1.0 had the default experiment's place in the folder in which a command was typed first."""
    place = tmp_path / "thesis" / "mlruns" / "0"
    theirs = place / ("f" * 32) / "artifacts" / "result.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    with sqlite3.connect(ws.root / "mlflow.db") as db:
        db.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'Default'", (str(place),))
    db.close()
    client = MlflowClient(ws.tracking_uri)
    ours = client.create_run("0", tags={"note": RESIDUE}).info.run_id
    client.log_artifact(ours, str(old / "model.json"))
    assert (place / ours).is_dir()
    ModelPurge(ws).plan(MARK, [kept(ws).version])
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    assert theirs.read_text() == "years of work" and not (place / ours).exists()
    is_clean(ws)


def test_a_link_out_of_the_workspace_does_not_make_everything_there_ours(ws: Workspace, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    ws.model_store.rename(disk)
    ws.model_store.symlink_to(disk)
    theirs = [disk / "photos" / "a.jpg", disk / ("e" * 32) / "b.txt", disk / "c.txt"]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    assert "tru/" in " ".join(residue(disk))
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    assert [file.read_text() for file in theirs] == ["mine"] * 3
    assert [name for name in residue(disk) if name.startswith("tru/")] == []
    kept(ws)


def test_again_changes_nothing(ws: Workspace) -> None:
    purge = ModelPurge(ws)
    purge.purge(MARK, [kept(ws).version])
    files = {file: file.stat().st_mtime_ns for file in ws.model_store.rglob("*") if file.is_file()}
    assert [row.count for row in purge.purge(MARK, [kept(ws).version])] == [0] * 6
    assert {file: file.stat().st_mtime_ns for file in ws.model_store.rglob("*") if file.is_file()} == files
    is_clean(ws)


def test_registry_goes_on_afterwards_and_gives_no_number_twice(ws: Workspace, new: Path) -> None:
    registry = Registry(ws)
    late = registry.register(night(registry, new, 2, key="late/seed-0"), {"tru.deleted_through": 2})
    champion = kept(ws).version
    assert int(late.version) > int(champion)
    ModelPurge(ws).purge(MARK, [champion])
    assert [v.version for v in registry.list_versions()] == [champion]
    following = registry.register(night(registry, new, 4), {"tru.deleted_through": 4})
    assert int(following.version) == int(late.version) + 1
    registry.set_alias(CHAMPION, following.version)
    ModelPurge(ws).purge(4, [following.version])
    assert [v.version for v in registry.list_versions()] == [following.version]
    with sqlite3.connect(ws.root / "mlflow.db") as db:  # the number that was kept is kept no longer
        assert db.execute("SELECT version FROM model_versions").fetchall() == [(int(following.version),)]
    db.close()


def test_what_respects_the_mark_is_left_to_whoever_is_making_it(ws: Workspace, new: Path) -> None:
    """A baseline that is being logged, and one that was registered after the list of versions was made."""
    registry, champion = Registry(ws), kept(ws)
    client = MlflowClient(ws.tracking_uri)
    experiment = client.get_experiment_by_name("tru").experiment_id
    running = client.create_run(experiment, tags={"tru.deleted_through": str(MARK)}).info.run_id
    half = client.create_logged_model(experiment, name="m", source_run_id=running)
    client.log_model_artifacts(half.model_id, str(new))
    later = registry.register(night(registry, new, MARK, key="weekly/seed-0"), {"tru.deleted_through": MARK})
    ModelPurge(ws).purge(MARK, [champion.version])
    assert [v.version for v in registry.list_versions()] == [later.version, champion.version]
    assert client.get_run(running).info.status == "RUNNING"
    assert client.list_logged_model_artifacts(half.model_id)
    assert TrainedModel.load(registry.model_dir(later.version)).facts["note"] == "nothing"
    retired = ModelPurge(ws).purge(MARK, [champion.version, later.version])
    assert [row.count for row in retired[:3]] == [0, 0, 0]


def test_a_version_that_is_retired_goes_though_it_respects_the_mark(ws: Workspace, new: Path) -> None:
    registry, before = Registry(ws), kept(ws)
    later = registry.register(night(registry, new, MARK, key="weekly/seed-0"), {"tru.deleted_through": MARK})
    registry.set_alias(CHAMPION, later.version)
    ModelPurge(ws).purge(MARK, [later.version])
    assert [v.version for v in registry.list_versions()] == [later.version]
    assert not [f for f in ws.model_store.rglob("*") if before.run_id in f.parts]


@pytest.mark.parametrize(
    ("keep", "mark", "word"),
    [
        ([], MARK, "never destroyed"),
        (["1"], MARK, "never destroyed"),
        (["5", "1"], MARK, "does not respect"),
        (["5"], 4, "does not respect"),
        (["5", "99"], MARK, "is not there"),
    ],
)
def test_refused_before_anything_is_destroyed(ws: Workspace, keep: list[str], mark: int, word: str) -> None:
    before = (ws.root / "mlflow.db").read_bytes(), residue(ws.root)
    assert kept(ws).version == "5"
    for act in (ModelPurge(ws).plan, ModelPurge(ws).purge):
        with pytest.raises(ReleaseError, match=word):
            act(mark, keep)
    assert ((ws.root / "mlflow.db").read_bytes(), residue(ws.root)) == before


def test_a_wrong_address_destroys_nothing(
    ws: Workspace, tmp_path: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    Registry(ws)
    with pytest.raises(ReleaseError, match="MLFLOW_TRACKING_URI"):
        ModelPurge(ws).purge(MARK, [])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert len(Registry(ws).list_versions()) == 4


def test_without_any_run_there_is_nothing_to_do(workspace: Workspace) -> None:
    assert {row.count for row in ModelPurge(workspace).purge(0, [])} == {0}
    assert not (workspace.root / "mlflow.db").exists()


def test_who_becomes_champion_meanwhile_is_spared(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = database.SqlStore(ws.tracking_uri, is_ours=True)
    first = next(v for v in store.read().versions if (v.name, v.number) == (MODEL_NAME, 1))
    Registry(ws).set_alias(CHAMPION, "1")
    with pytest.raises(ReleaseError, match="became champion"):
        store.drop_version(first)
    assert Registry(ws).get("1").tags["note"] == RESIDUE


def test_champion_serves_all_the_while(ws: Workspace) -> None:
    registry, faults, over = Registry(ws), [], threading.Event()
    version, loads = kept(ws).version, 0

    def serve() -> None:
        nonlocal loads
        while not over.is_set():
            try:
                assert registry.champion().version == version  # type: ignore[union-attr]
                TrainedModel.load(registry.model_dir(version))
                loads += 1
            except Exception as error:
                faults.append(error)

    server = threading.Thread(target=serve)
    server.start()
    try:
        ModelPurge(ws).purge(MARK, [version])
    finally:
        over.set()
        server.join()
    assert faults == [] and loads > 1
    is_clean(ws)


def test_kept_out_by_a_reader_it_says_so_and_is_finished_later(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.2)
    sweep = model_purge.sweep
    reader = sqlite3.connect(ws.root / "mlflow.db", isolation_level=None)

    def hold(*given: Any, **also: Any) -> Any:
        found = sweep(*given, **also)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        return found

    monkeypatch.setattr(model_purge, "sweep", hold)
    monkeypatch.setattr(database.SqlStore, "tidy", lambda self: 0)  # would wait for the reader for twenty seconds
    with pytest.raises(ReleaseError, match="held by another process"):
        ModelPurge(ws).purge(MARK, [kept(ws).version])
    reader.close()
    monkeypatch.undo()
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    is_clean(ws)


def test_write_ahead_log_is_emptied(ws: Workspace) -> None:
    with sqlite3.connect(ws.root / "mlflow.db") as db:
        db.execute("PRAGMA journal_mode=WAL")
        ModelPurge(ws).purge(MARK, [kept(ws).version])
        wal = ws.root / "mlflow.db-wal"
        assert not wal.exists() or wal.stat().st_size == 0
        is_clean(ws)
    db.close()


def test_a_folder_that_cannot_be_emptied_is_told_and_the_rest_goes(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, refused = artifacts._rmtree, []

    def first_fails(path: Path) -> None:
        if not refused:
            refused.append(path)
            raise PermissionError(13, "Permission denied", str(path))
        remove(path)

    monkeypatch.setattr(artifacts, "_rmtree", first_fails)
    with pytest.raises(ReleaseError, match="1 places with old artifacts") as error:
        ModelPurge(ws).purge(MARK, [kept(ws).version])
    assert refused[0].name not in str(error.value)
    assert {Path(name).parts[0] for name in residue(ws.root)} <= {"mlartifacts", "mlruns", "mlflow.db"}
    monkeypatch.undo()
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    is_clean(ws)


# -- parents and experiments ------------------------------------------------------------------------------------------


def names(ws: Workspace, *, with_artifacts: bool = False) -> set[str]:
    """The keys of the runs that are there; only of those that have artifacts, if so asked."""
    client = MlflowClient(ws.tracking_uri)
    found = client.search_runs([version_experiment(client)])
    return {run.data.tags["tru.key"] for run in found if not with_artifacts or client.list_artifacts(run.info.run_id)}


def test_a_parent_goes_with_the_last_of_its_children_though_it_respects_the_mark(ws: Workspace, new: Path) -> None:
    registry = Registry(ws)
    group(registry, "weekly-1", MARK, new / "model.json")
    later = registry.register(night(registry, new, MARK, key="weekly-1/seed-0"), {"tru.deleted_through": MARK})
    registry.set_alias(CHAMPION, later.version)
    ModelPurge(ws).purge(MARK, [later.version])
    assert {"weekly-1/parent", "weekly-1/seed-0"} <= names(ws)
    assert not [key for key in names(ws) if key.startswith("batch-")]  # the night before, parent and all
    assert not [file for file in ws.model_store.rglob("*") if file.is_file() and RESIDUE in str(file)]


def test_a_parent_whose_children_are_still_to_come_is_left_to_whoever_logs_them(ws: Workspace, new: Path) -> None:
    registry, champion = Registry(ws), kept(ws)
    group(registry, "weekly-2", MARK, new / "model.json")
    ModelPurge(ws).purge(MARK, [champion.version])
    assert "weekly-2/parent" in names(ws, with_artifacts=True)
    ModelPurge(ws).purge(MARK, [champion.version])
    assert "weekly-2/parent" in names(ws)


def test_an_experiment_that_knows_nobody_keeps_its_pictures_an_older_one_its_numbers(ws: Workspace, new: Path) -> None:
    research(Registry(ws), "research/3.dir/y", new / "model.json", **{"tru.deleted_through": MARK})
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    both = {f"research/{data}/{run}" for data in ("1.dir/x", "3.dir/y") for run in ("parent", "unlearned")}
    assert {key for key in names(ws) if key.startswith("research/")} == both
    assert {key for key in names(ws, with_artifacts=True) if key.startswith("research/")} == {
        "research/3.dir/y/parent",
        "research/3.dir/y/unlearned",
    }
    client = MlflowClient(ws.tracking_uri)
    for run in client.search_runs([version_experiment(client)], "tags.`tru.key` LIKE 'research/%'"):
        assert run.data.metrics == {"test/ndcg_at_20": 0.5}


def test_experiments_of_an_earlier_version_and_cells_of_the_benchmarks_keep_their_numbers(ws: Workspace) -> None:
    facts: dict[str, Any] = {"data_md5": "1.dir", "metrics": {"membership_auc": 0.5}, "params": {}, "tags": {}}
    for key in ("research/1.dir/old/original", "quality/cell-1/abc"):
        Registry(ws).log_run("x", key=key, **facts)
    half = MlflowClient(ws.tracking_uri).create_run(
        version_experiment(MlflowClient(ws.tracking_uri)), tags={"tru.key": "research/1.dir/old/unlearned"}
    )
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    assert {"research/1.dir/old/original", "quality/cell-1/abc"} <= names(ws)
    assert half.data.tags["tru.key"] not in names(ws)  # it was never finished


# -- elsewhere --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tracking server that keeps database and artifacts in the folder that is returned."""
    far = tmp_path / "far"
    far.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"--backend-store-uri sqlite:///{far / 'far.db'} --artifacts-destination {far / 'artifacts'}"
    command = f"{sys.executable} -m mlflow server {store} --workers 1 --port {port}"
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command.split(), cwd=far, stdout=log, stderr=log, start_new_session=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield far
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANG)


def test_over_a_tracking_server(server: Path, workspace: Workspace, old: Path, new: Path) -> None:
    registry, client = Registry(workspace), MlflowClient(workspace.tracking_uri)
    for mark, model in ((1, old), (2, old), (MARK, new)):
        version = registry.register(night(registry, model, mark), {"tru.deleted_through": mark})
        registry.set_alias(CHAMPION, version.version)
    trash = night(registry, old, 1, "trash", "batch-1/x/trash")
    client.delete_run(trash)
    experiment = client.get_experiment_by_name("tru").experiment_id
    lost = client.create_logged_model(experiment, name="lost", source_run_id=trash)
    client.log_model_artifacts(lost.model_id, str(old))
    client.delete_logged_model(lost.model_id)  # no interface lists it any more
    theirs = client.create_run(client.create_experiment("of others"))
    client.log_artifact(theirs.info.run_id, str(new / "model.json"))
    champion = kept(workspace)
    assert len(residue(server / "artifacts")) >= 4
    planned = ModelPurge(workspace).plan(MARK, [champion.version])
    purge = ModelPurge(workspace)
    found = {row.what: row.count for row in purge.purge(MARK, [champion.version])}
    assert [row.count for row in planned] == [*list(found.values())[:3], found["mlflow artifacts"]]
    assert found["mlflow model versions"] == 2 and found["mlflow runs"] == 3
    assert residue(server / "artifacts") == []
    assert [v.version for v in registry.list_versions()] == [kept(workspace).version] == ["3"]
    assert client.list_artifacts(theirs.info.run_id)  # another experiment of the server is not ours
    words = " ".join(purge.unreachable())
    assert "rows of 3 emptied runs" in words and "mlflow gc" in words and "1 experiments of others" in words
    assert [row.count for row in ModelPurge(workspace).purge(MARK, [champion.version])] == [0] * 6


def test_server_of_the_workspace_itself(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's database lies in the workspace, so nothing is left there either."""
    from tru.ops.erasure.mlflow import server as model_server

    class Direct(model_server.ServerStore):
        def __init__(self, uri: str) -> None:
            super().__init__(f"sqlite:///{ws.root / 'mlflow.db'}")

    monkeypatch.setattr(model_purge, "ServerStore", Direct)  # the same interface, without the server in between
    champion = kept(ws).version
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    purge = ModelPurge(ws)
    planned = purge.plan(MARK, [champion])
    assert purge.purge(MARK, [champion])[:3] == planned[:3]
    assert planned[0].count == 4
    assert not [words for words in purge.unreachable() if "emptied runs" in words]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    is_clean(ws)


def test_versioned_bucket(
    s3: Store, workspace: Workspace, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    name = s3.bucket(versioned=True)
    registry, client = Registry(workspace), MlflowClient(workspace.tracking_uri)
    client.create_experiment("tru", artifact_location=f"s3://{name}/mlflow/tru")
    for mark, model in ((1, old), (2, old), (MARK, new)):
        version = registry.register(night(registry, model, mark), {"tru.deleted_through": mark})
    registry.set_alias(CHAMPION, version.version)
    s3.put(name, "mlflow/tru/readme.txt", b"somebody's own")
    s3.put(name, "mlflow/truth/" + "0" * 32 + "/x", b"another experiment")
    # deleted the usual way: hidden behind markers, all bytes still there
    first = client.get_logged_model(client.search_logged_models([version_experiment(client)])[-1].model_id)
    database.repository(first.artifact_location, workspace.tracking_uri).delete_artifacts()
    bucket = open_bucket(f"s3://{name}", endpoint=s3.endpoint)
    assert any(RESIDUE.encode() in bucket.read(v) for v in bucket.versions())
    assert any(v.is_delete_marker for v in bucket.versions())
    found = {row.what: row for row in ModelPurge(workspace).purge(MARK, [version.version])}
    assert found["mlflow artifacts"].bytes > 100_000
    assert not any(RESIDUE.encode() in bucket.read(v) for v in bucket.versions())
    assert not any(v.is_delete_marker for v in bucket.versions())
    assert {v.key for v in bucket.versions() if "/models/" not in v.key and version.run_id not in v.key} == {
        "mlflow/tru/readme.txt",
        "mlflow/truth/" + "0" * 32 + "/x",
    }
    is_clean(workspace)


def version_experiment(client: MlflowClient) -> str:
    return str(client.get_experiment_by_name("tru").experiment_id)


# -- SIGKILL ----------------------------------------------------------------------------------------------------------


def purge_until_killed(root: Path, step: int | None, delay: float | None) -> None:
    """Purge, and die after the n-th destruction, or after a while."""
    left = step or 0

    def counted(do: Any) -> Any:
        def call(*given: Any, **also: Any) -> Any:
            nonlocal left
            found = do(*given, **also)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call

    if step:
        for name in ("drop_version", "drop_model", "drop_run", "drop_traces", "tidy"):
            setattr(database.SqlStore, name, counted(getattr(database.SqlStore, name)))
        artifacts._without_fail = counted(artifacts._without_fail)  # type: ignore[assignment]
        model_purge.compact = counted(model_purge.compact)  # type: ignore[assignment]
    ws = Workspace(root)
    version = kept(ws).version
    if delay:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, delay)
    ModelPurge(ws).purge(MARK, [version])


@pytest.fixture(scope="module")
def forge() -> Any:
    """Children forked from a clean process that has loaded the slow modules once."""
    context = multiprocessing.get_context("forkserver")
    stores = ["mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"]
    context.set_forkserver_preload(["pytest", "alembic.command", __name__, *stores])
    return context


def test_killed_at_any_moment_and_repeated_ends_clean(template: Path, tmp_path: Path, forge: Any) -> None:
    killed, step = 0, 0
    while True:
        step += 8 if step else 1
        ws = workspaces.copy(template, tmp_path / f"killed-{step}")
        child = forge.Process(target=purge_until_killed, args=(ws.root, step, None))
        child.start()
        child.join(HANG)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        killed += 1
        ModelPurge(ws).purge(MARK, [kept(ws).version])
        is_clean(ws)
    assert killed >= 5


@pytest.mark.parametrize("delay", [0.05, 0.3, 0.7])
def test_killed_by_the_clock(ws: Workspace, forge: Any, delay: float) -> None:
    """Also inside of MLflow's transactions, of a folder's removal, and of the rewriting."""
    child = forge.Process(target=purge_until_killed, args=(ws.root, None, delay * random.uniform(0.7, 1.3)))
    child.start()
    child.join(HANG)
    assert child.exitcode in (0, -signal.SIGKILL)
    ModelPurge(ws).purge(MARK, [kept(ws).version])
    is_clean(ws)


# -- the decision -----------------------------------------------------------------------------------------------------


def test_decision_on_an_empty_store() -> None:
    assert doomed(Holdings((), (), ()), 3, {1}, is_ours=True) == model_purge.Doomed()


def run_of(key: str, mark: int | None = None, **more: Any) -> Run:
    tags = {"tru.key": key} | ({} if mark is None else {"tru.deleted_through": str(mark)})
    return Run(key, 0, tags, **more)


def test_parents_are_destroyed_before_their_children() -> None:
    runs = tuple(run_of(f"b/x/{name}", 1) for name in ("a", "parent", "z"))
    assert [run.id for run in doomed(Holdings((), runs, ()), 3, {1}, is_ours=True).runs] == [
        "b/x/parent",
        "b/x/a",
        "b/x/z",
    ]


@pytest.mark.parametrize(
    ("children", "fate"),
    [
        ([run_of("b/x/seed-0", 1)], "gone"),
        ([run_of("b/x/seed-0", 3)], "whole"),
        ([run_of("b/x/seed-0", 1), run_of("b/x/seed-1", 3)], "whole"),
        ([run_of("b/x/seed-0", 3, is_deleted=True)], "whole"),  # as if it had none: by what it says itself
        ([], "whole"),
    ],
)
def test_a_parent_is_as_old_as_its_children(children: list[Run], fate: str) -> None:
    parent = run_of("b/x/parent", 3)
    found = doomed(Holdings((), (parent, *children), ()), 3, {1}, is_ours=True)
    assert ("gone" if parent in found.runs else "emptied" if parent.id in found.emptied else "whole") == fate


def test_a_parent_in_the_trash_stays_there_and_goes() -> None:
    runs = (run_of("b/x/parent", 3, is_deleted=True), run_of("b/x/seed-0", 3))
    assert [run.id for run in doomed(Holdings((), runs, ()), 3, {1}, is_ours=True).runs] == ["b/x/parent"]


def test_only_the_model_behind_a_kept_version_stays() -> None:
    tags = {"tru.deleted_through": "3"}
    version = Version(MODEL_NAME, 7, "r", "models:/m-1", tags, is_champion=True)
    models = (Model("m-1", "r", "s3://x/m-1"), Model("m-2", "r", "s3://x/m-2"), Model("m-3", None, "s3://x/m-3"))
    held = Holdings((version,), (Run("r", 0, tags), Run("old", 0)), models)
    found = doomed(held, 3, {7}, is_ours=True)
    assert [model.id for model in found.models] == ["m-2", "m-3"] and [run.id for run in found.runs] == ["old"]
    elsewhere = replace(version, source="s3://x/m-1")
    assert [m.id for m in doomed(replace(held, versions=(elsewhere,)), 3, {7}, is_ours=True).models] == ["m-2", "m-3"]
