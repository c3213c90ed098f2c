"""Audits of forgetting: what a model still knows about pairs it should not know.

All of them are read against the same audit of a retrained model, never against an absolute value: popularity alone puts
a forgotten pair above chance, and a pair pushed below what retraining gives betrays itself just as much.

Deleted users and items have no rows any more. They are scored as *phantoms*, the white-box worst case: somebody who
knows the training's dice derives the initial row again (and, for an item, still has its features).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tru import randomness
from tru.data.prepare import Prepared, pair_keys
from tru.evaluation.metrics import per_user_metrics, rank_metrics, top_items
from tru.models.base import Backbone, Rows
from tru.models.graph import Inputs
from tru.models.trained import TrainedModel

NEGATIVES = 20
"""Never-seen items drawn per audited pair."""


@dataclass(frozen=True)
class Stage:
    """Where models are compared: the retained data, and the forgotten pairs on ids that may be gone from it.

    Attributes:
        before: the data with the forgotten pairs.
        after: the data without.
        forgotten: (f, 2) positions in ``before`` of the forgotten train pairs.
        canary: (c, 2) positions in ``before`` of the withheld pairs that stay.
        initial: where the rows of everybody in ``before`` started, where that cannot be derived again from the ids.
    """

    before: Prepared
    after: Prepared
    forgotten: np.ndarray
    canary: np.ndarray
    initial: Rows | None = None

    @classmethod
    def of(cls, before: Prepared, after: Prepared, initial: Rows | None = None) -> Stage:
        """Compare the two by id."""
        key = pair_keys(before.users, before.items, before.train)
        gone = ~np.isin(key, pair_keys(after.users, after.items, after.train))
        return cls(before, after, before.train[gone & ~before.canary], before.train[~gone & before.canary], initial)


@dataclass(frozen=True)
class Scores:
    """Vectors of everybody in ``Stage.before``, phantoms where a model no longer has a row.

    Attributes:
        users: (n_users_before, d).
        items: (n_items_before, d).
    """

    users: Tensor
    items: Tensor


@torch.no_grad()
def vectors(model: TrainedModel, stage: Stage, rows: str = "") -> Scores:
    """The vectors that a model gives to all users and items of the data before.

    Those it was told to forget appear as edge-less phantoms with the initial row of the training, or, if ``rows`` names
    another draw, with a random row that no training has seen.
    """
    return haunted(model, stage, rows).scores()


@dataclass(frozen=True)
class Haunted:
    """A model's module with phantoms for everybody of ``Stage.before`` whom it has no row for.

    Attributes:
        module: the backbone.
        data: the model's own data and the phantoms behind it.
        patch: (n, d) added to the users' vectors; zero for phantoms.
        users: (n_users_before,) positions in ``data`` of the users before.
        items: (n_items_before,) the same of items.
    """

    module: Backbone
    data: Prepared
    patch: Tensor
    users: np.ndarray
    items: np.ndarray

    @torch.no_grad()
    def scores(self, inputs: Inputs | None = None) -> Scores:
        """Everybody's vectors, with the parameters that the module has now."""
        found = self.module.embed(inputs or Inputs.of(self.data))
        return Scores((found.users + self.patch)[self.users], found.items[self.items])


def haunted(model: TrainedModel, stage: Stage, rows: str = "") -> Haunted:
    """See :func:`vectors`; for who wants to train the module on."""
    before, own = stage.before, model.data
    lost_users, lost_items = ~np.isin(before.users, own.users), ~np.isin(before.items, own.items)
    width = model.params.width
    if stage.initial is not None and not rows:
        phantoms = Rows(stage.initial.users[lost_users], stage.initial.items[lost_items])
    else:
        phantoms = Rows(
            model.recipe.user_rows(before.users[lost_users], width, f"{rows}user"),
            model.recipe.item_rows(before.items[lost_items], width, f"{rows}item"),
        )
    users = np.concatenate([model.arrays["users"], phantoms.users])
    items = np.concatenate([model.arrays["items"], phantoms.items])
    extended = _with_phantoms(own, before, lost_users, lost_items)
    patch = torch.from_numpy(np.concatenate([model.patch, np.zeros((lost_users.sum(), width), np.float32)]))
    where = _order(extended.users, before.users), _order(extended.items, before.items)
    return Haunted(model.module(users, items), extended, patch, *where)


def _with_phantoms(own: Prepared, before: Prepared, users: np.ndarray, items: np.ndarray) -> Prepared:
    """The model's data plus edge-less users and items; a phantom item keeps its features and whom it resembles."""
    names = np.concatenate([own.items, before.items[items]])
    knn, similarity, features, present = {}, {}, {}, {}
    position = _order(names, before.items)
    for m in own.modalities:
        source = items[before.knn[m][:, 0]] & ~items[before.knn[m][:, 1]]
        knn[m] = np.concatenate([own.knn[m], position[before.knn[m][source]]])
        similarity[m] = np.concatenate([own.similarity[m], before.similarity[m][source]])
        features[m] = np.concatenate([own.features[m], before.features[m][items]])
        present[m] = np.concatenate([own.present[m], before.present[m][items]])
    return replace(
        own,
        users=np.concatenate([own.users, before.users[users]]),
        items=names,
        knn=knn,
        similarity=similarity,
        features=features,
        present=present,
    )


def _order(names: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) positions in ``names`` of the ``wanted`` ids."""
    order = np.argsort(names, kind="stable")
    found: np.ndarray = order[np.searchsorted(names[order], wanted)]
    return found


def forget_recall(scores: Scores, stage: Stage) -> float:
    """Recall@20 of the forgotten pairs, items of the retained train set masked; NaN without forgotten pairs."""
    masked = replace(stage.before, train=kept(stage))
    return rank_metrics(scores.users, scores.items, masked, stage.forgotten)["recall@20"]


def kept(stage: Stage, *, canaries: bool = True) -> np.ndarray:
    """(k, 2) train pairs that stay, by position in the data before; with or without the withheld ones."""
    n = len(stage.before.items)
    train, gone = stage.before.train, stage.forgotten
    stays = ~np.isin(train[:, 0] * n + train[:, 1], gone[:, 0] * n + gone[:, 1])
    found: np.ndarray = train[stays if canaries else stays & ~stage.before.canary]
    return found


def never_seen(data: Prepared, pairs: np.ndarray, popularity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pair, items the user never had, of about the same popularity.

    Args:
        data: whose train, validation and test rows count as seen.
        pairs: (p, 2).
        popularity: (n_items,) edges per item; buckets are powers of two.

    Returns:
        (p, NEGATIVES) item positions and a mask of those that are valid.
    """
    bucket = doubling(popularity)
    order = np.argsort(bucket, kind="stable")
    first, last = (np.searchsorted(bucket[order], bucket[pairs[:, 1]], side=s) for s in ("left", "right"))
    keys = pair_keys(data.users, data.items, pairs, randomness.of_word("never seen"))[:, None]
    draws = randomness.uniform(randomness.mix(keys, np.arange(NEGATIVES, dtype=np.uint64)[None, :]))
    drawn = order[first[:, None] + (draws * (last - first)[:, None]).astype(np.int64)]
    n = len(data.items)
    rows = np.concatenate([data.train, data.val, data.test])
    seen = np.isin(pairs[:, :1] * n + drawn, rows[:, 0] * n + rows[:, 1])
    return drawn, ~seen


def doubling(counts: np.ndarray) -> np.ndarray:
    """Buckets of doubling size: 0 for none, 1 for one, 2 for 2 and 3, 3 for 4 to 7, and so on."""
    found: np.ndarray = np.ceil(np.log2(counts + 1)).astype(int)
    return found


def membership_auc(scores: Scores, stage: Stage, pairs: np.ndarray) -> float:
    """How often a pair outscores never-seen pairs of the same user and popularity; ties count half.

    Popularity is that of the data before, the same for every model compared. NaN without pairs.
    """
    shares = win_shares(scores, stage, pairs)
    usable = ~np.isnan(shares)
    return float(shares[usable].mean()) if usable.any() else float("nan")


def last_vector_auc(scores: Scores, stage: Stage, last: Scores) -> float:
    """The membership AUC of users of whom no edge is left, scored by the vectors that they were last served with.

    Somebody may have a copy of those: an export, a cache, a screenshot of the index. They were learned from the very
    items, so a retrained model, too, puts these above others; only the comparison with one says anything.

    Args:
        scores: of the model.
        stage: where it is asked.
        last: of the original.

    Returns:
        NaN if nobody lost every edge, or if the model's vectors are of another width, so that no copy fits them (an
        ensemble's).
    """
    if last.users.shape[1] != scores.users.shape[1]:
        return float("nan")
    linked = stage.after.users[np.unique(stage.after.edges[:, 0])]
    gone = ~np.isin(stage.before.users, linked)
    users = torch.where(torch.from_numpy(gone)[:, None], last.users, scores.users)
    return membership_auc(replace(scores, users=users), stage, stage.forgotten[gone[stage.forgotten[:, 0]]])


def win_shares(scores: Scores, stage: Stage, pairs: np.ndarray, popularity: np.ndarray | None = None) -> np.ndarray:
    """(p,) share of its never-seen items that each pair outscores; ties count half; NaN where there are none.

    Args:
        scores: of the model.
        stage: where it is asked.
        pairs: (p, 2) positions in the data before.
        popularity: (n_items_before,) by which items are alike; that of the data before if empty.
    """
    if not len(pairs):
        return np.zeros(0)
    drawn, valid = never_seen(stage.before, pairs, stage.before.popularity if popularity is None else popularity)
    user = scores.users[torch.from_numpy(pairs[:, 0])]
    own = (user * scores.items[torch.from_numpy(pairs[:, 1])]).sum(1).numpy()[:, None]
    other = torch.einsum("pd,pnd->pn", user, scores.items[torch.from_numpy(drawn)]).numpy()
    wins = (own > other) + 0.5 * (own == other)
    counts = valid.sum(1)
    shares: np.ndarray = np.where(counts > 0, (wins * valid).sum(1) / np.maximum(counts, 1), np.nan)
    return shares


def z_scores(scores: Scores, pairs: np.ndarray) -> np.ndarray:
    """(p,) score of each pair in standard deviations of its user's scores over all items."""
    out = np.zeros(len(pairs))
    for start in range(0, len(pairs), 2048):
        part = pairs[start : start + 2048]
        everything = scores.users[torch.from_numpy(part[:, 0])] @ scores.items.T
        own = everything[torch.arange(len(part)), torch.from_numpy(part[:, 1])]
        spread = everything.std(1).clamp_min(1e-12)
        out[start : start + len(part)] = ((own - everything.mean(1)) / spread).numpy()
    return out


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sample Kolmogorov-Smirnov distance, in [0, 1]; NaN if either is empty."""
    if not len(a) or not len(b):
        return float("nan")
    both = np.sort(np.concatenate([a, b]))
    low, high = (np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b))
    return float(np.abs(low - high).max())


def stay(scores: Scores, stage: Stage) -> tuple[Tensor, Tensor]:
    """The vectors of the users and items that stay, in the order of the data after."""
    users = scores.users[_order(stage.before.users, stage.after.users)]
    return users, scores.items[_order(stage.before.items, stage.after.items)]


def tested_pairs(stage: Stage) -> np.ndarray:
    """(t, 2) retained test pairs of the users who have an edge left, by position in the data after."""
    test = stage.after.test
    found: np.ndarray = test[np.isin(test[:, 0], stage.after.edges[:, 0])]
    return found


def test_metrics(scores: Scores, stage: Stage) -> dict[str, np.ndarray]:
    """Test metrics per user who stays, over the items that stay, with the retained train items masked."""
    users, items = stay(scores, stage)
    return per_user_metrics(users, items, stage.after, tested_pairs(stage))


def evaluate(model: TrainedModel, stage: Stage) -> dict[str, float]:
    """All numbers of one model, under the names that MLflow and the tables use."""
    scores = vectors(model, stage)
    return summary(scores, stage, test_metrics(scores, stage))


def summary(scores: Scores, stage: Stage, test: Mapping[str, np.ndarray]) -> dict[str, float]:
    """:func:`evaluate` for who has the vectors and :func:`test_metrics`, the dear part, at hand."""
    return {
        **{f"test/{name}": float(values.mean()) if len(values) else float("nan") for name, values in test.items()},
        "forget/recall@20": forget_recall(scores, stage),
        "membership_auc": membership_auc(scores, stage, stage.forgotten),
        "canary_auc": membership_auc(scores, stage, stage.canary),
    }


def listed_strangers(model: TrainedModel, gone: np.ndarray) -> int:
    """How many of the ``gone`` item ids appear in anybody's top 20; must be 0."""
    bad = np.flatnonzero(np.isin(model.data.items, gone))
    if not len(bad):  # a model cannot list what it has no row for, and ranking for everybody is dear
        return 0
    found = model.embed()
    who = np.arange(len(model.data.users))
    lists = top_items(found.users, found.items, model.data.train, who, 20)
    return int(sum(np.isin(top, bad).sum() for _, top in lists))
