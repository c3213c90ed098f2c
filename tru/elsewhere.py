"""Models that somebody else trained: how one becomes ours, and how it is retrained by its own training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tru import training
from tru.arguments import canary_rate, checked, params_of
from tru.data.interactions import Dataset
from tru.data.prepare import Prepared, prepare
from tru.errors import ModelError, UnlearningError
from tru.fitted import Model
from tru.models.base import Rows
from tru.models.params import BackboneParams, TrainParams, model_params_class
from tru.models.trained import Recipe, TrainedModel
from tru.models.wrapping import Order, path_of, table_width, wrapped
from tru.unlearning.closed_form.calibration import calibrate
from tru.unlearning.params import UnlearnParams

if TYPE_CHECKING:
    from torch import nn

Tables = tuple[np.ndarray, np.ndarray]
"""(n_users, d) and (n_items, d)."""
Trainer = Callable[[Prepared, int], "tuple[nn.Module, Tables | None]"]
"""(data, seed) -> the trained module, and its tables before the training if they are known."""


def wrap(
    module: nn.Module,
    data: Dataset,
    *,
    initial: Tables | None = None,
    users: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
    build: Callable[..., nn.Module] | str | None = None,
    canaries: int = 0,
    seed: int = 0,
    **settings: Any,  # noqa: ANN401 - whatever the settings have
) -> Model:
    """A model around a module that was trained elsewhere; see ``docs/library.md``, *A model trained elsewhere*.

    Args:
        module: satisfies :class:`tru.models.base.Backbone`. It is copied.
        data: what it was trained on: all train rows but the withheld ones.
        initial: its tables of users and items before the training, (n_users, d) and (n_items, d). Without them
            forgetting knows less (:attr:`tru.Model.notes` says what).
        users: ids of the users in the order of the module's rows; empty: that of :func:`tru.prepare`.
        items: the same of items.
        build: what builds the module again, ``(params, widths, rows, seed) -> module``, or its path
            ``package.module:name``; empty: the module's class.
        canaries: as given to :func:`tru.prepare`, if the module was trained on ``Prepared.edges``. Without any,
            :func:`tru.forget` needs ``strength=``.
        seed: of fresh rows for those who lose every edge.
        settings: of :class:`tru.models.params.ModelParams`, for ``build``.

    Raises:
        ModelError: the module lacks something, or ``build`` does not build it again.
    """
    width = table_width(module)
    path = path_of(type(module) if build is None else build)
    params = params_of(model_params_class(path), {"name": path, "width": width, **settings}, ModelError)
    rate = canary_rate(checked(data), canaries)
    prepared = prepare(data, rate)
    rows = None if initial is None else Rows(*initial)
    recipe = _foreign_recipe(prepared, params, rows, seed, rate)
    model = Model(wrapped(module, prepared, params, recipe, Order(users, items), rows), data)
    for note in model.notes:
        warnings.warn(note, stacklevel=2)
    if not prepared.canary.any():
        return model
    with suppress(UnlearningError):  # too few: forgetting will ask for a strength
        found = calibrate(model.trained, UnlearnParams()).model_dump(mode="json")
        model = replace(model, trained=model.trained.with_facts(gamma=found))
    return model


def trained_by(trainer: Trainer, model: Model, data: Prepared, seed: int) -> TrainedModel:
    """One retraining of a model from elsewhere, timed."""
    own = model.trained
    if own.recipe.keyed:
        raise ModelError("trainer= is for a model from tru.wrap; this one has a recipe of its own. Leave it out.")
    start = time.perf_counter()
    module, initial = trainer(data, seed)
    seconds = round(time.perf_counter() - start, 3)
    rows = None if initial is None else Rows(*initial)
    found = wrapped(module, data, own.params, replace(own.recipe, seed=seed), Order(), rows)
    return found.with_facts(method="retrain", seconds=seconds).finished()


def _foreign_recipe(data: Prepared, params: BackboneParams, initial: Rows | None, seed: int, rate: float) -> Recipe:
    """Sizes of batches by our own rule, and fresh rows that are spread as the initial ones were, where those are known.

    A uniform draw in [-b, b) has the standard deviation b / sqrt(3).
    """
    n_train = max(len(data.edges), 1)
    recipe = training.fresh_recipe(len(data.users), len(data.items), n_train, params, TrainParams(seed=seed))
    recipe = replace(recipe, epochs=0, canary_rate=rate, keyed=False)
    if initial is None:
        return recipe
    bounds = [float(np.std(rows) * np.sqrt(3)) for rows in (initial.users, initial.items)]
    return replace(recipe, user_bound=bounds[0], item_bound=bounds[1])
