"""What the package offers to a program: load, fit, forget, retrain, compare; see ``docs/library.md``.

Nothing here needs a workspace or a server, and nothing is written but by :meth:`tru.Model.save`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tru import training
from tru.arguments import batch_of, canary_rate, checked, params_of, refuse_unknown
from tru.data import importers
from tru.data import prepare as numbering
from tru.data.forget import Pair, cut
from tru.data.interactions import Dataset
from tru.data.prepare import Prepared
from tru.elsewhere import Trainer, trained_by
from tru.errors import DataError, EvaluationError, ModelError, UnlearningError
from tru.evaluation import comparison
from tru.evaluation.audits import Stage
from tru.evaluation.comparison import Comparison
from tru.evaluation.research.suite import refuse_same
from tru.fitted import TRAIN as TRAIN_FACT
from tru.fitted import Model
from tru.models.params import BACKBONES, TrainParams, model_params_class
from tru.models.trained import TrainedModel
from tru.unlearning.base import make
from tru.unlearning.closed_form.calibration import calibrate, calibrated
from tru.unlearning.params import UNLEARNERS, UnlearnerParams, UnlearnParams, unlearn_params_class
from tru.unlearning.retrain import retrained


def backbones() -> tuple[str, ...]:
    """Names of the backbones that :func:`fit` can train."""
    return tuple(sorted(BACKBONES))


def unlearners() -> tuple[str, ...]:
    """Names of the methods that :func:`forget` can use."""
    return tuple(sorted(UNLEARNERS))


def load(
    source: str | Path | pd.DataFrame,
    *,
    features: Mapping[str, np.ndarray] | None = None,
    items: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a data set. Ids become text; each row counts as one item that a user took.

    Args:
        source: a folder in one of the forms that ``tru data import`` takes; or interactions alone, as a Parquet, CSV or
            TSV file or a frame with the columns user_id, item_id and perhaps split (0 train, 1 val, 2 test) and
            timestamp. Without a split, each row gets its place by a hash of its ids.
        features: for a frame: modality -> (n_items, d) numbers, a row of zeros where an item lacks it.
        items: for a frame: which item each feature row belongs to.
        seed: draws the split.

    Raises:
        DataError: it cannot be read or is not in order; the message says where and what to do.
    """
    if isinstance(source, pd.DataFrame):
        return importers.from_frame(source, features=features, items=items, seed=seed)
    if features is not None or items is not None:
        raise DataError("features= and items= go with a frame. Files bring their own, in the folder that they are in.")
    return importers.import_dataset(Path(source), seed=seed)


def prepare(data: Dataset, *, canaries: int = 0) -> Prepared:
    """The data by position, for who trains a model of their own: see :func:`tru.wrap`.

    Args:
        data: the data set.
        canaries: about so many train pairs are withheld, at most one in twenty; ``Prepared.edges`` are the others.
            With them :func:`forget` can find its strength by itself.
    """
    return numbering.prepare(checked(data), canary_rate(data, canaries))


def fit(data: Dataset, backbone: str = "lightgcn", *, seed: int = 0, **settings: Any) -> Model:  # noqa: ANN401
    """Train a model, and calibrate on the pairs that training withheld how strongly it has to forget.

    Args:
        data: from :func:`load`.
        backbone: one of :func:`backbones`.
        seed: of every random choice; the same seed and data give the same model.
        settings: of the backbone (``width``, ``layers`` …) and of the training (``epochs``, ``learning_rate`` …); see
            :class:`tru.models.params.ModelParams` and :class:`tru.models.params.TrainParams`.

    Raises:
        ModelError: no such backbone or setting, a backbone that needs features the data has not, or no finite loss.
        DataError: there is nothing to train on.
    """
    known = TrainParams.model_fields
    train = params_of(TrainParams, {"seed": seed, **{k: v for k, v in settings.items() if k in known}}, ModelError)
    own = {k: v for k, v in settings.items() if k not in known}
    model = params_of(model_params_class(backbone), {"name": backbone, **own}, ModelError, also=known)
    found = training.fit(checked(data), model, train).with_facts(**{TRAIN_FACT: train.model_dump(mode="json")})
    return Model(calibrated(found, UnlearnParams()), data)


def forget(
    model: Model,
    *,
    users: Iterable[str] = (),
    items: Iterable[str] = (),
    interactions: Iterable[Pair] = (),
    modalities: Iterable[Pair] = (),
    method: str = "tru",
    **settings: Any,  # noqa: ANN401 - whatever the method has
) -> Model:
    """Make a model forget; ``model`` itself stays as it is.

    Args:
        model: what to make forget.
        users: ids of users of whom everything goes.
        items: ids of items that go.
        interactions: (user, item) pairs of which the row goes.
        modalities: (item, modality) pairs of which the features go.
        method: one of :func:`unlearners`.
        settings: of the method, such as ``strength=1.25``; see :class:`tru.unlearning.params.UnlearnParams`.

    Returns:
        The model on the data that stays; ``.data`` is that data.

    Raises:
        DataError: nothing is named, something is named that the data does not hold, or nothing would be left.
        UnlearningError: the method cannot do it; retraining can.
    """
    batch = batch_of(users, items, interactions, modalities)
    refuse_unknown(batch.unknown(model.data), batch.size)
    params = params_of(unlearn_params_class(method), {"method": method, **settings}, UnlearningError)
    left = cut(model.data, batch)
    retained = numbering.prepare(left, model.trained.recipe.canary_rate)
    found = make(params, model.train_params).unlearn(_with_strength(model.trained, params), retained)
    return Model(_noting(found, model), left)


def retrain(model: Model, data: Dataset, *, seeds: int = 2, trainer: Trainer | None = None) -> list[Model]:
    """Train from scratch on other data by the recipe of a model: what forgetting is measured against.

    Args:
        model: whose recipe is repeated, to the number of epochs.
        data: what to train on, such as ``forgot.data``.
        seeds: how many models. The first has the random choices of ``model``, the others choices of their own; the gate
            needs two to know how much retraining alone changes.
        trainer: for a model from :func:`tru.wrap`, the training that made it: ``(pairs, seed) -> (module, initial)``.
            It learns from ``pairs.edges``; its rows are in the order of ``pairs``.

    Raises:
        DataError: there is nothing to train on.
        ModelError: ``seeds`` is not positive, or a model that was trained elsewhere comes without its ``trainer``.
    """
    if seeds < 1:
        raise ModelError(f"seeds is {seeds}: nothing would be trained. Give 1 or more.")
    retained = numbering.prepare(checked(data), model.trained.recipe.canary_rate)
    if trainer is not None:
        first = model.trained.recipe.seed
        return [Model(trained_by(trainer, model, retained, first + k), data) for k in range(seeds)]
    return [
        Model(_noting(found, model), data) for found in retrained(model.trained, retained, model.train_params, seeds)
    ]


def compare(model: Model, forgot: Model, retrained: Model | Sequence[Model]) -> Comparison:
    """Measure a model, what it became by forgetting, and retrained ones, on the same pairs.

    Args:
        model: before.
        forgot: after.
        retrained: one or more on the data of ``forgot``, from :func:`retrain`.

    Returns:
        Its ``str`` is a table with the gate's word; ``.verdict()`` is that word, ``.rows()`` the numbers.

    Raises:
        EvaluationError: no retrained model, one on other data, or two that are one and the same.
    """
    others = [retrained] if isinstance(retrained, Model) else list(retrained)
    if not others:
        raise EvaluationError("there is no retrained model to compare with. Train some: tru.retrain.")
    named = {"the model before": model.trained, "the unlearned model": forgot.trained}
    for number, other in enumerate(others, start=1):
        if not _same_rows(other.trained.data, forgot.trained.data):
            raise EvaluationError(
                f"retrained model {number} stands on other data than the unlearned one. "
                "Retrain on what was left: tru.retrain(model, forgot.data)."
            )
        named[f"retrained model {number}"] = other.trained
    refuse_same(named)
    stage = Stage.of(model.trained.data, forgot.trained.data, model.trained.initial)
    return comparison.compare(stage, model.trained, forgot.trained, [other.trained for other in others])


def open_model(folder: str | Path, data: Dataset | None = None) -> Model:
    """Read what :meth:`tru.Model.save` wrote.

    Args:
        folder: where it is.
        data: for a model directory without its data, such as a workspace has: the data it was trained on.

    Raises:
        ModelError: it is missing or damaged, or the data is not its own.
    """
    return Model.open(folder, data)


def _with_strength(model: TrainedModel, params: UnlearnerParams) -> TrainedModel:
    """The model with its calibrated strength, where the method needs one and none is known."""
    is_known = isinstance(model.facts.get("gamma"), dict)
    if not isinstance(params, UnlearnParams) or params.method != "tru" or params.strength != "canary" or is_known:
        return model
    try:
        return model.with_facts(gamma=calibrate(model, params).model_dump(mode="json"))
    except UnlearningError as error:
        raise UnlearningError(
            "there are too few pairs that training withheld to find out how strongly to forget. Give a strength "
            "(tru.forget(…, strength=1.25)), retrain instead (method='retrain'), or fit with more data or canaries."
        ) from error


def _noting(found: TrainedModel, model: Model) -> TrainedModel:
    """A model made from another, with the settings that a retraining repeats."""
    facts = {TRAIN_FACT: model.trained.facts[TRAIN_FACT]} if TRAIN_FACT in model.trained.facts else {}
    return found.with_facts(**facts).finished()


def _same_rows(one: Prepared, other: Prepared) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("users", "items", "train"))
