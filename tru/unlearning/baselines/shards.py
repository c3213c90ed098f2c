"""A shard ensemble, exact by construction: only shards that held something forgotten are trained again.

Of the family of SISA (Bourtoule et al., "Machine Unlearning", S&P'21) and RecEraser (Chen et al., "Recommendation
Unlearning", WWW'22, arXiv 2201.06820; its user-based partition and its training of one sub-model per shard). Users are
dealt to shards by a hash of their id, so balanced, and each shard trains a whole backbone on its own users' edges, with
all items. RecEraser deals by the similarity of vectors of a model trained on everything before; such a partition itself
remembers whom it was made of, and would have to be made anew to be exact. It learns an attention over the sub-models'
vectors; here a user's scores are those of the one sub-model that has seen the user, which needs no training, hence no
retraining.

An ensemble is an ordinary model of backbone ``concatenation``: K times as wide, a user's vector zero but in the columns
of its shard. What it was made of is in ``facts.shards``. It has to be trained as one: :func:`ensemble`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from tru import randomness
from tru.data.prepare import Prepared
from tru.errors import UnlearningError
from tru.models.params import BackboneParams, ModelParams, TrainParams, model_params
from tru.models.trained import Recipe, TrainedModel
from tru.training import refit
from tru.unlearning.base import Unlearner
from tru.unlearning.baselines import settings
from tru.unlearning.baselines.cut import signed
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams


@dataclass(frozen=True)
class Shards(Unlearner):
    """A shard ensemble: only the shards that held something forgotten are trained again; exact.

    For all regimes.

    Deleting a user touches one shard. An item, and a modality, are part of every shard, and so are the features, which
    are standardised over all items: these deletions train all of them again.

    Attributes:
        train: the training loop.
    """

    params_class = UnlearnParams

    train: TrainParams

    @classmethod
    def build(cls, params: UnlearnParams, train: TrainParams, checkpoint: Path | None) -> Self:
        """See :class:`tru.unlearning.base.Unlearner`."""
        return cls(train)

    def unlearn(self, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """See :class:`tru.unlearning.base.Unlearner`.

        Raises:
            UnlearningError: besides what others raise: the model is no ensemble.
        """
        start = time.perf_counter()
        made = model.facts.get("shards")
        if model.params.name != "concatenation" or not isinstance(made, dict):
            raise UnlearningError(
                "unlearn.method shards: the model is no shard ensemble, it was trained in one piece. Make an ensemble "
                "first (tru.unlearning.baselines.shards.ensemble), or choose another unlearn.method in params.yaml."
            )
        change = Change.between(model.data, retained)
        inner = model_params(made["model"])
        tables = [model.arrays["users"][change.users].copy(), model.arrays["items"][change.items].copy()]
        again = [
            k
            for k in range(made["number"])
            if not _alike(_part(model.data, k, made["number"]), _part(retained, k, made["number"]))
        ]
        for k in again:
            _train(retained, k, made, model, inner, self.train, tables)
        found = replace(
            model,
            arrays={"users": tables[0], "items": tables[1]},
            data=retained,
            patch=np.zeros_like(tables[0]),
        )
        return signed(found, "shards", change, start, retrained_shards=len(again))


def ensemble(like: TrainedModel, data: Prepared, params: settings.Shards, train: TrainParams) -> TrainedModel:
    """Train a shard ensemble.

    Args:
        like: whose backbone and recipe every shard takes.
        data: what to train on.
        params: how many shards, how long.
        train: the loop; its seed and epochs are not used.
    """
    start = time.perf_counter()
    made: dict[str, Any] = {"number": params.number, "model": like.params.model_dump(mode="json")}
    width = like.params.width * params.number
    recipe = Recipe(**{**asdict(like.recipe), "epochs": params.epochs or like.recipe.epochs})
    tables = [np.zeros((len(names), width), dtype=np.float32) for names in (data.users, data.items)]
    model = TrainedModel(
        params=ModelParams(name="concatenation", width=width),
        recipe=recipe,
        arrays={"users": tables[0], "items": tables[1]},
        data=data,
        patch=np.zeros_like(tables[0]),
    )
    for k in range(params.number):
        _train(data, k, made, model, like.params, train, tables)
    return model.with_facts(shards=made, seconds=round(time.perf_counter() - start, 3))


def shard_of(users: np.ndarray, number: int) -> np.ndarray:
    """(n,) the shard of each user id; it never changes, whoever else is there."""
    keys = randomness.mix(randomness.of_ids(users), randomness.of_word("shard"))
    return (randomness.uniform(keys) * number).astype(np.int64)


def _part(data: Prepared, k: int, number: int) -> Prepared:
    """What shard ``k`` trains on: its users, their train rows, and all items."""
    mine = np.flatnonzero(shard_of(data.users, number) == k)
    position = np.full(len(data.users), -1)
    position[mine] = np.arange(len(mine))
    rows = position[data.train[:, 0]] >= 0
    train = np.stack([position[data.train[rows, 0]], data.train[rows, 1]], axis=1)
    nothing = np.zeros((0, 2), dtype=np.int64)
    return replace(data, users=data.users[mine], train=train, canary=data.canary[rows], val=nothing, test=nothing)


def _alike(before: Prepared, after: Prepared) -> bool:
    """Whether training on one would be training on the other."""
    own, other = before.arrays(), after.arrays()
    return all(np.array_equal(own[name], other[name]) for name in own)


def _train(
    data: Prepared,
    k: int,
    made: dict[str, Any],
    model: TrainedModel,
    inner: BackboneParams,
    train: TrainParams,
    tables: list[np.ndarray],
) -> None:
    """Train shard ``k`` from scratch and write its vectors into its columns; without edges they are zero."""
    part, number = _part(data, k, made["number"]), made["number"]
    mine, columns = shard_of(data.users, number) == k, slice(k * inner.width, (k + 1) * inner.width)
    for table in tables:
        table[:, columns] = 0.0
    tables[0][mine] = 0.0
    if not len(part.edges):
        return
    batches = max(1, round(model.recipe.batches / number))
    like = replace(model, params=inner, recipe=Recipe(**{**asdict(model.recipe), "batches": batches}))
    found = refit(part, like, train, title=f"shard {k + 1} of {number}").embed()
    tables[0][mine, columns] = found.users.numpy()
    tables[1][:, columns] = found.items.numpy()
