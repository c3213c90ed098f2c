"""What became of a batch beyond its own record: who serves now, what was erased, where else it is written down.

A report is written more than once: when the batch closes, when its old copies are destroyed, and whenever a person asks
for it. Each time it says what is true then. The record of the batch itself does not change after its close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tru.errors import ReleaseError
from tru.ops.release import registry_reader
from tru.ops.requests.ledger import Entry
from tru.ops.requests.lifecycle import Batch
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.servers import services
from tru.ops.workspace import Workspace


@dataclass(frozen=True)
class Link:
    """Something that is written down elsewhere.

    Attributes:
        name: what it is.
        text: its id, or its place relative to the workspace: true whether or not a server runs.
        address: where a browser finds it; None if that is not known now.
    """

    name: str
    text: str
    address: str | None = None


@dataclass(frozen=True)
class Erasure:
    """What was destroyed after a batch, and what the search afterwards came to.

    Attributes:
        at: when it was entered in the ledger (aware).
        destroyed: rows of ``store``, ``count``, ``bytes``.
        scan: rows of ``store``, ``state``, ``count``, ``why``.
        unreachable: what nobody could reach, in words.
    """

    at: datetime
    destroyed: Sequence[Mapping[str, Any]]
    scan: Sequence[Mapping[str, Any]]
    unreachable: Sequence[str]

    @property
    def count(self) -> int:
        """How many objects were destroyed."""
        return sum(int(row["count"]) for row in self.destroyed)

    @property
    def searched(self) -> int:
        """How many stores were searched and found clean."""
        return sum(row["state"] == "not found" for row in self.scan)


@dataclass(frozen=True)
class Sequel:
    """What is known of a batch beyond its own record; every field is empty where nothing is.

    Attributes:
        written: when this was looked up (aware).
        serving: the version that serves now.
        served: the version that served when the batch ended, or does if it has not.
        since: when the batch's own version began to serve (aware).
        until: when another version took over from it (aware).
        erasure: what was destroyed, if it was.
        certificates: names of the certificates' files, in ``.tru/certificates``.
        links: where else the batch is written down.
    """

    written: datetime | None = None
    serving: str | None = None
    served: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    erasure: Erasure | None = None
    certificates: Sequence[str] = ()
    links: Sequence[Link] = ()


def look_up(ws: Workspace, batch: Batch) -> Sequel:
    """What is known now."""
    ledger = open_ledger(ws)
    champions = ledger.entries("champion")
    own = [n for n, entry in enumerate(champions) if entry.facts.get("batch") == batch.id]
    later = champions[own[-1] + 1] if own and own[-1] + 1 < len(champions) else None
    return Sequel(
        written=datetime.now(UTC),
        serving=_version(champions),
        served=_version([entry for entry in champions if batch.closed is None or entry.at <= batch.closed]),
        since=champions[own[-1]].at if own else None,
        until=later.at if later else None,
        erasure=_erasure(ledger.find("erasure", batch.id)),
        certificates=_certificates(ws, batch),
        links=_links(ws, batch),
    )


def _version(champions: Sequence[Entry]) -> str | None:
    """The version that the last of these entries made champion."""
    version = champions[-1].facts.get("version") if champions else None
    return None if version is None else str(version)


def _erasure(entry: Entry | None) -> Erasure | None:
    if entry is None:
        return None
    facts = entry.facts
    return Erasure(entry.at, facts.get("destroyed", ()), facts.get("scan", ()), facts.get("unreachable", ()))


def _certificates(ws: Workspace, batch: Batch) -> list[str]:
    """The files of the batch's requests that have one; the folder holds those of all batches."""
    there = {file.stem for file in ws.certificates.glob("req-*.json")}
    if not there:
        return []
    return sorted(f"{request.id}.json" for request in open_inbox(ws).list(batch=batch.id) if request.id in there)


def _links(ws: Workspace, batch: Batch) -> list[Link]:
    """Prefect's runs, the last one first, and the batch's model in MLflow; with addresses where a server runs now."""
    return [*_prefect(ws, batch), *_mlflow(ws, batch)]


def _prefect(ws: Workspace, batch: Batch) -> list[Link]:
    server = services.prefect_address(ws)
    page = f"{server.removesuffix('/api')}/runs/flow-run/" if server else None
    runs = [str(run) for run in reversed(batch.facts.get("prefect_runs") or [])]
    names = ["Prefect run", *["Earlier Prefect run"] * (len(runs) - 1)]
    return [Link(name, run, page and f"{page}{run}") for name, run in zip(names, runs, strict=False)]


def _mlflow(ws: Workspace, batch: Batch) -> list[Link]:
    """The version that came out of the batch, its run and that run's parent; a later erasure destroys all three."""
    facts = batch.facts
    version = facts.get("version")
    if not version or facts.get("outcome") == "not found":
        return []
    text = f"{version} of {registry_reader.MODEL_NAME}"
    runs = {"MLflow run": facts.get("mlflow_run"), "MLflow parent run": facts.get("mlflow_parent")}
    found = {"MLflow version": text, **{name: str(run) for name, run in runs.items() if run}}
    try:
        is_there = any(known.version == version for known in registry_reader.versions(ws))
    except ReleaseError:  # nobody can say now
        return [Link(name, text) for name, text in found.items()]
    if not is_there:
        return [Link("MLflow version", f"{text}, no longer there")]
    if not (services.has_tracking_server(ws) or services.load(ws)):
        return [Link(name, text) for name, text in found.items()]
    from tru.ops import pages  # it loads MLflow

    places = {name: pages.run_page(ws, run) for name, run in found.items() if name in runs}
    places["MLflow version"] = pages.version_page(ws, version)
    return [Link(name, text, places[name]) for name, text in found.items()]
