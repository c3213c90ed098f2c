"""After a restore: who was forgotten and is there again, and having them forgotten anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tru.data.forget import ForgetSet, Pair
from tru.data.interactions import Dataset, load_dataset
from tru.data.prepare import Prepared
from tru.errors import CertificateError
from tru.models.trained import TrainedModel
from tru.ops import certificates
from tru.ops.release.champion import is_retired
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Regime, Subject
from tru.ops.requests.store import open_inbox, open_ledger, open_suppression
from tru.ops.requests.suppression import Key, load_key
from tru.ops.workspace import Workspace


def reapply(ws: Workspace, folder: Path | None = None) -> dict[str, Any]:
    """File a request for everybody who was forgotten and is in the data, or in the champion, again.

    The next nightly run forgets them like anybody else: cut, gate, erasure, certificate. They are suppressed at once.

    Args:
        ws: the workspace.
        folder: certificates kept elsewhere; whoever they say was forgotten counts too. For a restore that brought an
            older inbox with it, whose marks know less than the certificates.

    Returns:
        ``found`` (regime -> how many are there again), ``places`` (``data``, ``champion`` -> how many are in it),
        ``filed`` (how many requests).

    Raises:
        CertificateError: a file in ``folder`` does not verify.
    """
    certified = _certified(ws, folder) if folder else frozenset()
    known = {"data": _Names.of_data(load_dataset(ws.data))} if _has_data(ws) else {}
    champion = Registry(ws).champion()
    if champion is not None:
        known["champion"] = _Names.of_model(TrainedModel.load(Registry(ws).model_dir(champion.version)).data)
    places = {place: _forgotten(ws, names, certified) for place, names in known.items()}
    subjects = sorted({s for found in places.values() for s in _subjects(found)}, key=_order)
    said = {
        "found": {regime.value: sum(s.regime is regime for s in subjects) for regime in Regime},
        "places": {place: found.size for place, found in places.items()},
        "filed": len(open_inbox(ws).add_all(subjects)) if subjects else 0,
    }
    if subjects:
        open_ledger(ws).append("restore", _key(subjects, ws), **said)
    return said


def _has_data(ws: Workspace) -> bool:
    """Whether there should be any: not where nobody was left to recommend to, and nothing was imported since."""
    return DataVersions(ws).has_data or not is_retired(ws)


@dataclass(frozen=True, repr=False)
class _Names:
    """Whoever and whatever is in one place."""

    users: Collection[str]
    items: Collection[str]
    pairs: Iterable[Pair]
    modalities: Iterable[Pair]

    @classmethod
    def of_data(cls, data: Dataset) -> _Names:
        rows = data.interactions
        return cls(
            data.users.tolist(),
            data.items.tolist(),
            list(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)),
            [(item, m) for m in data.modalities for item in data.items[data.present[m]].tolist()],
        )

    @classmethod
    def of_model(cls, data: Prepared) -> _Names:
        users, items = (data.users[data.train[:, 0]].tolist(), data.items[data.train[:, 1]].tolist())
        return cls(
            data.users.tolist(),
            data.items.tolist(),
            list(zip(users, items, strict=True)),
            [(item, m) for m in data.modalities for item in data.items[data.present[m]].tolist()],
        )


def _forgotten(ws: Workspace, names: _Names, certified: frozenset[str]) -> ForgetSet:
    """Those of them who were forgotten: by the inbox's marks, or by certificates."""
    marked = open_suppression(ws).forgotten(names.users, names.items, names.pairs, names.modalities)
    if not certified:
        return marked
    digest = load_key(ws, create=False).digest
    users = frozenset(u for u in names.users if digest("user", u) in certified)
    items = frozenset(i for i in names.items if digest("item", i) in certified)
    return ForgetSet(
        users=marked.users | users,
        items=marked.items | items,
        pairs=marked.pairs | frozenset((u, i) for u, i in names.pairs if digest("pair", u, i) in certified),
        modalities=marked.modalities
        | frozenset((i, m) for i, m in names.modalities if digest("modality", i, m) in certified),
    )


def _certified(ws: Workspace, folder: Path) -> frozenset[str]:
    """The keyed hashes of all whom the certificates of a folder name."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise CertificateError(f"{folder} holds no certificate (*.json). Name the folder that they are kept in.")
    keys, found = certificates.trusted(ws), set()
    for file in files:
        try:
            found.add(certificates.verify(file.read_bytes(), keys).subject)
        except CertificateError as error:
            raise CertificateError(f"{file}: {error}") from error
    return frozenset(found)


def _subjects(found: ForgetSet) -> Iterable[Subject]:
    """A request each; what goes with its user or item anyway is not asked for again."""
    yield from (Subject.of(user=user) for user in found.users)
    yield from (Subject.of(item=item) for item in found.items)
    yield from (Subject.of(user=u, item=i) for u, i in found.pairs if u not in found.users and i not in found.items)
    yield from (Subject.of(item=i, modality=m) for i, m in found.modalities if i not in found.items)


def _order(subject: Subject) -> tuple[str, ...]:
    return (subject.regime.value, subject.user or "", subject.item or "", subject.modality or "")


def _key(subjects: Iterable[Subject], ws: Workspace) -> str:
    """Names the entry by whom it is about, hashed, and how far the deletions were: typed twice it is one entry."""
    key: Key = load_key(ws, create=False)
    words = json.dumps([key.of_subject(s) for s in subjects]).encode()
    return f"restore/{open_inbox(ws).completed_through()}/{hashlib.sha256(words).hexdigest()[:16]}"
