"""What a certificate says in words that need no technician: for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tru import prose
from tru.ops.certificates.statement import MOMENTS, Facts

ASKED = {
    "user": "one person: all of their interactions",
    "item": "one item: it must not be recommended again",
    "interaction": "one interaction of a certain person with a certain item",
    "modality": "one kind of content of an item, such as its picture or its text",
}
_MODES = {
    "fresh": "The same night, models were trained from scratch without what was to be forgotten. The new model was "
    "compared with them.",
    "licensed": "Nothing was trained from scratch that night. The new model was compared with earlier measurements, "
    "under a licence that the method had earned in a rehearsal against real retraining.",
    "none": "No measurement could be made; the reasons are below.",
}
_MEANINGS = {
    "test/ndcg@20": "Quality for those who stay: how good the lists of everybody else are; only a loss is refused.",
    "forget/recall@20": "Forgotten pairs in a top 20: the share of forgotten pairs (a person and an item) that the "
    "model would still recommend.",
    "membership_auc": "Forgotten pairs against pairs never seen: how often the forgotten one ranks higher; 0.5 is "
    "chance.",
}
_RIGHT = (
    "For pairs, right is not zero but what a model gives that never saw them: too low would give the forgotten away "
    "just as too high would."
)
DISCLAIMER = "It states what was done and what was tested. It does not state that forgetting is proven; no test can."

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


SUPPRESSED = {
    "user": "suppressed: no personal list for the person",
    "item": "suppressed: the item is in nobody's list",
    "interaction": "suppressed: the item is not shown to that person",
}
_FORGETTING = {"forget/recall@20", "membership_auc"}


def day(text: str) -> str:
    """``24 November 2026``, whatever the machine's language."""
    at = datetime.fromisoformat(text)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def clock(text: str) -> str:
    """``00:33:42``; all times are UTC."""
    return f"{datetime.fromisoformat(text):%H:%M:%S}"


def made_by(facts: Facts) -> str:
    """How the new model was made; how it came about that there is none, where nobody was left to recommend to."""
    if facts.is_retired:
        return "no model at all, because nobody was left to recommend to"
    if facts.method == "retrain":
        why = "because the unlearned one had been refused" if facts.fallback else "as it is set up here"
        return f"trained from scratch on the remaining data, {why}"
    name = "TRU" if facts.method == "tru" else f"“{facts.method}”"
    return f"changed by the method {name} so that it loses what it had learnt, which is quicker than training anew"


def steps(facts: Facts) -> list[tuple[str, str]]:
    """The moments that are known, in order: what happened, and when."""
    is_retrained = facts.method == "retrain"
    names = {
        "received": "Request received",
        "suppressed": "Suppressed",
        "cut": "Removed from the data",
        "unlearned": "New model trained" if is_retrained else "Model made to forget",
        "gated": "Tested",
        "promoted": "Model withdrawn" if facts.is_retired else "New model serves",
        "erased": "Old copies destroyed",
        "certified": "Certificate signed",
    }
    return [(names[name], facts.times[name]) for name in MOMENTS if name in facts.times]


def summary(facts: Facts) -> str:
    """The certificate in one paragraph."""
    if facts.is_retired:
        return (
            f"The request asked to forget {ASKED[facts.regime]}. It was one of those without which nothing was left to "
            "recommend from: the data were removed as a whole, and the model that served was withdrawn without a "
            f"successor, as a person had decided. Data, models and copies within reach were destroyed by "
            f"{day(facts.times['erased'])}; {searched(facts)}"
        )
    return (
        f"The request asked to forget {ASKED[facts.regime]}. This was removed from the data, and the model that served "
        f"was replaced by one {made_by(facts)}. {_judged(facts)} Older data, models and copies within reach were "
        f"destroyed by {day(facts.times['erased'])}; {searched(facts)}"
    )


def _judged(facts: Facts) -> str:
    if facts.verdict["verdict"] == "fail":
        return "The tests said no to the new model; a person decided to let it serve all the same."
    if facts.verdict.get("released"):
        return "The new model passed its tests, and a person approved it."
    return "The new model passed its tests before it was let serve."


def searched(facts: Facts) -> str:
    """What the search afterwards came to."""
    clean = sum(row["state"] == "not found" for row in facts.scan)
    closed = len(facts.scan) - clean
    found = (
        f"a search through {_several(clean, 'store')} afterwards found nothing of it."
        if clean
        else "nothing was searched."
    )
    return found + (f" {_several(closed, 'store')} could not be searched." if closed else "")


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def tested(facts: Facts) -> list[str]:
    """How the tests were made."""
    if facts.is_retired:
        reason = facts.verdict.get("released")
        why = [f"The person's reason: {reason}"] if reason else []
        return ["No new model was made, so there was none to test: no model serves.", *why]
    found = [
        f"The tests were made on all requests of batch {facts.batch} together, not on this one alone.",
        _MODES.get(facts.verdict["mode"], f"Mode of the tests: {facts.verdict['mode']}."),
    ]
    forgotten = [row for row in facts.table if row["name"] in _FORGETTING]
    if forgotten and not any(row.get("judged", True) and "window" not in row.get("group", "") for row in forgotten):
        found.append("So few were forgotten that no statistic of this night alone says how well; other checks decided.")
    if facts.fallback:
        found.append(
            "The first model of that night was refused. The numbers below are of the one trained from scratch."
        )
    if facts.verdict["verdict"] == "fail":
        found.append("The tests refused this model. A person took the decision to let it serve, and answers for it.")
    if facts.verdict.get("released"):
        found.append(f"The person's reason: {facts.verdict['released']}")
    return found


def meanings(names: Sequence[str]) -> list[str]:
    """What the measures of these names mean."""
    found = [words for name, words in _MEANINGS.items() if name in names]
    return [*found, _RIGHT] if _FORGETTING & set(names) else found


def _unproven(facts: Facts) -> str:
    if facts.is_retired:
        return "No model is left; what older copies hold is another matter."
    if facts.method == "retrain":
        return "The new model never saw what was to be forgotten; what older copies hold is another matter."
    return "The method is approximate, and the tests see only what they look for."


def limits(facts: Facts) -> list[str]:
    """What nobody may read into it."""
    revoked = "What layers may have kept of the revoked content: its features are gone, no test looks further."
    return [
        f"That forgetting is proven. {_unproven(facts)}",
        *([revoked] if facts.regime == "modality" else []),
        "That nothing is left anywhere. Only the stores listed here were searched.",
        "Who asked. They are in here as a keyed hash alone, which says nothing without the operator's key.",
        "That it is true. The signature shows who states it, and that nothing was changed since.",
    ]


def fingerprints(facts: Facts, keyid: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What ties the certificate to data, models and code: the short ones and the long ones."""
    before, after, commit = facts.models["before"], facts.models.get("after"), facts.code.get("commit")
    short = [
        ("Request", facts.request),
        ("Batch", facts.batch),
        ("Data md5, old", facts.data["before"]),
        ("Data md5, new", facts.data.get("after", "none")),
        ("Made by", f"tru {facts.code['tru']}" + (f", commit {commit[:12]}" if commit else "")),
    ]
    long = [
        ("Keyed hash", facts.subject),
        (f"Model {before['version']}, old", before["digest"]),
        *([(f"Model {after['version']}, new", after["digest"])] if after else []),
        ("Settings", facts.params),
        ("Signing key", keyid),
    ]
    return short, long


def report(facts: Facts) -> str:
    """Where the report of the night is; it is no part of what is signed."""
    place = f".tru/reports/{facts.batch}.html"
    return f"The report of that night: {place} in the operator's workspace (`tru report {facts.batch}` writes it anew)."


def size(row: Mapping[str, Any]) -> str:
    """How much was destroyed in a store."""
    count = f"{row['count']:,}".replace(",", "\u202f")
    return f"{count}, {prose.size(row['bytes'])}" if row.get("bytes") else count


def in_words(facts: Facts, keyid: str) -> str:
    """The certificate for a terminal."""
    lines = [f"Certificate of erasure, request {facts.request}", "", summary(facts), ""]
    lines += [f"  {day(at)} {clock(at)} UTC  {what}" for what, at in steps(facts)]
    lines += ["", "Tests", *(f"  {words}" for words in tested(facts)), f"  verdict: {facts.verdict['verdict']}"]
    lines += [f"  {'-' if row['passed'] else '!'} {row['words']}" for row in facts.table]
    lines += [f"  note: {note}" for note in facts.verdict.get("notes") or []]
    lines += ["", "Destroyed", *(f"  {row['store']}: {size(row)}" for row in facts.erasure)]
    lines += ["", "Searched afterwards"]
    lines += [
        f"  {row['store']}: {row['state']}" + (f" ({row['why']})" if row.get("why") else "") for row in facts.scan
    ]
    lines += ["", "Out of reach", *(f"  {words}" for words in facts.unreachable or ["nothing is known to be"])]
    lines += ["", "What this does not state", *(f"  {words}" for words in limits(facts)), ""]
    lines += [f"{name}: {value}" for half in fingerprints(facts, keyid) for name, value in half]
    lines += ["", report(facts)]
    return "\n".join(lines)
