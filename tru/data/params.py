"""Blocks ``data`` and ``forget`` of ``params.yaml``; apart from what reads them, so that nobody loads pandas to ask."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tru.params import Params

Choice = Literal["random", "popular", "unpopular", "core", "edge"]
"""From whom a simulated batch is drawn; see :mod:`tru.data.choice`."""


class SyntheticParams(Params):
    """How the built-in data set is drawn."""

    users: PositiveInt = 1000
    """Number of users."""
    items: PositiveInt = 600
    """Number of items."""
    mean_interactions: PositiveInt = 21
    """About how many interactions a user has; a few users have many more."""
    min_interactions: PositiveInt = 8
    """Fewest interactions of a user."""
    latent: PositiveInt = 8
    """Number of hidden qualities that tastes and items are made of."""
    image_width: PositiveInt = 64
    """Length of an image feature vector."""
    text_width: PositiveInt = 32
    """Length of a text feature vector."""
    noise: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Noise in the features, in units of their signal."""
    seed: NonNegativeInt = 2026
    """Another seed gives another data set."""

    @model_validator(mode="after")
    def _mean_above_fewest(self) -> SyntheticParams:
        if self.mean_interactions < self.min_interactions:
            raise ValueError("mean_interactions is less than min_interactions")
        return self


class DataParams(Params):
    """Where the data set comes from: block ``data`` of ``params.yaml``."""

    name: str = "builtin"
    """What the data set is called."""
    synthetic: SyntheticParams = SyntheticParams()
    """The built-in data set, written by ``tru data generate``."""
    split_seed: int = 0
    """Draws the split of a data set that comes without one."""


class ForgetParams(Params):
    """A simulated batch of deletion requests, for research."""

    regime: Literal["user", "item", "interaction", "modality"] = "user"
    """What is forgotten: all of a user, an item, single interactions, or one modality of an item."""
    fraction: float = Field(default=0.05, gt=0, lt=1)
    """Share of the users, items, train interactions or (item, modality) pairs, between 0 and 1."""
    count: PositiveInt | None = None
    """How many instead; overrides ``fraction``."""
    seed: NonNegativeInt = 7
    """Which ones."""
    choice: Choice = "random"
    """From whom: all alike, or the most or least popular, or the ``core`` or ``edge`` of the graph."""
