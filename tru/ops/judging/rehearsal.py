"""The rehearsal: forget a simulated batch, retrain without it, and ask the gate whether the two can be told apart.

No real request is needed for it: the batch is drawn among subjects who stay, all regimes mixed as on a real night, and
everything made from it is destroyed afterwards. Which subjects are drawn is a hash of their ids and the rehearsal's
name, so that a rehearsal can go on after a crash and the next one draws others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from tru import randomness
from tru.data.forget import ForgetSet, cut
from tru.data.interactions import Dataset
from tru.data.prepare import Prepared, pair_keys, prepare
from tru.errors import UnlearningError
from tru.evaluation.audits import Stage
from tru.evaluation.comparison import exact_checks
from tru.evaluation.evidence import groups, observe
from tru.evaluation.gate import judge_fresh
from tru.evaluation.params import GateParams, RehearsalParams
from tru.evaluation.verdict import Finding, Night, Verdict
from tru.models.trained import TrainedModel
from tru.ops.judging.baseline import REGIMES, Regime
from tru.ops.settings import Settings
from tru.unlearning.base import make
from tru.unlearning.retrain import Retrain

SHARE = 10
"""At most one in so many is drawn, so that what is measured on stays what it was."""
EXACT_ONLY = (
    "judged by the exact checks and utility only: no pair is forgotten with a modality, so nothing measures what the "
    "shared layers may have kept of it"
)


@dataclass(frozen=True)
class Outcome:
    """How a rehearsal ended for one regime.

    Attributes:
        regime: what was forgotten.
        size: how many of them.
        passed: whether it comes up to a retrain.
        reasons: why not, or what the licence does not say; in words.
        table: rows of the gate's verdict.
        night: sums to pool with later rehearsals.
    """

    regime: Regime
    size: int
    passed: bool
    reasons: list[str]
    table: list[dict[str, Any]]
    night: dict[str, dict[str, float]]


def draw(data: Prepared, params: RehearsalParams, word: str) -> ForgetSet:
    """A mixed batch among those who have train rows; another ``word`` draws another one.

    Nobody is drawn twice: single interactions and modalities are taken from users and items that stay. Interactions are
    of different users, because pairs of one user are no independent evidence.
    """
    edges = data.edges
    users = _first(data.users[np.unique(edges[:, 0])], params.users, word, "user")
    items = _first(data.items[np.unique(edges[:, 1])], params.items, word, "item")
    return ForgetSet(
        users=frozenset(users),
        items=frozenset(items),
        pairs=_pairs(data, params.interactions, word, users, items),
        modalities=_modalities(data, params.modalities, word, items),
    )


def rehearse(
    original: TrainedModel,
    ds: Dataset,
    settings: Settings,
    folder: Path,
    word: str,
    past: Sequence[Night] = (),
) -> list[Outcome]:
    """Forget a drawn batch twice, by unlearning and by retraining with the same dice, and compare per regime.

    Args:
        original: the model that forgets; trained on ``ds``.
        ds: the data.
        settings: as the nights have them.
        folder: for the retrained model; a finished one found there is kept.
        word: names the rehearsal.
        past: what earlier rehearsals of the same method left, to be pooled where subjects are few.
    """
    forget = draw(original.data, settings.baseline.rehearsal, word)
    sizes = _sizes(forget)
    retained = prepare(cut(ds, forget), original.recipe.canary_rate)
    try:
        checkpoint = folder / "unlearn.npz"
        candidate = make(settings.unlearn, settings.train, checkpoint).unlearn(original, retained)
    except UnlearningError as error:
        return [Outcome(regime, n, False, [str(error)], [], {}) for regime, n in sizes.items()]
    stage = Stage.of(original.data, retained)
    retrained = observe(_retrained(original, retained, settings, folder), stage)
    exact = exact_checks(candidate, stage)
    verdict = judge_fresh(observe(candidate, stage), [retrained], groups(stage), exact, settings.gate, past)
    return [_outcome(regime, n, verdict, settings.gate) for regime, n in sizes.items()]


def _outcome(regime: Regime, size: int, verdict: Verdict, gate: GateParams) -> Outcome:
    """What the verdict on the mixed batch says of one regime: its own groups, and what concerns everybody."""
    name = REGIMES[regime]
    table = tuple(f for f in verdict.findings if _group(f) in (None, name))
    own = replace(
        verdict,
        passed=all(f.passed for f in table),
        findings=table,
        night={key: sums for key, sums in verdict.night.items() if key.endswith(f"/{name}")},
    )
    missing = _missing(regime, own, gate)
    reasons = [*([missing] if missing else []), *([] if own.passed else own.reasons)]
    if not reasons and regime == "modality":
        reasons = [EXACT_ONLY]
    words = own.to_dict()
    return Outcome(regime, size, own.passed and missing is None, reasons, words["table"], words["night"])


def _group(finding: Finding) -> str | None:
    """Whose pairs a finding is about; tests pooled over several rehearsals included."""
    return finding.group.split(",")[0] if finding.group else None


def _missing(regime: Regime, verdict: Verdict, gate: GateParams) -> str | None:
    """What keeps a verdict without a fault from being a licence: too few subjects to have measured anything."""
    if regime == "modality":
        return None
    name = REGIMES[regime]
    judged = {f.name for f in verdict.findings if f.judged and _group(f) == name}
    if {"forget/recall@20", "membership_auc"} <= judged:
        return None
    return (
        f"too few {name} went to be judged: {gate.min_subjects} independent ones are needed, of this rehearsal or of "
        f"several. Raise baseline.rehearsal.{name}, or wait for the next rehearsals"
    )


def _retrained(original: TrainedModel, retained: Prepared, settings: Settings, folder: Path) -> TrainedModel:
    """The same dice and number of epochs without the batch; kept in ``folder`` once it is done."""
    place = folder / "retrained"
    if not (place / "model.json").exists():
        checkpoint = folder / "retrained.npz"
        Retrain(settings.train, checkpoint=checkpoint).unlearn(original, retained).save(place)
        checkpoint.unlink(missing_ok=True)
    return TrainedModel.load(place)


def _sizes(forget: ForgetSet) -> dict[Regime, int]:
    counts = (len(forget.users), len(forget.items), len(forget.pairs), len(forget.modalities))
    return {regime: n for regime, n in zip(REGIMES, counts, strict=True) if n}


def _first(names: np.ndarray, count: int, word: str, kind: str) -> list[str]:
    """The ``count`` names with the smallest hashes."""
    keys = randomness.mix(randomness.of_ids(names), randomness.of_word(f"rehearsal {kind}"), randomness.of_word(word))
    return cast(list[str], names[np.argsort(keys, kind="stable")[: min(count, len(names) // SHARE)]].tolist())


def _pairs(data: Prepared, count: int, word: str, users: list[str], items: list[str]) -> frozenset[tuple[str, str]]:
    edges = data.edges
    stays = ~np.isin(data.users[edges[:, 0]], users) & ~np.isin(data.items[edges[:, 1]], items)
    pairs = edges[stays]
    keys = pair_keys(data.users, data.items, pairs, randomness.of_word("rehearsal pair"), randomness.of_word(word))
    pairs = pairs[np.argsort(keys, kind="stable")]
    _, first = np.unique(pairs[:, 0], return_index=True)  # one of each user
    picked = pairs[np.sort(first)[: min(count, len(edges) // SHARE)]]
    return frozenset((str(data.users[u]), str(data.items[i])) for u, i in picked)


def _modalities(data: Prepared, count: int, word: str, items: list[str]) -> frozenset[tuple[str, str]]:
    stay = {m: data.items[data.present[m] & ~np.isin(data.items, items)] for m in data.modalities}
    named = [(str(item), m) for m, names in stay.items() for item in names]
    keys = [
        randomness.mix(randomness.of_ids(names), randomness.of_word(f"rehearsal {m}"), randomness.of_word(word))
        for m, names in stay.items()
    ]
    order = np.argsort(np.concatenate(keys), kind="stable")
    return frozenset(named[k] for k in order[: min(count, len(named) // SHARE)])
