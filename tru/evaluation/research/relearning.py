"""Relearning time: how soon a model that is taught the forgotten pairs again knows them as the original did.

A model in which they are merely hidden learns them faster than one that never saw them (Golatkar et al., *Eternal
Sunshine of the Spotless Net*, CVPR 2020; Tarun et al., *Fast Yet Effective Machine Unlearning*, 2023); one in which
they are pushed down learns them more slowly. Every model is taught by its own backbone's loss, with the same keyed
batches and negatives, on its own graph, which does not get the pairs back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from tru import randomness
from tru.data.prepare import Prepared, pair_keys
from tru.evaluation.audits import Haunted, Stage, forget_recall, haunted
from tru.models.base import Batch
from tru.models.graph import Inputs
from tru.models.trained import TrainedModel

CHUNK = 512
"""Pairs per group of contrastive negatives, as in training."""


@dataclass(frozen=True)
class Lesson:
    """How the forgotten pairs are taught.

    Attributes:
        steps: at most so many.
        batch: pairs per step; all of them once make an epoch.
        rate: learning rate of Adam, in units of the bound of initial user rows: rows of all sizes learn alike.
        seed: of batches and negatives, the same for every model.
    """

    steps: int = 40
    batch: int = 1024
    rate: float = 0.2
    seed: int = 0


def relearn(model: TrainedModel, stage: Stage, lesson: Lesson, target: float = float("inf")) -> np.ndarray:
    """(k + 1,) Recall@20 of the forgotten pairs before the first step and after each, until it reaches ``target``."""
    taught = haunted(model, stage)
    inputs = Inputs.of(taught.data)
    module = taught.module.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=lesson.rate * model.recipe.user_bound)
    curve = [forget_recall(taught.scores(inputs), stage)]
    epoch = 0
    while len(curve) <= lesson.steps and curve[-1] < target:
        for batch in batches(taught, stage, lesson, epoch):
            if len(curve) > lesson.steps or curve[-1] >= target:
                break
            optimiser.zero_grad(set_to_none=True)
            module.loss(inputs, batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            module.eval()
            curve.append(forget_recall(taught.scores(inputs), stage))
            module.train()
        epoch += 1
    return np.array(curve)


def batches(taught: Haunted, stage: Stage, lesson: Lesson, epoch: int) -> list[Batch]:
    """The forgotten pairs once, in keyed order, each with a keyed negative that its user never had."""
    pairs, before = stage.forgotten, stage.before
    mixed = randomness.mix(
        pair_keys(before.users, before.items, pairs, lesson.seed), randomness.of_word("relearn"), epoch
    )
    order = np.argsort(mixed, kind="stable")
    pairs, negatives = pairs[order], _strangers(before, pairs, mixed)[order]
    users, positives, negatives = taught.users[pairs[:, 0]], taught.items[pairs[:, 1]], taught.items[negatives]
    out = []
    for number, start in enumerate(range(0, len(pairs), lesson.batch)):
        part = slice(start, start + lesson.batch)
        size = len(users[part])
        out.append(
            Batch(
                users=torch.from_numpy(users[part]),
                positives=torch.from_numpy(positives[part]),
                negatives=torch.from_numpy(negatives[part]),
                chunks=[min(CHUNK, size - first) for first in range(0, size, CHUNK)],
                epoch=epoch,
                number=number,
            )
        )
    return out


def _strangers(before: Prepared, pairs: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(p,) items for the users of the pairs: the first of eight keyed draws that is in none of their train pairs."""
    n = len(before.items)
    draws = randomness.mix(keys[:, None], randomness.of_word("negative"), np.arange(8, dtype=np.uint64)[None, :])
    drawn = (randomness.uniform(draws) * n).astype(np.int64)
    unknown = ~np.isin(pairs[:, :1] * n + drawn, before.train[:, 0] * n + before.train[:, 1])
    found: np.ndarray = drawn[np.arange(len(drawn)), unknown.argmax(axis=1)]
    return found


def steps_until(curve: np.ndarray, target: float) -> float:
    """Steps until a curve reaches a target, with the part of the last one that it took; its length if it never does."""
    reached = np.flatnonzero(curve >= target)
    if not len(reached):
        return float(len(curve))
    last = int(reached[0])
    if last == 0:
        return 0.0
    low, high = curve[last - 1], curve[last]
    return float(last - 1 + (target - low) / (high - low))


def relearning_rows(
    models: Mapping[str, TrainedModel], stage: Stage, lesson: Lesson
) -> dict[str, dict[tuple[str, str], float]]:
    """Per model ``relearn/steps`` and ``relearn/epochs`` until the original's recall, ``relearn/reached`` (1 or 0).

    ``relearn/recall``: mean recall over the steps, held at the target once reached; it still tells models apart that
    never reach it. The original needs no step and is left out.
    """
    if not len(stage.forgotten):
        return {}
    per_epoch = -(-len(stage.forgotten) // lesson.batch)
    target = forget_recall(haunted(models["original"], stage).scores(), stage)
    out: dict[str, dict[tuple[str, str], float]] = {}
    for name, model in models.items():
        if name == "original":
            continue
        curve = relearn(model, stage, lesson, target)
        steps = steps_until(curve, target)
        held = np.minimum(np.concatenate([curve, np.full(lesson.steps + 1 - len(curve), target)]), target)
        values = {"steps": steps, "epochs": steps / per_epoch, "reached": float(curve[-1] >= target)}
        out[name] = {(f"relearn/{metric}", "forget"): v for metric, v in {**values, "recall": held.mean()}.items()}
    return out
