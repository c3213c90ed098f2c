"""Reverse learning, uniform over all layers: what ``ascent`` and ``mmrecun`` have in common.

Both push forgotten pairs below a drawn item, by the ranking loss with its pairs turned round, and both need somebody to
push: users and items that are to go stay for as long as it takes, without edges, beside the retained graph, and only
then are they cut. Nobody who stays reads anything of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru.data.prepare import Prepared
from tru.models.base import Backbone, Batch
from tru.models.graph import Inputs
from tru.models.trained import TrainedModel
from tru.unlearning.change import Change


@dataclass(frozen=True)
class Ground:
    """The retained data, and after it, without edges, the users and items that are to go.

    Attributes:
        data: those who stay first.
        users: (n_users_before,) position before of each user in ``data``.
        items: (n_items_before,) the same for items.
        forgotten: (f, 2) forgotten pairs by position in ``data``.
    """

    data: Prepared
    users: np.ndarray
    items: np.ndarray
    forgotten: np.ndarray

    @classmethod
    def of(cls, before: Prepared, after: Prepared, change: Change) -> Ground:
        """Lay it out. An item that goes keeps its features and whom it resembles; nobody resembles it."""
        gone = [
            np.setdiff1d(np.arange(len(names)), stay)
            for names, stay in ((before.users, change.users), (before.items, change.items))
        ]
        users, items = np.concatenate([change.users, gone[0]]), np.concatenate([change.items, gone[1]])
        user_at, item_at = np.argsort(users), np.argsort(items)
        features, present, knn, similarity = {}, {}, {}, {}
        for m in after.modalities:
            own = np.isin(before.knn[m][:, 0], gone[1]) & ~np.isin(before.knn[m][:, 1], gone[1])
            features[m] = np.concatenate([after.features[m], before.features[m][gone[1]]])
            present[m] = np.concatenate([after.present[m], before.present[m][gone[1]]])
            knn[m] = np.concatenate([after.knn[m], item_at[before.knn[m][own]]])
            similarity[m] = np.concatenate([after.similarity[m], before.similarity[m][own]])
        data = replace(
            after,
            users=before.users[users],
            items=before.items[items],
            features=features,
            present=present,
            knn=knn,
            similarity=similarity,
        )
        forgotten = np.stack([user_at[change.forgotten[:, 0]], item_at[change.forgotten[:, 1]]], axis=1)
        return cls(data, users, items, forgotten)

    def model(self, model: TrainedModel) -> TrainedModel:
        """The model before, laid out like this."""
        tables = {"users": model.arrays["users"][self.users], "items": model.arrays["items"][self.items]}
        return replace(model, arrays={**model.arrays, **tables}, data=self.data, patch=model.patch[self.users])

    def back(self, found: TrainedModel, model: TrainedModel) -> TrainedModel:
        """Rows of ``found`` in the order of ``model``, the model before, ready to be cut."""
        users, items = found.arrays["users"][np.argsort(self.users)], found.arrays["items"][np.argsort(self.items)]
        return replace(model, arrays={**found.arrays, "users": users, "items": items})


Loss = Callable[[Backbone, Inputs, int], Tensor]
"""(module, graph, step) -> what to descend."""


def descend(model: TrainedModel, loss: Loss, steps: int, rate: float) -> TrainedModel:
    """Some Adam steps on all layers of a model, on its own graph."""
    inputs, module = Inputs.of(model.data), model.module()
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    for step in range(steps):
        optimiser.zero_grad()
        loss(module, inputs, step).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return arrays_of(module, model)


def reverse_bpr(module: Backbone, inputs: Inputs, batch: Batch, patch: Tensor) -> Tensor:
    """Mean of -log sigmoid(s_un - s_ui): the never-seen item should win. Bounded below, so that it has an end.

    Args:
        module: the backbone.
        inputs: the graph.
        batch: forgotten pairs and their negatives.
        patch: (n_users, d) what is added to users' vectors when serving.
    """
    found = module.embed(inputs)
    user = (found.users + patch)[batch.users]
    lead = (user * (found.items[batch.positives] - found.items[batch.negatives])).sum(1)
    return -F.logsigmoid(-lead).mean()


def arrays_of(module: Backbone, model: TrainedModel) -> TrainedModel:
    """The model with the module's parameters."""
    return replace(model, arrays={name: value.detach().numpy().copy() for name, value in module.named_parameters()})
