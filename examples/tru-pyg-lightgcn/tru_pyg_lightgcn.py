"""PyG's own LightGCN, trained by a loop of its own, and what it takes for tru to make it forget."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit
from torch_geometric.nn.models import LightGCN

import tru
from tru.models.base import Batch, Embedding, Rows
from tru.models.graph import Inputs
from tru.models.params import ModelParams

WIDTH, LAYERS, EPOCHS, BATCH, RATE = 64, 2, 40, 2048, 5e-3
CANARIES = 600
"""Train pairs that the loop does not see; tru finds its strength by them."""


def train(pairs: tru.Prepared, seed: int, epochs: int = EPOCHS) -> tuple[PyGLightGCN, tuple[np.ndarray, np.ndarray]]:
    """Train PyG's model as its users do: full graph, random negatives, PyG's BPR loss, Adam.

    Args:
        pairs: numbered users and items; ``pairs.edges`` is what may be learned from.
        seed: of the initial rows, the batches and the negatives.
        epochs: passes over the edges.

    Returns:
        The trained module in the form that tru asks for, and its tables before the training.
    """
    n_users, n_items = len(pairs.users), len(pairs.items)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gcn = LightGCN(n_users + n_items, WIDTH, LAYERS)
    began = gcn.embedding.weight.detach().numpy().copy()
    draw = torch.Generator().manual_seed(seed)
    user, item = torch.from_numpy(pairs.edges[:, 0]), torch.from_numpy(pairs.edges[:, 1]) + n_users
    edge_index = torch.cat([torch.stack([user, item]), torch.stack([item, user])], dim=1)
    optimiser = torch.optim.Adam(gcn.parameters(), lr=RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(user), generator=draw).split(BATCH):
            negative = torch.randint(n_users, n_users + n_items, (len(batch),), generator=draw)
            ends = torch.stack([user[batch].repeat(2), torch.cat([item[batch], negative])])
            liked, other = gcn(edge_index, ends).chunk(2)
            loss = gcn.recommendation_loss(liked, other, node_id=ends.unique(), lambda_reg=1e-4)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    rows = gcn.embedding.weight.detach().numpy()
    module = PyGLightGCN(Rows(rows[:n_users], rows[n_users:]), LAYERS)
    return module, (began[:n_users], began[n_users:])


class PyGLightGCN(nn.Module):
    """PyG's layers over two tables, which is what :class:`tru.models.base.Backbone` asks for.

    Args:
        rows: the tables of users and items.
        layers: how often to propagate.
    """

    item_graph = False

    def __init__(self, rows: Rows, layers: int) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.from_numpy(rows.users.copy()))
        self.items = nn.Parameter(torch.from_numpy(rows.items.copy()))
        # The layers and their weights alone: PyG's table would know everybody, and outlive a deletion.
        gcn = LightGCN(1, rows.users.shape[1], layers)
        self.convs = gcn.convs
        self.register_buffer("alpha", gcn.alpha.detach().clone())

    def item_bases(self) -> tuple[str, ...]:
        """An item learned from its users' final vectors, and at first from where they started."""
        return ("final", "start")

    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody: the sum over the layers, weighed by PyG's ``alpha``."""
        edge_index = inputs.bipartite.edge_index
        layer = torch.cat([self.users, self.items])
        total = layer * self.alpha[0]
        for conv, weight in zip(self.convs, self.alpha[1:], strict=True):
            layer = conv(layer, edge_index)
            total = total + layer * weight
        users, items = total[: inputs.n_users], total[inputs.n_users :]
        return Embedding(users, items, {"final": (users, items)})

    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """BPR: TRU reports by it which parameters forgotten pairs pull at, other methods go on training with it."""
        found = self.embed(inputs)
        lead = found.users[batch.users] * (found.items[batch.positives] - found.items[batch.negatives])
        return -F.logsigmoid(lead.sum(1)).mean()


def build(params: ModelParams, widths: dict[str, int], rows: Rows, seed: int) -> PyGLightGCN:
    """The module with these rows; features and seed are not used."""
    return PyGLightGCN(rows, params.layers)


def wrapped(data: tru.Dataset, seed: int = 0) -> tru.Model:
    """Train on a data set, then hand the result to tru."""
    module, initial = train(tru.prepare(data, canaries=CANARIES), seed)
    return tru.wrap(module, data, initial=initial, build=build, canaries=CANARIES, seed=seed, layers=LAYERS)
