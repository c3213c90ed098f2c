"""What is asked of a workspace: who serves, what waits, what a person must do, what would be recommended.

It is asked more often than anything else, so nothing here loads MLflow, torch or pandas: who serves is read from the
store's own rows, and where the store cannot be asked, the ledger says who was made champion last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tru.errors import DataError, ModelError, ReleaseError
from tru.ops import identity
from tru.ops.erasure.pending import waiting
from tru.ops.erasure.places import pending
from tru.ops.held import ways_out
from tru.ops.judging import baseline
from tru.ops.release import registry_reader
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import WAITING, Batch
from tru.ops.requests.owner import is_dead
from tru.ops.requests.store import open_inbox, open_ledger, open_suppression
from tru.ops.servers import services
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace
from tru.prose import several

_FULLY_TRAINED = ("train", "retrain", "baseline")  # values of the tag tru.method
# Of a held batch's reasons; more would push the ways out off the screen, and the report has them all.
_REASONS, _WIDTH = 3, 100


@dataclass(frozen=True)
class Champion:
    """Who serves, as far as it can be found out.

    Attributes:
        facts: ``version``, ``data_md5``, ``deleted_through``; None if nobody serves.
        tags: of its version; empty where only the ledger could be asked.
        problem: why it does not serve, or that nobody can say, with a way out; None if nothing is wrong.
        is_retired: nobody serves, because nobody was left to recommend to.
    """

    facts: dict[str, Any] | None
    tags: Mapping[str, str]
    problem: str | None = None
    is_retired: bool = False


def champion(ws: Workspace) -> Champion:
    """Who serves; a version whose files are gone, or a store that does not answer, is said and raises nothing."""
    try:
        found = registry_reader.champion(ws)
        lost = registry_reader.lost_files(ws, found.version) if found else None
    except ReleaseError as error:
        return Champion(_last_crowned(ws), {}, f"CHAMPION NOT KNOWN: {error}")
    if found is None:
        last = _last_crowned(ws)
        is_retired = last is not None and last["version"] is None
        return Champion(None, {}, None if is_retired else _lost_store(last), is_retired)
    facts = {
        "version": found.version,
        "data_md5": found.tags.get("tru.data_md5"),
        "deleted_through": int(found.tags.get("tru.deleted_through", 0)),
    }
    problem = None
    if lost:
        problem = (
            f"NO CHAMPION: version {found.version} should serve, but its files are gone from {lost}. Restore them, or "
            "let another serve: `tru rollback --list`, `tru train`."
        )
    return Champion(facts, found.tags, problem)


def _last_crowned(ws: Workspace) -> dict[str, Any] | None:
    """Who was made champion last, by the ledger."""
    last = open_ledger(ws).last("champion")
    return {name: last.facts.get(name) for name in ("version", "data_md5", "deleted_through")} if last else None


def _lost_store(known: Mapping[str, Any] | None) -> str | None:
    """What to say where MLflow's store has no champion."""
    if known is None:
        return None
    return (
        f"NO CHAMPION: by the ledger version {known['version']} serves, but MLflow's store has no champion. Restore "
        "mlflow.db and mlartifacts/, or make another: `tru rollback`, `tru train`."
    )


def is_anything_due(ws: Workspace, now: datetime | None = None) -> bool:
    """Whether `tru run` would do anything: for a request, an open batch, a day that comes near, or an erasure."""
    now = now or datetime.now(UTC)
    inbox, settings = open_inbox(ws), load_settings(ws)
    if inbox.open_batch() is not None or inbox.aside() or any(inbox.counts()[state] for state in WAITING):
        return True
    days = inbox.overdue(settings.requests, now)
    due = (one.is_due(settings.erasure.grace_hours, now) for one in waiting(ws))
    return bool(days.overdue or days.soon) or (settings.erasure.automatic and any(due))


def read(ws: Workspace, now: datetime | None = None) -> dict[str, Any]:
    """The state of the workspace; no identifier of a person in it.

    Returns:
        ``champion`` (version, data_md5, deleted_through; or None), ``champion_problem`` (words or None), ``retired``
        (whether nobody serves because nobody was left), ``requests`` (state -> count), ``open_batch`` (id, state:
        ``working``, ``interrupted``, ``held`` or ``decided``, step: the last that finished, since; or None),
        ``last_batch`` (id, outcome, verdict, size, not_found, seconds; or None),
        ``deadlines`` (overdue, soon, next_due), ``baseline`` (version, age_days; or None), ``drift`` of the champion
        since its last full training (nights, forgotten_share, distance; or None where nothing is known), ``licences``
        that count now (regime, size, method, expires), ``erasure`` (``waiting``: ids of batches; ``last``: when),
        ``urgent`` (what a person must do, in lines).
    """
    now = now or datetime.now(UTC)
    inbox, serving = open_inbox(ws), champion(ws)
    return {
        "champion": serving.facts,
        "champion_problem": serving.problem,
        "retired": serving.is_retired,
        "requests": inbox.counts(),
        "open_batch": _open_batch(inbox.open_batch(), now),
        "last_batch": _last_batch(inbox),
        "deadlines": deadlines(ws, now),
        "baseline": _baseline(ws, now),
        "drift": _drift(ws, serving.tags) if serving.tags else None,
        "licences": _licences(ws, now),
        "erasure": _erasure(ws),
        "urgent": urgent(ws, now, serving),
    }


def urgent(ws: Workspace, now: datetime | None = None, serving: Champion | None = None) -> list[str]:
    """What a person must do, in lines, the most urgent first; empty if nothing."""
    now, serving = now or datetime.now(UTC), serving or champion(ws)
    inbox, origin = open_inbox(ws), identity.origin(ws.root)
    lines = [] if origin is None else [f"COPY: {origin.words(ws.root)}"]
    lines += deadline_words(deadlines(ws, now))
    held, opened = inbox.held(), _open_batch(inbox.open_batch(), now)
    for batch in held:
        lines += ways_out(ws, batch, is_named=len(held) > 1)
    if opened is not None and opened["state"] == "interrupted":
        lines += _way_on(opened)
    if serving.problem:
        lines.append(serving.problem)
    lines += services.gone_words(ws)
    return lines + _late_erasures(ws, now)


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
    """What :func:`read` found, for a person: a screen of 80 columns."""
    erased = found["erasure"]
    waits = f"{', '.join(erased['waiting'])} waiting" if erased["waiting"] else "nothing waits"
    granted = [f"{r['regime']} up to {r['size']} until {r['expires'][:10]}" for r in found["licences"]]
    base = found["baseline"]
    rows = {
        "champion": _champion_words(found["champion"], is_retired=bool(found.get("retired"))),
        "requests": ", ".join(f"{n} {state}" for state, n in found["requests"].items() if n) or "none",
        "open batch": _open_words(found["open_batch"]),
        "last batch": _last_words(found["last_batch"]),
        "not found": _not_found_words(found["last_batch"]),
        "baseline": f"version {base['version']}, {base['age_days']:.1f} days old"
        if base
        else "none; make one: `tru baseline`",
        "drift": _drift_words(found["drift"]),
        "erasure": f"{waits}; last {erased['last'][:10] if erased['last'] else 'never'}",
        "licences": "; ".join(granted) or "none; `tru baseline` rehearses for them",
    }
    return "\n".join(f"{name:<12}{words}" for name, words in rows.items() if words)


def _drift_words(drift: Mapping[str, Any] | None) -> str:
    if not drift:
        return ""
    return drift_words(drift) if drift["nights"] else "none, it was trained from scratch"


def _champion_words(facts: Mapping[str, Any] | None, *, is_retired: bool) -> str:
    if is_retired:
        return "none, for nobody was left; `tru data import PATH`, then `tru train`"
    if not facts:
        return "none; train one: `tru train`"
    data = str(facts["data_md5"])[:8]
    return f"version {facts['version']}, data {data}, deletions through {facts['deleted_through']}"


def _open_words(batch: Mapping[str, Any] | None) -> str:
    """The batch that a run is at; nothing if there is none, and what is held or interrupted was said before."""
    if batch and batch["state"] == "decided":
        return f"{batch['id']}: a person has decided, the next run takes it up: `tru run`"
    if not batch or batch["state"] != "working":
        return ""
    return f"{batch['id']}: a run is at it; last step {batch['step']}, {_minute(batch['since'])}"


def _last_words(batch: Mapping[str, Any] | None) -> str:
    if not batch:
        return ""
    verdict = f"verdict {batch['verdict']}" if batch["verdict"] else "no verdict"
    return f"{batch['id']}: {batch['outcome']}, {verdict}, {several(batch['size'], 'request')}"


def _not_found_words(batch: Mapping[str, Any] | None) -> str:
    """How many requests of the last batch named nobody in the data; nothing if all were found."""
    if not batch or not batch.get("not_found"):
        return ""
    return f"{batch['not_found']} of these {batch['size']} named nothing in the data: `tru requests list`"


def drift_words(drift: Mapping[str, Any]) -> str:
    """How far a champion has come from its last full training."""
    nights = drift["nights"]
    parts = [f"{nights} {'night' if nights == 1 else 'nights'} unlearned"]
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
    from tru.ops.release.serving import Recommender

    serving = registry_reader.champion(ws)
    if serving is None:
        raise ModelError("there is no champion yet. Train one: `tru train`.")
    recommender = Recommender.load(registry_reader.model_dir(ws, serving.version), open_suppression(ws))
    found = recommender.recommend(user, k)
    return {"items": list(found.items), "model_version": serving.version, "suppressed": found.suppressed}


def _way_on(opened: Mapping[str, Any]) -> list[str]:
    return [
        f"INTERRUPTED: {opened['id']} stopped after the step {opened['step']} ({_minute(opened['since'])}), and no run",
        "  is at it. Nothing is lost: `tru run` goes on from there; so does the next night.",
    ]


def _open_batch(batch: Batch | None, now: datetime) -> dict[str, Any] | None:
    """The batch that is not closed: whether a run is at it, and how far it came."""
    if batch is None:
        return None
    alive = batch.owner is not None and batch.lease_until is not None and batch.lease_until > now
    at_work = alive and not is_dead(str(batch.owner))
    idle = "decided" if batch.facts.get("decided") else "interrupted"
    state = "held" if batch.is_held else "working" if at_work else idle
    since = batch.facts.get("times", {}).get(batch.step) or batch.opened.isoformat(timespec="seconds")
    return {"id": batch.id, "state": state, "step": batch.step, "since": since}


def _last_batch(inbox: Inbox) -> dict[str, Any] | None:
    batch = inbox.last_batch()
    if batch is None:
        return None
    return {
        "id": batch.id,
        "outcome": batch.outcome,
        "verdict": batch.verdict,
        "size": batch.size,
        "not_found": inbox.outcomes(batch.id)["not found"],
        "seconds": batch.seconds,
    }


def _minute(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC"


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


def _drift(ws: Workspace, tags: Mapping[str, str]) -> dict[str, Any] | None:
    """What the gate noted of this version; nothing drifts in a model that was trained from scratch."""
    if tags.get("tru.method") in _FULLY_TRAINED:
        return {"nights": 0, "forgotten_share": 0.0, "distance": 0.0}
    batch = tags.get("tru.batch")
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
