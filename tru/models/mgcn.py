"""MGCN, from the paper: Yu et al., "Multi-View Graph Convolutional Network for Multimedia Recommendation" (MM'23).

Three parts: a purifier lets the id embedding decide what passes of each modality (eq. 3-4), each view is propagated
over its own graph (eq. 5-9), and a fuser splits the modality views into what they share and what is special to one,
gated by behaviour (eq. 10-14). Any number of modalities. An item that lacks a modality contributes zero in it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru.models.base import Backbone, Batch, Embedding, Rows
from tru.models.graph import Inputs
from tru.models.params import ModelParams


class MGCN(Backbone):
    """MGCN (MM'23): behaviour purifies the modalities; what they share and what is special to each is fused.

    Args:
        params: widths, layers, temperature and weights of the loss.
        widths: modality -> length of its feature vectors.
        rows: initial user and item rows; become the parameters ``users`` and ``items``.
        seed: of the shared layers' initial values.
    """

    params_class = ModelParams
    params: ModelParams

    def __init__(self, params: ModelParams, widths: dict[str, int], rows: Rows, seed: int) -> None:
        super().__init__(params, widths, rows, seed)
        d = params.width
        self.item_graph = params.item_layers > 0
        self.transform = nn.ModuleDict({m: nn.Linear(widths[m], d) for m in self.modalities})
        self.purify = nn.ModuleDict({m: nn.Linear(d, d) for m in self.modalities})
        self.preference = nn.ModuleDict({m: nn.Linear(d, d) for m in self.modalities})
        self.query = nn.Linear(d, d)
        self.attention = nn.Linear(d, 1, bias=False)
        self.draw_layers()

    def item_bases(self) -> tuple[str, ...]:
        """An item row feeds the collaborative view and, through the purifier, the modality side."""
        return ("final", "side", "start")

    def views(self, inputs: Inputs) -> tuple[Tensor, list[Tensor]]:
        """The behaviour view and one view per modality, each (n_users + n_items, d)."""
        layer = torch.cat([self.users, self.items])
        total = layer
        for _ in range(self.params.layers):
            layer = inputs.bipartite(layer)
            total = total + layer
        behaviour = total / (self.params.layers + 1)
        sides = []
        for m in self.modalities:
            features = self.transform[m](inputs.features[m])
            items = self.items * torch.sigmoid(self.purify[m](features)) * inputs.present[m]
            for _ in range(self.params.item_layers):
                items = inputs.item_from_items[m](items)
            sides.append(torch.cat([inputs.user_from_items(items), items]))
        return behaviour, sides

    def fuse(self, behaviour: Tensor, sides: list[Tensor]) -> Tensor:
        """The modality side of some rows, from their views; all (n, d). Zero without modalities."""
        if not sides:
            return torch.zeros_like(behaviour)
        scores = torch.cat([self.attention(torch.tanh(self.query(side))) for side in sides], dim=1)
        weights = torch.softmax(scores, dim=1)
        common = sum((weights[:, k : k + 1] * side for k, side in enumerate(sides)), torch.zeros_like(behaviour))
        special = torch.zeros_like(behaviour)
        for m, side in zip(self.modalities, sides, strict=True):
            special = special + torch.sigmoid(self.preference[m](behaviour)) * (side - common)
        return (common + special) / (len(sides) + 1)

    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody; branches ``id`` and ``side``."""
        behaviour, sides = self.views(inputs)
        side = self.fuse(behaviour, sides)
        final = behaviour + side
        cut = inputs.n_users
        parts = {name: (x[:cut], x[cut:]) for name, x in (("id", behaviour), ("side", side), ("final", final))}
        users, items = parts["final"]
        return Embedding(users, items, parts)

    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """BPR plus InfoNCE between the two views (eq. 15-17) plus L2 of the batch's final vectors.

        The fuser runs only on the rows that the batch needs, which gives exactly the same gradients.
        """
        behaviour, sides = self.views(inputs)
        b, cut = len(batch.users), inputs.n_users
        needed = torch.cat([batch.users, batch.positives + cut, batch.negatives + cut])
        rows, inverse = torch.unique(needed, return_inverse=True)
        behaviour = behaviour[rows]
        side = self.fuse(behaviour, [view[rows] for view in sides])
        final = (behaviour + side)[inverse]
        user, positive, negative = final[:b], final[b : 2 * b], final[2 * b :]
        ranking = -F.logsigmoid((user * (positive - negative)).sum(1)).mean()
        near, far = F.normalize(side, dim=1)[inverse], F.normalize(behaviour, dim=1)[inverse]
        contrast = sum(
            (_info_nce(near[s], far[s], batch.chunks, self.params.temperature) for s in (slice(0, b), slice(b, 2 * b))),
            torch.zeros(()),
        )
        square = (user.square().sum() + positive.square().sum() + negative.square().sum()) / b
        return ranking + self.params.contrast * contrast + self.params.regularisation * square


class _InfoNCE(torch.autograd.Function):
    """Summed InfoNCE of unit rows (b, d), negatives within consecutive chunks, with its gradient in closed form.

    The gradient is at hand when the loss is, so that autograd need not keep a (chunk, chunk) table for each chunk. In
    float32: where the processor has no bf16, bf16 products made an epoch three times as long (docs/log.md).
    """

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, targets: Tensor, chunks: list[int], temperature: float) -> Tensor:  # noqa: ANN401 - torch's own
        total = anchors.new_zeros(())
        parts = []
        for a, t in zip(torch.split(anchors, chunks), torch.split(targets, chunks), strict=True):
            log_share = torch.log_softmax((a / temperature) @ t.T, dim=1)
            total -= log_share.diagonal().sum()
            excess = log_share.exp_()
            excess.diagonal().sub_(1.0)
            parts.append((excess @ t, excess.T @ a))
        ctx.gradients = [torch.cat(side).div_(temperature) for side in zip(*parts, strict=True)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401 - torch's own
        anchors, targets = ctx.gradients
        return gradient * anchors, gradient * targets, None, None


def _info_nce(anchors: Tensor, targets: Tensor, chunks: list[int], temperature: float) -> Tensor:
    """Mean InfoNCE of unit rows (b, d), negatives within consecutive chunks."""
    total: Tensor = _InfoNCE.apply(anchors, targets, chunks, temperature)  # type: ignore[no-untyped-call]
    return total / len(anchors)
