"""Settings of the rivals: block ``unlearn.rivals`` of ``params.yaml``; the methods themselves have a module each.

The blocks stand together, and not beside their methods, so that nobody loads torch to read them. A harness that tunes
gives each rival equally many settings: :func:`grid`.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from tru.errors import UnlearningError
from tru.params import Params


class Finetune(Params):
    """``finetune``: a few more steps of training, on what stays."""

    steps: PositiveInt = 60
    """Adam steps; 14 of them are one pass over TikTok."""
    rate: PositiveFloat = 1e-3
    """Learning rate."""
    batch: PositiveInt = 4096
    """Retained pairs per step, at most."""


class Ascent(Params):
    """``ascent``: the ranking loss of forgotten pairs with its sign turned."""

    steps: PositiveInt = 30
    """Adam steps."""
    rate: PositiveFloat = 3e-3
    """Learning rate."""
    batch: PositiveInt = 1024
    """Forgotten pairs per step, at most."""


class MMRecUn(Params):
    """``mmrecun``: reverse on the forgotten pairs and forward on the retained ones, in the same steps."""

    steps: PositiveInt = 40
    """Adam steps."""
    rate: PositiveFloat = 2e-3
    """Learning rate."""
    weight: PositiveFloat = 1.0
    """Of the reverse term against the forward one."""
    batch: PositiveInt = 1024
    """Forgotten pairs, and twice as many retained ones, per step, at most."""


class Ssd(Params):
    """``ssd``: selective synaptic dampening."""

    selection: PositiveFloat = 1.0
    """alpha: a parameter is dampened if it matters so many times more to the forgotten pairs than to all. The paper's
    10 is for images; a row is shaped by few pairs."""
    dampening: PositiveFloat = 0.3
    """lambda: of the ratio of the two importances, by which it is multiplied."""
    batch: PositiveInt = 1024
    """Pairs per gradient."""


class Influence(Params):
    """``influence``: one damped Newton step on the rows of touched nodes."""

    scale: PositiveFloat = 1.0
    """Of the step; one is what the influence function says."""
    damping: PositiveFloat = 10.0
    """Added to the curvature, in units of its mean over the touched rows. Much: a row with fewer pairs than entries has
    directions without curvature, into which an undamped step would run without end."""
    iterations: PositiveInt = 20
    """Of conjugate gradients, at most."""
    sample: PositiveInt = 8192
    """Retained pairs of touched nodes on which the curvature is measured, at most."""


class Shards(Params):
    """``shards``: an ensemble of which only the shards that held something forgotten are trained again."""

    number: PositiveInt = 4
    """Shards. The ensemble keeps the number that it was made with."""
    epochs: NonNegativeInt = 0
    """Of each shard; 0: as many as the model had from which the ensemble's recipe was taken."""


class Rivals(Params):
    """One block per rival; ``cut`` and ``retrain`` have nothing to set."""

    finetune: Finetune = Finetune()
    """Fine-tuning on what stays."""
    ascent: Ascent = Ascent()
    """Gradient ascent, bounded."""
    mmrecun: MMRecUn = MMRecUn()
    """MMRecUn."""
    ssd: Ssd = Ssd()
    """Selective synaptic dampening."""
    influence: Influence = Influence()
    """An influence function."""
    shards: Shards = Shards()
    """A shard ensemble."""


BUDGET = 6
"""Settings that :func:`grid` tries for each rival; none costs more than about a sixth of a retraining."""
_AXES: dict[str, dict[str, tuple[Any, ...]]] = {
    "finetune": {"rate": (1e-3, 3e-3, 1e-2), "steps": (20, 60)},
    "ascent": {"rate": (1e-3, 3e-3, 1e-2), "steps": (20, 60)},
    "mmrecun": {"rate": (1e-3, 2e-3, 5e-3), "steps": (20, 60)},
    "ssd": {"selection": (1.0, 3.0), "dampening": (0.1, 0.3, 1.0)},
    "influence": {"damping": (3.0, 10.0, 30.0), "scale": (1.0, 3.0)},
    "shards": {"number": (2, 4, 8), "epochs": (0, 100)},
}


def grid(method: str) -> list[Rivals]:
    """The same number of settings for every rival, :data:`BUDGET`, to be chosen among on validation.

    Raises:
        UnlearningError: there is no rival of that name with something to set.
    """
    if method not in _AXES:
        raise UnlearningError(f"{method!r} has nothing to tune. What has: {', '.join(sorted(_AXES))}.")
    names, values = zip(*_AXES[method].items(), strict=True)
    blocks = [dict(zip(names, chosen, strict=True)) for chosen in product(*values)]
    return [Rivals.model_validate({method: block}) for block in blocks]
