"""Everything in all of DVC's stores, and what of it goes, stays, or is perhaps another project's; destroys nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tru.errors import ReleaseError
from tru.ops.erasure.dvc.lineage import EMPTY, RunEntry, family, is_of, listed, related
from tru.ops.erasure.dvc.stores import Kind, Store, Stored
from tru.ops.erasure.purged import Purged

# Files go before the lists and run cache entries that lead to them: after a kill they are found again.
ORDER: tuple[Kind, ...] = ("file", "folder", "run", "scrap")


@dataclass(frozen=True)
class Inventory:
    """What was found.

    Attributes:
        doomed: for each store what goes, in the order in which it must go.
        foreign: for each store the number of objects that nothing names and that stay.
    """

    doomed: list[tuple[Store, list[Stored]]]
    foreign: dict[str, int]

    def steps(self) -> Iterator[tuple[Store, list[Stored]]]:
        """What to delete where, in an order that may be broken off anywhere and begun again."""
        for kind in ORDER:
            for store, some in self.doomed:
                if part := [stored for stored in some if stored.kind == kind]:
                    yield store, part

    def rows(self) -> list[Purged]:
        """What goes, store by store; the run cache beside the cache has a row of its own."""
        rows = []
        for store, some in self.doomed:
            if store.name == "dvc cache":
                runs = [stored for stored in some if stored.kind == "run"]
                some = [stored for stored in some if stored.kind != "run"]
                rows.append(Purged("dvc run cache", len(runs), sum(stored.size for stored in runs)))
            rows.append(Purged(store.name, len(some), sum(stored.size for stored in some)))
        return rows


def take(
    stores: Sequence[Store], present: str | None, current: Collection[str], history: Collection[str], *, alone: bool
) -> Inventory:
    """Look into every store and judge everything in it.

    Args:
        stores: local ones first: a folder's list is read from the first that has it.
        present: md5 of the present data, without whose list nothing is judged; None if there is no data any more.
        current: md5s that stay, with all that their folders list.
        history: md5s that this repository ever named.
        alone: nobody else has anything in these stores.

    Raises:
        ReleaseError: a store cannot be read, or the present data is in none.
    """
    there = [(store, list(store.listing())) for store in stores]
    folder = _folders(there)
    if present is not None and not folder(present):
        raise ReleaseError(
            "The present data is in no store of DVC, so nothing was destroyed. Run `dvc commit data.dvc`."
        )
    kept = family(current, folder)
    entries = {id(s): RunEntry.parse(store.read(s)) for store, some in there for s in some if s.kind == "run"}
    own = {s.oid for store, some in there if store.private or alone for s in some} - {""}
    named, runs = related({*history, *current, *own}, folder, list(entries.values()))
    old = named - kept
    rank = {entry: n for n, entry in enumerate(runs)}

    def is_ours(store: Store, stored: Stored) -> bool:
        if store.private or alone or stored.kind == "scrap":
            return True
        return is_of(entries[id(stored)], named) if stored.kind == "run" else stored.oid in named

    def goes(store: Store, stored: Stored) -> bool:
        if stored.kind == "run":
            entry = entries[id(stored)]
            return is_ours(store, stored) and not old.isdisjoint(entry.deps | entry.outs)
        return stored.kind == "scrap" or (stored.oid not in kept and stored.oid != EMPTY and is_ours(store, stored))

    def when(stored: Stored) -> int:
        """Of the run cache the last in a chain goes first: the others lead to it."""
        return -rank.get(entries[id(stored)], -1) if stored.kind == "run" else 0

    return Inventory(
        [(store, sorted((s for s in some if goes(store, s)), key=when)) for store, some in there],
        {store.name: sum(s.oid != EMPTY and not is_ours(store, s) for s in some) for store, some in there},
    )


def _folders(there: list[tuple[Store, list[Stored]]]) -> Callable[[str], Mapping[str, str]]:
    places: dict[str, list[tuple[Store, Stored]]] = {}
    for store, some in there:
        for stored in some:
            if stored.kind == "folder" and stored.size:
                places.setdefault(stored.oid, []).append((store, stored))
    known: dict[str, Mapping[str, str]] = {}

    def folder(oid: str) -> Mapping[str, str]:
        if oid not in known:
            lists = (listed(store.read(stored)) for store, stored in places.get(oid, ()))
            known[oid] = next((found for found in lists if found is not None), {})
        return known[oid]

    return folder
