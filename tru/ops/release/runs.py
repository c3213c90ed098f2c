"""Runs in MLflow: what a training or an unlearning left behind, as children of one parent per batch or experiment.

Every call may be repeated after a crash. A run carries an idempotency key: a finished run with that key is returned,
a half-logged one is replaced. Only the client is used, never MLflow's global "active run" or tracking address: that
address would leak into the environment of every later child process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from tru.errors import ReleaseError
from tru.ops.release.names import KEY_TAG, VIEW, Span, metric_name
from tru.ops.release.packing import pack
from tru.ops.release.registry_reader import MODEL_NAME
from tru.ops.release.serving import SERVING_FILE, ServingArrays
from tru.ops.workspace import Workspace

NOTE_TAG = "mlflow.note.content"
"""MLflow's tag for a description in Markdown."""

_PARENT_TAG = "mlflow.parentRunId"
_BATCH = 100  # MLflow's limit of params in one call
_DIGITS = 6  # of a metric after the point, as in metrics/evaluate.json
_COLUMNS = {  # kind of column -> names and width in pixels; without the view MLflow shows no number at all
    "attributes": {"Duration": 80, "Models": 130},
    "metrics": {
        **{"test/ndcg_at_20": 125, "test/recall_at_20": 125, "forget/recall_at_20": 140},
        **{"membership_auc": 125, "seconds": 80},
    },
    "tags": {"tru.method": 95, "tru.regime": 95, "tru.fraction": 95, "tru.verdict": 95},
}
_WIDTHS = {f"{kind}.`{name}`": width for kind, names in _COLUMNS.items() for name, width in names.items()}
_ABOUT = (
    "One parent per batch, experiment or weekly baseline; below it the original, the unlearned and the retrained "
    "models, measured on the same data under the same names. A parent's numbers are its candidate's.\n\n"
    "MLflow allows no @ in a name: test/recall_at_20 is what the report and docs call test/recall@20, and "
    "metrics/evaluate.json test → recall@20. The README says what a night's erasure leaves here."
)
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else MLflow shows its tools for language models
    NOTE_TAG: _ABOUT,
    f"mlflow.sharedViewState.{VIEW}": json.dumps(
        {"selectedColumns": [*_WIDTHS], "columnOrder": [*_WIDTHS], "columnWidths": _WIDTHS}
    ),
}

# Chatter at INFO (one line per migration of a new store, one or two per model); warnings and errors stay.
for _noisy in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.pyfunc", "mlflow.models"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


class RunLog:
    """The runs of one experiment of a workspace."""

    def __init__(self, workspace: Workspace, experiment: str = "tru") -> None:
        self._uri = workspace.tracking_uri
        self._store = workspace.model_store
        self._scratch = workspace.state / "tmp" / "models"
        self._experiment = experiment
        with explained():
            _create_store(self._uri, self._store)
            self._client = MlflowClient(self._uri, registry_uri=self._uri)

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
        parent: str | None = None,
        span: Span | None = None,
        note: str = "",
    ) -> str:
        """Log one finished run and return its id; the same ``key`` always gives the same one run.

        Args:
            name: what the run is called on MLflow's page; several runs may share it.
            key: the idempotency key; letters, digits and ``. _ - : / @``.
            data_md5: DVC's md5 of the data it was made from; becomes the digest of the run's input.
            metrics: flat; ``@`` in a name is written ``_at_``, values are rounded to six digits. Same names for every
                model, or MLflow cannot compare.
            params: flat; values are written as text.
            tags: values are written as text, None is left out.
            model_dir: a folder with ``serving.npz``, logged as a model that MLflow can serve.
            artifacts: small files (reports), and folders of such (plots), to keep beside the run.
            parent: id of the run that this one is shown below.
            span: when it really was done; the time of logging if None.
            note: its description, in Markdown.

        Raises:
            ModelError: ``model_dir`` holds no model that can serve.
            ReleaseError: MLflow refuses, or a name cannot be written.
        """
        if not re.fullmatch(r"[\w.\-:/@]+", key):
            raise ReleaseError("The key of a run may hold letters, digits and . _ - : / @ only.")
        if model_dir:
            ServingArrays.read(model_dir / SERVING_FILE)  # what cannot serve must not become a version
        with explained():
            experiment = self._experiment_id()
            if finished := self._settle(experiment, key):
                self._adopt(finished, parent)
                return str(finished.info.run_id)
            about = texts({**tags, KEY_TAG: key, _PARENT_TAG: parent, NOTE_TAG: note or None})
            began = _millis(span.began) if span else None
            run = self._client.create_run(experiment, start_time=began, tags=about, run_name=name)
            run_id = str(run.info.run_id)
            self._log_facts(run_id, params, tags, data_md5)
            model_id = self._log_model(experiment, run_id, model_dir, params) if model_dir else None
            self._log_metrics(run_id, metrics, model_id, data_md5)
            self._log_artifacts(run_id, artifacts)
            self._client.set_terminated(run_id, "FINISHED", end_time=_millis(span.ended) if span else None)
            return run_id

    def amend_run(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, Any] | None = None,
        artifacts: Sequence[Path] = (),
        note: str = "",
        ended: datetime | None = None,
    ) -> None:
        """Add to a finished run what is known only later; see :meth:`log_run`. The same again changes nothing.

        Raises:
            ReleaseError: there is no such run, or MLflow refuses.
        """
        with explained():
            known = self._client.get_run(run_id).data
            said = {metric_name(name): round(float(value), _DIGITS) for name, value in (metrics or {}).items()}
            new = {name: value for name, value in said.items() if known.metrics.get(name) != value}
            words = texts({**(tags or {}), NOTE_TAG: note or None})
            entries = [RunTag(name, value) for name, value in words.items() if known.tags.get(name) != value]
            now = int(time.time() * 1000)
            if new or entries:
                moments = [Metric(name, value, now, 0) for name, value in new.items()]
                self._client.log_batch(run_id, metrics=moments, tags=entries)
            self._log_artifacts(run_id, artifacts)
            if ended:
                self._client.set_terminated(run_id, "FINISHED", end_time=_millis(ended))

    def find_run(self, key: str) -> str | None:
        """The id of the finished run with this key, if there is one."""
        with explained():
            runs = self._runs(self._experiment_id(), key)
        return next((str(run.info.run_id) for run in runs if run.info.status == "FINISHED"), None)

    def find_runs(self, tags: Mapping[str, str]) -> list[str]:
        """The ids of the finished runs that have all of these tags; a tag's value holds no quotation mark."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        with explained():
            found = self._client.search_runs([self._experiment_id()], f"attributes.status = 'FINISHED' and {wanted}")
        return [str(run.info.run_id) for run in found]

    def experiment_id(self) -> str:
        """MLflow's id of the experiment; it is made if there is none.

        Raises:
            ReleaseError: it was deleted, or MLflow refuses.
        """
        with explained():
            return self._experiment_id()

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            # A server decides for itself where artifacts go; a database alone would put them in ./mlruns.
            place = None if is_server(self._uri) else (self._store / self._experiment).as_uri()
            return str(self._client.create_experiment(self._experiment, artifact_location=place, tags=_EXPERIMENT_TAGS))
        if found.lifecycle_stage != "active":
            raise ReleaseError(
                f"The MLflow experiment '{self._experiment}' is deleted. Restore it: "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`."
            )
        self._furnish(found)
        return str(found.experiment_id)

    def _furnish(self, found: Experiment) -> None:
        """Give an experiment of an earlier version what a new one has; what a person wrote there stays."""
        for name, value in _EXPERIMENT_TAGS.items():
            if name not in found.tags:
                self._client.set_experiment_tag(found.experiment_id, name, value)

    def _runs(self, experiment: str, key: str) -> list[Run]:
        return list(self._client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'"))

    def _settle(self, experiment: str, key: str) -> Run | None:
        """The finished run with this key; runs a crash left half-logged are deleted on the way, models first."""
        finished = None
        for run in self._runs(experiment, key):
            if run.info.status == "FINISHED":
                finished = run
                continue
            for model in self._models(experiment, run.info.run_id):
                self._client.delete_logged_model(model.model_id)
            self._client.delete_run(run.info.run_id)
        return finished

    def _adopt(self, run: Run, parent: str | None) -> None:
        """Show a finished run below its parent, if it is not there yet: its parent may have been logged anew."""
        if parent and run.data.tags.get(_PARENT_TAG) != parent:
            self._client.set_tag(run.info.run_id, _PARENT_TAG, parent)

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
            Metric(metric_name(name), round(float(value), _DIGITS), now, 0, model_id, "data", data_md5, run_id)
            for name, value in metrics.items()
        ]
        self._client.log_batch(run_id, metrics=entries)

    def _log_artifacts(self, run_id: str, artifacts: Sequence[Path]) -> None:
        for place in artifacts:
            if place.is_dir():
                self._client.log_artifacts(run_id, str(place), place.name)
            else:
                self._client.log_artifact(run_id, str(place))

    def _log_model(self, experiment: str, run_id: str, model_dir: Path, params: Mapping[str, Any]) -> str:
        model = self._client.create_logged_model(
            experiment,
            name=MODEL_NAME,
            source_run_id=run_id,
            params={metric_name(name): str(value) for name, value in params.items()},
        )
        model_id = str(model.model_id)
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:  # what a kill leaves there, an erasure finds
            packed = pack(model_dir, Path(scratch), run_id, model)
            self._client.log_model_artifacts(model_id, str(packed))
        self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        return model_id


def is_server(uri: str) -> bool:
    """Whether the address is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them; None is left out."""
    return {name: str(value) for name, value in tags.items() if value is not None}


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _create_store(uri: str, artifacts: Path) -> None:
    """Make a new SQLite store beside its place and move it there whole.

    MLflow would have its default experiment keep artifacts in whatever folder the command is typed in.

    MLflow builds its tables in many transactions; a kill in between would leave a store that it cannot repair.
    """
    if not uri.startswith("sqlite:///") or (place := Path(uri.removeprefix("sqlite:///"))).exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.new-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
        with closing(sqlite3.connect(fresh)) as db, db:
            db.execute("UPDATE experiments SET artifact_location = ?", ((artifacts / "0").as_uri(),))
        with suppress(FileExistsError):  # somebody else was faster; theirs is as good
            place.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def explained() -> Iterator[None]:
    """MLflow's errors as ours."""
    try:
        yield
    except MlflowException as exc:
        raise ReleaseError(f"MLflow refused: {exc.message.strip()} (store: MLFLOW_TRACKING_URI or mlflow.db)") from exc
