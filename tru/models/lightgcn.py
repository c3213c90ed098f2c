"""LightGCN, from the paper: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network" (SIGIR'20).

Ids alone: the rows are propagated over the normalised graph, no features, no shared layers (eq. 7), and the final
vector is the mean over the layers (eq. 4 with alpha_k = 1 / (K + 1)):

    E^(k) = A E^(k-1),    Z = (E^(0) + ... + E^(K)) / (K + 1)

It is the reference against which a multimodal backbone has to earn its modalities.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru.models.base import Batch, Embedding, Rows, backbone
from tru.models.params import ModelParams
from tru.models.propagation import Inputs


class LightGCN(nn.Module):
    """The module; see the file's docstring.

    Args:
        params: ``layers`` and ``regularisation``.
        rows: initial user and item rows; become the parameters ``users`` and ``items``, of which there are no others.
    """

    item_graph = False

    def __init__(self, params: ModelParams, rows: Rows) -> None:
        super().__init__()
        self.params = params
        self.users = nn.Parameter(torch.from_numpy(rows.users.copy()))
        self.items = nn.Parameter(torch.from_numpy(rows.items.copy()))

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


@backbone("lightgcn")
def build(params: ModelParams, _: dict[str, int], rows: Rows, __: int) -> LightGCN:
    """A LightGCN with the given initial rows; features and seed are not used."""
    return LightGCN(params, rows)
