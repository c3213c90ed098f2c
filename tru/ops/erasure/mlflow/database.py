"""MLflow's database, where it is at hand: what it holds, and destruction of which no row is left.

MLflow's own hard deletes are used as far as they go. They and the classes of the rows belong to MLflow's inside; that
is why pyproject.toml keeps MLflow to one minor version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from tru.errors import ReleaseError
from tru.ops.erasure.mlflow.store import Holdings, Model, Run, Version
from tru.ops.release.registry_reader import CHAMPION, MODEL_NAME

EXPERIMENT = "tru"


class SqlStore:
    """A database at hand. What is destroyed here leaves no row, except the number of a model's newest version.

    Args:
        uri: its address.
        is_ours: everything in it is the workspace's; else only the experiment of tru is touched.
    """

    def __init__(self, uri: str, *, is_ours: bool) -> None:
        from mlflow.store.model_registry.dbmodels import models as registry_rows
        from mlflow.store.tracking.dbmodels import models as rows

        self._rows, self._registry_rows = rows, registry_rows
        self.is_ours = is_ours
        with explained():
            self._client = MlflowClient(uri, registry_uri=uri)
            self._store: Any = self._client._tracking_client.store
            self._registry: Any = self._client._get_registry_client().store  # type: ignore[no-untyped-call]

    def read(self) -> Holdings:
        """See :class:`Store`."""
        rows = self._rows
        with explained(), self._store.ManagedSessionMaker() as db:
            ours = self._experiments(db)
            run, model, tag = rows.SqlRun, rows.SqlLoggedModel, rows.SqlTag
            tags: dict[str, dict[str, str]] = {}
            for id, key, value in db.query(tag.run_uuid, tag.key, tag.value).filter(tag.key.like("tru.%")):
                tags.setdefault(id, {})[key] = value
            runs = db.query(run.run_uuid, run.start_time, run.status, run.lifecycle_stage, run.experiment_id)
            models = db.query(
                model.model_id, model.source_run_id, model.artifact_location, model.lifecycle_stage, model.experiment_id
            )
            return Holdings(
                versions=tuple(self._versions()),
                runs=tuple(
                    Run(id, started or 0, tags.get(id, {}), status == "FINISHED", stage == LifecycleStage.DELETED)
                    for id, started, status, stage, at in runs
                    if at in ours
                ),
                models=tuple(
                    Model(id, run_id, place, stage == LifecycleStage.DELETED)
                    for id, run_id, place, stage, at in models
                    if at in ours
                ),
            )

    def _experiments(self, db: Any) -> dict[int, str]:  # noqa: ANN401 - a session of the database
        experiment = self._rows.SqlExperiment
        found = db.query(experiment.experiment_id, experiment.name, experiment.artifact_location).all()
        return {id: place for id, name, place in found if self.is_ours or name == EXPERIMENT}

    def _versions(self) -> Iterator[Version]:
        rows = self._registry_rows
        with self._registry.ManagedSessionMaker() as db:
            alias, version = rows.SqlRegisteredModelAlias, rows.SqlModelVersion
            serving = {(name, n) for name, n in db.query(alias.name, alias.version).filter(alias.alias == CHAMPION)}
            for row in db.query(version).filter(version.current_stage != STAGE_DELETED_INTERNAL):
                tags = {tag.key: tag.value for tag in row.model_version_tags}
                is_champion = (row.name, row.version) in serving
                yield Version(row.name, row.version, row.run_id or None, row.source or "", tags, is_champion)

    def places(self) -> list[str]:
        """See :class:`Store`."""
        with explained(), self._store.ManagedSessionMaker() as db:
            return sorted(set(self._experiments(db).values()))

    def own_places(self) -> list[str]:
        """See :class:`Store`."""
        experiment = self._rows.SqlExperiment
        with explained(), self._store.ManagedSessionMaker() as db:
            found = db.query(experiment.artifact_location).filter(experiment.name == EXPERIMENT)
            return sorted({place for (place,) in found})

    def living(self) -> set[str]:
        """See :class:`Store`."""
        rows = self._rows
        with explained(), self._store.ManagedSessionMaker() as db:
            runs = {id for (id,) in db.query(rows.SqlRun.run_uuid)}
            return runs | {id for (id,) in db.query(rows.SqlLoggedModel.model_id)}

    def drop_version(self, version: Version) -> None:
        """See :class:`Store`."""
        rows = self._registry_rows
        with explained(), self._registry.ManagedSessionMaker(read_only=False) as db:
            same = {"name": version.name, "version": version.number}
            aliases = db.query(rows.SqlRegisteredModelAlias).filter_by(**same)
            # Written before it is asked who serves: from here on nobody can move the alias in between.
            db.query(rows.SqlModelVersionTag).filter_by(**same).delete()
            if not version.is_champion and aliases.filter_by(alias=CHAMPION).count():
                raise MlflowException(f"version {version.number} became champion meanwhile, so it was not destroyed")
            aliases.delete()
            self._drop_row(db, version.name, version.number)

    def _drop_row(self, db: Any, name: str, number: int) -> None:  # noqa: ANN401 - a session of the database
        """Remove the row; of our newest version keep the number, or MLflow would give it to another version."""
        row = self._registry_rows.SqlModelVersion
        this = db.query(row).filter_by(name=name, version=number)
        if name != MODEL_NAME or db.query(row).filter(row.name == name, row.version > number).count():
            this.delete(synchronize_session=False)
            return
        blank = dict.fromkeys(("description", "user_id", "storage_location", "status_message"))
        words = {column: "REDACTED" for column in ("source", "run_id", "run_link")}
        stage = {"current_stage": STAGE_DELETED_INTERNAL}
        this.update({**stage, **blank, **words}, synchronize_session=False)

    def drop_model(self, model: Model) -> None:
        """See :class:`Store`."""
        with explained(), absent_is_fine():
            self._store._hard_delete_logged_model(model.id)

    def drop_run(self, run: Run) -> None:
        """See :class:`Store`."""
        with explained(), absent_is_fine():
            self._store._hard_delete_run(run.id)

    def drop_traces(self) -> int:
        """See :class:`Store`."""
        with explained(), self._store.ManagedSessionMaker() as db:
            experiments = [str(id) for id in self._experiments(db)]
        return drop_traces(self._client, experiments)

    def tidy(self) -> int:
        """See :class:`Store`."""
        with explained():
            dropped = self._drop_experiments() if self.is_ours else 0
            with self._store.ManagedSessionMaker(read_only=False) as db:
                dropped += self._drop_loose(db)
            with self._registry.ManagedSessionMaker(read_only=False) as db:
                dropped += self._drop_tombstones(db)
        return dropped

    def _drop_experiments(self) -> int:
        """Remove experiments in the trash that hold no run and no model any more."""
        experiment, run, model = self._rows.SqlExperiment, self._rows.SqlRun, self._rows.SqlLoggedModel
        with self._store.ManagedSessionMaker() as db:
            used = {id for (id,) in db.query(run.experiment_id)} | {id for (id,) in db.query(model.experiment_id)}
            trash = db.query(experiment.experiment_id).filter(experiment.lifecycle_stage == LifecycleStage.DELETED)
            empty = [id for (id,) in trash if id not in used]
        for id in empty:
            self._store._hard_delete_experiment(str(id))
        return len(empty)

    def _drop_loose(self, db: Any) -> int:  # noqa: ANN401 - a session of the database
        """Remove links between runs, models and data sets of which one end is gone, and what hangs on them."""
        rows = self._rows
        run, model, data, link = rows.SqlRun, rows.SqlLoggedModel, rows.SqlDataset, rows.SqlInput
        to_run, to_model = link.destination_type == "RUN", link.destination_type.in_(("MODEL_INPUT", "MODEL_OUTPUT"))
        from_run = link.source_type.in_(("RUN_INPUT", "RUN_OUTPUT"))
        entity = rows.SqlEntityAssociation
        loose = [
            (link, to_run & link.destination_id.notin_(db.query(run.run_uuid))),
            (link, from_run & link.source_id.notin_(db.query(run.run_uuid))),
            (link, to_model & link.destination_id.notin_(db.query(model.model_id))),
            (rows.SqlInputTag, rows.SqlInputTag.input_uuid.notin_(db.query(link.input_uuid))),
            (data, data.dataset_uuid.notin_(db.query(link.source_id).filter(link.source_type == "DATASET"))),
            (entity, (entity.source_type == "run") & entity.source_id.notin_(db.query(run.run_uuid))),
            (entity, (entity.destination_type == "run") & entity.destination_id.notin_(db.query(run.run_uuid))),
        ]
        return sum(db.query(row).filter(condition).delete(synchronize_session=False) for row, condition in loose)

    def _drop_tombstones(self, db: Any) -> int:  # noqa: ANN401 - a session of the database
        """Remove what MLflow keeps of deleted versions."""
        rows = self._registry_rows
        gone = db.query(rows.SqlModelVersion).filter_by(current_stage=STAGE_DELETED_INTERNAL).all()
        for name, number in [(row.name, row.version) for row in gone]:
            db.query(rows.SqlModelVersionTag).filter_by(name=name, version=number).delete()
            self._drop_row(db, name, number)
        left = db.query(rows.SqlModelVersion).filter_by(current_stage=STAGE_DELETED_INTERNAL).count()
        return len(gone) - int(left)


def repository(uri: str, tracking_uri: str) -> Any:  # noqa: ANN401 - MLflow's own class, of any kind
    """MLflow's access to artifacts at ``uri``."""
    return get_artifact_repository(uri, tracking_uri=tracking_uri)


def drop_traces(client: MlflowClient, experiments: Collection[str]) -> int:
    """Destroy recorded calls and evaluation data sets of these experiments; how many there were."""
    dropped = 0
    for id in experiments:
        while found := client.delete_traces(id, max_timestamp_millis=int(time.time() * 1000)):
            dropped += found
        for data in list(pages(partial(_datasets, client, id))):
            client.delete_dataset(data.dataset_id)
            dropped += 1
    return dropped


def _datasets(client: MlflowClient, experiment: str, page: str | None) -> Any:  # noqa: ANN401 - MLflow's list of a page
    return client.search_datasets([experiment], page_token=page)


def pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """Every item of an answer that comes in pages."""
    page = None
    while True:
        part = ask(page)
        yield from part
        page = part.token
        if not page:
            return


@contextmanager
def explained() -> Iterator[None]:
    """MLflow's errors as ours."""
    try:
        yield
    except MlflowException as error:
        words = error.message.strip().splitlines()[0][:200]
        raise ReleaseError(
            f"MLflow refused: {words}. Run this again; if it stays so, see its server or database."
        ) from error


@contextmanager
def absent_is_fine() -> Iterator[None]:
    """What a killed run destroyed already need not be destroyed again."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
