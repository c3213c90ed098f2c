"""Bad models made on purpose out of real trained ones, and the reason for which the gate must refuse each.

How bad a plant is, is measured in margins against the mean of the retrained models, with nothing of the gate
(:meth:`~benchmarks.scenes.Scene.damage`). A plant less than :data:`BAD` margins off is no bad model and so no case.
One that comes in degrees is made worse until it is clearly bad: :data:`GROSS` margins where it forgets wrongly. That
is also the least that counts in licensed mode: five margins of .03 are .15, and with the hundred subjects that a
licence is good for, the margin itself has to be about as wide (``gate.widest_margin``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.scenes import Scene
from tru.evaluation.audits import vectors
from tru.evaluation.evidence import Evidence, observe
from tru.models.trained import TrainedModel
from tru.unlearning.closed_form.method import Tru
from tru.unlearning.params import UnlearnParams

BAD = 2.0
"""Margins by which a plant must be off to count as bad."""
GROSS = 5.0
"""Margins by which forgetting is off where it is a matter of degree."""
DOUBLINGS = 8
OFF = UnlearnParams(neutral_rows=False, attribution=False, fusion_gate=False, strength=1.0)
"""TRU with nothing left but the cut of graph, rows and features."""


@dataclass(frozen=True)
class Plant:
    """A model that must be refused.

    Attributes:
        kind: one of the six kinds of cases.
        how: what was done to it.
        model: the model.
        fault: the reason the gate must name.
        seen: what was observed of it.
        instead_of: the model that was unlearned tonight, where this one was put in its place.
    """

    kind: str
    how: str
    model: TrainedModel
    fault: str
    seen: Evidence
    is_gross: bool = True
    instead_of: TrainedModel | None = None


Make = Callable[[Scene, float], TrainedModel]


def plants(scene: Scene) -> list[Plant | None]:
    """All plants of a scene; None where one did not get bad enough to count."""
    made: list[Plant | None] = [
        _fixed(scene, "under-forgotten", "only the graph was cut", Tru(OFF).unlearn(scene.champion, scene.stage.after)),
        _fixed(scene, "under-forgotten", "a quarter of the strength", weakened(scene)),
        _graded(scene, "under-forgotten", "forgotten pairs pulled up", pulled, 0.125),
        _graded(scene, "over-forgotten", "the strength too high", overdone, 2.0),
        _graded(scene, "over-forgotten", "forgotten pairs pushed down", pushed, 0.125),
        _graded(scene, "utility", "noise in the rows", noisy, 0.02),
        _graded(scene, "utility", "rows exchanged", exchanged, 0.01),
    ]
    same = Plant("unchanged", "the champion itself", scene.champion, "exact", scene.champion_seen)
    return [*made, *swapped(scene), same]


def swapped(scene: Scene) -> list[Plant]:
    """Good models that are not the one which was unlearned tonight."""
    tonight = unlearned(scene)
    return [
        Plant("swapped", how, model, "swapped", observe(model, scene.stage), instead_of=tonight)
        for how, model in (
            ("the model of another batch", scene.elsewhere),
            ("another training on the same data", scene.retrained[-1]),
        )
    ]


def unlearned(scene: Scene) -> TrainedModel:
    """TRU as it is set; no plant."""
    return _tru(scene, 1.0)


def weakened(scene: Scene, share: float = 0.25) -> TrainedModel:
    """TRU at a share of the calibrated strength."""
    return _tru(scene, share)


def overdone(scene: Scene, times: float) -> TrainedModel:
    """TRU at a multiple of the calibrated strength."""
    return _tru(scene, times)


def _tru(scene: Scene, times: float) -> TrainedModel:
    params = UnlearnParams.model_validate(scene.settings.unlearn.model_dump())
    gamma = Tru(params).strength(scene.champion).times(times)
    return Tru(params.model_copy(update={"strength": gamma})).unlearn(scene.champion, scene.stage.after)


def pushed(scene: Scene, amount: float) -> TrainedModel:
    """A retrained model whose forgotten pairs were given scores below what never having seen them gives.

    Where the user stays, by the smallest change of the user's vector; where the user is gone, by moving the item's row
    away from where the user's would start.
    """
    model, stage = scene.retrained[-1], scene.stage
    scores, data = vectors(model, stage), model.data
    users, items = _positions(stage.before.users, data.users), _positions(stage.before.items, data.items)
    pairs = stage.forgotten
    spread = float((scores.users @ scores.items.T).std())
    stays = pairs[users[pairs[:, 0]] >= 0]
    wish = _step(scores.users, scores.items, stays, amount * spread)
    change = torch.zeros(len(data.users), model.params.width)
    change[torch.from_numpy(users[users >= 0])] = wish[torch.from_numpy(np.flatnonzero(users >= 0))]
    gone = pairs[(users[pairs[:, 0]] < 0) & (items[pairs[:, 1]] >= 0)]
    rows = model.arrays["items"].copy()
    away = model.recipe.user_rows(stage.before.users[gone[:, 0]], model.params.width)
    away = away / np.linalg.norm(away, axis=1, keepdims=True)
    np.add.at(rows, items[gone[:, 1]], -amount * float(np.abs(rows).std()) * 8 * away)
    return replace(model, arrays={**model.arrays, "items": rows}, patch=model.patch + change.numpy())


def pulled(scene: Scene, amount: float) -> TrainedModel:
    """A retrained model whose forgotten pairs were given scores as if they were still remembered."""
    return pushed(scene, -amount)


def _step(users: torch.Tensor, items: torch.Tensor, pairs: np.ndarray, amount: float) -> torch.Tensor:
    """The change of the users' vectors that lowers the scores of the pairs by ``amount`` each, and others' least."""
    out = torch.zeros_like(users)
    metric = items.T @ items / len(items)
    inverse = torch.linalg.inv(metric + 1e-3 * metric.diagonal().mean() * torch.eye(len(metric)))
    for user in np.unique(pairs[:, 0]):
        z = items[torch.from_numpy(pairs[pairs[:, 0] == user, 1])]
        gram = z @ inverse @ z.T
        gram = gram + 1e-2 * gram.diagonal().mean() * torch.eye(len(z))
        out[user] = -amount * inverse @ z.T @ torch.linalg.solve(gram, torch.ones(len(z)))
    return out


def noisy(scene: Scene, amount: float) -> TrainedModel:
    """A retrained model with noise on every row, in units of the rows' own spread."""
    model, draw = scene.retrained[-1], np.random.default_rng(0)
    rows = {
        side: (a := model.arrays[side]) + (amount * a.std() * draw.standard_normal(a.shape)).astype(np.float32)
        for side in ("users", "items")
    }
    return replace(model, arrays={**model.arrays, **rows})


def exchanged(scene: Scene, share: float) -> TrainedModel:
    """A retrained model in which a share of the items stand in each other's rows, as after a wrong join."""
    model, draw = scene.retrained[-1], np.random.default_rng(0)
    rows = model.arrays["items"].copy()
    wrong = draw.permutation(len(rows))[: max(2, int(min(share, 1.0) * len(rows)))]
    rows[wrong] = rows[np.roll(wrong, 1)]
    return replace(model, arrays={**model.arrays, "items": rows})


def _fixed(scene: Scene, kind: str, how: str, model: TrainedModel, least: float = BAD) -> Plant | None:
    """A plant that is as bad as it is."""
    seen = observe(model, scene.stage)
    damage = scene.damage(seen)[kind]
    return Plant(kind, how, model, kind, seen, damage >= GROSS) if damage >= least else None


def _graded(scene: Scene, kind: str, how: str, make: Make, start: float) -> Plant | None:
    """A plant that is made worse until it is bad."""
    least = BAD if kind == "utility" else GROSS
    for k in range(DOUBLINGS):
        plant = _fixed(scene, kind, how, make(scene, start * 2**k), least)
        if plant is not None:
            return plant
    return None


def _positions(names: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(n,) positions in ``own`` of the ids in ``names``; -1 for those that are not there."""
    place = {name: k for k, name in enumerate(own.tolist())}
    return np.array([place.get(name, -1) for name in names.tolist()], dtype=np.int64)
