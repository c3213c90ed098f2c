"""A module that somebody else trained, as one of our models: checked once, so that forgetting need not ask again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tru.data.prepare import Prepared
from tru.errors import ModelError
from tru.models.base import Backbone, Batch, Embedding, Rows, builder
from tru.models.graph import Inputs
from tru.models.params import BackboneParams
from tru.models.trained import Recipe, TrainedModel

NEEDED = ("users", "items", "item_graph", "embed", "loss", "item_bases")
"""What forgetting asks of a module, see :class:`tru.models.base.Backbone`."""
UNKNOWN_START = (
    "It is not known where the rows of this model started (initial=). Forgetting then takes all of a row for learned, "
    "cannot take back what deleted users' first rows left in items, and comparisons score deleted users and items from "
    "random rows, which tells less than their own would."
)


@dataclass(frozen=True)
class Order:
    """Which row of a module's tables belongs to whom; empty: the order of the prepared data.

    Attributes:
        users: ids of the users, in the order of the rows.
        items: the same of items.
    """

    users: Sequence[str] | None = None
    items: Sequence[str] | None = None

    def rows(self, side: str, names: np.ndarray, table: np.ndarray) -> np.ndarray:
        """The rows (n, d) of ``names`` out of a table of that side.

        Raises:
            ModelError: the table does not fit the ids, or somebody has no row.
        """
        listed = names if getattr(self, side) is None else np.array([str(name) for name in getattr(self, side)])
        if len(listed) != len(table):
            raise ModelError(
                f"the module has {len(table)} rows of {side} and there are {len(listed)} {side}. Train it on "
                f"tru.prepare(data), whose order it then has, or say with {side}= which row is whose."
            )
        order = np.argsort(listed, kind="stable")
        at = order[np.minimum(np.searchsorted(listed[order], names), len(listed) - 1)]
        if missing := int((listed[at] != names).sum()):
            raise ModelError(f"{missing} of the {side} in the data have no row in the module. Name them in {side}=.")
        found: np.ndarray = table[at]
        return found


def path_of(build: Callable[..., Any] | str) -> str:
    """``package.module:name`` of a builder, under which it can be found again by another process.

    Raises:
        ModelError: it cannot.
    """
    if isinstance(build, str):
        path = build
    else:
        path = f"{build.__module__}:{build.__qualname__}"
        if "<" in path or "." in build.__qualname__:
            raise ModelError(f"{path} is defined inside something else, where no other process finds it. Move it out.")
    builder(path)
    return path


def wrapped(
    module: nn.Module, data: Prepared, params: BackboneParams, recipe: Recipe, order: Order, initial: Rows | None
) -> TrainedModel:
    """The module as a model.

    Args:
        module: trained; it satisfies :class:`tru.models.base.Backbone`. It is not changed.
        data: what it was trained on.
        params: ``name`` is the path of what builds it again; ``width`` is that of its rows.
        recipe: its sizes and canaries, not keyed.
        order: of the module's rows.
        initial: its rows before the training, in the same order.

    Raises:
        ModelError: the module lacks something, or cannot be built again so that it gives the same vectors.
    """
    state = {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}
    names = {"users": data.users, "items": data.items}
    tables = {side: order.rows(side, names[side], state[side]) for side in names}
    if initial is not None:
        given = {side: np.asarray(getattr(initial, side), dtype=np.float32) for side in names}
        for side, rows in given.items():
            if rows.shape != state[side].shape:
                raise ModelError(f"initial: {side} are {rows.shape}, not {state[side].shape} as the module's own.")
        initial = Rows(*(order.rows(side, names[side], given[side]) for side in names))
    found = TrainedModel(
        params=params,
        recipe=recipe,
        arrays={**state, **tables},
        data=data,
        patch=np.zeros_like(tables["users"]),
        facts={"method": "wrap"},
        initial=initial,
    )
    _check(found, module)
    return found


def table_width(module: nn.Module) -> int:
    """Length of a module's rows.

    Raises:
        ModelError: it lacks what a backbone needs.
    """
    lacking = [name for name in NEEDED if not hasattr(module, name)]
    if lacking:
        raise ModelError(
            f"{type(module).__name__} lacks {', '.join(lacking)}, which tru.models.base.Backbone describes."
        )
    tables = [getattr(module, side) for side in ("users", "items")]
    if not all(isinstance(table, nn.Parameter) and table.ndim == 2 for table in tables):
        raise ModelError("users and items must be parameters of shape (n, d): a row each. Make them so.")
    if tables[0].shape[1] != tables[1].shape[1]:
        raise ModelError(f"rows of users have {tables[0].shape[1]} numbers, those of items {tables[1].shape[1]}.")
    if any(table.dtype != torch.float32 for table in tables):
        raise ModelError("users and items must be float32. Convert the module: module.float().")
    return int(tables[0].shape[1])


def _check(model: TrainedModel, module: nn.Module) -> None:
    """Ask the module for what forgetting will ask of it, then build it again, whole and with a row less a side."""
    clone = deepcopy(module).cpu().eval()
    for side in ("users", "items"):
        setattr(clone, side, nn.Parameter(torch.from_numpy(model.arrays[side].copy())))
    inputs = Inputs.of(model.data)
    with torch.no_grad():
        own = cast(Backbone, clone).embed(inputs)
    _check_vectors(model, own, cast(Backbone, clone).item_bases())
    _check_loss(model, clone, inputs)
    try:
        fewer = model.module(*(model.arrays[side][:-1] for side in ("users", "items")))
        again = model.embed(inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{model.params.name} does not build the module again ({error}). It takes (params, widths, rows, seed) and "
            "must be able to build one with fewer rows; whatever else the module knows of single users or items would "
            "outlive their deletion, so all of that belongs into users and items."
        ) from error
    if len(fewer.users) != len(model.data.users) - 1:
        raise ModelError(f"{model.params.name} builds a module with other rows than it is given.")
    if not all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(_both(again), _both(own), strict=True)):
        raise ModelError(f"{model.params.name} builds a module with other vectors. Give the settings that it needs.")


def _both(found: Embedding) -> tuple[torch.Tensor, torch.Tensor]:
    return found.users, found.items


def _check_vectors(model: TrainedModel, found: Embedding, bases: Sequence[str]) -> None:
    if not all(torch.isfinite(vectors).all() for vectors in _both(found)):
        raise ModelError("the module's vectors are not all finite. Train it again with a lower learning rate.")
    if any(vectors.shape[1] != model.params.width for vectors in _both(found)):
        raise ModelError("the module's vectors are of another width than its rows, so no row can be taken back.")
    if unknown := sorted(set(bases) - {"final", "start", *found.branches}):
        raise ModelError(f"item_bases names {', '.join(unknown)}, which embed gives no branch for.")


def _check_loss(model: TrainedModel, module: nn.Module, inputs: Inputs) -> None:
    """TRU reports which parameters a forgotten pair pulls at, so the loss of a pair must reach all of them."""
    pairs = torch.from_numpy(model.data.edges[:2])
    batch = Batch(pairs[:, 0], pairs[:, 1], pairs[:, 1].flip(0), chunks=[len(pairs)])
    named = dict(module.named_parameters())
    loss = cast(Backbone, module).loss(inputs, batch)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    if unused := [name for name, gradient in zip(named, found, strict=True) if gradient is None]:
        raise ModelError(f"loss does not depend on {', '.join(unused)}. Make a buffer of what is not learned.")
