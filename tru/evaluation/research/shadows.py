"""Shadow models and what they tell about a model under attack: membership inference on forgotten and retained pairs.

Shadows are trained like the original on known shares of the same data (:func:`shadow_data`), best with seeds of their
own. Of each pair it is then known what models give that learned it, and what models give that did not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from tru import randomness
from tru.data.prepare import Prepared, pair_keys
from tru.errors import EvaluationError
from tru.evaluation.audits import Scores, Stage, kept, vectors
from tru.evaluation.research.attacks import likelihood_ratio, outlyingness, power, relative_ratio
from tru.evaluation.research.ranks import REFERENCE
from tru.models.trained import TrainedModel

SAMPLE = 2000
"""Retained pairs drawn."""

Unlearned = tuple[TrainedModel, TrainedModel]
"""A shadow before and after it was made to forget."""
Attack = Callable[["Sight", "Sight"], np.ndarray]


def shadow_data(
    before: Prepared, count: int, *, share: float = 0.5, unit: Literal["pair", "user", "item"] = "pair"
) -> list[Prepared]:
    """Data for ``count`` shadows: of each unit, exactly round(share * count) of them learn it.

    What a shadow may not learn is withheld as its canaries, so that users, items and masks stay the same. The choice is
    keyed: without some pairs, that of the others stays.

    Args:
        before: the original's data; its canaries take part.
        count: how many.
        share: of the shadows that a unit is in.
        unit: what is in or out as a whole: pairs, or all pairs of a user or item. Take what is forgotten.

    Raises:
        EvaluationError: every shadow would learn a unit, or none would.
    """
    inside = round(share * count)
    if not 0 < inside < count:
        raise EvaluationError(
            f"{count} shadows, share {share}: no pair is both in and out. Take more, or nearer to .5."
        )
    keys = {
        "pair": pair_keys(before.users, before.items, before.train),
        "user": randomness.of_ids(before.users)[before.train[:, 0]],
        "item": randomness.of_ids(before.items)[before.train[:, 1]],
    }[unit]
    draws = randomness.mix(
        randomness.mix(keys, randomness.of_word("shadow"))[:, None], np.arange(count, dtype=np.uint64)[None, :]
    )
    places = draws.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return [replace(before, canary=places[:, k] >= inside) for k in range(count)]


@dataclass(frozen=True)
class Sight:
    """What a model, or a list of shadows, gives to pairs.

    Attributes:
        z: (p,) or (s, p) scores in standard deviations of the user's scores over all items.
        log: (p,) or (s, p) log of the share of the pair's item in its user's softmax of these.
        inside: (s, p) bool: learned by the shadow; for shadows that were made to forget: learned and forgotten.
        outside: (s, p) bool: never learned by it.
    """

    z: np.ndarray
    log: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def seen(scores: Scores, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p,) ``z`` and (p,) ``log`` of :class:`Sight`."""
    z, log = np.zeros(len(pairs)), np.zeros(len(pairs))
    for start in range(0, len(pairs), 2048):
        part = pairs[start : start + 2048]
        table = scores.users[torch.from_numpy(part[:, 0])] @ scores.items.T
        table = (table - table.mean(1, keepdim=True)) / table.std(1, keepdim=True).clamp_min(1e-12)
        own = table[torch.arange(len(part)), torch.from_numpy(part[:, 1])]
        z[start : start + len(part)] = own.numpy()
        log[start : start + len(part)] = (own - table.logsumexp(1)).numpy()
    return z, log


def _learned(model: TrainedModel, stage: Stage, pairs: np.ndarray) -> np.ndarray:
    """(p,) bool: which pairs the model was trained with."""
    own = pair_keys(model.data.users, model.data.items, model.data.edges)
    found: np.ndarray = np.isin(pair_keys(stage.before.users, stage.before.items, pairs), own)
    return found


def _of_shadows(shadows: Sequence[TrainedModel], stage: Stage, pairs: np.ndarray) -> Sight:
    z, log = (np.stack(part) for part in zip(*(seen(vectors(m, stage), pairs) for m in shadows), strict=True))
    inside = np.stack([_learned(model, stage, pairs) for model in shadows])
    return Sight(z, log, inside, ~inside)


def _of_unlearned(shadows: Sequence[Unlearned], stage: Stage, pairs: np.ndarray) -> Sight:
    """Of shadows that forgot some pairs; those that still have a pair say nothing of it."""
    after = _of_shadows([later for _, later in shadows], stage, pairs)
    learned = np.stack([_learned(earlier, stage, pairs) for earlier, _ in shadows])
    return replace(after, inside=learned & after.outside, outside=~learned & after.outside)


def _online(own: Sight, shadows: Sight) -> np.ndarray:
    return likelihood_ratio(own.z, shadows.z, shadows.inside, shadows.outside)


def _offline(own: Sight, shadows: Sight) -> np.ndarray:
    return outlyingness(own.z, shadows.z, shadows.outside)


def _relative(own: Sight, shadows: Sight) -> np.ndarray:
    return relative_ratio(own.log, shadows.log, shadows.inside, shadows.outside)


def membership_rows(
    scores: Mapping[str, Scores],
    stage: Stage,
    shadows: Sequence[TrainedModel] = (),
    unlearned_shadows: Sequence[Unlearned] = (),
) -> dict[str, dict[tuple[str, str], float]]:
    """Per model ``mia/<attack>/<power>``, see :func:`tru.evaluation.research.attacks.power`.

    Attacks: ``population`` (one threshold for all z; needs no shadow), ``lira``, ``lira-offline``, ``rmia``, ``ruli``.
    Groups: ``forget`` and ``retain``, forgotten and a sample of retained pairs as members, the original's canaries as
    those who are none. ``mia/<attack>/retrained-auc``: the forgotten pairs in this model against the same pairs in the
    keyed retrain, .5 if they cannot be told apart.
    """
    parts = {"forget": stage.forgotten, "retain": _sampled(stage), "canary": stage.canary}
    pairs = np.concatenate(list(parts.values()))
    ends = np.cumsum([len(part) for part in parts.values()])
    where = dict(zip(parts, np.split(np.arange(len(pairs)), ends[:-1]), strict=True))
    none = np.zeros((0, len(pairs)), dtype=bool)
    own = {name: Sight(*seen(part, pairs), none, none) for name, part in scores.items()}
    attacks: dict[str, dict[str, np.ndarray]] = {"population": {name: sight.z for name, sight in own.items()}}
    if shadows:
        view = _of_shadows(shadows, stage, pairs)
        for attack, how in (("lira", _online), ("lira-offline", _offline), ("rmia", _relative)):
            attacks[attack] = {name: how(sight, view) for name, sight in own.items()}
    if unlearned_shadows:
        view = _of_unlearned(unlearned_shadows, stage, pairs)
        attacks["ruli"] = {name: _online(sight, view) for name, sight in own.items()}
    out: dict[str, dict[tuple[str, str], float]] = {name: {} for name in scores}
    for attack, found in attacks.items():
        for name, values in found.items():
            for group in [name for name in ("forget", "retain") if len(where[name])]:
                told = power(values[where[group]], values[where["canary"]])
                out[name] |= {(f"mia/{attack}/{word}", group): value for word, value in told.items()}
            if name != REFERENCE and len(where["forget"]):
                beside = power(values[where["forget"]], found[REFERENCE][where["forget"]])["auc"]
                out[name]["mia/" + attack + "/retrained-auc", "forget"] = beside
    return out


def _sampled(stage: Stage) -> np.ndarray:
    """(r, 2) retained pairs that were learned, the same ones every time as long as they stay."""
    edges = kept(stage, canaries=False)
    keys = pair_keys(stage.before.users, stage.before.items, edges, randomness.of_word("retained sample"))
    found: np.ndarray = edges[np.argsort(keys, kind="stable")[:SAMPLE]]
    return found
