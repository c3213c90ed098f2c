"""FREEDOM, from the paper: Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures" (MM'23).

Two graphs (arXiv 2211.06924). The item-item graph is made from the features before training and *frozen*: one neighbour
graph S_m per modality, summed with fixed shares. The user-item graph is *denoised*: each epoch trains on a part of the
edges, drawn without replacement with probabilities that fall with the degrees of both ends; vectors are served from all
edges. With x the rows, A the normalised graph of interactions and S = sum_m share_m S_m:

    z = mean(x, A x, ..., A^L x),    h_user = z_user,    h_item = z_item + S^K x_item

The objective is BPR on these vectors, plus BPR of the users' vectors against projected features of the items.

Where tru's protocol differs: its neighbour graphs weigh neighbours by their similarity, where the paper counts each as
one; features are data and are not learned. Every edge draws a number that is a hash of its two ids, the epoch and the
seed, so that a retraining without the forgotten draws the same numbers for everybody who stays.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru import randomness
from tru.models.base import Backbone, Batch, Embedding, Rows
from tru.models.graph import Inputs, Product, bipartite_product
from tru.models.params import BackboneParams

PRUNING = randomness.of_word("freedom: pruning")


class FreedomParams(BackboneParams):
    """Settings of FREEDOM: the keys of block ``model`` in ``params.yaml``."""

    layers: NonNegativeInt = 2
    """Hops of the user-item graph, L."""
    item_layers: NonNegativeInt = 1
    """Hops of the frozen item-item graph, K."""
    shares: dict[str, PositiveFloat] = Field(default={})
    """Weight of each modality in the item-item graph; 1 for those not named. They are divided by their sum."""
    prune: float = Field(default=0.8, ge=0, lt=1)
    """Share of the edges that an epoch leaves out, rho."""
    modal: NonNegativeFloat = 1e-3
    """Weight of the loss on projected features, lambda."""
    regularisation: NonNegativeFloat = 1e-4
    """Weight of the squared length of a batch's final vectors."""

    def without_modalities(self, gone: Collection[str]) -> Self:
        """The settings for data in which some modalities do not occur any more."""
        kept = {name: share for name, share in self.shares.items() if name not in gone}
        return self.model_copy(update={"shares": kept})


class Freedom(Backbone):
    """FREEDOM (MM'23): a frozen item-item graph from features, and degree-sensitive pruning of the interactions.

    See :class:`tru.models.base.Backbone` for the arguments.
    """

    params_class = FreedomParams
    params: FreedomParams

    def __init__(self, params: FreedomParams, widths: dict[str, int], rows: Rows, seed: int) -> None:
        super().__init__(params, widths, rows, seed)
        self.item_graph = params.item_layers > 0
        weights = {m: params.shares.get(m, 1.0) for m in self.modalities}
        self.shares = {m: weight / sum(weights.values()) for m, weight in weights.items()}
        # Without a bias: it would cancel in the difference of two items, which is all that the loss looks at.
        self.project = nn.ModuleDict({m: nn.Linear(widths[m], params.width, bias=False) for m in self.modalities})
        self._epoch_graph: tuple[Inputs, int, Product] | None = None
        self.draw_layers()

    def item_bases(self) -> tuple[str, ...]:
        """An item learned from its users' final vectors, and at first from where they started."""
        return ("final", "start")

    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody on all edges; the only branch is ``id``: what the item-item graph adds, users lack."""
        users, items = self.propagate(inputs, inputs.bipartite)
        return Embedding(users, items, {"id": (users, items), "final": (users, items)})

    def propagate(self, inputs: Inputs, bipartite: Product) -> tuple[Tensor, Tensor]:
        """Vectors (n_users, d) and (n_items, d), on the given graph of interactions and the frozen one of items."""
        layer = torch.cat([self.users, self.items])
        total = layer
        for _ in range(self.params.layers):
            layer = bipartite(layer)
            total = total + layer
        mean = total / (self.params.layers + 1)
        return mean[: inputs.n_users], mean[inputs.n_users :] + self.resembling(inputs)

    def resembling(self, inputs: Inputs) -> Tensor:
        """(n_items, d): S^K x, what an item has from those it resembles; zero without modalities."""
        if not self.modalities:
            return torch.zeros_like(self.items)
        layer: Tensor = self.items
        for _ in range(self.params.item_layers):
            parts = [share * inputs.item_from_items[m](layer) for m, share in self.shares.items()]
            layer = torch.stack(parts).sum(0)
        return layer

    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """BPR on the epoch's graph, plus BPR against projected features, plus L2 of the batch's vectors."""
        users, items = self.propagate(inputs, self.pruned(inputs, batch.epoch))
        user, positive, negative = users[batch.users], items[batch.positives], items[batch.negatives]
        total = -F.logsigmoid((user * (positive - negative)).sum(1)).mean()
        if self.params.modal:
            for m in self.modalities:
                features = inputs.features[m] * inputs.present[m]
                lead = self.project[m](features[batch.positives] - features[batch.negatives])
                total = total - self.params.modal * F.logsigmoid((user * lead).sum(1)).mean()
        square = torch.stack([vectors.square().sum() for vectors in (user, positive, negative)]).sum()
        return total + self.params.regularisation * square / len(user)

    def pruned(self, inputs: Inputs, epoch: int) -> Product:
        """The normalised graph of the edges that an epoch keeps; made once for all its batches."""
        if not self.params.prune:
            return inputs.bipartite
        if self._epoch_graph is None or self._epoch_graph[0] is not inputs or self._epoch_graph[1] != epoch:
            kept = inputs.edges[self.kept(inputs, epoch)]
            self._epoch_graph = inputs, epoch, bipartite_product(kept, inputs.n_users, inputs.n_items)
        return self._epoch_graph[2]

    def kept(self, inputs: Inputs, epoch: int) -> np.ndarray:
        """(k,) positions in ``inputs.edges`` of the edges that an epoch keeps, ascending.

        An edge (u, i) weighs 1 / sqrt(degree of u * degree of i). Drawing k edges without replacement by weight is the
        same as keeping the k that come first in a race, in which an edge arrives after an exponentially distributed
        time with its weight as rate (Efraimidis and Spirakis, 2006). The race can be run by hashes.
        """
        user, item = inputs.edges.T
        degrees = np.bincount(user, minlength=inputs.n_users)[user] * np.bincount(item, minlength=inputs.n_items)[item]
        users, items = inputs.crowds
        draws = randomness.uniform(randomness.mix(users.keys[user], items.keys[item], PRUNING, self.seed, epoch))
        arrival = -np.log1p(-draws) * np.sqrt(degrees)
        most = max(1, round((1 - self.params.prune) * len(arrival)))
        first: np.ndarray = np.sort(np.argsort(arrival, kind="stable")[:most])
        return first
