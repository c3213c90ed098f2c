"""Destroying old models for good: versions, LoggedModels, runs, artifacts, and what MLflow keeps of them afterwards.

MLflow's "delete" frees nothing: rows are marked, files stay until ``mlflow gc``, which misses models, and what was
deleted stays readable in SQLite's file. Here rows go first, then every folder that no living row stands for, then what
is loose, then the database is rewritten. Each of these steps looks at what there is, not at what an earlier one did; so
a killed purge is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tru.errors import ReleaseError
from tru.ops.erasure.mlflow.artifacts import Folder, Only, Shelf, local_path, shelf, sweep
from tru.ops.erasure.mlflow.database import SqlStore, repository
from tru.ops.erasure.mlflow.server import ServerStore
from tru.ops.erasure.mlflow.store import Holdings, Model, Run, Store, Version
from tru.ops.erasure.purged import Purged
from tru.ops.release.names import KEY_TAG, PARENT
from tru.ops.release.registry_reader import MODEL_NAME
from tru.ops.storage.sqlite import compact
from tru.ops.workspace import Workspace

DELETED_TAG = "tru.deleted_through"
"""How many deletions a model respects; set on runs and versions."""
EXPERIMENTS = ("research/", "quality/")
"""How the keys of runs begin that `dvc repro` and the benchmarks log."""


@dataclass(frozen=True)
class Doomed:
    """What is to be destroyed.

    Attributes:
        versions: registered versions.
        models: LoggedModels.
        runs: runs with all they have.
        emptied: ids of runs that keep their numbers, and lose models and artifacts.
    """

    versions: tuple[Version, ...] = ()
    models: tuple[Model, ...] = ()
    runs: tuple[Run, ...] = ()
    emptied: frozenset[str] = frozenset()


def doomed(held: Holdings, mark: int, keep: Collection[int], also: Collection[str] = (), *, is_ours: bool) -> Doomed:
    """Decide what goes.

    Args:
        held: everything there is.
        mark: deletions to respect; a run or version that says it respects fewer, or does not say, is old.
        keep: numbers of the versions to keep.
        also: ids of runs and models that live in another store.
        is_ours: the store is the workspace's own, so nothing in it is spared for being somebody else's.
    """
    newest = max(keep, default=0)
    # A version that came after the list was made is nobody's to retire yet.
    kept = [v for v in held.versions if v.name == MODEL_NAME and (v.number in keep or _is_newer(v, newest, mark))]
    kept += [v for v in held.versions if v.run_id in also and v not in kept]
    gone = [v for v in held.versions if v.name == MODEL_NAME and v not in kept]
    served = {model.id for model in held.models for version in kept if _is_behind(model, version)}
    behind = {v.run_id for v in kept} | {m.run_id for m in held.models if m.id in served}
    # Old is who does not say otherwise. What respects the mark and stands behind no retired version may be under way.
    retired = {v.run_id for v in gone} - behind
    young = {r.id for r in held.runs if _respects(r.tags, mark) and not r.is_deleted and r.id not in retired}
    alive = behind | young | {*also}
    models = [m for m in held.models if m.id not in served and m.id not in also and not _is_young(m, young - behind)]
    numbers = _compared(held.runs, {run.id for run in held.runs if run.id in behind}) | _experiments(held.runs)
    # Its numbers and pictures are its children's, so a parent is as old as they are, whatever it says of itself.
    whole = _with_parents(held.runs, {id for id in alive if id is not None})
    numbers = _with_parents(held.runs, numbers)
    # A parent goes before its children: what a kill leaves of them is then no parent without any.
    runs = sorted((run for run in held.runs if run.id not in whole), key=lambda run: not _is_parent(run))
    ids = {m.id for m in models} | {r.id for r in runs}
    gone += [v for v in held.versions if v.name != MODEL_NAME and v not in kept and _leans(v, held, ids, is_ours)]
    return Doomed(
        versions=tuple(gone),
        models=tuple(models),
        runs=tuple(run for run in runs if run.id not in numbers),
        emptied=frozenset(run.id for run in runs if run.id in numbers),
    )


def _respects(tags: Mapping[str, str], mark: int) -> bool:
    said = tags.get(DELETED_TAG, "")
    return said.isdigit() and int(said) >= mark


def _is_newer(version: Version, newest: int, mark: int) -> bool:
    return version.number > newest and _respects(version.tags, mark)


def _is_behind(model: Model, version: Version) -> bool:
    return version.source in (f"models:/{model.id}", model.place)


def _is_young(model: Model, young: Collection[str]) -> bool:
    return model.run_id in young and not model.is_deleted


def _leans(version: Version, held: Holdings, ids: Collection[str], is_ours: bool) -> bool:
    """Whether a version of another name stands on something that goes, or, in our own store, on nothing."""
    models = [model for model in held.models if _is_behind(model, version)]
    known = {version.run_id} & {run.id for run in held.runs} | {model.id for model in models}
    return not known.isdisjoint(ids) or (is_ours and not known)


def _compared(runs: Sequence[Run], behind: Collection[str]) -> set[str]:
    """Runs whose numbers the kept models are compared with: those of the same night, and of the latest baseline.

    Numbers, settings and tags name nobody; what is logged together shares the beginning of its key.
    """
    families = {_family(run) for run in runs if run.id in behind}
    baselines = [
        run for run in runs if run.tags.get("tru.method") == "baseline" and run.is_finished and not run.is_deleted
    ]
    if baselines:
        families.add(_family(max(baselines, key=lambda run: run.started)))
    return {run.id for run in runs if _family(run) in families - {""} and run.is_finished and not run.is_deleted}


def _experiments(runs: Sequence[Run]) -> set[str]:
    """Runs of the research loop and of the benchmarks: averages over simulated batches, and no model."""
    return {
        run.id
        for run in runs
        if run.tags.get(KEY_TAG, "").startswith(EXPERIMENTS) and run.is_finished and not run.is_deleted
    }


def _with_parents(runs: Sequence[Run], some: Collection[str]) -> set[str]:
    """Those runs, and a parent exactly if one of its children is among them; one without children as it is."""
    children: dict[str, set[str]] = {}
    for run in runs:
        if not _is_parent(run) and not run.is_deleted:
            children.setdefault(_family(run), set()).add(run.id)
    found = {*some}
    for run in runs:
        if _is_parent(run) and not run.is_deleted and (its := children.get(_family(run))):
            found = found - {run.id} if its.isdisjoint(some) else found | {run.id}
    return found


def _is_parent(run: Run) -> bool:
    return run.tags.get(KEY_TAG, "").endswith(f"/{PARENT}")


def _family(run: Run) -> str:
    return run.tags.get(KEY_TAG, "").rpartition("/")[0]


class ModelPurge:
    """Destroys what MLflow holds of a workspace's old models, wherever it lies.

    Args:
        ws: the workspace.
        retired: nobody is left to recommend to, so it is right that no version serves.
    """

    def __init__(self, ws: Workspace, *, retired: bool = False) -> None:
        self._retired = retired
        self._ws = ws
        self._uri = ws.tracking_uri
        self._words: list[str] = []

    def plan(self, mark: int, keep_versions: Collection[str]) -> list[Purged]:
        """What :meth:`purge` would destroy; nothing is.

        Raises:
            ReleaseError: as there.
        """
        stores = self._stores()
        self._refuse(stores, mark, keep_versions)
        parts = [part for _, part in self._decided(stores, mark, keep_versions)]
        found = _joined(parts)
        dead = {run.id for run in found.runs} | {model.id for model in found.models} | found.emptied
        files, size = sweep(self._shelves(stores, dead), partial(_living, stores, dead), dry=True)
        return [*_rows(found), Purged("mlflow artifacts", files, size)]

    def purge(self, mark: int, keep_versions: Collection[str]) -> list[Purged]:
        """Destroy every version, LoggedModel, run and artifact that is old or retired; may be repeated.

        Kept are the versions in ``keep_versions`` with the models and runs behind them, whatever says that it respects
        the mark and is no retired version's, and the numbers (no models, no artifacts) of the runs that the kept models
        and the latest baseline were logged together with, and of experiments. A parent shares the fate of its children.

        Args:
            mark: how many completed deletions a model must respect.
            keep_versions: numbers of the versions to keep; the champion must be among them.

        Returns:
            What was destroyed, store by store.

        Raises:
            ReleaseError: the champion would go, or a version to keep is not there or does not respect the mark (nothing
                was destroyed then); or something cannot be destroyed now (everything else was; run it again).
        """
        stores = self._stores()
        self._refuse(stores, mark, keep_versions)
        self._words = []
        parts, traces = [], 0
        for store, part in self._decided(stores, mark, keep_versions):
            self._note_strange(store, part)
            _drop(store, part)
            traces += store.drop_traces()
            parts.append(part)
        found = _joined(parts)
        dead = {run.id for run in found.runs} | {model.id for model in found.models} | found.emptied
        files, size = sweep(self._shelves(stores, dead), partial(_living, stores, found.emptied))
        loose = sum(store.tidy() for store in stores)
        freed = sum(compact(file) for file in self._files())
        return [
            *_rows(found),
            Purged("mlflow traces", traces),
            Purged("mlflow artifacts", files, size),
            Purged("mlflow database", loose, freed),
        ]

    def unreachable(self) -> list[str]:
        """What this cannot destroy, in plain words; ask after :meth:`purge`."""
        words = ["memory of serving processes that were started before: restart them", *self._words]
        stores = self._stores()
        if stores and isinstance(stores[0], ServerStore):
            words += _of_server(stores[0])
        elif _sqlite_file(self._uri) is None:
            words.append("write-ahead logs, replicas and backups of MLflow's database server; other experiments in it")
        if self._proxied(stores) and not _is_server(self._uri):
            words.append(
                "artifacts that an MLflow server keeps elsewhere: set MLFLOW_TRACKING_URI to it and erase again"
            )
        return words

    # -- what there is ------------------------------------------------------------------------------------------------

    def _stores(self) -> list[Store]:
        """The store in use, first; then the workspace's own database, if another one is in use. None before any run."""
        own, used = self._ws.root / "mlflow.db", _sqlite_file(self._uri)
        stores: list[Store] = []
        if _is_server(self._uri):
            stores.append(ServerStore(self._uri))
        elif used is None or used.exists():
            is_ours = used is not None and used.resolve().is_relative_to(self._ws.root)
            stores.append(SqlStore(self._uri, is_ours=is_ours))
        if own.exists() and (used is None or used.resolve() != own.resolve()):
            stores.append(SqlStore(f"sqlite:///{own}", is_ours=True))
        return stores

    def _files(self) -> list[Path]:
        """The SQLite databases among them."""
        files = {file.resolve() for file in (_sqlite_file(self._uri), self._ws.root / "mlflow.db") if file is not None}
        return sorted(file for file in files if file.exists())

    def _decided(self, stores: Sequence[Store], mark: int, keep: Collection[str]) -> Iterator[tuple[Store, Doomed]]:
        """Each store and what goes in it, one after the other: what the first keeps, the second keeps as well."""
        numbers, stay = {int(number) for number in keep}, set[str]()
        for store in stores:
            held = store.read()
            is_ours = isinstance(store, SqlStore) and store.is_ours
            part = doomed(held, mark, numbers, stay, is_ours=is_ours)
            yield store, part
            stay |= {it.id for it in held.runs if it not in part.runs and it.id not in part.emptied}
            stay |= {it.id for it in held.models if it not in part.models}
            numbers = set()

    def _refuse(self, stores: Sequence[Store], mark: int, keep: Collection[str]) -> None:
        """See that what must stay will stay.

        Raises:
            ReleaseError: it would not.
        """
        found, *other = [[v for v in store.read().versions if v.name == MODEL_NAME] for store in stores] or [[]]
        champion = next((version for version in found if version.is_champion), None)
        if champion is None and any((found, *other)) and not self._retired:
            raise ReleaseError(
                "no version serves, so nothing is destroyed. See that MLFLOW_TRACKING_URI is right, or make one: "
                "`tru train`."
            )
        if champion is not None and str(champion.number) not in keep:
            raise ReleaseError(
                f"version {champion.number} is the champion and is never destroyed. Keep it, or roll back."
            )
        known = {str(version.number): version for version in found}
        for number in keep:
            if number not in known:
                raise ReleaseError(
                    f"version {number} is to be kept and is not there, so nothing is destroyed. "
                    "See that MLFLOW_TRACKING_URI is right."
                )
            if not _respects(known[number].tags, mark):
                raise ReleaseError(
                    f"version {number} is to be kept and does not respect {mark} deletions, so nothing is destroyed. "
                    "Finish the night first: `tru run`."
                )

    # -- artifacts ----------------------------------------------------------------------------------------------------

    def _shelves(self, stores: Sequence[Store], dead: Collection[str]) -> list[Shelf]:
        """Where artifacts may be destroyed.

        In the workspace's folders for them and in the places of tru's experiment that is whatever no living row stands
        for. Other experiments may keep theirs anywhere, such as in the ``mlruns`` of the folder in which somebody typed
        a command; there only what belongs to the rows in ``dead`` is ours.
        """
        places = {place for store in stores for place in store.places()}
        if not _is_server(self._uri):  # without the server only its folder in the workspace can be reached
            places -= self._proxied(stores)
        paths = {place: path.resolve() for place in places if (path := local_path(place)) is not None}
        roots = [root.resolve() for root in (self._ws.model_store, self._ws.root / "mlruns")]
        # A link may lead to a folder with other things in it.
        roots = [root for root in roots if root.is_relative_to(self._ws.root.resolve())]
        ours = [Folder(root, is_ours=True, stays=frozenset(paths.values())) for root in roots]
        within = {place for place, path in paths.items() if any(path.is_relative_to(root) for root in roots)}
        own = {place for store in stores for place in store.own_places()}
        elsewhere = {place: shelf(place, lambda at: repository(at, self._uri)) for place in sorted(places - within)}
        return [*ours, *(it if place in own else Only(it, frozenset(dead)) for place, it in elsewhere.items())]

    def _proxied(self, stores: Sequence[Store]) -> set[str]:
        return {place for store in stores for place in store.places() if place.startswith("mlflow-artifacts:")}

    def _note_strange(self, store: Store, part: Doomed) -> None:
        """Remember versions that were registered from a place which is none of MLflow's, so that is not destroyed."""
        models, places = store.read().models, store.places()
        strange = [
            version
            for version in part.versions
            if not version.source.startswith(("models:/", "runs:/", *places))
            and not any(_is_behind(model, version) for model in models)
        ]
        if strange:
            self._words.append(f"the places outside MLflow that {len(strange)} destroyed versions were registered from")


def _drop(store: Store, part: Doomed) -> None:
    for version in part.versions:
        store.drop_version(version)
    for model in part.models:
        store.drop_model(model)
    for run in part.runs:
        store.drop_run(run)


def _living(stores: Sequence[Store], emptied: Collection[str]) -> set[str]:
    return set[str]().union(*(store.living() for store in stores)).difference(emptied)


def _joined(parts: Sequence[Doomed]) -> Doomed:
    """All of them; what two stores show, because one is the server of the other, counts once."""
    return Doomed(
        tuple({(it.name, it.number, it.run_id): it for part in parts for it in part.versions}.values()),
        tuple({it.id: it for part in parts for it in part.models}.values()),
        tuple({it.id: it for part in parts for it in part.runs}.values()),
        frozenset(id for part in parts for id in part.emptied),
    )


def _rows(found: Doomed) -> list[Purged]:
    return [
        Purged("mlflow model versions", len(found.versions)),
        Purged("mlflow models", len(found.models)),
        Purged("mlflow runs", len(found.runs)),
    ]


def _of_server(store: ServerStore) -> list[str]:
    words = []
    if left := store.tombstones():
        words.append(
            f"the MLflow server's database: rows of {left} emptied runs, and of deleted models and versions (numbers, "
            "settings, tags), until `mlflow gc --backend-store-uri … --tracking-uri …` is run there"
        )
    if any(place.startswith("mlflow-artifacts:") for place in store.places()):
        words.append("older versions and backups of the storage behind the MLflow server, if it keeps any")
    if others := store.others():
        words.append(f"{others} experiments of others on the MLflow server: not looked into")
    return words


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _sqlite_file(uri: str) -> Path | None:
    """The file behind an address; None if it is another kind of store."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None
