"""A model as a user of the library holds it: what was trained, together with the raw data that it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tru.data.interactions import Dataset, load_dataset, save_dataset
from tru.data.prepare import prepare
from tru.errors import DataError, ModelError
from tru.evaluation.audits import Stage, tested_pairs
from tru.evaluation.metrics import rank_metrics, top_items
from tru.models.base import Embedding
from tru.models.params import TrainParams
from tru.models.trained import TrainedModel
from tru.models.wrapping import UNKNOWN_START

DATA = "data"
"""Folder within a saved model that holds its data."""
TRAIN = "train"
"""Fact that says with which settings a model was trained."""


@dataclass(frozen=True, repr=False)
class Model:
    """A fitted recommender and its data.

    Attributes:
        trained: the parameters, the numbered data and the recipe; the form that all inner code works with.
        data: the raw data set that ``trained.data`` was numbered from.
    """

    trained: TrainedModel
    data: Dataset

    def __repr__(self) -> str:
        """Counts, and no identifier."""
        prepared, method = self.trained.data, self.trained.facts.get("method", "train")
        return f"<Model {self.backbone}, {len(prepared.users)} users, {len(prepared.items)} items, made by {method}>"

    @property
    def backbone(self) -> str:
        """The name of its backbone; a dotted path for one that was trained elsewhere."""
        return self.trained.params.name

    @property
    def train_params(self) -> TrainParams:
        """The settings that it was trained with; the defaults where nobody noted them."""
        return TrainParams(**self.trained.facts.get(TRAIN, {}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What forgetting does less well with this model, a sentence each; empty for one that :func:`tru.fit` made."""
        is_known = self.trained.recipe.keyed or self.trained.initial is not None
        return () if is_known else (UNKNOWN_START,)

    @cached_property
    def _vectors(self) -> Embedding:
        return self.trained.embed()

    def evaluate(self) -> dict[str, float]:
        """How good its recommendations are, over all items but the user's own train items.

        Returns:
            ``test/recall@10``, ``test/recall@20``, ``test/ndcg@10``, ``test/ndcg@20``, each a mean over the users who
            have test rows and a train row; NaN without test rows.
        """
        data, found = self.trained.data, self._vectors
        metrics = rank_metrics(found.users, found.items, data, tested_pairs(Stage.of(data, data)))
        return {f"test/{name}": value for name, value in metrics.items()}

    def recommend(self, user: str, k: int = 20) -> list[str]:
        """The best items for a user, best first, without those of the user's train rows.

        Args:
            user: an id. Who is not in the data, such as somebody forgotten, gets the most popular items.
            k: how many; fewer are returned where there are not so many.

        Raises:
            ModelError: ``k`` is not positive.
        """
        if k < 1:
            raise ModelError(f"k is {k}, and a list needs at least one place. Give a larger k.")
        data = self.trained.data
        at = np.flatnonzero(data.users == str(user))
        if not len(at):
            return [str(item) for item in data.items[np.argsort(-data.popularity, kind="stable")[:k]]]
        seen = np.unique(data.train[data.train[:, 0] == at[0], 1])
        found = self._vectors
        ((_, top),) = top_items(found.users, found.items, data.train, at, k)
        return [str(item) for item in data.items[top[0][: len(data.items) - len(seen)]]]

    def save(self, folder: str | Path) -> None:
        """Write the model and its data to a folder, without pickles; :func:`tru.open_model` reads it.

        The data in it names everybody: whoever is to be forgotten has to be forgotten in the copies as well.
        """
        self.trained.save(Path(folder))
        save_dataset(self.data, Path(folder) / DATA)

    @classmethod
    def open(cls, folder: str | Path, data: Dataset | None = None) -> Model:
        """See :func:`tru.open_model`."""
        place = Path(folder)
        trained = TrainedModel.load(place)
        if data is not None:
            _refuse_other(trained, data, place)
        elif not (place / DATA).is_dir():
            raise ModelError(f"{place} holds a model without its data. Give the data: tru.open_model(folder, data).")
        return cls(trained, load_dataset(place / DATA) if data is None else data)


def _refuse_other(trained: TrainedModel, data: Dataset, place: Path) -> None:
    """Refuse data that a model was not trained on: nothing could be taken back from it."""
    try:
        mine, theirs = trained.data.arrays(), prepare(data, trained.recipe.canary_rate).arrays()
    except DataError:
        theirs = {}
    if mine.keys() != theirs.keys() or not all(np.array_equal(mine[name], theirs[name]) for name in mine):
        raise ModelError(f"the model in {place} stands on other data than these. Give the data that it was fitted on.")
