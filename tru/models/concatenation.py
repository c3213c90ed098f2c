"""Vectors that are final as they are: what the sub-models of an ensemble found, side by side.

The rows are the vectors: nothing is propagated, and the score of a pair is the sum of the sub-models' scores. It serves
a shard ensemble (:mod:`tru.unlearning.shards`) in the form of any other model. It can be learned from, as plain matrix
factorisation, but no ensemble is trained that way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru.models.base import Batch, Embedding, Rows, backbone
from tru.models.params import ModelParams
from tru.models.propagation import Inputs


class Concatenation(nn.Module):
    """The module; see the file's docstring.

    Args:
        rows: the vectors; become the parameters ``users`` and ``items``, of which there are no others.
    """

    item_graph = False

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.from_numpy(rows.users.copy()))
        self.items = nn.Parameter(torch.from_numpy(rows.items.copy()))

    def item_bases(self) -> tuple[str, ...]:
        """Only the users' vectors: what the sub-models' branches were is not kept."""
        return ("final",)

    def embed(self, _: Inputs) -> Embedding:
        """The rows themselves; the only branch is ``id``."""
        parts = self.users * 1.0, self.items * 1.0
        return Embedding(*parts, {"id": parts, "final": parts})

    def loss(self, _: Inputs, batch: Batch) -> Tensor:
        """BPR."""
        lead = self.users[batch.users] * (self.items[batch.positives] - self.items[batch.negatives])
        return -F.logsigmoid(lead.sum(1)).mean()


@backbone("concatenation")
def build(_: ModelParams, __: dict[str, int], rows: Rows, ___: int) -> Concatenation:
    """The vectors as they are given."""
    return Concatenation(rows)
