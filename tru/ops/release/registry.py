"""Versions of the recommender in MLflow's registry: who serves, what each respects, and what a person reads of it.

Every call may be repeated after a crash. The runs behind the versions are logged by :mod:`tru.ops.release.runs`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from tru.errors import ReleaseError
from tru.ops.release.names import KEY_TAG, Span, metric_name
from tru.ops.release.registry_reader import BASELINE, CHALLENGER, CHAMPION, MODEL_NAME, MODEL_PATH, ModelVersion
from tru.ops.release.runs import NOTE_TAG, RunLog, explained, is_server, texts

__all__ = ["KEY_TAG", "ModelVersion", "Registry", "Span", "metric_name"]

_ABOUT = (
    "Recommends items and forgets who asks to be forgotten. The version with the alias `champion` serves; the last "
    "weekly baseline, if it is another one and still there, has the alias `baseline`. No version has two.\n\n"
    "Each version's description is its model card: data, deletions respected, verdict, numbers, limits. Let another "
    "version serve with `tru rollback`, never by moving the alias here: nothing would check whom that brings back. "
    "`tru ledger show` says who served when, and why."
)


class Registry(RunLog):
    """The model registry and the runs of one workspace."""

    def register(self, run_id: str, tags: Mapping[str, Any], card: str = "") -> ModelVersion:
        """Register the model of a run as a version of ``tru-recommender``: one per run, however often it is called.

        Args:
            run_id: the run.
            tags: values are written as text, None is left out.
            card: the model card, in Markdown; becomes the version's description.

        Raises:
            ReleaseError: the run is not finished or has no model, or MLflow refuses.
        """
        with explained():
            found = self._client.search_model_versions(f"name = '{MODEL_NAME}' and run_id = '{run_id}'")
            made = found[0] if found else self._create_version(run_id, tags)
            self._describe(made, card)
        return self.tag(str(made.version), tags)

    def _create_version(self, run_id: str, tags: Mapping[str, Any]) -> MlflowVersion:
        run = self._client.get_run(run_id)
        models = self._models(run.info.experiment_id, run_id)
        if run.info.status != "FINISHED" or not models:
            raise ReleaseError(f"Run {run_id} is not finished or has no model; log it again, then register it.")
        self._furnish_model()
        model = models[0]
        # Without a server, "models:/m-…" would be looked up at MLflow's global address instead of ours.
        source = f"models:/{model.model_id}" if is_server(self._uri) else model.artifact_location
        return self._client.create_model_version(MODEL_NAME, source, run_id, tags=texts(tags), model_id=model.model_id)

    def _describe(self, version: MlflowVersion, card: str) -> None:
        """Let a version say what it is, and the page of its model as well, which then links to it."""
        if card and version.description != card:
            self._client.update_model_version(MODEL_NAME, version.version, card)
        if version.model_id:
            named = json.dumps([{"name": MODEL_NAME, "version": str(version.version)}])
            about = texts({"mlflow.modelVersions": named, NOTE_TAG: card or None})
            self._client.set_logged_model_tags(version.model_id, about)

    def _furnish_model(self) -> None:
        """See that the registered model is there and says what it is; what a person wrote stays."""
        try:
            self._client.create_registered_model(MODEL_NAME, description=_ABOUT)
        except MlflowException as exc:
            if exc.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            if not self._client.get_registered_model(MODEL_NAME).description:
                self._client.update_registered_model(MODEL_NAME, _ABOUT)

    def set_alias(self, alias: str, version: str) -> None:
        """Let ``alias`` point to ``version``: one write, so a reader sees the old or the new one."""
        with explained():
            self._client.set_registered_model_alias(MODEL_NAME, alias, version)

    def set_champion(self, version: str) -> None:
        """Let a version serve, in one write; then drop what else points to it, so that it has this one alias.

        Version 0.1.0 set ``challenger`` too, for nobody; it goes wherever it points.
        """
        self.set_alias(CHAMPION, version)
        self.drop_alias(CHALLENGER)
        baseline = self.by_alias(BASELINE)
        if baseline is not None and baseline.version == version:
            self.drop_alias(BASELINE)

    def drop_alias(self, alias: str) -> None:
        """Let ``alias`` point to nothing; nothing happens if it does not point anywhere."""
        if self.by_alias(alias) is not None:
            with explained():
                self._client.delete_registered_model_alias(MODEL_NAME, alias)

    def by_alias(self, alias: str) -> ModelVersion | None:
        """The version an alias points to."""
        with explained():
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
        with explained():
            return self._version(self._client.get_model_version(MODEL_NAME, version))

    def tag(self, version: str, tags: Mapping[str, Any]) -> ModelVersion:
        """Set tags of a version and return it."""
        with explained():
            for name, value in texts(tags).items():
                self._client.set_model_version_tag(MODEL_NAME, version, name, value)
        return self.get(version)

    def list_versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        with explained():
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
        with explained():
            uri = self._model_uri(version)
            # MLflow would leave downloads in the system's folder for good; ours is emptied by every erasure.
            to = None if uri.startswith(("/", "file:")) else str(self._scratch / f"{version}-{uuid4().hex[:8]}")
            return Path(download_artifacts(artifact_uri=uri, dst_path=to, tracking_uri=self._uri))

    def download(self, version: str, to: Path) -> Path:
        """Copy the model directory of a version to ``to`` (replaced if it is there) and return it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with explained(), tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
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


def _absent(exc: MlflowException) -> bool:
    # MLflow answers an alias nobody set with "invalid parameter", a model nobody registered with "does not exist".
    unset = "alias" in exc.message and "not found" in exc.message
    return unset or exc.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
