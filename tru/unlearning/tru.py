"""TRU, targeted reverse update (arXiv 2604.02183), in our reading: purge, attributed reverse, fusion gate, isolation.

The paper's formulas are not public code. Ours are stated in the modules that hold them and in ``docs/method.md``:
:mod:`~tru.unlearning.attribution`, :mod:`~tru.unlearning.fusion_gate`, :mod:`~tru.unlearning.isolation`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from tru import keyed
from tru.data.prepare import Prepared, pair_keys
from tru.errors import UnlearningError
from tru.evaluation.audits import Stage, vectors, win_shares
from tru.evaluation.evidence import ranked
from tru.models.base import Backbone, Embedding
from tru.models.propagation import Inputs
from tru.models.trained import TrainedModel
from tru.training import TrainParams
from tru.unlearning import fusion_gate, isolation
from tru.unlearning.attribution import directions, forgotten_share
from tru.unlearning.base import Strength, UnlearnParams, unlearner
from tru.unlearning.change import Change

USUAL, LEAST, MOST = 1.5, 0.25, 4.0
"""Where calibration starts for gamma, and the range it searches."""
FEWEST = 10
"""Canaries and practice pairs in a class of users before it counts for itself."""
REHEARSAL = 0.05
"""Share of the edges that calibration forgets for practice."""


@dataclass(frozen=True)
class Tru:
    """The unlearner; see the file's docstring.

    Attributes:
        params: which interventions are on, and the strength.
    """

    params: UnlearnParams

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`. Takes one to three seconds on TikTok (60k edges)."""
        start = time.perf_counter()
        change = Change.between(model.data, retained)
        gamma = self.strength(model)
        shares = (
            isolation.sensitivity(model, change.forgotten) if self.params.isolation and len(change.forgotten) else {}
        )
        found = _Reverse(self.params, model, retained, change).apply(gamma)
        if not self.params.isolation:
            found = isolation.uniform_reverse(found, _staying(change))
        return found.with_facts(
            method="tru",
            gamma=gamma.model_dump(),
            isolation={name: round(share, 4) for name, share in shares.items()},
            layers=isolation.chosen(shares),
            forgotten_edges=model.facts.get("forgotten_edges", 0) + len(change.forgotten),
            seconds=round(time.perf_counter() - start, 3),
        )

    def strength(self, model: TrainedModel) -> Strength:
        """gamma: as set, as the model was calibrated after training, or calibrated now."""
        given = self.params.strength
        if isinstance(given, Strength):
            return given
        if given != "canary":
            return Strength(users=given, items=given)
        found = model.facts.get("gamma")
        if not isinstance(found, dict):  # not calibrated, or by a version that knew one strength only
            return calibrate(model, self.params)
        return Strength(**found)


def calibrate(model: TrainedModel, params: UnlearnParams) -> Strength:
    """The strengths at which freshly forgotten pairs look like pairs that training never saw.

    Forgets 5 % of the edges for practice and compares membership AUC and recall with the canaries', both ways, in
    classes of users with about equally many edges: the users' strength decides about those with few, the items' about
    those with many (TikTok: 1.5 for both over-forgets the ones and under-forgets the others). Least squares in standard
    errors, with a weak pull to 1.5 where nothing else decides. Needs no request's data.

    Raises:
        UnlearningError: the model has no canaries; set ``unlearn.strength`` to a number or retrain with canaries.
    """
    data = model.data
    keys = pair_keys(data.users, data.items, data.train, keyed.of_word("rehearsal"))
    practice = (keyed.uniform(keys) < REHEARSAL) & ~data.canary
    if not data.canary.any() or not practice.any():
        raise UnlearningError(
            "there is no canary to calibrate the strength on. Set unlearn.strength to a number (1.25 is a start), "
            "or set train.canaries above 0 and retrain."
        )
    retained = replace(data, train=data.train[~practice], canary=data.canary[~practice])
    reverse = _Reverse(params, model, retained, Change.between(data, retained))
    stage = Stage.of(data, retained)
    classes = _classes(stage)

    def gaps(gamma: np.ndarray) -> np.ndarray:
        scores = vectors(reverse.apply(_strength(gamma)), stage)
        forgotten, canary = (
            np.stack([win_shares(scores, stage, pairs), ranked(scores, stage, pairs)[0]])
            for pairs in (stage.forgotten, stage.canary)
        )
        apart = [_apart(forgotten[:, these], canary[:, those], n) for these, those, n in classes]
        # A class may have no never-seen item to compare with.
        found: np.ndarray = np.nan_to_num(np.concatenate([*apart, gamma - USUAL]))
        return found

    found = least_squares(gaps, [USUAL, USUAL], bounds=(LEAST, MOST), diff_step=0.05, max_nfev=6, xtol=0.01)
    return _strength(found.x)


def _strength(gamma: np.ndarray) -> Strength:
    return Strength(users=round(float(gamma[0]), 3), items=round(float(gamma[1]), 3))


def _apart(forgotten: np.ndarray, canary: np.ndarray, n: float) -> np.ndarray:
    """Differences of (2, p) and (2, c) win shares and hits in standard errors; ``n``: subjects they rest on."""
    own, usual = np.nanmean(forgotten, axis=1), np.nanmean(canary, axis=1)
    recall = float(np.sqrt(max(usual[1] * (1 - usual[1]), 0.05)))
    found: np.ndarray = (own - usual) * np.sqrt(n) / [0.29, recall]
    return found


def _classes(stage: Stage) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Which forgotten pairs and which canaries to compare, and on how many subjects a difference rests.

    Users with equally many edges left, in buckets of doubling size; those with none left have a fresh row, which no
    strength changes. Neighbouring buckets are merged until there are enough of both. Of n and m users, a difference
    rests on 1 / (1/n + 1/m).
    """
    edges = np.bincount(stage.after.edges[:, 0], minlength=len(stage.after.users))
    names = dict(zip(stage.after.users.tolist(), np.ceil(np.log2(edges + 1)).tolist(), strict=True))
    of = np.array([names.get(user, 0) for user in stage.before.users.tolist()])
    forgotten, canary = of[stage.forgotten[:, 0]], of[stage.canary[:, 0]]
    ranges, low, top = [], 1, int(of.max())
    for high in range(1, top + 1):
        if min(((bucket >= low) & (bucket <= high)).sum() for bucket in (forgotten, canary)) >= FEWEST:
            ranges.append((low, high))
            low = high + 1
    if ranges:
        ranges[-1] = (ranges[-1][0], top)  # what is left at the end is too few to count for itself
    found = []
    for low, high in ranges:
        both = [(bucket >= low) & (bucket <= high) for bucket in (forgotten, canary)]
        users = [len(np.unique(x[k, 0])) for x, k in zip((stage.forgotten, stage.canary), both, strict=True)]
        found.append((both[0], both[1], 1 / sum(1 / n for n in users)))
    return found


class _Reverse:
    """One deletion on one model. What does not depend on the strength is computed once."""

    def __init__(self, params: UnlearnParams, model: TrainedModel, retained: Prepared, change: Change) -> None:
        self.params, self.model, self.retained, self.change = params, model, retained, change
        self.inputs = Inputs.of(retained)
        self.ghosts = model.embed()
        self.users, self.items = self._purged()
        self.user_shares: list[Tensor] = []
        self.item_shares: list[Tensor] = []
        if params.attribution and len(change.forgotten):
            self._attribute()

    def _purged(self) -> tuple[Tensor, Tensor]:
        """The rows that stay; those that lost every edge become fresh rows, as a node without data has them."""
        change, arrays, recipe = self.change, self.model.arrays, self.model.recipe
        users, items = arrays["users"][change.users].copy(), arrays["items"][change.items].copy()
        if self.params.neutral_rows:
            width = users.shape[1]
            names = self.retained.users[change.emptied_users], self.retained.items[change.emptied_items]
            users[change.emptied_users] = recipe.user_rows(names[0], width, "neutral user")
            items[change.emptied_items] = recipe.item_rows(names[1], width, "neutral item")
        return torch.from_numpy(users), torch.from_numpy(items)

    def _attribute(self) -> None:
        """What forgotten neighbours put into each touched row, at strength one, on positions of the retained data."""
        data, change, recipe = self.model.data, self.change, self.model.recipe
        n = len(data.items)
        is_forgotten = np.isin(data.edges @ [n, 1], change.forgotten @ [n, 1])
        width = self.model.params.width
        displaced = {
            "users": torch.from_numpy(self.model.arrays["users"] - recipe.user_rows(data.users, width)),
            "items": torch.from_numpy(self.model.arrays["items"] - recipe.item_rows(data.items, width)),
        }
        names = cast(Backbone, self.model.module()).item_bases() if self.params.branches else ("final",)
        bases = [directions(self._basis(name)) for name in names]
        touched = np.intersect1d(change.forgotten[:, 1], change.items[~change.emptied_items])
        edges = data.edges[:, ::-1]
        found = forgotten_share(displaced["items"], bases, edges, is_forgotten, touched, self.params.ridge)
        self.item_shares = [share[torch.from_numpy(change.items)] for share in found]
        touched = np.intersect1d(change.forgotten[:, 0], change.users[~change.emptied_users])
        basis = [directions(self.ghosts.items)]
        found = forgotten_share(displaced["users"], basis, data.edges, is_forgotten, touched, self.params.ridge)
        self.user_shares = [share[torch.from_numpy(change.users)] for share in found]

    def _basis(self, name: str) -> Tensor:
        """Vectors of the users before the deletion.

        An item learned first from where its users started, and somebody who derives a deleted user's initial row again
        finds that part; hence ``start`` (it takes the white-box AUC of deleted users on TikTok from .60 to .53,
        retrained .48-.51).
        """
        if name == "start":
            return torch.from_numpy(self.model.recipe.user_rows(self.model.data.users, self.model.params.width))
        return self.ghosts.users if name == "final" else self.ghosts.branches[name][0]

    @torch.no_grad()
    def apply(self, gamma: Strength) -> TrainedModel:
        """The model at one strength."""
        items = self.items - gamma.items * sum(self.item_shares, torch.zeros_like(self.items))
        users = self.users
        reversed_users = users - gamma.users * sum(self.user_shares, torch.zeros_like(users))
        patch = torch.from_numpy(self.model.patch[self.change.users])
        patch[torch.from_numpy(self.change.emptied_users)] = 0.0
        if not self.params.fusion_gate:
            users = reversed_users
        elif len(self.change.forgotten):
            patch = patch + self._gate(users, reversed_users, items, patch)
        arrays = {**self.model.arrays, "users": users.numpy(), "items": items.numpy()}
        return replace(self.model, arrays=arrays, data=self.retained, patch=patch.numpy())

    def _gate(self, users: Tensor, reversed_users: Tensor, items: Tensor, patch: Tensor) -> Tensor:
        """The fusion gate's change of the users' served vectors."""
        now, then = self._embed(users, items), self._embed(reversed_users, items)
        pairs = self.change.forgotten
        stays = _where(pairs[:, 0], self.change.users, self.change.emptied_users)
        ghosts = self.ghosts.items.clone()  # items that are gone keep their last vector, as something to move away from
        ghosts[torch.from_numpy(self.change.items)] = now.items
        pairs = np.stack([stays, pairs[:, 1]], axis=1)[stays >= 0]
        return fusion_gate.patch(now.users + patch, now.items, then.users + patch, ghosts, pairs)

    def _embed(self, users: Tensor, items: Tensor) -> Embedding:
        return cast(Backbone, self.model.module(users.numpy(), items.numpy())).embed(self.inputs)


def _where(positions: np.ndarray, stay: np.ndarray, emptied: np.ndarray) -> np.ndarray:
    """Positions after the deletion of nodes given by their positions before; -1 for those gone or emptied."""
    after = np.full(max(positions.max(initial=0), stay.max(initial=0)) + 1, -1)
    after[stay[~emptied]] = np.flatnonzero(~emptied)
    found: np.ndarray = after[positions]
    return found


def _staying(change: Change) -> np.ndarray:
    """(p, 2) forgotten pairs of which both ends keep other edges, by position in the retained data."""
    users = _where(change.forgotten[:, 0], change.users, change.emptied_users)
    items = _where(change.forgotten[:, 1], change.items, change.emptied_items)
    return np.stack([users, items], axis=1)[(users >= 0) & (items >= 0)]


@unlearner("tru")
def build(params: UnlearnParams, _: TrainParams, __: Path | None) -> Tru:
    """Targeted reverse update."""
    return Tru(params)
