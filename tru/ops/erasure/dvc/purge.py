"""Destroy old data versions and what was made from them, wherever DVC keeps them; with versions.py, who knows DVC.

DVC has a garbage collector and no eraser: it keeps what the files in the workspace happen to name, leaves the run
cache, and on a versioned bucket only hides objects. So this module decides by itself what goes. Whose is an object?

- The cache inside the workspace is this workspace's alone: what is not kept goes.
- A remote, and a cache elsewhere, may hold other projects' objects. There goes only what this repository names or
  ever named: in a DVC file of any commit (also one that no branch holds any more), in a folder list or run cache
  entry that follows from it, or in its own cache. The rest is counted and left, unless it is ``alone``.

Order, so that a kill at any moment and a second run end clean: first everything current is committed and pushed;
then go the files, then the folder lists, then the run cache entries (they are how the files are found again), and
last the temporary files.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.fs import get_fs_config
from dvc.repo import Repo, lock_repo
from dvc_data.hashfile.hash_info import HashInfo

from tru.errors import ReleaseError
from tru.ops.erasure.dvc.inventory import Inventory, take
from tru.ops.erasure.dvc.lineage import Locked, locked_stages, named_in_history, out_md5s, stale, without_stages
from tru.ops.erasure.dvc.stores import (
    Store,
    folder_store,
    is_seen,
    listing_at,
    object_at,
    open_remote,
    remove,
    size_of,
    without_empty_folders,
)
from tru.ops.erasure.purged import Purged
from tru.ops.release.versions import DataVersions
from tru.ops.workspace import Workspace

_MESSAGE = "What was made from older data is no longer named"
# Other DVC processes wait for these; `btime` tells DVC that this is still the same repository.
_LOCKS = {"lock", "rwlock", "rwlock.lock", "btime"}


@dataclass(frozen=True)
class _Pipeline:
    """What the DVC files in the workspace say.

    Attributes:
        stale: stages on record that stand on older data.
        leftovers: outputs in the workspace that are not those of the present data.
        outside: how many such outputs lie outside the workspace.
        named: md5s of outputs that are current, in ``*.dvc`` and the stages that are not stale.
    """

    stale: list[Locked]
    leftovers: list[Path]
    outside: int
    named: set[str]


class DataPurge:
    """Finds and destroys what DVC keeps of older data. Every call may be repeated, and killed at any moment.

    Args:
        workspace: whose data.
        alone: nobody else uses this workspace's DVC remotes and cache, so whatever is not kept goes there too.
        retired: nobody is left to recommend to, so it is right that there is no ``data.dvc``, and every version goes.
    """

    def __init__(self, workspace: Workspace, *, alone: bool = False, retired: bool = False) -> None:
        self._root, self._alone, self._retired = workspace.root.resolve(), alone, retired
        self._data = self._root / workspace.data.name
        self._versions = DataVersions(workspace)
        self._outputs = Purged("stage outputs", 0)

    def stale_stages(self) -> list[str]:
        """Names of the stages in ``dvc.lock`` that stand on other data than ``data.dvc`` names.

        Raises:
            ReleaseError: the DVC files cannot be read.
        """
        return [stage.name for stage in self._versions.with_repo(self._pipeline).stale]

    def plan(self, keep: Collection[str]) -> list[Purged]:
        """What `purge` would destroy, store by store, and how much it would leave as perhaps another project's.

        Args:
            keep: md5s of data versions (``….dir``) to keep besides the present one.

        Raises:
            ReleaseError: a store cannot be read.
        """

        def look(repo: Repo) -> list[Purged]:
            found, sizes = self._take(repo, keep), [size_of(path) for path in self._pipeline(repo).leftovers]
            outputs = Purged("stage outputs", sum(n for n, _ in sizes), sum(size for _, size in sizes))
            left = [Purged(f"{name}: left, named by nothing here", n) for name, n in found.foreign.items() if n]
            return [outputs, *found.rows(), *left, _temporary(_scraps(repo))]

        return self._versions.with_repo(look)

    def preserve(self) -> None:
        """Make sure that nothing current can be lost: committed to git, in the cache, in this repository's remotes.

        Remotes that can only be read from here, and those of the person's own DVC settings, are not written to.

        What is no longer current ends here: stages made from older data leave ``dvc.lock`` and their outputs leave
        the workspace, except what git tracks (numbers, which git's history holds anyway).

        Raises:
            ReleaseError: ``data/`` is not what ``data.dvc`` names, a remote does not take the data, or another
                DVC process is at work.
        """
        self._versions.with_repo(self._secure)
        self._versions.commit(_MESSAGE, also=[name for name in self._tracked("*") if Path(name).name == "dvc.lock"])
        self._versions.with_repo(self._push)

    def purge(self, keep: Collection[str]) -> list[Purged]:
        """Preserve, then destroy every older version in the cache, the run cache, the remotes and DVC's own scraps.

        Args:
            keep: md5s of data versions (``….dir``) to keep besides the present one.

        Returns:
            What went, store by store, the outputs that an earlier `preserve` of this object removed included.

        Raises:
            ReleaseError: something cannot be deleted; what is left is found again by the next call.
        """
        self.preserve()
        rows = self._versions.with_repo(lambda repo: self._destroy(repo, keep))
        outputs, self._outputs = self._outputs, Purged("stage outputs", 0)
        return [outputs, *rows]

    def unreachable(self) -> list[str]:
        """In plain words, where older data may be that no `purge` reaches."""
        words = ["git history: md5s, sizes and metrics of older versions stay, no data"]
        words += self._in_git()
        words += ["clones, caches and copies that others made of this repository and its remotes"]

        def look(repo: Repo) -> list[str]:
            pipeline, (_, refused) = self._pipeline(repo), self._remotes(repo)
            if pipeline.outside:
                refused.append(f"stage outputs: {pipeline.outside} made from older data lie outside the workspace")
            try:
                foreign = self._take(repo, ()).foreign
            except ReleaseError as exc:
                return [*refused, str(exc)]
            about = "objects that nothing in this repository names were left, they may be another project's"
            return [*refused, *(f"{name}: {count} {about}" for name, count in foreign.items() if count)]

        return words + self._versions.with_repo(look)

    # What is current, and what is not.

    def _pipeline(self, repo: Repo) -> _Pipeline:
        md5, cache = self._md5(), Path(repo.cache.local_cache_dir)
        stages = [stage for stage in repo.index.stages if stage.cmd]
        names = {id(stage): (Path(stage.path).with_name("dvc.lock"), str(stage.name)) for stage in stages}
        wdirs = {names[id(stage)]: Path(stage.wdir) for stage in stages}
        tracked = {self._root / name for name in self._tracked("*") if name.endswith((".dvc", "dvc.lock"))}
        locks = {file for file, _ in wdirs if file.is_file()} | {file for file in tracked if file.name == "dvc.lock"}
        on_record = [stage for file in sorted(locks) for stage in locked_stages(file, wdirs)]
        # Without data every stage stands on older data.
        old = stale(on_record, self._data, md5 or "", listing_at(cache, md5) if md5 else {})
        fresh = [stage for stage in on_record if stage not in old]
        recorded = {(stage.file, stage.name) for stage in fresh}
        paths = {path for stage in old for path in stage.outs}
        for stage in stages:
            is_fresh = names[id(stage)] in recorded
            paths |= {Path(out.fs_path) for out in stage.outs if out.protocol == "local" and _is_old(out, is_fresh)}
        sources = [out for stage in repo.index.stages if not stage.cmd for out in stage.outs if out.hash_info]
        named = {*([md5] if md5 else []), *(str(out.hash_info.value) for out in sources)}
        named |= {made for stage in fresh for made in stage.outs.values()}
        named = named.union(*(out_md5s(file.read_bytes()) for file in tracked if file.suffix == ".dvc"))
        inside = sorted({path for path in paths if self._is_output(path)})
        outside = {path for path in paths if not path.is_relative_to(self._root) and os.path.lexists(path)}
        return _Pipeline(old, [path for path in inside if not self._tracked(str(path))], len(outside), named)

    def _md5(self) -> str | None:
        """Of the present data; None where it is right that there is none."""
        return None if self._retired and not self._versions.has_data else self._versions.md5()

    def _is_output(self, path: Path) -> bool:
        """Whether there is something that may be deleted: never the data, DVC, git or the workspace itself."""
        own = [self._data, self._root / ".dvc", self._root / ".git"]
        touches = any(path.is_relative_to(place) or place.is_relative_to(path) for place in own)
        return path.is_relative_to(self._root) and not touches and os.path.lexists(path)

    def _tracked(self, pattern: str) -> list[str]:
        """Files that git tracks; with ``*`` also those it would."""
        also = ["--others", "--exclude-standard"] if pattern == "*" else []
        names = self._versions.git("ls-files", "-z", "--cached", *also, "--", pattern).split("\0")
        return sorted({name for name in names if name and (self._root / name).is_file()})

    # Preserving.

    def _secure(self, repo: Repo) -> None:
        """Data in the cache; then stale outputs off the workspace, then their stages off the records."""
        with lock_repo(repo):
            self._refuse_if_busy()
            data = next((out for out in repo.index.outs if Path(out.fs_path) == self._data), None)
            if data is None and self._md5() is not None:
                raise ReleaseError("data.dvc does not track data/. Import data with `tru data import PATH`.")
            if data is not None and data.exists and data.changed_checksum():
                raise ReleaseError(
                    "data/ is not what data.dvc names, so nothing was destroyed. Bring it back with "
                    "`dvc checkout data.dvc`, or import what it should be with `tru data import PATH`, and run again."
                )
            if data is not None and data.changed_cache():
                repo.add(str(self._data)) if data.exists else repo.fetch(targets=[str(self._data)])
            pipeline = self._pipeline(repo)
            for path in pipeline.leftovers:
                count, size = size_of(path)
                remove(path)
                self._outputs = Purged("stage outputs", self._outputs.count + count, self._outputs.bytes + size)
            for file in {stage.file for stage in pipeline.stale}:
                without_stages(file, [stage.name for stage in pipeline.stale if stage.file == file])

    def _push(self, repo: Repo) -> None:
        stores, ours = self._remotes(repo)[0], _own_remotes(repo)
        if not (stores := {name: store for name, store in stores.items() if name in ours}):
            return
        with lock_repo(repo):
            # DVC would believe its notes of what a remote has, also of what was deleted there since.
            shutil.rmtree(Path(repo.site_cache_dir) / "index", ignore_errors=True)
            cache = Path(repo.cache.local_cache_dir)
            outs = [out for out in repo.index.outs if out.use_cache and out.hash_info and out.hash_info.name == "md5"]
            for name, store in stores.items():
                wanted = {str(out.hash_info.value) for out in outs if out.remote in {None, name}}
                roots = {oid for oid in wanted if object_at(cache, oid).exists()}
                oids = roots.union(*(listing_at(cache, oid).values() for oid in roots))
                done = repo.cloud.push({HashInfo("md5", oid) for oid in oids}, remote=name)
                if done.failed or oids - {stored.oid for stored in store.listing() if is_seen(stored)}:
                    raise ReleaseError(
                        f"The {store.name} has not got all of the current data, so nothing was destroyed. "
                        f"Look at what `dvc push -r {name}` says, and run this again."
                    )

    # Destroying.

    def _destroy(self, repo: Repo, keep: Collection[str]) -> list[Purged]:
        with lock_repo(repo):
            self._refuse_if_busy()
            found = self._take(repo, keep)
            for store, some in found.steps():
                store.delete(some)
            without_empty_folders(Path(repo.cache.local_cache_dir))
            scraps = _scraps(repo)
            temporary = _temporary(scraps)
            for path in scraps:
                remove(path)
            return [*found.rows(), temporary]

    def _take(self, repo: Repo, keep: Collection[str]) -> Inventory:
        stores, current = self._remotes(repo)[0].values(), self._pipeline(repo).named | set(keep)
        history = named_in_history(self._root)
        return take([*self._caches(repo), *stores], self._md5(), current, history, alone=self._alone)

    # Where things are.

    def _caches(self, repo: Repo) -> list[Store]:
        """The cache; and what was left in the usual place when it was moved elsewhere."""
        place, usual = Path(repo.cache.local_cache_dir).resolve(), (self._root / ".dvc" / "cache").resolve()
        # In .dvc everything is DVC's; a cache may be moved to a folder with other things in it.
        is_whole = place.is_relative_to(self._root / ".dvc")
        cache = folder_store("dvc cache", place, private=place.is_relative_to(self._root), whole=is_whole)
        is_whole = usual.is_relative_to(self._root / ".dvc")
        before = folder_store("dvc cache of before", usual, private=usual.is_relative_to(self._root), whole=is_whole)
        return [cache] if place == usual else [cache, before]

    def _remotes(self, repo: Repo) -> tuple[dict[str, Store], list[str]]:
        """The remotes that can be deleted from, by name, and words about the others."""
        opened = {name: open_remote(name, get_fs_config(repo.config, name=name)) for name in repo.config["remote"]}
        words = [about for about in opened.values() if isinstance(about, str)]
        return {name: store for name, store in opened.items() if isinstance(store, Store)}, words

    def _in_git(self) -> list[str]:
        words = []
        if self._versions.git("rev-parse", "--is-shallow-repository").strip() == "true":
            words.append("git history: this clone is shallow, so versions before it are not known; fetch the rest")
        settings = self._versions.git("config", "--list", "--name-only").splitlines()
        if any(setting.endswith(".promisor") for setting in settings):
            words.append("git history: this clone is partial, so some versions are not known; fetch the rest")
        places = [self._data, *self._versions.with_repo(_cached_outputs)]
        inside = [str(path) for path in places if path.is_relative_to(self._root)]
        if self._versions.git("rev-list", "--all", "--reflog", "--max-count=1", "--", *inside).strip():
            words.append("git history: somebody committed data to git itself; rewrite the history without it")
        return words

    def _refuse_if_busy(self) -> None:
        """DVC's one lock is free while a stage runs; who runs one notes its process beside it."""
        for file in (self._root / ".dvc" / "tmp").glob("**/rwlock"):
            with suppress(OSError, ValueError, AttributeError, TypeError):
                if any(pid != os.getpid() and _is_alive(pid) for pid in _pids(json.loads(file.read_bytes()))):
                    raise ReleaseError(
                        f"Another DVC process is at work in {self._root}: wait until it ends, then run this again."
                    )


def _own_remotes(repo: Repo) -> set[str]:
    """Those of this repository; what a person's or machine's settings name may be for something else."""
    named = (repo.config.load_one(level).get("remote", {}) for level in ("repo", "local"))
    return set().union(*named) | {str(repo.config["core"].get("remote"))}


def _is_old(out: Any, is_fresh: bool) -> bool:  # noqa: ANN401
    """An output of a stage that is not on record, or not what the record says."""
    return not is_fresh or bool(out.use_cache and out.exists and out.changed_checksum())


def _cached_outputs(repo: Repo) -> list[Path]:
    return [Path(out.fs_path) for out in repo.index.outs if out.use_cache and out.protocol == "local"]


def _scraps(repo: Repo) -> list[Path]:
    """DVC's temporary files, copies of the workspace for experiments, and notes on files and remotes."""
    temporary = Path(repo.tmp_dir)
    return [*(path for path in temporary.iterdir() if path.name not in _LOCKS), Path(repo.site_cache_dir)]


def _temporary(scraps: list[Path]) -> Purged:
    sizes = [size_of(path) for path in scraps if os.path.lexists(path)]
    return Purged("dvc temporary files", sum(count for count, _ in sizes), sum(size for _, size in sizes))


def _pids(words: dict[str, Any]) -> Iterator[int]:
    for holders in (words.get("write") or {}).values():
        yield int(holders["pid"])
    for holders in (words.get("read") or {}).values():
        yield from (int(holder["pid"]) for holder in holders)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
