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
from tru.evaluation.audits import Stage, doubling, vectors, win_shares
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
"""Share of the edges, or of the users, that calibration forgets for practice."""
PROBED = (1.0, 2.0)
"""Strengths between and beyond which the one for users who are gone is found by a straight line."""
FOLDS = 3
"""Draws of such users, none in two of them; one alone is too few to tell a strength by."""
LEAST_NOISE = 1e-3
"""Of the variance between random rows of one user: few draws may be alike by chance."""
DRAWS = 4
"""Fresh rows for each of them, to say what not knowing somebody looks like."""


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
        inputs = Inputs.of(model.data)
        is_reported = self.params.isolation and len(change.forgotten) > 0
        shares = isolation.sensitivity(model, change.forgotten, inputs) if is_reported else {}
        found = _Reverse(self.params, model, retained, change, model.embed(inputs)).apply(gamma)
        if not self.params.isolation:
            found = isolation.uniform_reverse(found, _staying(change))
        return found.with_facts(
            method="tru",
            gamma=gamma.model_dump(mode="json"),
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
    """The strengths at which what was forgotten for practice looks like what training never saw.

    Needs no request's data. Both practices are matched by popularity after the cut: a forgotten pair's item has lost
    the edge that a canary's item never had.

    Raises:
        UnlearningError: the model has no canaries; set ``unlearn.strength`` to a number or retrain with canaries.
    """
    practice = _Practice(params, model, model.embed())
    found = _by_canaries(practice)
    return found.model_copy(update={"gone": _by_fresh_rows(practice, found)})


@dataclass(frozen=True)
class _Practice:
    """What calibration does again and again: forget some train pairs, and see.

    Attributes:
        params: which interventions are on.
        model: as it was trained.
        ghosts: its vectors.
    """

    params: UnlearnParams
    model: TrainedModel
    ghosts: Embedding

    def forget(self, pairs: np.ndarray) -> tuple[_Reverse, Stage]:
        """The reverse of some train pairs, (n,) bool, in which nobody is removed, and where it is judged."""
        data = self.model.data
        retained = replace(data, train=data.train[~pairs], canary=data.canary[~pairs])
        change = Change.between(data, retained)
        return _Reverse(self.params, self.model, retained, change, self.ghosts), Stage.of(data, retained)


def _by_canaries(practice: _Practice) -> Strength:
    """Strengths for users who stay: membership AUC and recall of forgotten edges as of canaries.

    In classes of users with about equally many edges: the users' strength decides about those with few, the items'
    about those with many (TikTok: 1.5 for both over-forgets the ones and under-forgets the others). Least squares in
    standard errors, with a weak pull to 1.5 where nothing else decides.
    """
    data = practice.model.data
    keys = pair_keys(data.users, data.items, data.train, keyed.of_word("rehearsal"))
    pairs = (keyed.uniform(keys) < REHEARSAL) & ~data.canary
    if not data.canary.any() or not pairs.any():
        raise UnlearningError(
            "there is no canary to calibrate the strength on. Set unlearn.strength to a number (1.25 is a start), "
            "or set train.canaries above 0 and retrain."
        )
    reverse, stage = practice.forget(pairs)
    classes = _classes(stage)

    def gaps(gamma: np.ndarray) -> np.ndarray:
        scores = vectors(reverse.apply(_strength(gamma)), stage)
        forgotten, canary = (
            np.stack([win_shares(scores, stage, pairs, stage.after.popularity), ranked(scores, stage, pairs)[0]])
            for pairs in (stage.forgotten, stage.canary)
        )
        apart = [_apart(forgotten[:, these], canary[:, those], n) for these, those, n in classes]
        # A class may have no never-seen item to compare with.
        found: np.ndarray = np.nan_to_num(np.concatenate([*apart, gamma - USUAL]))
        return found

    found = least_squares(gaps, [USUAL, USUAL], bounds=(LEAST, MOST), diff_step=0.05, max_nfev=6, xtol=0.01)
    return _strength(found.x)


def _by_fresh_rows(practice: _Practice, known: Strength) -> tuple[float, ...]:
    """The strengths for users who are gone: their initial rows tell no more of what they had than fresh rows do.

    One for each class of users with about equally many edges: what little one edge leaves in an item is found less
    surely than what four hundred leave, so more of what is found has to be taken back (TikTok: about 3 against 2). The
    membership AUC is taken to be linear in the strength; least squares in standard errors, with a weak pull to the
    strength of those who stay.
    """
    draws = keyed.uniform(keyed.mix(keyed.of_ids(practice.model.data.users), keyed.of_word("rehearsal of users")))
    folds = [(draws >= k * REHEARSAL) & (draws < (k + 1) * REHEARSAL) for k in range(FOLDS)]
    low, high, noise, users = np.sum([_gone_gaps(practice, known, who) for who in folds], axis=0)
    n = np.maximum(users, 1)  # a class without users has no gap and no slope: it keeps the strength of those who stay
    start, slope = low / n, (high - low) / n / (PROBED[1] - PROBED[0])
    weight = n / np.maximum(noise / n, LEAST_NOISE) * DRAWS / (DRAWS + 1)
    best = (known.items - weight * slope * (start - slope * PROBED[0])) / (1 + weight * slope**2)
    return tuple(round(float(gamma), 3) for gamma in np.clip(best, LEAST, MOST))


def _gone_gaps(practice: _Practice, known: Strength, who: np.ndarray) -> np.ndarray:
    """At each strength of PROBED, how much more the initial rows of some users tell of what they had than fresh rows.

    Args:
        practice: with a model that knows them.
        known: the strengths for those who stay.
        who: (n_users,) bool.

    Returns:
        (4, classes) sums over the users of a class: of the difference of their mean win shares at either strength, of
        the variance that a random row gives such a mean, and of one.
    """
    model = practice.model
    reverse, stage = practice.forget(who[model.data.train[:, 0]])
    pairs, names = stage.forgotten, model.data.users[who]
    found = [reverse.apply(known.model_copy(update={"gone": (gamma,)})) for gamma in PROBED]

    def shares(found: TrainedModel, salt: str) -> np.ndarray:
        """(n_users,) mean win share of each user's pairs, scored from the rows of that salt; NaN without any."""
        users = found.arrays["users"].copy()
        users[who] = model.recipe.user_rows(names, users.shape[1], salt)
        scores = vectors(replace(found, arrays={**found.arrays, "users": users}), stage)
        wins = win_shares(scores, stage, pairs, stage.after.popularity)
        usable = np.isfinite(wins)
        count, total = (np.bincount(pairs[usable, 0], x, minlength=len(who)) for x in (None, wins[usable]))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    fresh = np.stack([shares(found[-1], f"fresh {k} user") for k in range(DRAWS)])
    told = [shares(each, "user") - fresh.mean(0) for each in found]
    classes = doubling(np.bincount(model.data.edges[:, 0], minlength=len(who)))
    asked = np.isfinite(told[0])
    sums = [*told, fresh.var(0, ddof=1), np.ones(len(who))]
    return np.stack([np.bincount(classes[asked], x[asked], minlength=int(classes.max()) + 1)[1:] for x in sums])


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
    names = dict(zip(stage.after.users.tolist(), doubling(edges).tolist(), strict=True))
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

    def __init__(
        self, params: UnlearnParams, model: TrainedModel, retained: Prepared, change: Change, ghosts: Embedding
    ) -> None:
        self.params, self.model, self.retained, self.change = params, model, retained, change
        self.inputs = Inputs.of(retained)
        self.ghosts = ghosts
        """Vectors of everybody before; in memory only."""
        self.users, self.items = self._purged()
        self.user_shares = torch.zeros_like(self.users)
        self.item_shares = torch.zeros(1, *self.items.shape)
        """Of users who stay, and of each class of users of whom no edge is left."""
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
        left = np.zeros(len(data.users), dtype=bool)
        left[change.users] = ~change.emptied_users
        user = data.edges[:, 0]
        classes = doubling(np.bincount(user, minlength=len(left)))
        kind = np.where(is_forgotten, np.where(left, 0, classes)[user], -1)
        touched = np.intersect1d(change.forgotten[:, 1], change.items[~change.emptied_items])
        found = forgotten_share(displaced["items"], bases, data.edges[:, ::-1], kind, touched, self.params.ridge)
        self.item_shares = found[:, torch.from_numpy(change.items)]
        touched = np.intersect1d(change.forgotten[:, 0], change.users[~change.emptied_users])
        kind, basis = np.where(is_forgotten, 0, -1), [directions(self.ghosts.items)]
        found = forgotten_share(displaced["users"], basis, data.edges, kind, touched, self.params.ridge)
        self.user_shares = found[0, torch.from_numpy(change.users)]

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
        scales = torch.tensor([gamma.items, *gamma.of_gone(len(self.item_shares) - 1)])
        items = self.items - torch.einsum("k,knd->nd", scales, self.item_shares)
        users = self.users
        reversed_users = users - gamma.users * self.user_shares
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
