"""The residue scan: is anything of these subjects left, in any store of the workspace?"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tru.data.forget import ForgetSet, cut
from tru.data.interactions import load_dataset
from tru.errors import DataError, RequestError, TruError
from tru.ops.erasure.places import folder, pending
from tru.ops.erasure.search import formats
from tru.ops.erasure.search.objects import Piece, Store
from tru.ops.erasure.search.patterns import Hits, Needles, Tag
from tru.ops.erasure.search.stores import stores_of
from tru.ops.erasure.search.traces import Traces
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import Subject
from tru.ops.workspace import Workspace

State = Literal["found", "not found", "unreachable"]
_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """What one store holds.

    Attributes:
        store: its plain name; never an identifier.
        state: ``unreachable`` if a part of it could not be read and nothing was found in the rest.
        count: places, each a trace in a file or object; 0 unless found.
        why: where to look (at most three paths), or what could not be read.
    """

    store: str
    state: State
    count: int = 0
    why: str = ""


@dataclass
class Sighting:
    """What was seen in one store. It holds identifiers: see :class:`Finding` for what may be shown.

    Attributes:
        store: its name.
        tags: the traces found.
        count: places.
        where: at most three of them, in words without identifiers.
        problems: what could not be read.
    """

    store: str
    tags: set[Tag] = field(default_factory=set)
    count: int = 0
    where: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def finding(self) -> Finding:
        """The part of it that may be shown."""
        problems = "; ".join(dict.fromkeys(self.problems))
        if self.count:
            unread = f" (and not all could be read: {problems})" if problems else ""
            return Finding(self.store, "found", self.count, ", ".join(self.where) + unread)
        return Finding(self.store, "unreachable" if problems else "not found", 0, problems)


def scan(
    ws: Workspace,
    traces: Traces,
    *,
    progress: Callable[[str], None] | None = None,
    skip: Collection[Path] = (),
) -> list[Finding]:
    """Search every store for the traces.

    Args:
        ws: the workspace.
        traces: what to look for.
        progress: told the name of each store before it is searched.
        skip: files that are not searched.

    Returns:
        One finding per store, in a fixed order, whatever was found.
    """
    return [seen.finding() for seen in sightings(ws, traces, progress=progress, skip=skip)]


def sightings(
    ws: Workspace,
    traces: Traces,
    *,
    progress: Callable[[str], None] | None = None,
    skip: Collection[Path] = (),
) -> list[Sighting]:
    """As :func:`scan`, with the traces that were seen. For the command line and reports use :func:`scan`."""
    needles = Needles(traces)
    known: dict[tuple[int, ...], Hits] = {}
    found = []
    for store in stores_of(ws, frozenset(path.resolve() for path in skip)):
        if progress is not None:
            progress(store.name)
        found.append(_look(store, needles, known))
    return found


def holds(path: Path, traces: Traces) -> bool:
    """Whether one file holds a trace.

    Raises:
        OSError: it cannot be read.
    """
    return bool(formats.search(formats.Source(path, path.name), Needles(traces)).tags)


def _look(store: Store, needles: Needles, known: dict[tuple[int, ...], Hits]) -> Sighting:
    seen = Sighting(store.name)
    unreadable = 0
    for generate in store.pieces:
        for piece in generate():
            try:
                hits = _search(piece, needles, known)
            except FileNotFoundError:  # gone since it was listed
                continue
            except OSError:
                unreadable += 1
                continue
            named = formats.in_name(piece.name, needles).tags
            seen.tags |= hits.tags | named
            seen.count += len(hits.tags | named)
            if (hits.tags or named) and len(seen.where) < _SHOWN:
                seen.where.append(_shown(piece.name, needles, bool(named)))
            seen.problems += [f"{fault}: {_shown(piece.name, needles, bool(named))}" for fault in sorted(hits.faults)]
    if unreadable:
        seen.problems.append(f"{unreadable} of its files and folders may not be read")
    seen.problems += store.problems
    seen.problems = _few(seen.problems)
    return seen


def _search(piece: Piece, needles: Needles, known: dict[tuple[int, ...], Hits]) -> Hits:
    """Search a piece; a file that has several names (DVC links its cache into the workspace) only once."""
    place = piece.source.place
    if isinstance(place, bytes):
        return formats.search(piece.source, needles)
    status = place.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, hash(piece.source.hint))
    if status.st_nlink > 1 and key in known:
        return known[key]
    hits = formats.search(piece.source, needles)
    if status.st_nlink > 1:
        known[key] = hits
    return hits


def _shown(name: str, needles: Needles, named: bool) -> str:
    """A path that may be shown: not one that is a trace itself, or has a part that could be an id."""
    parts = {part for piece in Path(name).parts for part in (piece, piece.partition(".")[0])}
    if not named and not parts & needles.names:
        return name
    folder = Path(name).parent.as_posix()
    hidden = formats.in_name(folder, needles).tags or {*Path(folder).parts} & needles.names
    return "a file whose name is a trace" + ("" if hidden else f", in {folder}")


def _few(problems: list[str]) -> list[str]:
    more = len(problems) - _SHOWN
    return problems if more <= 0 else [*problems[:_SHOWN], f"{more} more"]


def traces_for(ws: Workspace, inbox: Inbox, batch: str, subjects: Collection[Subject] = ()) -> Traces:
    """What to look for: the operator's list, else the traces set aside, else the ids of the open batch.

    Where the data still holds them, their interactions and features are looked for as well.

    Raises:
        RequestError: the batch's identifiers are destroyed, or it is unknown.
    """
    if subjects:
        return _with_data(ws, forget_set(subjects))
    if batch in pending(ws):
        return Traces.load(folder(ws, batch))
    found = inbox.forget_set(batch)
    if found.is_empty:
        raise RequestError(
            f"No identifiers of {batch} are held here: it is unknown, or erased. "
            "Name the subjects yourself: `tru scan --batch ID --subjects FILE`."
        )
    return _with_data(ws, found)


def forget_set(subjects: Collection[Subject]) -> ForgetSet:
    """Subjects of requests as one forget set."""
    by: dict[str, set[tuple[str, ...]]] = {}
    for one in subjects:
        by.setdefault(one.regime.value, set()).add(
            tuple(p for p in (one.user, one.item, one.modality) if p is not None)
        )
    return ForgetSet(
        users=frozenset(name for (name,) in by.get("user", ())),
        items=frozenset(name for (name,) in by.get("item", ())),
        pairs=frozenset((user, item) for user, item in by.get("interaction", ())),
        modalities=frozenset((item, modality) for item, modality in by.get("modality", ())),
    )


def _with_data(ws: Workspace, subjects: ForgetSet) -> Traces:
    try:
        before = load_dataset(ws.data)
        known = subjects.known(before)
        if known.is_empty:
            return Traces(subjects)
        return replace(Traces.of(known, before, cut(before, known), None), subjects=subjects)
    except (TruError, DataError):
        return Traces(subjects)
