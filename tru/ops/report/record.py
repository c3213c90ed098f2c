"""What the page says beyond the verdict: what followed the batch's close, and where everything is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tru import prose
from tru.ops.report.sequel import Link, Sequel
from tru.ops.report.words import count, decimal, moment, several
from tru.ops.requests.lifecycle import FULFILLED, Batch

_SHOWN = 500
"""Certificates that are named one by one; more would make the page too large to open."""


@dataclass(frozen=True)
class Aftermath:
    """The erasure and the certificates, ready to print.

    Attributes:
        sentence: how far it has come.
        destroyed: store, and how much of it.
        searched: store, whether it was read whole and found clean, and what could not be read.
        unreachable: what nobody could reach.
        certificates: the files, relative to the page.
        more: how many certificates are not named here.
    """

    sentence: str
    destroyed: Sequence[tuple[str, str]] = ()
    searched: Sequence[tuple[str, bool, str]] = ()
    unreachable: Sequence[str] = ()
    certificates: Sequence[str] = ()
    more: int = 0


def aftermath(batch: Batch, sequel: Sequel) -> Aftermath | None:
    """What followed the close; None where nothing was to follow, or the batch is not closed."""
    erasure = sequel.erasure
    if erasure is None:
        if batch.closed is None or batch.outcome not in FULFILLED:
            return None
        return Aftermath(
            "When this was written, the older data and models that knew the forgotten were still there. The nightly "
            "run destroys them after the time of grace, or `tru erase` does, and then signs the certificates."
        )
    files = [f"../certificates/{name}" for name in sequel.certificates]
    certified = f"{several(len(files), 'request was', 'requests were')} certified" if files else "no certificate yet"
    return Aftermath(
        f"On {moment(erasure.at)}, {several(erasure.count, 'object', 'objects')} of older data and models were "
        f"destroyed, {several(erasure.searched, 'store was', 'stores were')} searched afterwards and nothing of the "
        f"forgotten was found; {certified}.",
        destroyed=[(str(row["store"]), _amount(row)) for row in erasure.destroyed],
        searched=[(str(r["store"]), r["state"] == "not found", str(r.get("why") or "")) for r in erasure.scan],
        unreachable=erasure.unreachable,
        certificates=files[:_SHOWN],
        more=max(len(files) - _SHOWN, 0),
    )


def _amount(row: Mapping[str, Any]) -> str:
    """Objects and bytes; a database that was written anew has no objects."""
    parts = [count(row["count"])] if row["count"] or not row.get("bytes") else []
    return ", ".join([*parts, *([prose.size(row["bytes"])] if row.get("bytes") else [])])


def origin(batch: Batch, sequel: Sequel) -> list[Link]:
    """What the page was made from and where else the batch is written down, to look it up there."""
    facts = batch.facts
    checks = facts.get("check") or {}
    method = facts.get("unlearn") or {}
    found = [
        ("Batch", batch.id),
        ("Taken up", moment(batch.opened)),
        ("Closed", moment(batch.closed) if batch.closed else None),
        ("Data before (DVC md5)", facts.get("data_md5_before")),
        ("Data after (DVC md5)", facts.get("data_md5_after")),
        ("Checks of the new data", f"{checks['expectations']} expectations, all met" if checks.get("passed") else None),
        ("Method", f"{method['method']}{_strength(method)}" if method.get("method") not in (None, "none") else None),
        ("Served", _reign(batch, sequel)),
        ("Deletions through", str(batch.sequence) if batch.closed else None),
    ]
    plain = [Link(name, str(value)) for name, value in found if value]
    return [*plain, *sequel.links, *_written(sequel)]


def _written(sequel: Sequel) -> list[Link]:
    return [Link("Written", moment(sequel.written))] if sequel.written else []


def _strength(method: Mapping[str, Any]) -> str:
    """How much was taken back of what was attributed, as calibrated: for users' rows and for items'."""
    gamma = method.get("gamma")
    if not isinstance(gamma, Mapping):
        return ""
    gone = [decimal(scale, 2) for scale in gamma.get("gone") or ()]
    words = f", {min(gone)} to {max(gone)} for users who are gone" if gone else ""
    return f", strength {decimal(gamma['users'], 2)} for users, {decimal(gamma['items'], 2)} for items{words}"


def _reign(batch: Batch, sequel: Sequel) -> str | None:
    """The version that came out of the batch, and from when to when it served."""
    version = batch.facts.get("version")
    if not version or batch.facts.get("outcome") == "not found":
        return None
    since = f", from {moment(sequel.since)}" if sequel.since else ""
    return f"version {version}{since}{f' until {moment(sequel.until)}' if sequel.until else ''}"
