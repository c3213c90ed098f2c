"""The audits of research in one call: what the nightly gate does not ask, judged by retrained models.

    rows = audit(original, unlearned, [keyed, seed_1, seed_2], Stage.of(before, after), shadows)
    [{"metric": "test/train/ndcg@20", "group": "all", "model": "unlearned", "value": 0.0405}, ...]

``model`` is ``original``, ``unlearned``, ``retrained-0`` (the keyed retrain: the original's dice), ``retrained-1`` ...
(independent seeds). No value means anything alone: :func:`judged` puts the unlearned model beside the keyed retrain,
and beside both the spread between the retrains. docs/method.md, *Audits*, says what each metric can and cannot say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np

from tru.errors import EvaluationError
from tru.evaluation.audits import Scores, Stage, last_vector_auc, vectors
from tru.evaluation.comparison import exact_checks
from tru.evaluation.research.exposure import exposure_rows
from tru.evaluation.research.probes import probe_rows
from tru.evaluation.research.ranks import REFERENCE, rank_rows
from tru.evaluation.research.relearning import Lesson, relearning_rows
from tru.evaluation.research.shadows import Unlearned, membership_rows
from tru.evaluation.research.utility import utility_rows
from tru.models.trained import TrainedModel


class Row(TypedDict):
    """One number about one model; the harness adds backbone, data set, regime, method, seed."""

    metric: str
    group: str
    model: str
    value: float


class Judged(TypedDict):
    """The unlearned model beside retrained ones.

    ``retrained`` is the keyed retrain's value. A metric that is itself a comparison with the keyed retrain has none for
    it: there it is what no difference gives (0, or .5 for the chance that one outranks the other), and ``spread`` is
    how far another retrain is from that. Else ``spread`` is the largest less the smallest value of the retrains, NaN
    of one. ``difference`` is signed; ``inside`` says whether it is at most the spread.
    """

    metric: str
    group: str
    unlearned: float
    retrained: float
    difference: float
    spread: float
    inside: bool


PARTS = ("exact", "utility", "ranks", "membership", "copies", "exposure", "probes", "relearning")
"""The audits there are."""
LESSON = Lesson()
CHANCES = ("/below/share", "/retrained-auc")
"""Endings of metrics that are the chance of outranking the keyed retrain: .5 says that nothing is told apart."""

Found = dict[tuple[str, str], float]
"""(metric, group) -> value, of one model."""


def audit(
    original: TrainedModel,
    unlearned: TrainedModel,
    retrained: Sequence[TrainedModel],
    stage: Stage,
    shadows: Sequence[TrainedModel] = (),
    *,
    unlearned_shadows: Sequence[Unlearned] = (),
    targets: Collection[str] = (),
    parts: Collection[str] = PARTS,
    only: Collection[str] = (),
    lesson: Lesson = LESSON,
) -> list[Row]:
    """All audits of all models.

    Args:
        original: trained on everything.
        unlearned: by the method in question. For the method *retrain*, give a retrain with a seed of its own.
        retrained: from scratch on the retained data; the first with the original's dice, the others independent. Two
            or more say how much two retrains differ.
        stage: the data before and after.
        shadows: models of other shares of the data (:func:`tru.evaluation.research.shadows.shadow_data`), for the
            per-sample membership attacks; none: those are left out.
        unlearned_shadows: (before, after) of shadows that the method in question made to forget some pairs, for RULI's.
        targets: ids of the items that planted users push, if ``original`` was trained with some
            (:func:`tru.data.planted.plant`).
        parts: which audits, of PARTS. ``relearning`` is the dear one: some epochs' worth of steps per model.
        only: names of the models whose rows are wanted; all if empty. Whoever audits many candidates against one
            retrain need not audit that one again each time.
        lesson: how relearning teaches.

    Returns:
        Tidy rows; no identifier in them. NaN where there is nothing to measure.

    Raises:
        EvaluationError: no retrained model, two models are one and the same, or an unknown part or name.
    """
    if unknown := set(parts) - set(PARTS):
        raise EvaluationError(f"there is no audit called {', '.join(sorted(unknown))}. There are: {', '.join(PARTS)}.")
    models = _named(original, unlearned, retrained)
    if strange := set(only) - set(models):
        raise EvaluationError(f"there is no model called {', '.join(sorted(strange))}. There are: {', '.join(models)}.")
    named = {name: model for name, model in models.items() if not only or name in only}
    scores = {name: vectors(model, stage) for name, model in models.items() if name in {*named, REFERENCE}}
    audits: dict[str, Callable[[], Mapping[str, Found]]] = {
        "exact": lambda: {name: _exact(model, stage) for name, model in named.items() if name != "original"},
        "utility": lambda: {name: utility_rows(scores[name], stage) for name in named},
        "ranks": lambda: rank_rows(scores, stage),
        "membership": lambda: membership_rows(scores, stage, shadows, unlearned_shadows),
        "copies": lambda: _copies(original, scores, stage),
        "exposure": lambda: {name: exposure_rows(model, stage, targets) for name, model in named.items()},
        "probes": lambda: {name: probe_rows(model, stage) for name, model in named.items()},
        "relearning": lambda: relearning_rows({**named, "original": original}, stage, lesson),
    }
    found = [audits[part]() for part in PARTS if part in parts]
    return [
        Row(metric=metric, group=group, model=name, value=float(value))
        for name in named
        for part in found
        for (metric, group), value in part.get(name, {}).items()
    ]


def judged(rows: Sequence[Row]) -> list[Judged]:
    """The unlearned model beside the keyed retrain, for each metric and group that both have.

    The spread is the range of the few retrains there are, so ``inside`` is a reading aid and no test.
    """
    table: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        table.setdefault((row["metric"], row["group"]), {})[row["model"]] = row["value"]
    return [
        _judge(metric, group, values)
        for (metric, group), values in table.items()
        if "unlearned" in values and any(name.startswith("retrained") for name in values)
    ]


def _judge(metric: str, group: str, values: Mapping[str, float]) -> Judged:
    others = np.array([value for name, value in values.items() if name.startswith("retrained")])
    if REFERENCE in values:
        nought = values[REFERENCE]
        spread = float(np.ptp(others)) if len(others) > 1 else float("nan")
    else:  # the metric compares with the keyed retrain already
        nought = 0.5 if metric.endswith(CHANCES) else 0.0
        spread = float(np.abs(others - nought).max())
    difference = values["unlearned"] - nought
    return Judged(
        metric=metric,
        group=group,
        unlearned=values["unlearned"],
        retrained=nought,
        difference=difference,
        spread=spread,
        inside=abs(difference) <= spread + 1e-12,
    )


def _exact(model: TrainedModel, stage: Stage) -> Found:
    """``exact/<check>``: violations, each of which must be 0."""
    return {(f"exact/{check}", "all"): float(count) for check, count in exact_checks(model, stage).items()}


def _copies(original: TrainedModel, scores: Mapping[str, Scores], stage: Stage) -> dict[str, Found]:
    """What kept copies of the last vectors of users who are gone can still tell."""
    last = vectors(original, stage)
    return {
        name: {("mia/last-vector/auc", "forget"): last_vector_auc(found, stage, last)} for name, found in scores.items()
    }


def refuse_same(models: Mapping[str, TrainedModel]) -> None:
    """Refuse two names for one model: its distance to itself is 0 and shows nothing.

    Raises:
        EvaluationError: two are the same object, or have the same parameters, patch and graph.
    """
    for (name, one), (other, two) in combinations(models.items(), 2):
        if one is two or _same(one, two):
            raise EvaluationError(
                f"{name} and {other} are the same model, so comparing them shows nothing. "
                "Give a retrain with a seed of its own (tru.training.refit(..., seed=...))."
            )


def _same(one: TrainedModel, two: TrainedModel) -> bool:
    # Apart by prefix: both the parameters and the data have a "users" and an "items".
    mine, theirs = (
        {"patch": m.patch}
        | {f"module/{name}": array for name, array in m.arrays.items()}
        | {f"data/{name}": array for name, array in m.data.arrays().items()}
        for m in (one, two)
    )
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def _named(
    original: TrainedModel, unlearned: TrainedModel, retrained: Sequence[TrainedModel]
) -> dict[str, TrainedModel]:
    if not retrained:
        raise EvaluationError("there is no retrained model to judge by. Retrain one: tru.training.refit.")
    models = {"original": original, "unlearned": unlearned}
    models |= {f"retrained-{k}": model for k, model in enumerate(retrained)}
    refuse_same(models)
    return models
