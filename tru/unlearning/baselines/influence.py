"""Influence function: one damped Newton step from the trained rows to those that training without would have found.

Of the family of SCIF (Li et al., "Selective and Collaborative Influence Function", arXiv 2304.10199) and IFRU (Zhang et
al., "Recommendation Unlearning via Influence Function", arXiv 2307.02147). With L_D the summed training loss on all
pairs and the old graph, and L_R on what stays and the new graph, at the same parameters theta and the same dice:

    theta_R = theta - scale (H + damping h)^-1 (grad L_R - grad L_D) / |R|

The difference of the two gradients is IFRU's: the forgotten pairs' own, and the spillover of the graph on pairs that
stay; that grad L_D is not zero, since training stopped early, cancels. Only rows of touched nodes that stay move, as
SCIF selects; shared layers do not. H is the Gauss-Newton matrix of the ranking loss, J' diag(sigma sigma') J / |R|,
never indefinite, on retained pairs of touched nodes; h is its mean diagonal. Solved by conjugate gradients.

J v is a central difference of the scores: a pair's lead is quadratic in the rows wherever the backbone is linear in
them, and for quadratics central differences are exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tru import randomness
from tru.data.prepare import Prepared
from tru.models.base import Batch
from tru.models.graph import Inputs
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.unlearning.base import Unlearner
from tru.unlearning.baselines import settings
from tru.unlearning.baselines.cut import signed, structural
from tru.unlearning.baselines.sampler import Lessons
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams

BATCH = 4096
"""Pairs per gradient of the training loss."""
REACH = 0.1
"""Length of a difference's step, in typical entries of the rows."""
EXACT = 1e-5
"""Residual at which conjugate gradients stop, relative to the start's."""


@dataclass(frozen=True)
class Influence(Unlearner):
    """An influence function: one damped Newton step on the rows of touched nodes.

    For users, items and interactions; of a revoked modality it makes the cut alone.

    Attributes:
        params: scale, damping, effort.
        neutral_rows: see :class:`tru.unlearning.params.UnlearnParams`.
    """

    params_class = UnlearnParams

    params: settings.Influence
    neutral_rows: bool = True

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(params.rivals.influence, params.neutral_rows)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        found = structural(model, retained, change, self.neutral_rows)
        touched = Touched.of(change)
        if touched.size and len(retained.edges):
            found = self._step(model, found, change, touched)
        return signed(found, "influence", change, start)

    def _step(self, model: TrainedModel, cut: TrainedModel, change: Change, touched: Touched) -> TrainedModel:
        was, now = (gradient(each, like=len(model.data.edges)) for each in (model, cut))
        apart = now[0] - was[0][torch.from_numpy(change.users)], now[1] - was[1][torch.from_numpy(change.items)]
        curvature = Curvature(cut, touched, self.params.sample)
        damping = self.params.damping * curvature.mean()
        step = solve(curvature, touched.pick(*apart) / len(cut.data.edges), damping, self.params.iterations)
        tables = cut.arrays["users"].copy(), cut.arrays["items"].copy()
        touched.add(-self.params.scale * step, *(torch.from_numpy(table) for table in tables))
        return replace(cut, arrays={**cut.arrays, "users": tables[0], "items": tables[1]})


@dataclass(frozen=True)
class Touched:
    """Rows of nodes that lost an edge and have others left, by position in the retained data.

    Attributes:
        users: (n,) positions.
        items: (m,) positions.
    """

    users: Tensor
    items: Tensor

    @classmethod
    def of(cls, change: Change) -> Touched:
        """Those of a change."""
        users = np.isin(change.users, change.forgotten[:, 0]) & ~change.emptied_users
        items = np.isin(change.items, change.forgotten[:, 1]) & ~change.emptied_items
        return cls(torch.from_numpy(np.flatnonzero(users)), torch.from_numpy(np.flatnonzero(items)))

    @property
    def size(self) -> int:
        """How many rows."""
        return len(self.users) + len(self.items)

    def pick(self, users: Tensor, items: Tensor) -> Tensor:
        """(n + m, d): these rows of two tables."""
        return torch.cat([users[self.users], items[self.items]])

    def add(self, step: Tensor, users: Tensor, items: Tensor) -> None:
        """Add (n + m, d) to these rows of two tables, in place."""
        users[self.users] += step[: len(self.users)]
        items[self.items] += step[len(self.users) :]


def gradient(model: TrainedModel, like: int) -> tuple[Tensor, Tensor]:
    """Gradient of the training loss, summed over the model's edges, by user and item row.

    Args:
        model: on its own graph.
        like: number of edges that batches are laid out for, so that two data sets are asked alike.
    """
    inputs, module = Inputs.of(model.data), model.module()
    tables = module.users, module.items
    total = torch.zeros_like(tables[0]), torch.zeros_like(tables[1])
    for lesson in Lessons(model.data, model.data.edges, model.recipe, "influence").once(BATCH, like):
        loss = module.loss(inputs, lesson) * len(lesson.users)
        for sum_, part in zip(total, torch.autograd.grad(loss, tables), strict=True):
            sum_ += part
    return total


class Curvature:
    """The Gauss-Newton matrix of the mean ranking loss in the touched rows; call it to multiply with it.

    Args:
        model: after the cut.
        touched: the rows.
        sample: retained pairs of touched nodes to measure on, at most.
    """

    def __init__(self, model: TrainedModel, touched: Touched, sample: int) -> None:
        data = model.data
        self._touched, self._inputs, self._module = touched, Inputs.of(data), model.module()
        near = np.isin(data.edges[:, 0], touched.users.numpy()) | np.isin(data.edges[:, 1], touched.items.numpy())
        pairs = data.edges[near] if near.any() else data.edges
        self._batch: Batch = Lessons(data, pairs, model.recipe, "curvature").draw(0, sample)
        self._share = len(pairs) / len(data.edges) / len(self._batch.users)
        backbone = self._module
        self._tables = backbone.users, backbone.items
        rows = touched.pick(*(table.detach() for table in self._tables))
        self._reach, self._shape = REACH * float(rows.square().mean().sqrt().clamp_min(1e-6)), rows.shape
        self._lead = self._leads()
        chance = torch.sigmoid(self._lead.detach())
        self._weight = chance * (1 - chance) * self._share
        names = np.concatenate([data.users[touched.users.numpy()], data.items[touched.items.numpy()]])
        self._probe = torch.from_numpy(randomness.table(names, rows.shape[1], 1.0, randomness.of_word("probe"))).sign()

    def __call__(self, step: Tensor) -> Tensor:
        """(t, d) -> (t, d)."""
        size = step.square().mean().sqrt()
        if size == 0:
            return torch.zeros_like(step)
        move = step * (self._reach / size)
        slope = (self._moved(move) - self._moved(-move)) / (2 * self._reach / size)
        parts = torch.autograd.grad(self._lead, self._tables, self._weight * slope, retain_graph=True)
        return self._touched.pick(*parts)

    def mean(self) -> Tensor:
        """Mean of the diagonal, by one draw of signs (Hutchinson)."""
        return (self._probe * self(self._probe)).mean()

    def _leads(self) -> Tensor:
        """(b,) by how much each pair beats its negative."""
        found, batch = self._module.embed(self._inputs), self._batch
        return (found.users[batch.users] * (found.items[batch.positives] - found.items[batch.negatives])).sum(1)

    @torch.no_grad()
    def _moved(self, step: Tensor) -> Tensor:
        """The leads with the touched rows moved; the tables are as before afterwards, to the bit."""
        kept = [table.detach().clone() for table in self._tables]
        self._touched.add(step, *(table.data for table in self._tables))
        found = self._leads()
        for table, old in zip(self._tables, kept, strict=True):
            table.data.copy_(old)
        return found


def solve(product: Callable[[Tensor], Tensor], target: Tensor, damping: Tensor | float, iterations: int) -> Tensor:
    """Conjugate gradients: x with product(x) + damping x = target, of any shape.

    Args:
        product: multiplies with a symmetric matrix that is nowhere negative.
        target: what to reach.
        damping: at least 0.
        iterations: at most; as many as there are unknowns are exact.
    """
    found, rest = torch.zeros_like(target), target.clone()
    direction, left = rest.clone(), rest.square().sum()
    enough = EXACT**2 * left
    for _ in range(iterations):
        if left <= enough:
            break
        image = product(direction) + damping * direction
        length = left / (direction * image).sum().clamp_min(1e-30)
        found, rest = found + length * direction, rest - length * image
        left, before = rest.square().sum(), left
        direction = rest + (left / before) * direction
    return found
