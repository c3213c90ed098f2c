"""A tracking server of MLflow: what its interface lets one see and destroy.

It marks runs and models as deleted; their rows stay until `mlflow gc` is run beside the server. Their artifacts are
destroyed by :mod:`tru.ops.erasure.mlflow.artifacts`, which needs no server for that, or asks it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow.entities import LifecycleStage, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from tru.ops.erasure.mlflow.database import EXPERIMENT, absent_is_fine, drop_traces, explained, pages
from tru.ops.erasure.mlflow.store import Holdings, Model, Run, Version
from tru.ops.release.registry_reader import CHAMPION

ERASED_TAG = "tru.erased"
"""The run was emptied and marked as deleted by us; only its row is left."""


class ServerStore:
    """A tracking server: what its interface can do. Only the experiment of tru is touched; others share it."""

    def __init__(self, uri: str) -> None:
        with explained():
            self._client = MlflowClient(uri, registry_uri=uri)

    def read(self) -> Holdings:
        """See :class:`Store`."""
        with explained():
            ours = [id for id, name, _ in self._experiments() if name == EXPERIMENT]
            runs = [run for run in self._runs(ours) if ERASED_TAG not in run.tags]
            return Holdings(tuple(self._versions()), tuple(runs), tuple(self._models(ours)))

    def tombstones(self) -> int:
        """How many runs are emptied and have a row left."""
        with explained():
            ours = [id for id, name, _ in self._experiments() if name == EXPERIMENT]
            return sum(ERASED_TAG in run.tags for run in self._runs(ours))

    def others(self) -> int:
        """How many active experiments are not tru's and hold a run."""
        with explained():
            found = self._client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=1000)
            ids = [it.experiment_id for it in found if it.name != EXPERIMENT]
            return sum(bool(self._client.search_runs([id], max_results=1)) for id in ids)

    def _experiments(self) -> list[tuple[str, str, str]]:
        found = pages(lambda at: self._client.search_experiments(view_type=ViewType.ALL, page_token=at))
        return [(it.experiment_id, it.name, it.artifact_location) for it in found]

    def _runs(self, experiments: list[str]) -> Iterator[Run]:
        if not experiments:
            return
        for it in pages(lambda at: self._client.search_runs(experiments, "", ViewType.ALL, 1000, page_token=at)):
            tags = {key: value for key, value in it.data.tags.items() if key.startswith("tru.")}
            stage = it.info.lifecycle_stage == LifecycleStage.DELETED
            yield Run(it.info.run_id, it.info.start_time or 0, tags, it.info.status == "FINISHED", stage)

    def _models(self, experiments: list[str]) -> Iterator[Model]:
        if not experiments:
            return
        for it in pages(lambda at: self._client.search_logged_models(experiments, page_token=at)):
            yield Model(it.model_id, it.source_run_id, it.artifact_location)

    def _versions(self) -> Iterator[Version]:
        serving = {
            (model.name, str(model.aliases.get(CHAMPION)))
            for model in pages(lambda at: self._client.search_registered_models(page_token=at))
        }
        for it in pages(lambda at: self._client.search_model_versions(page_token=at)):
            champion = (it.name, str(it.version)) in serving
            yield Version(it.name, int(it.version), it.run_id or None, it.source or "", dict(it.tags), champion)

    def places(self) -> list[str]:
        """See :class:`Store`."""
        with explained():
            return [place for _, name, place in self._experiments() if name == EXPERIMENT]

    def own_places(self) -> list[str]:
        """See :class:`Store`: no other experiment of a server is looked into."""
        return self.places()

    def living(self) -> set[str]:
        """See :class:`Store`."""
        with explained():
            names = {id: name for id, name, _ in self._experiments()}
            found = {model.id for model in self._models(list(names))}
            for id, name in names.items():
                found |= {run.id for run in self._runs([id]) if not (run.is_deleted and name == EXPERIMENT)}
            return found

    def drop_version(self, version: Version) -> None:
        """See :class:`Store`."""
        with explained(), absent_is_fine():
            number = str(version.number)
            now = self._client.get_model_version(version.name, number)
            if not version.is_champion and CHAMPION in now.aliases:
                raise MlflowException(f"version {number} became champion meanwhile, so it was not destroyed")
            self._client.delete_model_version(version.name, number)

    def drop_model(self, model: Model) -> None:
        """See :class:`Store`."""
        with explained(), absent_is_fine():
            self._client.delete_logged_model(model.id)

    def drop_run(self, run: Run) -> None:
        """See :class:`Store`."""
        with explained(), absent_is_fine():
            if run.is_deleted:  # nothing can be written on it in the trash
                self._client.restore_run(run.id)
            self._client.set_tag(run.id, ERASED_TAG, "true")
            self._client.delete_run(run.id)

    def drop_traces(self) -> int:
        """See :class:`Store`."""
        with explained():
            return drop_traces(self._client, [id for id, name, _ in self._experiments() if name == EXPERIMENT])

    def tidy(self) -> int:
        """See :class:`Store`; a server offers nothing for it."""
        return 0
