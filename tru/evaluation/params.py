"""Block ``gate`` of ``params.yaml``; apart from what reads it, so that nobody loads torch to ask."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tru.params import Params

Mode = Literal["auto", "fresh", "licensed"]


class GateParams(Params):
    """The gate: block ``gate`` of ``params.yaml``."""

    mode: Mode = "auto"
    """``fresh``: retrain tonight and compare; ``licensed``: compare with the weekly baseline and the canaries, under a
    licence; ``auto``: fresh while that costs less than the budget."""
    budget_seconds: float = Field(default=1800.0, ge=0, allow_inf_nan=False)
    """What retraining may be expected to cost for ``auto`` to take ``fresh``."""
    baselines: int = Field(default=2, ge=2)
    """Seeds to retrain and compare with; at least 2."""
    utility_margin: float = Field(default=0.03, allow_inf_nan=False)
    """Test NDCG@20 may lie below the reference by this share of it; negative: must lie above by so much, for sure."""
    forget_margin: float = Field(default=0.03, ge=0, allow_inf_nan=False)
    """Recall@20 of forgotten pairs may differ from the reference by so much, above or below."""
    membership_margin: float = Field(default=0.03, ge=0, allow_inf_nan=False)
    """Membership AUC may differ from the reference by so much, above or below."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance that a candidate which is off by the whole margin passes a test."""
    power: float = Field(default=0.99, gt=0.5, lt=1)
    """Chance that a candidate as good as the reference passes all tests; margins are widened where data is scarce."""
    min_subjects: PositiveInt = 30
    """Independent subjects below which a group is not judged by its statistics alone, but pooled with nights before."""
    widest_margin: float = Field(default=0.2, gt=0, le=1)
    """The same where the margin of an audit would have to be wider than this: such data could tell too little."""
    widest_loss: float = Field(default=0.2, gt=0, le=1)
    """The same for utility, as a share of the reference: with so few test users only a proven loss is refused."""
    window_nights: PositiveInt = 7
    """How many nights are pooled."""
    baseline_days: PositiveFloat = 8.0
    """Age at which a baseline is stale."""
    max_nights: PositiveInt = 30
    """More nights of unlearning than this since the last full training, and a retraining is due."""
    warn_forgotten: float = Field(default=0.05, gt=0, le=1)
    """Share of the trained pairs forgotten since the last full training that is worth a warning."""
    max_forgotten: float = Field(default=0.10, gt=0, le=1)
    """More than this share, and a retraining is due."""
    max_distance: float = Field(default=0.5, gt=0, le=1)
    """Share of the top-20 lists that may have changed through unlearning, summed over the nights since then."""
    approval: bool = False
    """Whether a person has to approve each promotion of a night, in a form on Prefect's page."""
    approval_hours: PositiveFloat = 24.0
    """How long to wait for it; then the batch is held."""


class RehearsalParams(Params):
    """The simulated batch: how many of each to forget for practice; at most a tenth of what there is."""

    users: NonNegativeInt = 100
    """Users; the licence for users is good for so many."""
    items: NonNegativeInt = 40
    """Items. With fewer than ``gate.min_subjects`` several rehearsals are pooled before there is a licence."""
    interactions: NonNegativeInt = 100
    """Single interactions, each of another user."""
    modalities: NonNegativeInt = 20
    """Pictures, texts … of items that stay."""


class BaselineParams(Params):
    """Baselines, rehearsals and licences: block ``baseline`` of ``params.yaml``."""

    seeds: int = Field(default=2, ge=2)
    """Models to train; their spread is the noise, so at least 2."""
    margin: float = Field(default=0.03, ge=0, allow_inf_nan=False)
    """A baseline whose test NDCG@20 is better than the champion's by more than this share becomes champion."""
    licence_days: PositiveInt = 35
    """How long a passed rehearsal counts."""
    rehearsal: RehearsalParams = RehearsalParams()
    """How many subjects a rehearsal forgets."""
