"""MIG-GT, from the paper: Hu et al., "Modality-Independent Graph Neural Networks with Global Transformers" (AAAI'25).

Three parts. *Modality-independent receptive fields*: each branch b (``id`` and every modality) is propagated for a
number of hops K_b of its own, by MGDCF's diffusion over the normalised graph A:

    H_b^(0) = X_b,    H_b^(k) = (1 - alpha) A H_b^(k-1) + alpha X_b,    h = sum_b H_b^(K_b)

where X_id are the user and item rows and X_m is zero for users and an encoder's output for items, each times a
factor. *Sampled global transformer*: a node v attends to itself and to C nodes s_1..s_C of its kind, drawn uniformly:

    z_v = (1 - lambda) h_v + lambda sum_{c in {v, s_1..s_C}} softmax_c(q_v . k_c / sqrt(w)) h_c

*Transformer unsmooth regularisation*: attention makes vectors alike; a user must still tell a positive item from the
nodes it attends to. Any number of modalities. An item that lacks a modality contributes zero in it.

All draws are functions of the nodes' keys, and in training of the epoch: sampled nodes, further negatives, dropout.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru import randomness
from tru.errors import ModelError
from tru.models.base import Backbone, Batch, Embedding, Rows
from tru.models.graph import Inputs
from tru.models.params import ModelParams

ROWS = 5.0
"""Factor with which rows enter. Diffusion shrinks what a row is worth; at one learning rate for all, the rows would lag
behind the encoders, which overfit."""
KEY = 8
"""Width of queries and keys."""
SERVED = 4
"""Draws that a served vector is the mean of; training uses one per epoch."""
SERVING, TRAINING, FURTHER = (randomness.of_word(word) for word in ("serving", "training", "further negative"))


class MIGGT(Backbone):
    """MIG-GT (AAAI'25): every modality has hops of its own, and every node attends to a sample of others.

    Args:
        params: widths, hops and weights of the loss.
        widths: modality -> length of its feature vectors.
        rows: initial user and item rows; become the parameters ``users`` and ``items``.
        seed: of the shared layers' initial values and of all draws.

    Raises:
        ModelError: ``hops`` names a branch that there is not.
    """

    params_class = ModelParams
    params: ModelParams

    def __init__(self, params: ModelParams, widths: dict[str, int], rows: Rows, seed: int) -> None:
        super().__init__(params, widths, rows, seed)
        d, branches = params.width, ("id", *self.modalities)
        if unknown := sorted(set(params.hops) - set(branches)):
            raise ModelError(f"model.hops: no branch is called {unknown[0]!r}. There are: {', '.join(branches)}.")
        self.hops = {name: params.hops.get(name, params.layers) for name in branches}
        self.encoders = nn.ModuleDict(
            {
                m: nn.Sequential(nn.Linear(widths[m], params.hidden), nn.PReLU(), nn.Linear(params.hidden, d))
                for m in self.modalities
            }
        )
        self.query = nn.Linear(d, KEY, bias=False)
        self.key = nn.Linear(d, KEY, bias=False)
        self._kept: tuple[Inputs, int, Tensor] | None = None
        self.draw_layers()

    def item_bases(self) -> tuple[str, ...]:
        """An item learned from its users' vectors, most from their id branch, and at first from where they started."""
        return ("final", "id", "start")

    def starts(self, inputs: Inputs, batch: Batch | None = None) -> dict[str, Tensor]:
        """Branch -> X_b, (n_users + n_items, d); with dropout if it is for a batch."""
        found = {"id": self._dropped(ROWS * torch.cat([self.users, self.items]), inputs, "id", batch)}
        for m in self.modalities:
            encoded = self.params.features * self.encoders[m](inputs.features[m]) * inputs.present[m]
            nobody = encoded.new_zeros(inputs.n_users, encoded.shape[1])
            found[m] = self._dropped(torch.cat([nobody, encoded]), inputs, m, batch)
        return found

    def _dropped(self, x: Tensor, inputs: Inputs, branch: str, batch: Batch | None) -> Tensor:
        if batch is None or not self.params.dropout:
            return x
        word = randomness.of_word(f"dropout {branch}"), self.seed, batch.epoch, batch.number
        masks = [crowd.mask(x.shape[1], self.params.dropout, *word) for crowd in inputs.crowds]
        return x * torch.cat(masks)

    def propagate(self, inputs: Inputs, starts: dict[str, Tensor]) -> Tensor:
        """(n_users + n_items, d): sum_b H_b^(K_b). Diffusion is linear, so branches join a common sum when due."""
        alpha, last = self.params.restart, max(self.hops[b] for b in starts)
        h = source = _sum([x for b, x in starts.items() if self.hops[b] == last])
        for left in range(last - 1, -1, -1):  # hops that are still to come
            h = inputs.bipartite(h).mul_(1 - alpha).add_(alpha * source)
            if joining := [x for b, x in starts.items() if self.hops[b] == left]:
                due = _sum(joining)
                h, source = h + due, source + due
        return h

    def groups(self, inputs: Inputs, *word: np.uint64 | int, fixed: bool = False) -> Tensor:
        """(n_users + n_items, C + 1) positions: each node and the C nodes of its kind that are drawn for it."""
        found = []
        for kind, offset, crowd in zip(("user", "item"), (0, inputs.n_users), inputs.crowds, strict=True):
            draw = crowd.fixed if fixed else crowd.companions
            drawn = draw(self.params.samples, randomness.of_word(f"global {kind}"), self.seed, *word)
            found.append(torch.cat([torch.arange(len(crowd.ids))[:, None], drawn], dim=1) + offset)
        return torch.cat(found)

    def weights(self, h: Tensor, groups: Tensor, heads: int = 1) -> Tensor:
        """(g, heads, C + 1): how much the first ``heads`` of each group attend to each of its members.

        Args:
            h: (n, d) after propagation.
            groups: (g, C + 1) positions in ``h``.
            heads: how many of a group ask; the first is the node for which the others were drawn.
        """
        query, key = F.embedding(groups[:, :heads], self.query(h)), F.embedding(groups, self.key(h))
        return torch.softmax(query @ key.transpose(1, 2) / math.sqrt(KEY), dim=2)

    def attend(self, h: Tensor, groups: Tensor) -> Tensor:
        """(g, d): z of the first of each group, the node for which the others were drawn."""
        seen = F.embedding_bag(groups, h, per_sample_weights=self.weights(h, groups).squeeze(1), mode="sum")
        return (1 - self.params.attention) * h[groups[:, 0]] + self.params.attention * seen

    def embed(self, inputs: Inputs) -> Embedding:
        """Vectors of everybody; branches ``id``, each modality, and ``global`` for what is attended to."""
        spread = {b: self.propagate(inputs, {b: x}) for b, x in self.starts(inputs).items()}
        h, own = _sum(list(spread.values())), 1 - self.params.attention
        draws = [self.attend(h, self.groups(inputs, SERVING, k, fixed=True)) for k in range(SERVED)]
        final = _sum(draws) / SERVED
        branches = {b: own * x for b, x in spread.items()} | {"global": final - own * h, "final": final}
        parts = {name: (x[: inputs.n_users], x[inputs.n_users :]) for name, x in branches.items()}
        return Embedding(*parts["final"], parts)

    def loss(self, inputs: Inputs, batch: Batch) -> Tensor:
        """InfoBPR plus the unsmooth regularisation plus L2 of the batch's final vectors.

        With the N negatives n of a pair (u, i), and the C nodes c that i attends to:

            log(1 + sum_n e^(z_u z_n - z_u z_i)) + w log(1 + sum_c e^(z_u z_c - z_u z_i))

        The transformer runs only on the rows that the batch needs, which gives exactly the same gradients.
        """
        h, groups = self.propagate(inputs, self.starts(inputs, batch)), self._groups_of(inputs, batch.epoch)
        b, shift, share = len(batch.users), inputs.n_users, self.params.attention
        positives, negatives = batch.positives + shift, self._negatives(inputs, batch) + shift
        rows, at = torch.unique(torch.cat([batch.users, positives, negatives.flatten()]), return_inverse=True)
        z = self.attend(h, groups[rows])
        user, positive, negative = z[at[:b]], z[at[b : 2 * b]], z[at[2 * b :]].view(b, -1, z.shape[1])
        right = torch.zeros(b, dtype=torch.int64)
        against = torch.cat([positive[:, None], negative], dim=1)
        ranking = F.cross_entropy(_scores(user, against), right)
        # z_u z_c for all c of a positive's group, from z_u h_c: nobody needs the group's vectors.
        plain = _scores(user, h[groups[positives]])
        drawn, of_pair = torch.unique(positives, return_inverse=True)
        attention = self.weights(h, groups[drawn], heads=groups.shape[1])[of_pair]
        alike = (1 - share) * plain + share * (attention @ plain[..., None]).squeeze(2)
        unsmooth = F.cross_entropy(alike, right)
        square = (user.square().sum() + positive.square().sum() + negative[:, 0].square().sum()) / b
        return ranking + self.params.unsmooth * unsmooth + self.params.regularisation * square

    def _groups_of(self, inputs: Inputs, epoch: int) -> Tensor:
        """:meth:`groups` of an epoch, made once for all its batches."""
        if self._kept is None or self._kept[0] is not inputs or self._kept[1] != epoch:
            self._kept = inputs, epoch, self.groups(inputs, TRAINING, epoch)
        return self._kept[2]

    def _negatives(self, inputs: Inputs, batch: Batch) -> Tensor:
        """(b, N): the batch's negatives, and further ones drawn by pair and epoch."""
        users, items = inputs.crowds
        pairs = randomness.mix(users.keys[batch.users.numpy()], items.keys[batch.positives.numpy()], FURTHER, self.seed)
        draws = np.arange(self.params.negatives - 1, dtype=np.uint64)[None, :]
        further = items.draw(randomness.mix(pairs[:, None], batch.epoch, draws))
        return torch.cat([batch.negatives[:, None], further], dim=1)


def _sum(parts: list[Tensor]) -> Tensor:
    """Of one or more."""
    return sum(parts[1:], parts[0])


def _scores(user: Tensor, items: Tensor) -> Tensor:
    """(b, n) dot products of (b, d) and (b, n, d)."""
    return (items @ user[..., None]).squeeze(2)
