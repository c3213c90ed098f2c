"""The life of a champion: who serves, since when and why; and who may serve again.

The ledger is written first, then the alias moves, then the version is tagged with the ledger entry's digest. The tag is
the sign that all three happened. What a crash left undone is finished by the next call, whichever that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tru.errors import ReleaseError
from tru.ops import locks
from tru.ops.release import registry_reader
from tru.ops.release.registry_reader import CHALLENGER, CHAMPION, ModelVersion
from tru.ops.requests.ledger import Entry
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.workspace import Workspace

if TYPE_CHECKING:
    from tru.ops.release.registry import Registry

Why = Literal["trained", "unlearned", "retrained", "baseline", "rollback", "released", "retired"]

LEDGER_TAG = "tru.ledger"
DELETED_TAG = "tru.deleted_through"
_LONGEST = 300  # characters of a reason


def crown(ws: Workspace, version: str, why: Why, batch: str | None = None, **facts: Any) -> None:  # noqa: ANN401
    """Make a version the champion and write down since when and why; may be repeated.

    Args:
        ws: the workspace.
        version: the registered version.
        why: how it came to serve.
        batch: the batch it came out of, if any.
        facts: more for the ledger; JSON, no identifier.

    Raises:
        ReleaseError: there is no such version, or it does not respect every completed deletion.
    """
    from tru.ops.release.registry import Registry  # MLflow, whose load takes seconds

    version = str(version)
    mend(ws)
    registry = Registry(ws)
    chosen = registry.get(version)
    completed = open_inbox(ws).completed_through()
    if _deleted_through(chosen) < completed:
        raise ReleaseError(
            f"version {version} respects deletions through {_deleted_through(chosen)}, but {completed} are completed: "
            "those forgotten since would come back. It cannot serve. `tru rollback` takes one that can."
        )
    _finish(ws, registry, _entered(ws, registry, chosen, why, batch, facts))


def retire(ws: Workspace, batch: str, reason: str) -> None:
    """Let no model serve any more, for nobody is left to recommend to; may be repeated.

    Args:
        ws: the workspace.
        batch: the batch without which nothing is left.
        reason: of the person who has accepted that.
    """
    from tru.ops.release.registry import Registry

    mend(ws)
    registry = Registry(ws)
    _finish(ws, registry, _entered(ws, registry, None, "retired", batch, {"reason": reason}))


def is_retired(ws: Workspace) -> bool:
    """Whether no model serves because nobody was left to recommend to, and none was trained since."""
    last = open_ledger(ws).last("champion")
    return last is not None and last.facts["version"] is None


def mend(ws: Workspace) -> Entry | None:
    """Finish a change of champion that a crash interrupted.

    Returns:
        The ledger entry of the change, if there was one to finish.
    """
    from tru.ops.release.registry import Registry

    entries, registry = open_ledger(ws).entries("champion"), Registry(ws)
    if not entries:
        return None
    entry = entries[-1]
    if entry.facts.get("version") is None:
        if registry.champion() is None:
            return None
        _finish(ws, registry, entry)
        return entry
    found = next((v for v in registry.list_versions() if v.version == entry.facts.get("version")), None)
    if found is not None and _deleted_through(found) < open_inbox(ws).completed_through():
        return None  # deletions were completed since; who serves now stays
    # A tag that names no entry is no unfinished change: somebody rewrote the ledger, and the tag is what shows it.
    if found is None or found.tags.get(LEDGER_TAG) not in (None, *(e.digest for e in entries[:-1])):
        return None
    _finish(ws, registry, entry)
    return entry


def eligible(ws: Workspace) -> list[ModelVersion]:
    """Versions that may serve: they respect every deletion that any champion did, and failed no gate; newest first."""
    found = registry_reader.versions(ws)
    mark = max([_answered(ws), *(_deleted_through(v) for v in found if LEDGER_TAG in v.tags)])
    return [v for v in found if _deleted_through(v) >= mark and not _failed(v)]


def _answered(ws: Workspace) -> int:
    """How many deletions a version must respect, those included that a batch not closed yet has answered already.

    Where the answer is "not found", nothing is suppressed any more; an older version may know the subject.
    """
    inbox = open_inbox(ws)
    opened = inbox.open_batch()
    batches = [*inbox.aside(), *([opened] if opened is not None else [])]
    answered = [b for b in batches if any(r.outcome == "not found" for r in inbox.list(batch=b.id))]
    return max([inbox.completed_through(), *(b.sequence for b in answered)])


def rollback(ws: Workspace, version: str | None = None, reason: str = "") -> ModelVersion:
    """Let an earlier version serve again, one under which nobody who was forgotten comes back.

    Args:
        ws: the workspace.
        version: which; else the newest that is eligible and not champion.
        reason: for the ledger, which keeps it for good; it names nobody.

    Raises:
        Busy: an erasure, another rollback or the beginning of a night is at work.
        ReleaseError: a batch is being worked on, the reason cannot be kept, or the version is not eligible (the message
            lists those that are).
    """
    words = checked_reason(ws, reason) if reason else ""
    with locks.serving(ws):  # no night begins and nothing is destroyed meanwhile
        return _rolled_back(ws, version, words)


def _rolled_back(ws: Workspace, version: str | None, words: str) -> ModelVersion:
    """Do it; see :func:`rollback`."""
    from tru.ops.release.registry import Registry

    _refuse_at_night(ws)
    unfinished = mend(ws)
    registry = Registry(ws)
    if unfinished is not None and unfinished.facts["why"] == "rollback":  # a killed `tru rollback`, typed again
        done = registry.get(unfinished.facts["version"])
        if version in (None, done.version):
            return done
    target = _target(ws, registry, version)
    champion, ledger = registry.champion(), open_ledger(ws)
    last = ledger.last("champion")
    facts = {"version": target.version, "previous": champion.version if champion else None, "reason": words}
    ledger.append("rollback", f"rollback/{last.seq if last else 0}/{target.version}", **facts)
    crown(ws, target.version, "rollback", reason=words)
    return registry.get(target.version)


def unanchored(ws: Workspace) -> list[str]:
    """What the registry and the ledger say differently about champions, in plain sentences; empty if they agree.

    The tag of a version lies in MLflow's database, so a ledger that was rewritten as a whole shows here.
    """
    versions, entries = registry_reader.versions(ws), open_ledger(ws).entries("champion")
    by_digest = {entry.digest: entry for entry in entries}
    faults = []
    for found in reversed(versions):
        tag = found.tags.get(LEDGER_TAG)
        if tag is not None and (tag not in by_digest or by_digest[tag].facts["version"] != found.version):
            faults.append(f"version {found.version} was entered in the ledger as {tag[:12]}, which is not there now")
    serving = next((found.version for found in versions if CHAMPION in found.aliases), None)
    known = entries[-1].facts["version"] if entries else None
    if serving != known:
        faults.append(
            f"{_named(serving)} serves, but the ledger's last champion is {_named(known)}: "
            "the alias was moved by hand, or a change was interrupted"
        )
    return faults


def checked_reason(ws: Workspace, reason: str) -> str:
    """A reason that may be kept for good: short, on one line, and naming nobody who asked to be forgotten.

    Raises:
        ReleaseError: it is empty, too long, or names a subject.
    """
    words = " ".join(reason.split())
    if not words or len(words) > _LONGEST or not words.isprintable():
        raise ReleaseError(f"A reason has 1 to {_LONGEST} characters; the ledger keeps it for good.")
    suppressed = open_inbox(ws).suppression()
    for word in {part.strip(".,;:!?()[]{}<>\"'`") for part in words.split()}:
        # Shorter words are as likely a number of something; the rule is for a person who pastes an identifier.
        if len(word) >= 4 and (suppressed.is_user(word) or suppressed.is_item(word)):
            raise ReleaseError("The reason names a subject of a request; the ledger keeps it for good. Name nobody.")
    return words


def _entered(
    ws: Workspace, registry: Registry, chosen: ModelVersion | None, why: Why, batch: str | None, facts: dict[str, Any]
) -> Entry:
    """The ledger's entry of this change; the one that is there already if the change is being repeated."""
    ledger = open_ledger(ws)
    version = chosen.version if chosen else None
    while True:
        last = ledger.last("champion")
        if last is not None and _same(last, version, why, batch):
            return last
        # A process that crowns at the same moment writes under the same key, and only one of the two is taken:
        # the other comes after it.
        entry = ledger.append(
            "champion",
            f"champion/{last.seq if last else 0}",
            **{
                "version": version,
                "previous": last.facts["version"] if last else _serving(registry, chosen),
                "why": why,
                "batch": batch,
                "data_md5": chosen.tags.get("tru.data_md5") if chosen else None,
                "deleted_through": _deleted_through(chosen) if chosen else None,
                **facts,
            },
        )
        if _same(entry, version, why, batch):
            return entry


def _finish(ws: Workspace, registry: Registry, entry: Entry) -> None:
    """Do what the entry says; if a later one came meanwhile, do that: the alias ends where the ledger ends."""
    while True:
        version = entry.facts["version"]
        if version is None:
            registry.drop_alias(CHALLENGER)
            registry.drop_alias(CHAMPION)
        else:
            registry.set_champion(str(version))
            registry.tag(str(version), {LEDGER_TAG: entry.digest})
        last = open_ledger(ws).last("champion")
        if last is None or last.seq <= entry.seq:
            return
        entry = last


def _same(entry: Entry, version: str | None, why: str, batch: str | None) -> bool:
    return (entry.facts["version"], entry.facts["why"], entry.facts["batch"]) == (version, why, batch)


def _serving(registry: Registry, chosen: ModelVersion | None) -> str | None:
    """The champion of a workspace that is older than the ledger."""
    champion = registry.champion()
    return None if champion is None or (chosen and champion.version == chosen.version) else champion.version


def _target(ws: Workspace, registry: Registry, version: str | None) -> ModelVersion:
    champion = registry.champion()
    serving = champion.version if champion else None
    choices = {v.version: v for v in eligible(ws) if v.version != serving}
    chosen = str(version) if version is not None else next(iter(choices), None)
    if chosen in choices:
        return choices[chosen]
    if chosen is not None and chosen == serving:
        problem = f"version {chosen} is the champion already"
    elif chosen is None:
        problem = "there is no other version to go back to"
    elif chosen not in {v.version for v in registry.list_versions()}:
        problem = "there is no version of that number"
    else:
        problem = f"version {chosen} failed the gate, or somebody who was forgotten since would come back with it"
    listed = ", ".join(choices) or "none; `tru train` or `tru baseline` makes one"
    raise ReleaseError(f"{problem}. Eligible versions: {listed}.")


def _refuse_at_night(ws: Workspace) -> None:
    batch = open_inbox(ws).open_batch()
    if batch is not None and batch.outcome != "held":
        raise ReleaseError(
            f"{batch.id} is being worked on, and its end may change the champion. Finish it first: `tru run`."
        )


def _deleted_through(version: ModelVersion) -> int:
    return int(version.tags.get(DELETED_TAG) or 0)


def _failed(version: ModelVersion) -> bool:
    return version.tags.get("tru.verdict") == "fail"


def _named(version: str | None) -> str:
    return "no version" if version is None else f"version {version}"
