"""Capacity-aware layer isolation: which layers hold what only the forgotten pairs taught.

Sensitivity of a layer: sum over its parameters of g_f^2 / (F_r + 0.1 mean F_r), times how little its forget gradient
resembles its retain gradient, (1 - cos^2). The smallest set of layers with 95 % of the sum may move, and inside row
tables only rows of touched nodes (design: tru.md, step 3). Computed and reported for each model, not assumed.

:func:`uniform_reverse` is what isolation is measured against: the same wish, granted to every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru import randomness
from tru.data.prepare import Prepared, pair_keys
from tru.models.base import Backbone, Batch
from tru.models.graph import Inputs
from tru.models.trained import TrainedModel
from tru.unlearning.change import Change

SHARE = 0.95
SAMPLE = 1024
"""Pairs of a keyed sample. The retained pairs are sampled three times, all in one gradient: on small data one sample
leaves rows out, and most of what a gradient costs is propagation, however many pairs there are."""
STEPS, RATE = 20, 1e-3
"""Adam steps of the uniform reverse, and their learning rate."""


def sensitivity(model: TrainedModel, change: Change, inputs: Inputs) -> dict[str, float]:
    """Share of each layer in the forget-specific sensitivity; the shares sum to one.

    Args:
        model: before unlearning, on its own graph.
        change: which of its edges go.
        inputs: of that graph.
    """
    data = model.data
    module = model.module()
    names = [name for name, _ in module.named_parameters()]
    forget = _gradient(module, inputs, data, change.forgotten, [0])
    retain = _gradient(module, inputs, data, data.edges[~change.gone], [1, 2, 3])
    kappa: dict[str, float] = {}
    for k, name in enumerate(names):
        fisher = retain[k].square()
        density = (forget[k].square() / (fisher + 0.1 * fisher.mean() + 1e-20)).sum()
        cosine = torch.cosine_similarity(forget[k].flatten(), retain[k].flatten(), dim=0)
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


def uniform_reverse(model: TrainedModel, forgotten: np.ndarray) -> TrainedModel:
    """Reverse learning without isolation: short, undirected, on all layers.

    Each of 20 Adam steps descends the training loss of retained pairs and the ranking loss of forgotten pairs with its
    sign turned: the never-seen item should win. Turned inside the sigmoid, so that it has an end.

    Args:
        model: after the closed-form part, on the retained graph.
        forgotten: (f, 2) forgotten pairs by position in ``model.data``; both ends stay. None: nothing is done.
    """
    if not len(forgotten):
        return model
    data, inputs = model.data, Inputs.of(model.data)
    module, patch = model.module(), torch.from_numpy(model.patch)
    optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
    sides = (data.edges, forgotten)
    keys = [pair_keys(data.users, data.items, pairs, randomness.of_word("uniform reverse")) for pairs in sides]
    for step in range(STEPS):
        retain, forget = (_batch(data, p, randomness.mix(k, step)) for p, k in zip(sides, keys, strict=True))
        optimiser.zero_grad()
        found = module.embed(inputs)
        user = (found.users + patch)[forget.users]
        lead = (user * (found.items[forget.positives] - found.items[forget.negatives])).sum(1)
        loss = module.loss(inputs, retain) - F.logsigmoid(-lead).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return replace(model, arrays={name: value.detach().numpy() for name, value in module.named_parameters()})


def _batch(data: Prepared, pairs: np.ndarray, *keys: np.ndarray) -> Batch:
    """Samples of pairs, each with a negative among the items that have edges; all decided by the pairs' keys.

    Args:
        data: for the negatives.
        pairs: (p, 2) to sample from.
        keys: (p,) for each sample, which becomes a chunk of the batch.
    """
    connected = np.flatnonzero(data.popularity > 0)
    parts = []
    for key in keys:
        at = np.argsort(key)[:SAMPLE]
        negatives = connected[(randomness.uniform(randomness.mix(key[at], 1)) * len(connected)).astype(np.int64)]
        parts.append(np.column_stack([pairs[at], negatives]))
    ends = torch.from_numpy(np.concatenate(parts)).T.contiguous()
    return Batch(ends[0], ends[1], ends[2], chunks=[len(part) for part in parts])


def _gradient(
    module: Backbone, inputs: Inputs, data: Prepared, pairs: np.ndarray, draws: Sequence[int]
) -> list[Tensor]:
    """Gradients of the training loss on keyed samples of pairs, all in one batch."""
    own, word = np.arange(len(pairs), dtype=np.uint64), randomness.of_word("isolation")
    module.zero_grad()
    loss = module.loss(inputs, _batch(data, pairs, *(randomness.mix(own, word, draw) for draw in draws)))
    return [g.detach() for g in torch.autograd.grad(loss, list(module.parameters()))]
