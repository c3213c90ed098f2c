"""Capacity-aware layer isolation: which layers hold what only the forgotten pairs taught.

Sensitivity of a layer: sum over its parameters of g_f^2 / (F_r + 0.1 mean F_r), times how little its forget gradient
resembles its retain gradient, (1 - cos^2). The smallest set of layers with 95 % of the sum may move, and inside row
tables only rows of touched nodes (design: tru.md, step 3). Computed and reported for each model, not assumed.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from tru import keyed
from tru.data.prepare import Prepared
from tru.models.base import Backbone, Batch
from tru.models.propagation import Inputs
from tru.models.trained import TrainedModel

SHARE = 0.95
SAMPLE = 1024
"""Pairs per gradient; the shares of the layers settle long before."""


def sensitivity(model: TrainedModel, forgotten: np.ndarray) -> dict[str, float]:
    """Share of each layer in the forget-specific sensitivity; the shares sum to one.

    Args:
        model: before unlearning, on its own graph.
        forgotten: (f, 2) positions of the edges to forget.
    """
    data, inputs = model.data, Inputs.of(model.data)
    module = model.module()
    names = [name for name, _ in module.named_parameters()]
    n = len(data.items)
    kept = data.edges[~np.isin(data.edges @ [n, 1], forgotten @ [n, 1])]
    forget = _gradient(module, inputs, data, forgotten, 0)
    retain = [_gradient(module, inputs, data, kept, k) for k in range(1, 4)]
    kappa: dict[str, float] = {}
    for k, name in enumerate(names):
        fisher = torch.stack([g[k].square() for g in retain]).mean(0)
        mean = torch.stack([g[k] for g in retain]).mean(0)
        density = (forget[k].square() / (fisher + 0.1 * fisher.mean() + 1e-20)).sum()
        cosine = torch.cosine_similarity(forget[k].flatten(), mean.flatten(), dim=0)
        kappa[name.rsplit(".", 1)[0]] = kappa.get(name.rsplit(".", 1)[0], 0.0) + float(density * (1 - cosine**2))
    total = sum(kappa.values()) or 1.0
    return {name: value / total for name, value in sorted(kappa.items(), key=lambda kv: -kv[1])}


def chosen(shares: dict[str, float]) -> list[str]:
    """The smallest set of layers that holds 95 % of the sensitivity."""
    layers, total = [], 0.0
    for name, share in sorted(shares.items(), key=lambda kv: -kv[1]):
        layers.append(name)
        total += share
        if total >= SHARE:
            break
    return layers


def _gradient(module: torch.nn.Module, inputs: Inputs, data: Prepared, pairs: np.ndarray, draw: int) -> list[Tensor]:
    """Gradients of the training loss on a keyed sample of pairs."""
    keys = keyed.mix(np.arange(len(pairs), dtype=np.uint64), keyed.of_word("isolation"), draw)
    at = np.argsort(keys, kind="stable")[:SAMPLE]
    negatives = (keyed.uniform(keyed.mix(keys[at], 1)) * len(data.items)).astype(np.int64)
    ends = [torch.from_numpy(x) for x in (pairs[at, 0], pairs[at, 1], negatives)]
    module.zero_grad()
    loss = cast(Backbone, module).loss(inputs, Batch(ends[0], ends[1], ends[2], chunks=[len(at)]))
    return [g.detach() for g in torch.autograd.grad(loss, list(module.parameters()))]
