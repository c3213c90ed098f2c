"""What the report says in sentences: the verdict, what to do, how it was judged, what nobody may read into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tru.ops.held import choices
from tru.ops.report.sequel import Sequel
from tru.ops.report.story import Ending, ending, is_retrained, last_verdict
from tru.ops.report.table import is_pooled, is_reason
from tru.ops.report.words import decimal, finite, percent, several, subjects
from tru.ops.requests.lifecycle import Batch

HEADLINES: dict[Ending, str] = {
    "unlearned": "Passed",
    "retrained": "Retrained instead",
    "released": "Released by a person",
    "held": "Held: a person must decide",
    "declined": "Held: not approved",
    "stopped": "Held: it cannot go on by itself",
    "retired": "Nobody is left",
    "withdrawn": "Nothing was left of it",
    "not found": "Nothing to forget",
    "passed": "Passed, not yet closed",
    "open": "Under way",
}
TONES: dict[Ending, str] = {
    **{"unlearned": "yes", "retrained": "yes", "released": "wait", "held": "no", "declined": "no"},
    **{"not found": "wait", "passed": "yes", "open": "wait", "stopped": "no", "retired": "wait", "withdrawn": "wait"},
}
SIGNS: dict[Ending, str] = {
    **{"unlearned": "✓", "retrained": "↻", "released": "↷", "held": "✗", "declined": "✗"},
    **{"not found": "∅", "passed": "✓", "open": "…", "stopped": "✗", "retired": "∅", "withdrawn": "∅"},
}
"""What stands in the circle beside the headline."""


def verdict_sentence(batch: Batch, sequel: Sequel | None = None) -> str:
    """The verdict in one or two plain sentences; ``sequel``: what came after, for who serves in place of its model."""
    said, version = _SENTENCES[ending(batch)](batch), batch.facts.get("version")
    had_its_own = (version or ending(batch) == "retired") and ending(batch) != "not found"
    if sequel and sequel.serving and had_its_own and sequel.serving != version:
        return f"{said} Version {sequel.serving} serves now."
    return said


def _unlearned(batch: Batch) -> str:
    gate = batch.facts.get("gate") or {}
    serves = f"became champion as version {batch.facts.get('version')}."
    if not is_judged_alone(gate):
        return (
            f"{_forgotten(batch)}. The new model passed everything it could be judged by and {serves} {_instead(gate)}"
        )
    if gate.get("mode") == "licensed":
        return f"{_forgotten(batch)}. The new model passed all checks of a night without retraining and {serves}"
    return (
        f"{_forgotten(batch)}, and the new model behaves like models retrained without them, within the allowed "
        f"margins. It {serves}"
    )


def _instead(gate: Mapping[str, Any]) -> str:
    """What decided where tonight's own forgotten pairs could not be judged."""
    table = gate.get("table") or []
    lines = [row for row in table if row.get("name") in _FORGETTING]
    is_untested = any(row.get("n") == 0 for row in table if row.get("name") == _QUALITY)
    decided = "exact checks alone decided, for want of test rows" if is_untested else "exact checks and quality decided"
    if not lines:
        return f"No pair had to be forgotten, so {decided}."
    pooled = any(is_pooled(row) and row.get("judged", True) for row in lines)
    also = ", together with the nights before" if pooled else ""
    return f"So few cannot be judged by statistics of their own: {decided}{also}."


def _retrained(batch: Batch) -> str:
    could = (batch.facts.get("unlearn") or {}).get("method") != "none"
    why = "the gate did not accept the unlearned model" if could else "the method could not unlearn this batch"
    return (
        f"{_forgotten(batch)} by training a new model from scratch without them, because {why}. "
        f"It passed the gate and became champion as version {batch.facts.get('version')}."
    )


def _released(batch: Batch) -> str:
    serves = f"serve as version {batch.facts.get('version')}"
    if last_verdict(batch.facts).get("verdict") == "pass":
        return f"The gate said yes, but the new model was not approved at first. Then a person let it {serves}."
    return (
        f"The gate refused both models. A person decided to let the retrained one {serves} all the same. "
        "It was trained from scratch without what was to be forgotten."
    )


def _passed(batch: Batch) -> str:
    version = batch.facts.get("version")
    which = "retrained" if is_retrained(batch.facts) else "unlearned"
    left = f"It became champion as version {version}" if version else "To let it serve comes next"
    return f"{_forgotten(batch)}, and the gate said yes to the {which} model. {left}; then the batch is closed."


def _held(batch: Batch) -> str:
    return (
        "Neither the unlearned nor the retrained model was good enough to serve. The old champion serves on, "
        f"{_asked(batch)} suppressed, and nothing more happens until a person decides."
    )


def _declined(batch: Batch) -> str:
    return (
        "The gate said yes, but the new model was not approved. The old champion serves on, "
        f"{_asked(batch)} suppressed, and nothing more happens until a person decides."
    )


def _stopped(batch: Batch) -> str:
    why = "; ".join(batch.facts.get("held") or ["unknown"])
    return (
        f"A step failed that would fail again: {why}. The champion serves on, {_asked(batch)} suppressed, and a person "
        "decides; other requests do not wait for that."
    )


def _retired(batch: Batch) -> str:
    return (
        f"{_forgotten(batch)}, and nothing was left to recommend from. A person had accepted that: the data are gone "
        "as a whole, and no model serves until other data are imported and a model is trained on them."
    )


def _withdrawn(batch: Batch) -> str:
    return "Every request was taken out of this batch by a person, so it ended without changing anything."


def _not_found(batch: Batch) -> str:
    which = "The request names nobody" if batch.size == 1 else "None of the requests names anybody"
    return (
        f"{which} or anything in the data. Nothing was changed, the champion serves on, and the answer is “not found”."
    )


def _open(batch: Batch) -> str:
    return (
        f"The batch is being worked on or waits for the next run; the last step that finished is “{batch.step}”. "
        f"The old champion serves until the gate says yes, and {_asked(batch)} suppressed already."
    )


_SENTENCES = {
    **{"unlearned": _unlearned, "retrained": _retrained, "released": _released, "held": _held},
    **{"declined": _declined, "not found": _not_found, "passed": _passed, "open": _open},
    **{"stopped": _stopped, "retired": _retired, "withdrawn": _withdrawn},
}


def _forgotten(batch: Batch) -> str:
    """``40 people, 2 items … were forgotten``."""
    regimes = batch.facts.get("regimes") or {}
    what = subjects(regimes)
    if not regimes:
        return f"What {several(batch.size, 'request', 'requests')} named was forgotten"
    return f"{what} {'was' if sum(regimes.values()) == 1 else 'were'} forgotten"


def _asked(batch: Batch) -> str:
    return "the subject stays" if batch.size == 1 else "all subjects stay"


def is_judged_alone(gate: Mapping[str, Any]) -> bool:
    """Whether some statistic on tonight's own forgotten pairs was judged."""
    return any(
        row.get("judged", True) and row.get("name") in _FORGETTING and not is_pooled(row)
        for row in gate.get("table") or []
    )


_FORGETTING = {"forget/recall@20", "membership_auc"}
_QUALITY = "test/ndcg@20"


def to_do(batch: Batch) -> list[tuple[str, str]]:
    """What a person can type, and what it does; nothing unless the batch is held."""
    return choices(batch) if batch.is_held else []


MODES = {
    "fresh": "Fresh. Models were retrained tonight without what was forgotten, and the unlearned model was compared "
    "with them directly.",
    "licensed": "Under licence. The unlearned model was judged without retraining tonight: its quality against the "
    "latest baseline and the old champion; people and items that went against newcomers it has never seen; single "
    "interactions against canaries. A rehearsal, measured earlier against real retraining, licenses the method for "
    "batches of this kind up to a size.",
    "none": "Not measured. The reasons say why.",
}


def how(batch: Batch) -> list[tuple[str, str]]:
    """How the judgement was made: mode, cost, licences, drift and the gate's own notes."""
    gate = batch.facts.get("gate") or {}
    found = [("Mode", _mode(batch.facts))] if gate else []
    if batch.is_held:
        found += [("Held", str(reason)) for reason in batch.facts.get("held") or []]
    if ending(batch) in ("released", "retired") and batch.facts.get("released"):
        name = "Released" if ending(batch) == "released" else "Accepted"
        found.append((name, f"The person's reason: {batch.facts['released']}"))
    elif batch.facts.get("accepted"):
        found.append(("Accepted", f"The person's reason: {batch.facts['accepted']}"))
    cost, drift = gate.get("cost") or {}, gate.get("drift") or {}
    if cost.get("words"):
        found.append(("Cost", str(cost["words"])))
    if gate.get("licences"):
        found.append(("Licences", ", ".join(str(licence) for licence in gate["licences"])))
    if drift:
        found.append(("Drift", _drift(drift)))
    # A second verdict repeats what the first one noted.
    notes = [*(gate.get("notes") or []), *((batch.facts.get("retrain") or {}).get("notes") or [])]
    return found + [("Note", str(note)) for note in dict.fromkeys(notes)]


def _mode(facts: Mapping[str, Any]) -> str:
    """How it was judged; without a licence or a baseline, nothing was measured before the retrained model."""
    gate = facts["gate"]
    mode = str(gate.get("mode") or "fresh")
    words = MODES.get(mode, mode)
    if mode == "licensed" and all(is_reason(row) for row in gate.get("table") or []):
        words = "Meant to be judged under licence, which could not be done. The reasons say why."
    if not is_retrained(facts):
        return words
    return f"{words} Then a model was retrained without what was forgotten, and compared with others retrained so."


def _drift(drift: Mapping[str, Any]) -> str:
    parts = []
    nights = finite(drift.get("nights"))
    if nights is not None:
        parts.append(several(round(nights), "night", "nights"))
    if finite(drift.get("forgotten_share")) is not None:
        parts.append(f"{percent(drift['forgotten_share'])} of the training data forgotten")
    if finite(drift.get("distance")) is not None:
        parts.append(f"distance {decimal(drift['distance'], 3)}")
    return f"Since the last full training: {', '.join(parts) or 'not measured'}."


def limits(batch: Batch, sequel: Sequel | None = None) -> list[str]:
    """What nobody may read into the page; ``sequel``: what came after the batch's close."""
    found = [
        "That nothing is left. It says how the new model behaves in the measurements above, on the data at hand. "
        "Another attack could see more; this is no proof of forgetting.",
        _erased_limit(sequel is not None and sequel.erasure is not None),
        "Who asked. No person and no item is named here or in the files this page was made from.",
        "That it is genuine. The page is not signed; the certificates are. What it says can be held against the "
        "ledger: `tru ledger verify`, "
        "`tru ledger show`.",
    ]
    if (batch.facts.get("regimes") or {}).get("modalities"):
        found.insert(
            1,
            "What layers may have kept of a revoked modality. Its features are checked to be gone; no audit looks "
            "further.",
        )
    return found


def _erased_limit(is_erased: bool) -> str:
    beyond = "Backups, clones and what others computed from earlier recommendations are out of reach."
    if is_erased:
        return f"That no copy is left anywhere. Only the stores named here were searched. {beyond}"
    return (
        "That old copies are gone. It was written before the erasure; `tru report` writes it again, and what was "
        f"destroyed and searched stands in the certificates as well. {beyond}"
    )


GLOSSARY = (
    ("Champion", "The model that serves. It changes only after the gate said yes, or a person decided."),
    ("Gate", "Compares the new model with what retraining gives, and refuses it if it is too far off on any side."),
    ("Suppressed", "From the moment of the request: no personal list for a person, no list with the item."),
    ("Pair", "One person and one item: a row of the data."),
    ("Baseline", "A model retrained from scratch, made to compare with."),
    ("Canaries", "Pairs withheld from training on purpose. Right after training the model cannot know them."),
    ("AUC", "How often one kind of pair outranks another: 1 always, 0.5 as often as not, 0 never."),
    ("Interval", "Where the true difference lies but for chance. All of it must be inside the allowed range."),
    ("Drift", "How far many nights of unlearning have moved the champion away from its last full training."),
)
