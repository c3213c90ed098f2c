"""The erasure: plan, execute, verify. Everything that was made before the forgotten were forgotten is destroyed.

The order is what keeps the needed safe: the present data is committed and pushed first, then old models go, then old
data, then what lies about; then everything is searched, and only if nothing is found is the erasure entered in the
ledger, the certificates are signed and the traces destroyed. Every action may be repeated, so a killed erasure is
finished by running it again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tru.errors import ErasureError, ReleaseError
from tru.ops import certificates, locks
from tru.ops.erasure.pending import Pending, drop, waiting
from tru.ops.erasure.places import folder
from tru.ops.erasure.purged import Purged
from tru.ops.held import cuts_to_take_back
from tru.ops.judging import baseline
from tru.ops.release import registry_reader
from tru.ops.release.champion import is_retired
from tru.ops.release.registry_reader import ModelVersion
from tru.ops.release.retention import kept
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.ops.stages import write_json
from tru.ops.workspace import Workspace

if TYPE_CHECKING:  # DVC, MLflow and pandas: whoever learns that nothing waits has not loaded them
    from tru.data.forget import ForgetSet
    from tru.ops.erasure.dvc.purge import DataPurge
    from tru.ops.erasure.mlflow.purge import ModelPurge
    from tru.ops.erasure.search.scan import Finding
    from tru.ops.erasure.search.traces import Traces

_log = logging.getLogger(__name__)
Say = Callable[[str], None]
ALWAYS_OUT_OF_REACH = (
    "copies, backups and snapshots made outside of this workspace: whoever made them must delete them",
    "what others computed from earlier models or lists",
    "blocks of deleted files on the disk, until they are overwritten",
)
_ANOTHER = "another erasure is at work in this workspace, or a rollback or a night that begins. Wait until it ends."


class InTheWay(ErasureError):
    """Somebody is at work who needs what would be destroyed, and who erases when that is done."""


@dataclass(frozen=True)
class Plan:
    """What an erasure would do now.

    Attributes:
        batches: whose traces are searched for.
        mark: model versions that respect fewer deletions go.
        keep: model versions that stay.
        destroy: what goes, per store.
        unreachable: what no erasure of ours reaches, in words.
    """

    batches: list[str]
    mark: int
    keep: list[str]
    destroy: list[Purged]
    unreachable: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            **asdict(self),
            "destroy": [{"store": row.what, "count": row.count, "bytes": row.bytes} for row in self.destroy],
        }


def plan(ws: Workspace, now: datetime | None = None) -> Plan:
    """What :func:`erase` would do now, grace or not; nothing is touched. Where no batch waits, that is nothing.

    Raises:
        ErasureError: the workspace is not in a state in which it could be erased.
    """
    found = waiting(ws)
    if not found:
        return Plan([], _erased_through(ws), _numbers(registry_reader.versions(ws)), [], [*ALWAYS_OUT_OF_REACH])
    mark, stay = _kept(ws, found, now or datetime.now(UTC))
    models, data = _purges(ws)
    destroy = [*models.plan(mark, _numbers(stay)), *data.plan(_data(stay))]
    unreachable = [*models.unreachable(), *data.unreachable(), *ALWAYS_OUT_OF_REACH]
    return Plan([p.batch for p in found], mark, _numbers(stay), destroy, unreachable)


def erase(
    ws: Workspace,
    *,
    now: datetime | None = None,
    graceful: bool = False,
    say: Say | None = None,
    look: Say | None = None,
) -> dict[str, Any]:
    """Erase what knew the forgotten, search for what is left, and certify; nothing where no batch waits.

    Args:
        ws: the workspace.
        now: aware; for tests.
        graceful: leave out batches whose time of grace is not over, and all of them while somebody is in the way.
        say: is told what is being done; never an identifier.
        look: is told the name of each store before it is searched.

    Returns:
        ``batches`` (erased now), ``destroyed`` (rows of store, count, bytes), ``scan`` (rows of store, state, count,
        why), ``unreachable`` (words), ``certificates`` (how many).

    Raises:
        InTheWay: another erasure, a night or a baseline is at work, and it is not ``graceful``.
        ErasureError: the workspace is not in order, or something was found after all; the message says where. What
            waits for its erasure goes on waiting, and nothing needed is lost.
        CertificateError: the signing key cannot be used; nothing was destroyed.
    """
    now = now or datetime.now(UTC)
    if not waiting(ws):
        return _nothing()
    try:
        with locks.serving(ws, InTheWay(_ANOTHER)):
            certificates.signing_key(ws)  # one that is locked or missing is to be known before anything is destroyed
            _finish(ws)
            grace = load_settings(ws).erasure.grace_hours
            found = [p for p in waiting(ws) if not graceful or p.is_due(grace, now)]
            return _erased(ws, found, now, say or (lambda _: None), look) if found else _nothing()
    except InTheWay:
        if not graceful:
            raise
        return _nothing()


def _nothing() -> dict[str, Any]:
    return {"batches": [], "destroyed": [], "scan": [], "unreachable": [], "certificates": 0}


def _erased(ws: Workspace, found: Sequence[Pending], now: datetime, say: Say, look: Say | None) -> dict[str, Any]:
    """Destroy, search, enter in the ledger, certify; see :func:`erase`."""
    from tru.ops.erasure.search.scan import scan

    _refuse_meanwhile(ws)
    exports = export_folders(ws)
    mark, stay = _kept(ws, found, now)
    traces = _traces(ws, found)
    unreachable = _destroy(ws, mark, stay, traces, exports, say)
    say("searching every store for what is left")
    left = scan(ws, traces, progress=look)
    _refuse_residue(left)
    said = {
        "destroyed": _tally(ws),
        "scan": [asdict(finding) for finding in left],
        "unreachable": [*unreachable, *(_unread(f) for f in left if f.state == "unreachable")],
    }
    for one in found:
        open_ledger(ws).append("erasure", one.batch, batch=one.batch, mark=mark, **said)
    _tally_file(ws).unlink(missing_ok=True)
    return {"batches": [p.batch for p in found], **said, "certificates": _finish(ws)}


def _destroy(
    ws: Workspace, mark: int, stay: Sequence[ModelVersion], traces: Traces, exports: Sequence[Path], say: Say
) -> list[str]:
    """All that is old, in the order that cannot lose what is needed; counts are kept as it goes."""
    from tru.ops.erasure.local import purge_local

    _refuse_to_lose(ws, stay)
    models, data = _purges(ws)
    say("committing and pushing the present data")
    data.preserve()
    say("destroying old models")
    _count(ws, models.purge(mark, _numbers(stay)))
    say("destroying old data")
    _count(ws, data.purge(_data(stay)))
    say("destroying what lies about")
    _count(ws, purge_local(ws, traces))
    _count(ws, [_removed(place) for place in exports])
    return [*models.unreachable(), *data.unreachable(), *ALWAYS_OUT_OF_REACH]


def _purges(ws: Workspace) -> tuple[ModelPurge, DataPurge]:
    from tru.ops.erasure.dvc.purge import DataPurge
    from tru.ops.erasure.mlflow.purge import ModelPurge

    retired = is_retired(ws)
    return ModelPurge(ws, retired=retired), DataPurge(ws, alone=load_settings(ws).erasure.alone, retired=retired)


def _refuse_to_lose(ws: Workspace, stay: Sequence[ModelVersion]) -> None:
    """The champion must be among those that stay."""
    champion = registry_reader.champion(ws)
    if champion is not None and champion.version not in _numbers(stay):
        raise ErasureError(
            f"version {champion.version} serves, and it knows somebody who was forgotten. Nothing was destroyed. Roll "
            "back to one that does not (`tru rollback --list`), or make one: `tru reapply`, then `tru run`."
        )


def _kept(ws: Workspace, found: Sequence[Pending], now: datetime) -> tuple[int, list[ModelVersion]]:
    """The mark, and the model versions that stay."""
    params = load_settings(ws).erasure
    mark = max(p.mark for p in found)
    return mark, kept(registry_reader.versions(ws), mark, params, now)


def _erased_through(ws: Workspace) -> int:
    """The mark of the last erasure."""
    last = open_ledger(ws).last("erasure")
    return int(last.facts["mark"]) if last else 0


def _finish(ws: Workspace) -> int:
    """Certify and forget whatever the ledger says is erased; also what a killed run left after its entry."""
    from tru.ops.erasure.search.traces import Traces
    from tru.ops.report import rewrite
    from tru.ops.tracking.runs import show_report

    ledger, issued = open_ledger(ws), 0
    for one in waiting(ws):
        entry = ledger.find("erasure", one.batch)
        if entry is None:
            continue
        never = _names(Traces.load(folder(ws, one.batch)).subjects)
        erased = entry.at.astimezone(UTC).isoformat(timespec="seconds")
        for request in one.requests:
            received = request["received"]
            # A revoked modality suppresses nothing: only the new model forgets it.
            hidden = {} if request["regime"] == "modality" else {"suppressed": received}
            facts = certificates.Facts(
                **{
                    **one.about,
                    "request": request["request"],
                    "subject": request["subject"],
                    "regime": request["regime"],
                    "times": {"received": received, **hidden, **one.about["times"], "erased": erased},
                    "erasure": entry.facts["destroyed"],
                    "scan": entry.facts["scan"],
                    "unreachable": entry.facts["unreachable"],
                }
            )
            certificates.issue(ws, facts, never=never)
            issued += 1
        drop(ws, one.batch)
        rewrite(ws, one.batch)  # it said that this was still to come
        show_report(ws, one.batch)
    if issued and certificates.signing_key(ws).kind == "development":
        _log.warning(certificates.DEVELOPMENT_WARNING)
    return issued


def _names(subjects: ForgetSet) -> set[str]:
    """Every identifier that a batch named; no certificate may repeat one."""
    pairs = {name for pair in subjects.pairs for name in pair}
    return {*subjects.users, *subjects.items, *pairs, *(item for item, _ in subjects.modalities)}


def _traces(ws: Workspace, found: Sequence[Pending]) -> Traces:
    from tru.ops.erasure.search.traces import Traces

    traces = Traces.none()
    for one in found:
        traces = traces | Traces.load(folder(ws, one.batch))
    return traces


def export_folders(ws: Workspace) -> list[Path]:
    """The folders of what was made by hand from the data or the models.

    Raises:
        ErasureError: one of them holds what is needed, or is not inside the workspace.
    """
    needed = [
        ws.data,
        ws.state,
        ws.model_store,
        ws.artifacts,
        ws.metrics,
        ws.root / ".git",
        ws.root / ".dvc",
        ws.params,
    ]
    places = [(ws.root / name).resolve() for name in load_settings(ws).erasure.exports]
    for place in places:
        is_ours = place.is_relative_to(ws.root) and not any(
            one.is_relative_to(place) or place.is_relative_to(one) for one in needed
        )
        if not is_ours:
            raise ErasureError(
                f"erasure.exports names {place}, which is not a folder of exports inside the workspace. Nothing was "
                "destroyed. Correct it in params.yaml."
            )
    return places


def _removed(place: Path) -> Purged:
    """A folder of exports, destroyed; what resists is found by the search."""
    files = [file for file in place.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    shutil.rmtree(place, ignore_errors=True)
    left = sum(file.exists() for file in files)
    return Purged("exports", len(files) - left, 0 if left else size)


def _baseline_is_in_the_way(ws: Workspace) -> bool:
    """Whether a baseline is being made of data that still has the forgotten in it; it would register such a model."""
    from tru.ops.erasure.local import is_current

    try:
        with baseline.exclusive(ws):
            return False
    except ReleaseError:
        return not is_current(ws)


def _refuse_meanwhile(ws: Workspace) -> None:
    if _baseline_is_in_the_way(ws):
        raise InTheWay("a baseline is being made from older data. Wait until it ends, then run this again.")
    if strays := cuts_to_take_back(ws):
        raise InTheWay(f"the cut of {', '.join(strays)} is still to be taken back. The next run does it: `tru run`.")
    batch = open_inbox(ws).open_batch()
    if batch is not None and batch.outcome != "held":
        raise InTheWay(f"{batch.id} is being worked on, and it needs what would be destroyed. Finish it: `tru run`.")


def _refuse_residue(left: Sequence[Finding]) -> None:
    found = [f"{f.store} ({f.count}{f': {f.why}' if f.why else ''})" for f in left if f.state == "found"]
    if found:
        raise ErasureError(
            f"something of the forgotten is still there: {'; '.join(found)}. Everything old that tru made is "
            "destroyed; what is left was put there by somebody. Delete it, then run `tru erase` again; until then the "
            "batch counts as not erased and has no certificate."
        )


def _unread(finding: Finding) -> str:
    return f"not searched: {finding.store}" + (f" ({finding.why})" if finding.why else "")


# -- counts, which a killed run must not lose --------------------------------------------------------------------------


def _count(ws: Workspace, rows: Sequence[Purged]) -> None:
    """Add to what was destroyed since the last finished erasure."""
    known = {row["store"]: row for row in _tally(ws)}
    for row in rows:
        if row.count or row.bytes:
            had = known.get(row.what, {"store": row.what, "count": 0, "bytes": 0})
            known[row.what] = {**had, "count": had["count"] + row.count, "bytes": had["bytes"] + row.bytes}
    write_json(_tally_file(ws), list(known.values()))


def _tally(ws: Workspace) -> list[dict[str, Any]]:
    try:
        return list(json.loads(_tally_file(ws).read_text()))
    except FileNotFoundError:
        return []


def _tally_file(ws: Workspace) -> Path:
    return ws.state / "erasure" / "destroyed.json"


def _numbers(versions: Sequence[ModelVersion]) -> list[str]:
    return [v.version for v in versions]


def _data(versions: Sequence[ModelVersion]) -> list[str]:
    return sorted({v.tags["tru.data_md5"] for v in versions if v.tags.get("tru.data_md5")})
