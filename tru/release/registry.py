"""Runs, models and versions in MLflow: the only module that knows MLflow's client.

Every call may be repeated after a crash. A run carries an idempotency key: a finished run with that key is returned,
a half-logged one is replaced. Only the client is used, never MLflow's global "active run" or tracking address: that
address would leak into the environment of every later child process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow.artifacts import download_artifacts
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.pyfunc import save_model
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType

from tru.errors import ReleaseError
from tru.release.registry_reader import CHAMPION, MODEL_NAME, MODEL_PATH, ModelVersion
from tru.release.serving import SERVING_FILE, ServingArrays
from tru.workspace import Workspace

KEY_TAG = "tru.key"

_SCRIPT = Path(__file__).with_name("serving_model.py")
_ARTIFACT = "model"  # the name serving_model.py asks for
_BATCH = 100  # MLflow's limit of params in one call
# k is "any": as "long", MLflow would turn 2.5 into 2 and true into 1 before our own check could refuse them;
# as "double", it would refuse a frame of whole numbers. (With "any" it reads no CSV: tru.release.serving_input does.)
_ANY = AnyType()  # type: ignore[no-untyped-call]
_SIGNATURE = ModelSignature(inputs=Schema([ColSpec("string", "user_id"), ColSpec(_ANY, "k", required=False)]))

# Chatter at INFO (one line per migration of a new store, one or two per model); warnings and errors stay.
for _noisy in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.pyfunc", "mlflow.models"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def metric_name(name: str) -> str:
    """MLflow's spelling of a metric or param: it refuses ``@``, so ``test/recall@20`` becomes ``test/recall_at_20``."""
    return name.replace("@", "_at_")


class Registry:
    """The model registry and experiment of one workspace."""

    def __init__(self, workspace: Workspace, experiment: str = "tru") -> None:
        self._uri = workspace.tracking_uri
        self._store = workspace.model_store
        self._scratch = workspace.state / "tmp" / "models"
        self._experiment = experiment
        with _explained():
            _create_store(self._uri)
            self._client = MlflowClient(self._uri, registry_uri=self._uri)

    # -- runs ---------------------------------------------------------------------------------------------------------

    def log_run(
        self,
        name: str,
        *,
        key: str,
        data_md5: str,
        metrics: Mapping[str, float],
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        model_dir: Path | None = None,
        artifacts: Sequence[Path] = (),
    ) -> str:
        """Log one finished run and return its id; the same ``key`` always gives the same one run.

        Args:
            name: what the run is called on MLflow's page; several runs may share it.
            key: the idempotency key; letters, digits and ``. _ - : / @``.
            data_md5: DVC's md5 of the data it was made from; becomes the digest of the run's input.
            metrics: flat; ``@`` in a name is written ``_at_``. Same names for every model, or MLflow cannot compare.
            params: flat; values are written as text.
            tags: values are written as text, None is left out.
            model_dir: a folder with ``serving.npz``, logged as a model that MLflow can serve.
            artifacts: small files (reports) to keep beside the run.

        Raises:
            ModelError: ``model_dir`` holds no model that can serve.
            ReleaseError: MLflow refuses, or a name cannot be written.
        """
        if not re.fullmatch(r"[\w.\-:/@]+", key):
            raise ReleaseError("The key of a run may hold letters, digits and . _ - : / @ only.")
        if model_dir:
            ServingArrays.read(model_dir / SERVING_FILE)  # what cannot serve must not become a version
        with _explained():
            experiment = self._experiment_id()
            if finished := self._settle(experiment, key):
                return finished
            run = self._client.create_run(experiment, tags={**_texts(tags), KEY_TAG: key}, run_name=name)
            run_id = str(run.info.run_id)
            self._log_facts(run_id, params, tags, data_md5)
            model_id = self._log_model(experiment, run_id, model_dir) if model_dir else None
            self._log_metrics(run_id, metrics, model_id, data_md5)
            for file in artifacts:
                self._client.log_artifact(run_id, str(file))
            self._client.set_terminated(run_id, "FINISHED")
            return run_id

    def find_run(self, key: str) -> str | None:
        """The id of the finished run with this key, if there is one."""
        with _explained():
            runs = self._runs(self._experiment_id(), key)
        return next((str(run.info.run_id) for run in runs if run.info.status == "FINISHED"), None)

    def experiment_id(self) -> str:
        """MLflow's id of the experiment; it is made if there is none.

        Raises:
            ReleaseError: it was deleted, or MLflow refuses.
        """
        with _explained():
            return self._experiment_id()

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            # A server decides for itself where artifacts go; a database alone would put them in ./mlruns.
            place = None if _is_server(self._uri) else (self._store / self._experiment).as_uri()
            return str(self._client.create_experiment(self._experiment, artifact_location=place))
        if found.lifecycle_stage != "active":
            raise ReleaseError(
                f"The MLflow experiment '{self._experiment}' is deleted. Restore it: "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`."
            )
        return str(found.experiment_id)

    def _runs(self, experiment: str, key: str) -> list[Run]:
        return list(self._client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'"))

    def _settle(self, experiment: str, key: str) -> str | None:
        """The finished run with this key; runs a crash left half-logged are deleted on the way, models first."""
        finished = None
        for run in self._runs(experiment, key):
            if run.info.status == "FINISHED":
                finished = str(run.info.run_id)
                continue
            for model in self._models(experiment, run.info.run_id):
                self._client.delete_logged_model(model.model_id)
            self._client.delete_run(run.info.run_id)
        return finished

    def _models(self, experiment: str, run_id: str) -> list[LoggedModel]:
        return list(self._client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))

    def _log_facts(self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, Any], data_md5: str) -> None:
        entries = [Param(metric_name(name), str(value)) for name, value in params.items()]
        for start in range(0, len(entries), _BATCH):
            self._client.log_batch(run_id, params=entries[start : start + _BATCH])
        if commit := tags.get("tru.git_commit"):
            self._client.log_batch(run_id, tags=[RunTag("mlflow.source.git.commit", str(commit))])
        source = json.dumps({"path": "data.dvc", "md5": data_md5})
        dataset = Dataset(name="data", digest=data_md5, source_type="dvc", source=source)
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float], model_id: str | None, data_md5: str) -> None:
        now = int(time.time() * 1000)
        entries = [
            Metric(metric_name(name), float(value), now, 0, model_id, "data", data_md5, run_id)
            for name, value in metrics.items()
        ]
        self._client.log_batch(run_id, metrics=entries)

    def _log_model(self, experiment: str, run_id: str, model_dir: Path) -> str:
        model = self._client.create_logged_model(experiment, name=MODEL_NAME, source_run_id=run_id)
        model_id = str(model.model_id)
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:  # what a kill leaves there, an erasure finds
            packed = _pack(model_dir, Path(scratch), run_id, model)
            self._client.log_model_artifacts(model_id, str(packed))
        self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        return model_id

    # -- versions -----------------------------------------------------------------------------------------------------

    def register(self, run_id: str, tags: Mapping[str, Any]) -> ModelVersion:
        """Register the model of a run as a version of ``tru-recommender``: one per run, however often it is called.

        Raises:
            ReleaseError: the run is not finished or has no model, or MLflow refuses.
        """
        with _explained():
            if found := self._client.search_model_versions(f"name = '{MODEL_NAME}' and run_id = '{run_id}'"):
                return self.tag(str(found[0].version), tags)
            run = self._client.get_run(run_id)
            models = self._models(run.info.experiment_id, run_id)
            if run.info.status != "FINISHED" or not models:
                raise ReleaseError(f"Run {run_id} is not finished or has no model; log it again, then register it.")
            with _already_there():
                self._client.create_registered_model(MODEL_NAME)
            model = models[0]
            # Without a server, "models:/m-…" would be looked up at MLflow's global address instead of ours.
            source = f"models:/{model.model_id}" if _is_server(self._uri) else model.artifact_location
            made = self._client.create_model_version(
                MODEL_NAME, source, run_id, tags=_texts(tags), model_id=model.model_id
            )
            return self._version(made)

    def set_alias(self, alias: str, version: str) -> None:
        """Let ``alias`` point to ``version``: one write, so a reader sees the old or the new one."""
        with _explained():
            self._client.set_registered_model_alias(MODEL_NAME, alias, version)

    def drop_alias(self, alias: str) -> None:
        """Let ``alias`` point to nothing; nothing happens if it does not point anywhere."""
        if self.by_alias(alias) is not None:
            with _explained():
                self._client.delete_registered_model_alias(MODEL_NAME, alias)

    def by_alias(self, alias: str) -> ModelVersion | None:
        """The version an alias points to."""
        with _explained():
            try:
                return self._version(self._client.get_model_version_by_alias(MODEL_NAME, alias))
            except MlflowException as exc:
                if _absent(exc):
                    return None
                raise

    def champion(self) -> ModelVersion | None:
        """The version that serves."""
        return self.by_alias(CHAMPION)

    def get(self, version: str) -> ModelVersion:
        """One version by number."""
        with _explained():
            return self._version(self._client.get_model_version(MODEL_NAME, version))

    def tag(self, version: str, tags: Mapping[str, Any]) -> ModelVersion:
        """Set tags of a version and return it."""
        with _explained():
            for name, value in _texts(tags).items():
                self._client.set_model_version_tag(MODEL_NAME, version, name, value)
        return self.get(version)

    def list_versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        with _explained():
            try:
                aliases = self._client.get_registered_model(MODEL_NAME).aliases
            except MlflowException as exc:
                if _absent(exc):
                    return []
                raise
            found, page = [], None
            while True:
                part = self._client.search_model_versions(f"name = '{MODEL_NAME}'", page_token=page)
                found += [self._version(item, aliases) for item in part]
                page = part.token
                if not page:
                    return sorted(found, key=lambda item: int(item.version), reverse=True)

    def model_dir(self, version: str) -> Path:
        """The model directory of a version, to read only: in place if the store is a folder, else downloaded anew."""
        with _explained():
            uri = self._model_uri(version)
            # MLflow would leave downloads in the system's folder for good; ours is emptied by every erasure.
            to = None if uri.startswith(("/", "file:")) else str(self._scratch / f"{version}-{uuid4().hex[:8]}")
            return Path(download_artifacts(artifact_uri=uri, dst_path=to, tracking_uri=self._uri))

    def download(self, version: str, to: Path) -> Path:
        """Copy the model directory of a version to ``to`` (replaced if it is there) and return it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with _explained(), tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
            uri = self._model_uri(version)
            copy = download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=self._uri)
            shutil.rmtree(to, ignore_errors=True)
            Path(copy).rename(to)
        return to

    def _model_uri(self, version: str) -> str:
        source = str(self._client.get_model_version_download_uri(MODEL_NAME, version))
        return f"{source.rstrip('/')}/{MODEL_PATH}"

    def _version(self, item: MlflowVersion, aliases: Mapping[str, str] | None = None) -> ModelVersion:
        names = item.aliases if aliases is None else [name for name, at in aliases.items() if at == item.version]
        created = datetime.fromtimestamp(item.creation_timestamp / 1000, UTC)
        return ModelVersion(str(item.version), str(item.run_id), dict(item.tags), created, tuple(sorted(names)))


def _pack(model_dir: Path, scratch: Path, run_id: str, model: LoggedModel) -> Path:
    """The folder MLflow stores: script, arrays, signature. Requirements are given, so MLflow need not guess them."""
    named = scratch / _ARTIFACT  # the stored folder takes its name from here, whatever the directory is called
    shutil.copytree(model_dir, named)
    packed = scratch / "packed"
    location = model.artifact_location
    save_model(
        str(packed),
        mlflow_model=Model(location, run_id, model_uuid=model.model_id, model_id=model.model_id),
        python_model=str(_SCRIPT),
        artifacts={_ARTIFACT: str(named)},
        signature=_SIGNATURE,
        input_example={"user_id": ["a-user-id"], "k": [20]},
        # Not "tru": it is installed where this runs, and a name on a public index may be a stranger's.
        pip_requirements=[f"{name}=={installed(name)}" for name in ("mlflow", "numpy", "pandas", "sqlalchemy")],
    )
    return packed


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _create_store(uri: str) -> None:
    """Make a new SQLite store beside its place and move it there whole.

    MLflow builds its tables in many transactions; a kill in between would leave a store that it cannot repair.
    """
    if not uri.startswith("sqlite:///") or (place := Path(uri.removeprefix("sqlite:///"))).exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.new-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # somebody else was faster; theirs is as good
            place.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items() if value is not None}


def _absent(exc: MlflowException) -> bool:
    # MLflow answers an alias nobody set with "invalid parameter", a model nobody registered with "does not exist".
    unset = "alias" in exc.message and "not found" in exc.message
    return unset or exc.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


@contextmanager
def _already_there() -> Iterator[None]:
    try:
        yield
    except MlflowException as exc:
        if exc.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except MlflowException as exc:
        raise ReleaseError(f"MLflow refused: {exc.message.strip()} (store: MLFLOW_TRACKING_URI or mlflow.db)") from exc
