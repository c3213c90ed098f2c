"""Vectors that are final as they are: what the sub-models of an ensemble found, side by side.

The rows are the vectors: nothing is propagated, and the score of a pair is the sum of the sub-models' scores. It serves
a shard ensemble (:mod:`tru.unlearning.baselines.shards`) in the form of any other model. It can be learned from, as
plain matrix factorisation, but no ensemble is trained that way.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru.models.base import Backbone, Batch, Embedding
from tru.models.graph import Inputs
from tru.models.params import ModelParams


class Concatenation(Backbone):
    """What a shard ensemble serves: the vectors of its models, side by side; not to be trained by itself.

    See :class:`tru.models.base.Backbone` for the arguments. The rows are the vectors, and there are no other layers.
    """

    params_class = ModelParams

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
