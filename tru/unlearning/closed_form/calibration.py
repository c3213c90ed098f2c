"""The strengths of TRU, found on what is forgotten for practice; no request's data is needed.

The formulas are in docs/method.md, *Strength*.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from tru import randomness
from tru.data.prepare import pair_keys
from tru.errors import UnlearningError
from tru.evaluation.audits import Scores, Stage, doubling, haunted, win_shares
from tru.evaluation.evidence import ranked
from tru.models.base import Embedding
from tru.models.graph import Inputs
from tru.models.trained import TrainedModel
from tru.unlearning.change import Change
from tru.unlearning.closed_form.deletion import Deletion
from tru.unlearning.params import Strength, UnlearnerParams, UnlearnParams

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


def calibrate(model: TrainedModel, params: UnlearnParams) -> Strength:
    """The strengths at which what was forgotten for practice looks like what training never saw.

    Needs no request's data. Both practices are matched by popularity after the cut: a forgotten pair's item has lost
    the edge that a canary's item never had.

    Raises:
        UnlearningError: the model has no canaries; set ``unlearn.strength`` to a number or retrain with canaries.
    """
    inputs = Inputs.of(model.data)
    practice = _Practice(params, model, inputs, model.embed(inputs))
    found = _by_canaries(practice)
    if model.started() is None:  # nobody can derive an initial row again, and so none can tell anything
        return found
    return found.model_copy(update={"gone": _by_fresh_rows(practice, found)})


def calibrated(model: TrainedModel, params: UnlearnerParams) -> TrainedModel:
    """The freshly trained model with its calibrated strength, where the strength is to be calibrated.

    Data with too few pairs to practise on gives a model without one: it serves, and its nights retrain.
    """
    ended = model.facts.get("ended") or model.finished().facts["ended"]
    model = model.with_facts(train_seconds=model.facts["seconds"], trained=ended, method="train")
    if not isinstance(params, UnlearnParams) or params.strength != "canary":
        return model
    with suppress(UnlearningError):
        model = model.with_facts(gamma=calibrate(model, params).model_dump(mode="json"))
    return model


@dataclass(frozen=True)
class _Practice:
    """What calibration does again and again: forget some train pairs, and see.

    Attributes:
        params: which interventions are on.
        model: as it was trained.
        inputs: of its data.
        ghosts: its vectors.
    """

    params: UnlearnParams
    model: TrainedModel
    inputs: Inputs
    ghosts: Embedding

    def forget(self, pairs: np.ndarray) -> tuple[Deletion, Stage]:
        """The reverse of some train pairs, (n,) bool, in which nobody is removed, and where it is judged."""
        data = self.model.data
        retained = replace(data, train=data.train[~pairs], canary=data.canary[~pairs])
        change = Change.between(data, retained)
        return Deletion(self.params, self.model, retained, change, self.inputs, self.ghosts), Stage.of(data, retained)


def _by_canaries(practice: _Practice) -> Strength:
    """Strengths for users who stay: membership AUC and recall of forgotten edges as of canaries.

    In classes of users with about equally many edges: the users' strength decides about those with few, the items'
    about those with many (TikTok: 1.5 for both over-forgets the ones and under-forgets the others). Least squares in
    standard errors, with a weak pull to 1.5 where nothing else decides.
    """
    data = practice.model.data
    keys = pair_keys(data.users, data.items, data.train, randomness.of_word("rehearsal"))
    pairs = (randomness.uniform(keys) < REHEARSAL) & ~data.canary
    if not data.canary.any() or not pairs.any():
        raise UnlearningError(
            "there is no canary to calibrate the strength on. Set unlearn.strength to a number (1.25 is a start), "
            "or set train.canaries above 0 and retrain."
        )
    reverse, stage = practice.forget(pairs)
    classes = _classes(stage)

    def gaps(gamma: np.ndarray) -> np.ndarray:
        scores = _scores(reverse.apply(_strength(gamma)), reverse, stage)
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
    draws = randomness.uniform(
        randomness.mix(randomness.of_ids(practice.model.data.users), randomness.of_word("rehearsal of users"))
    )
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

    def shares(found: TrainedModel, rows: np.ndarray) -> np.ndarray:
        """(n_users,) mean win share of each user's pairs, scored from those rows; NaN without any."""
        users = found.arrays["users"].copy()
        users[who] = rows
        scores = _scores(replace(found, arrays={**found.arrays, "users": users}), reverse, stage)
        wins = win_shares(scores, stage, pairs, stage.after.popularity)
        usable = np.isfinite(wins)
        count, total = (np.bincount(pairs[usable, 0], x, minlength=len(who)) for x in (None, wins[usable]))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    began, width = model.started(), model.params.width
    assert began is not None
    draws = [model.recipe.user_rows(names, width, f"fresh {k} user") for k in range(DRAWS)]
    fresh = np.stack([shares(found[-1], rows) for rows in draws])
    told = [shares(each, began.users[who]) - fresh.mean(0) for each in found]
    classes = doubling(np.bincount(model.data.edges[:, 0], minlength=len(who)))
    asked = np.isfinite(told[0])
    sums = [*told, fresh.var(0, ddof=1), np.ones(len(who))]
    return np.stack([np.bincount(classes[asked], x[asked], minlength=int(classes.max()) + 1)[1:] for x in sums])


def _scores(found: TrainedModel, reverse: Deletion, stage: Stage) -> Scores:
    """Everybody's vectors after the reverse, on its graph as it lies there: nobody is missing, no phantom joins it."""
    return haunted(found, stage).scores(reverse.inputs)


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
    strength changes. Neighbouring buckets are merged until there are enough of both. And all of them together: two
    strengths cannot meet every class, and what a few dozen canaries of one class say by chance must not draw away the
    average, which is what is known best. Of n and m users, a difference rests on 1 / (1/n + 1/m).
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
    if len(ranges) > 1:
        ranges.append((1, top))
    found = []
    for low, high in ranges:
        both = [(bucket >= low) & (bucket <= high) for bucket in (forgotten, canary)]
        users = [len(np.unique(x[k, 0])) for x, k in zip((stage.forgotten, stage.canary), both, strict=True)]
        found.append((both[0], both[1], 1 / sum(1 / n for n in users)))
    return found
