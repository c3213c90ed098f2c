"""How requests and batches are written into columns of text and numbers; times are UTC text, which sorts by time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from tru.ops.requests.ledger import Entry, Kind
from tru.ops.requests.lifecycle import Batch, DeletionRequest, Regime, State


def to_text(moment: datetime) -> str:
    """A moment (aware) as UTC text, which sorts by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def request_columns(request: DeletionRequest) -> dict[str, Any]:
    """The columns of a request that its life changes."""
    return {
        "state": request.state.value,
        "received": _text(request.received),
        "user": request.user,
        "item": request.item,
        "modality": request.modality,
        "outcome": request.outcome,
        "batch": request.batch,
    }


def to_request(row: Mapping[str, Any]) -> DeletionRequest:
    """The request in a row."""
    return DeletionRequest(
        id=row["id"],
        regime=Regime(row["regime"]),
        state=State(row["state"]),
        received=datetime.fromisoformat(row["received"]),
        user=row["user"],
        item=row["item"],
        modality=row["modality"],
        outcome=row["outcome"],
        batch=row["batch"],
    )


def batch_columns(batch: Batch) -> dict[str, Any]:
    """The columns of a batch."""
    values = {name: getattr(batch, name) for name in ("step", "size", "sequence", "outcome", "verdict", "owner")}
    values |= {name: _text(getattr(batch, name)) for name in ("opened", "closed", "lease_until")}
    values |= {name: json.dumps(getattr(batch, name)) for name in ("seconds", "facts")}
    return values | {"open": 1 if batch.closed is None and not batch.is_aside else None}


def to_batch(row: Mapping[str, Any]) -> Batch:
    """The batch in a row."""
    return Batch(
        id=row["id"],
        opened=datetime.fromisoformat(row["opened"]),
        step=row["step"],
        size=row["size"],
        sequence=row["sequence"],
        outcome=row["outcome"],
        verdict=row["verdict"],
        seconds=json.loads(row["seconds"]),
        facts=json.loads(row["facts"]),
        closed=_moment(row["closed"]),
        owner=row["owner"],
        lease_until=_moment(row["lease_until"]),
    )


def entry_columns(entry: Entry) -> dict[str, Any]:
    """The columns of an entry of the ledger."""
    return {**vars(entry), "at": _text(entry.at), "facts": json.dumps(entry.facts)}


def to_entry(row: Mapping[str, Any]) -> Entry:
    """The entry in a row; what somebody made unreadable becomes an entry whose digest does not fit."""
    try:
        at, facts = datetime.fromisoformat(row["at"]), json.loads(row["facts"])
        if at.tzinfo is None or not isinstance(facts, dict):
            raise ValueError
    except (ValueError, TypeError):
        at, facts = datetime.fromtimestamp(0, UTC), {"unreadable": True}
    kind, key, previous, digest = (str(row[name]) for name in ("kind", "key", "previous", "digest"))
    return Entry(row["seq"], at, cast(Kind, kind), key, facts, previous, digest)
