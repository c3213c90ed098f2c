"""LightGCN, from the paper: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network" (SIGIR'20).

Ids alone: the rows are propagated over the normalised graph, no features, no shared layers (eq. 7), and the final
vector is the mean over the layers (eq. 4 with alpha_k = 1 / (K + 1)):

    E^(k) = A E^(k-1),    Z = (E^(0) + ... + E^(K)) / (K + 1)

It is the reference against which a multimodal backbone has to earn its modalities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru.models.base import Backbone, Batch, Embedding
from tru.models.graph import Inputs
from tru.models.params import ModelParams


class LightGCN(Backbone):
    """LightGCN (SIGIR'20): ids alone, propagated over the graph of interactions, without features.

    See :class:`tru.models.base.Backbone` for the arguments. Of ``params`` it reads ``layers`` and ``regularisation``,
    and it has no shared layers.
    """

    params_class = ModelParams
    params: ModelParams

    def item_bases(self) -> tuple[str, ...]:
        """An item learned from its users' final vectors, and at first from where they started."""
        return ("final", "start")

    def propagate(self, inputs: Inputs) -> Tensor:
        """(n_users + n_items, d): the mean over the layers."""
        layer = torch.cat([self.users, self.items])
        total = layer
        for _ in range(self.params.layers):
            layer = inputs.bipartite(layer)
            total = total + layer
        return total / (self.params.layers + 1)

    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody; the only branch is ``id``."""
        final = self.propagate(inputs)
        users, items = final[: inputs.n_users], final[inputs.n_users :]
        return Embedding(users, items, {"id": (users, items), "final": (users, items)})

    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """BPR plus L2 of the batch's rows, not of its vectors (eq. 15)."""
        found = self.embed(inputs)
        user, positive, negative = found.users[batch.users], found.items[batch.positives], found.items[batch.negatives]
        ranking = -F.logsigmoid((user * (positive - negative)).sum(1)).mean()
        rows = self.users[batch.users], self.items[batch.positives], self.items[batch.negatives]
        square = torch.stack([row.square().sum() for row in rows]).sum() / len(batch.users)
        return ranking + self.params.regularisation * square
