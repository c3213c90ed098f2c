"""What the weekly baseline leaves behind: the numbers to judge against without a retrain, and licences to do so.

A *baseline* is a few models trained from scratch on the current data: how good a champion should be, per user, and how
much two such models differ by their dice alone. A *licence* says that a rehearsed deletion of so many subjects came out
like a retrain; it lives in the ledger and nowhere else. How both are made is in :mod:`tru.ops.pipeline.weekly`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from zipfile import BadZipFile

from tru.errors import Busy, ReleaseError
from tru.ops.requests.ledger import Entry
from tru.ops.workspace import Workspace, only_one
from tru.params import Params

if TYPE_CHECKING:  # whoever reads settings does without numpy
    import numpy as np

Regime = Literal["user", "item", "interaction", "modality"]
REGIMES: dict[Regime, str] = {
    "user": "users",
    "item": "items",
    "interaction": "interactions",
    "modality": "modalities",
}
"""Regime -> the word for several of them: keys of params, groups of a verdict, and what messages say."""


@dataclass(frozen=True)
class Baseline:
    """What was measured of freshly trained models. It holds user ids: keep it off logs and reports.

    Attributes:
        version: the registered version of the first seed.
        data_md5: the data they were trained on.
        made: when that data was taken.
        deleted_through: how many requests it respects.
        seeds: of the models.
        seconds: one training, the median.
        metrics: one dict per seed, under the names every model has.
        noise: metric -> sample standard deviation between the seeds.
        users: (n,) str, the users with test rows.
        ndcg: (seeds, n) their test NDCG@20.
    """

    version: str
    data_md5: str
    made: datetime
    deleted_through: int
    seeds: list[int]
    seconds: float
    metrics: list[dict[str, float]]
    noise: dict[str, float]
    users: np.ndarray
    ndcg: np.ndarray

    def age_days(self, now: datetime) -> float:
        """How old it is."""
        return (now - self.made).total_seconds() / 86400


def folder(ws: Workspace) -> Path:
    """Where baselines are kept."""
    return ws.state / "baseline"


def latest(ws: Workspace) -> Baseline | None:
    """The newest baseline; None before the first one.

    Raises:
        ReleaseError: its file is damaged.
    """
    file = _file(ws)
    if not file.exists():  # asked first: numpy takes a moment to load
        return None
    import numpy as np

    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            users, ndcg = stored["users"], stored["ndcg"]
        facts["made"] = datetime.fromisoformat(facts["made"])
        return Baseline(**facts, users=users, ndcg=ndcg)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, BadZipFile, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(
            f"{file} is damaged ({type(error).__name__}). Delete it and make a new baseline: `tru baseline`."
        ) from error


def keep(ws: Workspace, found: Baseline) -> None:
    """Make ``found`` the latest one: one file, written whole or not at all, readable by this account only."""
    import numpy as np

    facts = {k: v for k, v in asdict(found).items() if k not in ("users", "ndcg")} | {"made": found.made.isoformat()}
    file = _file(ws)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(file)
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as out:
        np.savez(out, facts=json.dumps(facts), users=found.users.astype(str), ndcg=found.ndcg)
    beside.replace(file)


def forget_rows(ws: Workspace, users: Collection[str]) -> None:
    """Drop the rows of deleted users, and what a killed run left of the data; the night calls it when it promotes."""
    _beside(_file(ws)).unlink(missing_ok=True)
    with suppress(ReleaseError), exclusive(ws):  # a live run forgets them itself, and destroys its copy at its end
        shutil.rmtree(work(ws), ignore_errors=True)
    drop(ws, users)


def drop(ws: Workspace, users: Collection[str]) -> None:
    """Drop the rows of these users from the latest baseline."""
    import numpy as np

    try:
        found = latest(ws)
    except ReleaseError:  # nobody can use it, and nobody can say whose rows are in it
        _file(ws).unlink()
        return
    if found is None:
        return
    stay = ~np.isin(found.users, np.array(sorted(users), dtype=str))
    if not stay.all():
        keep(ws, replace(found, users=found.users[stay], ndcg=found.ndcg[:, stay]))


def discard(ws: Workspace) -> None:
    """Drop the latest baseline as a whole: there is nothing left that could be compared with it."""
    forget_rows(ws, ())
    _file(ws).unlink(missing_ok=True)


def work(ws: Workspace) -> Path:
    """Intermediates of a run of :mod:`tru.ops.pipeline.weekly`: a copy of the data, models; destroyed at its end."""
    return folder(ws) / "work"


@contextmanager
def exclusive(ws: Workspace) -> Iterator[None]:
    """Only one baseline at a time; the system takes the lock from a process that dies.

    Raises:
        Busy: another run is at it.
    """
    busy = Busy("another run is making a baseline in this workspace. Wait until it ends.")
    with only_one(folder(ws) / "lock", busy):
        yield


# -- licences ---------------------------------------------------------------------------------------------------------


class HasMethod(Protocol):
    """The settings that a rehearsal was made with and a night is run with."""

    @property
    def unlearn(self) -> Params:
        """Block ``unlearn``."""
        ...

    @property
    def model(self) -> Params:
        """Block ``model``."""
        ...


@dataclass(frozen=True)
class Licence:
    """A passed rehearsal.

    Attributes:
        id: the key of its ledger entry.
        granted: when.
        expires: until when it counts.
        regime: what was forgotten.
        size: batches up to so many of them.
        method: the unlearner.
        settings: digest of the blocks ``unlearn`` and ``model``.
        backbone: name of the model.
        data: name of the data set.
        table: rows of the gate's verdict that belong to this regime.
    """

    id: str
    granted: datetime
    expires: datetime
    regime: Regime
    size: int
    method: str
    settings: str
    backbone: str
    data: str
    table: list[dict[str, Any]]

    @classmethod
    def of(cls, entry: Entry) -> Licence:
        """What a ledger entry of kind ``licence`` says."""
        facts = entry.facts
        return cls(
            id=entry.key,
            granted=datetime.fromisoformat(facts["granted"]),
            expires=datetime.fromisoformat(facts["expires"]),
            regime=facts["regime"],
            size=facts["size"],
            method=facts["method"],
            settings=facts["settings"],
            backbone=facts["backbone"],
            data=facts["data"],
            table=facts["table"],
        )

    @property
    def words(self) -> str:
        """The same for a person."""
        exact = " (judged by the exact checks and utility only)" if self.regime == "modality" else ""
        return (
            f"{self.method} on {self.backbone} and {self.data} is good for batches of up to {self.size} "
            f"{REGIMES[self.regime]} until {self.expires:%Y-%m-%d}{exact}"
        )


def method_facts(ws_data: Path, settings: HasMethod) -> dict[str, str]:
    """What a licence is bound to: ``method``, ``settings``, ``backbone`` and ``data``.

    Args:
        ws_data: folder of the data set.
        settings: as they are now.

    Raises:
        ReleaseError: there is no readable data set.
    """
    unlearn, model = settings.unlearn.model_dump(mode="json"), settings.model.model_dump(mode="json")
    canonical = json.dumps({"unlearn": unlearn, "model": model}, sort_keys=True)
    try:
        name = str(json.loads((ws_data / "dataset.json").read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{ws_data} has no readable dataset.json. Import the data again.") from error
    return {
        "method": str(unlearn["method"]),
        "settings": hashlib.sha256(canonical.encode()).hexdigest()[:12],
        "backbone": str(model["name"]),
        "data": name,
    }


def licence(ws: Workspace, regime: Regime, size: int, settings: HasMethod, now: datetime) -> tuple[Licence | None, str]:
    """The licence to judge a batch without a retrain.

    Args:
        ws: the workspace.
        regime: what is to be forgotten.
        size: how many subjects of this regime the batch has.
        settings: as they are now; a rehearsal with others does not count.
        now: the time.

    Returns:
        The newest one that covers it, and what it says; or None and why there is none. A failed rehearsal ends the
        licences that were granted for the same method before it.
    """
    from tru.ops.requests.store import open_ledger  # a database engine, which most who read settings do without

    many = REGIMES[regime]
    bound = method_facts(ws.data, settings)
    entries = [e for e in open_ledger(ws).entries("licence") if e.facts["regime"] == regime]
    same = [e for e in entries if all(e.facts[k] == v for k, v in bound.items())]
    if not entries:
        return None, f"no rehearsal has been made for {many}: `tru baseline` makes one"
    if not same:
        return None, f"the rehearsals for {many} were made with another method, settings, backbone or data set"
    if not same[-1].facts["passed"]:
        why = "; ".join(same[-1].facts["reasons"])
        return (
            None,
            f"no rehearsal has passed for {many}: the last one, on {_day(same[-1].facts['granted'])}, failed ({why})",
        )
    return _covering(_since_failure(same), many, size, now)


def standing(ws: Workspace, settings: HasMethod, now: datetime) -> dict[Regime, tuple[Licence | None, str]]:
    """For each regime the newest licence that counts, or why there is none; see :func:`licence`."""
    return {regime: licence(ws, regime, 1, settings, now) for regime in REGIMES}


def _since_failure(entries: Sequence[Entry]) -> list[Licence]:
    """The licences after the last failed rehearsal, newest first."""
    granted: list[Licence] = []
    for entry in reversed(entries):
        if not entry.facts["passed"]:
            break
        granted.append(Licence.of(entry))
    return granted


def _covering(granted: list[Licence], many: str, size: int, now: datetime) -> tuple[Licence | None, str]:
    valid = [found for found in granted if now < found.expires]
    if not valid:
        return None, f"the licence for {many} expired on {granted[0].expires:%Y-%m-%d}"
    for found in valid:
        if found.size >= size:
            return found, found.words
    most = max(found.size for found in valid)
    return None, f"the licence is good for up to {most} {many}, this batch has {size}"


def _day(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d}"


def _file(ws: Workspace) -> Path:
    return folder(ws) / "baseline.npz"


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.new")
