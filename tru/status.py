"""What is asked of a workspace: who serves, what waits, what a person must do, what would be recommended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tru import baseline
from tru.erasure.pending import waiting
from tru.erasure.traces import pending
from tru.errors import DataError, ModelError, ReleaseError
from tru.release.registry import ModelVersion, Registry
from tru.release.serving import Recommender
from tru.requests.lifecycle import Batch
from tru.requests.store import open_inbox, open_ledger, open_suppression
from tru.settings import load_settings
from tru.workspace import Workspace

_FULLY_TRAINED = ("train", "retrain", "baseline")  # values of the tag tru.method


def read(ws: Workspace, now: datetime | None = None) -> dict[str, Any]:
    """The state of the workspace; no identifier of a person in it.

    Returns:
        ``champion`` (version, data_md5, deleted_through; or None), ``requests`` (state -> count), ``last_batch`` (id,
        outcome, verdict, size, seconds; or None), ``deadlines`` (overdue, soon, next_due), ``baseline`` (version,
        age_days; or None), ``drift`` of the champion since its last full training (nights, forgotten_share, distance;
        or None where nothing is known), ``licences`` that count now (regime, size, method, expires), ``erasure``
        (``waiting``: ids of batches; ``last``: when).
    """
    now = now or datetime.now(UTC)
    inbox = open_inbox(ws)
    local = ws.tracking_uri.removeprefix("sqlite:///")  # asking must not make a store where there is none yet
    is_missing = local != ws.tracking_uri and not Path(local).exists()
    champion = None if is_missing else Registry(ws).champion()
    batch = inbox.last_batch()
    return {
        "champion": None
        if champion is None
        else {
            "version": champion.version,
            "data_md5": champion.tags.get("tru.data_md5"),
            "deleted_through": int(champion.tags.get("tru.deleted_through", 0)),
        },
        "requests": inbox.counts(),
        "last_batch": None
        if batch is None
        else {
            "id": batch.id,
            "outcome": batch.outcome,
            "verdict": batch.verdict,
            "size": batch.size,
            "seconds": batch.seconds,
        },
        "deadlines": deadlines(ws, now),
        "baseline": _baseline(ws, now),
        "drift": None if champion is None else _drift(ws, champion),
        "licences": _licences(ws, now),
        "erasure": _erasure(ws),
    }


def urgent(ws: Workspace, now: datetime | None = None) -> list[str]:
    """What a person must do, in lines, the most urgent first; empty if nothing."""
    held = open_inbox(ws).open_batch()
    lines = deadline_words(deadlines(ws, now))
    if held is not None and held.outcome == "held":
        lines += _ways_out(ws, held)
    return lines + _late_erasures(ws, now or datetime.now(UTC))


def deadlines(ws: Workspace, now: datetime | None = None) -> dict[str, Any]:
    """How many open requests are ``overdue`` and how many due ``soon``, and when the ``next_due`` one is (ISO)."""
    found = open_inbox(ws).overdue(load_settings(ws).requests, now or datetime.now(UTC))
    next_due = found.next_due.isoformat(timespec="seconds") if found.next_due else None
    return {"overdue": found.overdue, "soon": found.soon, "next_due": next_due}


def deadline_words(found: Mapping[str, Any]) -> list[str]:
    """The same for a person; nothing if no day is near."""
    lines = []
    if found["overdue"]:
        lines.append(f"OVERDUE: {_requests(found['overdue'])} past the day by which the subject must have an answer.")
    if found["soon"]:
        lines.append(f"DUE SOON: {_requests(found['soon'])} due within days.")
    if lines:
        lines.append(f"The earliest day is {found['next_due'][:10]}. See `tru requests list`, then `tru run`.")
    return lines


def as_words(found: Mapping[str, Any]) -> str:
    """What :func:`read` found, for a person."""
    champion, batch = found["champion"], found["last_batch"]
    lines = [
        f"champion    version {champion['version']}, data {champion['data_md5']}, deletions through "
        f"{champion['deleted_through']}"
        if champion
        else "champion    none; train one: `tru train`",
        "requests    " + (", ".join(f"{n} {state}" for state, n in found["requests"].items() if n) or "none"),
    ]
    if batch:
        lines.append(
            f"last batch  {batch['id']}: {batch['outcome']}, verdict {batch['verdict']}, {batch['size']} requests"
        )
    if base := found["baseline"]:
        lines.append(f"baseline    version {base['version']}, {base['age_days']:.1f} days old")
    else:
        lines.append("baseline    none; make one: `tru baseline`")
    if found["drift"]:
        lines.append(f"drift       {drift_words(found['drift'])}")
    erased = found["erasure"]
    waits = f"{', '.join(erased['waiting'])} waiting" if erased["waiting"] else "nothing waits"
    lines.append(f"erasure     {waits}; last {erased['last'][:10] if erased['last'] else 'never'}")
    granted = [f"{r['regime']} up to {r['size']} until {r['expires'][:10]}" for r in found["licences"]]
    lines.append("licences    " + ("; ".join(granted) or "none; `tru baseline` rehearses for them"))
    return "\n".join(lines)


def drift_words(drift: Mapping[str, Any]) -> str:
    """How far a champion has come from its last full training."""
    parts = [f"{drift['nights']} nights unlearned"]
    if drift.get("forgotten_share") is not None:
        parts.append(f"{drift['forgotten_share']:.1%} of the trained pairs forgotten")
    if drift.get("distance") is not None:
        parts.append(f"at most {drift['distance']:.0%} of the lists changed by that")
    return ", ".join(parts)


def recommendation(ws: Workspace, user: str, k: int) -> dict[str, Any]:
    """The champion's list for a user.

    Raises:
        ModelError: there is no champion.
    """
    registry = Registry(ws)
    champion = registry.champion()
    if champion is None:
        raise ModelError("there is no champion yet. Train one: `tru train`.")
    recommender = Recommender.load(registry.model_dir(champion.version), open_suppression(ws))
    found = recommender.recommend(user, k)
    return {"items": list(found.items), "model_version": champion.version, "suppressed": found.suppressed}


def held_reasons(batch: Batch) -> list[str]:
    """Why a batch is held, in words, as the steps recorded it."""
    verdict = batch.facts.get("retrain") or batch.facts.get("gate") or {}
    return [str(reason) for reason in batch.facts.get("held") or verdict.get("reasons", ())]


def _ways_out(ws: Workspace, held: Batch) -> list[str]:
    report = ws.state / "reports" / f"{held.id}.html"
    where = str(report) if report.exists() else f"`tru report {held.id}` writes it"
    return [
        f"HELD: {held.id} waits for a person. The champion serves on; the subjects stay suppressed; no batch follows.",
        *(f"  because {reason}" for reason in held_reasons(held)),
        f"  The report: {where}. Then one of three:",
        "  1. Mend the cause (params.yaml), then `tru batch retry` and `tru run`: unlearned and judged anew.",
        *_release_words(held),
        "  3. Leave it: nothing is lost, but the days run, and new requests wait behind it.",
    ]


def _release_words(held: Batch) -> list[str]:
    """Which model `tru batch release` would let serve, and what the person answers for."""
    command = '  2. `tru batch release --reason "..."`:'
    again = held.facts.get("retrain")
    if (again or held.facts.get("gate") or {}).get("verdict") == "pass":
        which = "retrained" if again else "unlearned"
        return [
            f"{command} the {which} model serves, which passed the gate and was not approved.",
            "     A failed exact check cannot be overridden.",
        ]
    return [
        f"{command} the retrained model serves although the gate refused it. Retraining",
        "     forgets exactly; what you answer for is its quality. A failed exact check cannot be overridden.",
    ]


def _baseline(ws: Workspace, now: datetime) -> dict[str, Any] | None:
    try:
        found = baseline.latest(ws)
    except ReleaseError:  # damaged; `tru baseline` says so, and the rest of the status is wanted all the more
        return None
    return None if found is None else {"version": found.version, "age_days": round(found.age_days(now), 1)}


def _licences(ws: Workspace, now: datetime) -> list[dict[str, Any]]:
    settings = load_settings(ws)
    try:
        granted = [baseline.licence(ws, regime, 1, settings, now)[0] for regime in baseline.REGIMES]
    except ReleaseError:  # no data yet
        return []
    return [
        {"regime": it.regime, "size": it.size, "method": it.method, "expires": it.expires.isoformat(timespec="seconds")}
        for it in granted
        if it is not None
    ]


def _drift(ws: Workspace, champion: ModelVersion) -> dict[str, Any] | None:
    """What the gate noted of this version; nothing drifts in a model that was trained from scratch."""
    if champion.tags.get("tru.method") in _FULLY_TRAINED:
        return {"nights": 0, "forgotten_share": 0.0, "distance": 0.0}
    batch = champion.tags.get("tru.batch")
    verdict = (open_inbox(ws).batch(batch).facts.get("gate") if batch else None) or {}
    return dict(verdict["drift"]) if verdict.get("drift") else None


def _erasure(ws: Workspace) -> dict[str, Any]:
    last = open_ledger(ws).last("erasure")
    return {"waiting": pending(ws), "last": last.at.isoformat(timespec="seconds") if last else None}


def _late_erasures(ws: Workspace, now: datetime) -> list[str]:
    """Batches that are promoted while what knew their subjects is still there, although it should not be."""
    grace = load_settings(ws).erasure.grace_hours
    try:
        late = [one.batch for one in waiting(ws) if one.is_due(grace, now)]
    except DataError as error:  # the rest of the status is wanted all the more
        return [f"NOT ERASED: {error}"]
    if not late:
        return []
    return [
        f"NOT ERASED: what knew the subjects of {', '.join(late)} is not destroyed yet, and they have no certificate.",
        "  `tru erase --plan` says what would go; `tru erase` does it, or says what stands in the way.",
    ]


def _requests(n: int) -> str:
    return f"{n} request is" if n == 1 else f"{n} requests are"
