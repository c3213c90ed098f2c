"""A trained model as it lies on disk and in the registry: arrays and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from tru import randomness as keyed
from tru.data.prepare import Prepared
from tru.errors import DataError, ModelError
from tru.models.base import Backbone, Embedding, Rows, builder
from tru.models.graph import Inputs
from tru.models.params import BackboneParams, model_params


@dataclass(frozen=True)
class Recipe:
    """What a retraining must repeat so that it differs by its data alone.

    Attributes:
        seed: of every keyed draw.
        epochs: how many the chosen state had seen (the original's best epoch; a retraining runs exactly these).
        batches: batches per epoch.
        chunks: groups of contrastive negatives per batch.
        user_bound: initial user rows are uniform in [-bound, bound).
        item_bound: the same for item rows.
        canary_rate: share of train pairs withheld.
        keyed: whether initial rows are hashes of ids, so that they can be derived again, and a training be repeated;
            False for a model that was trained elsewhere. The bounds are then those of fresh rows.
    """

    seed: int
    epochs: int
    batches: int
    chunks: int
    user_bound: float
    item_bound: float
    canary_rate: float
    keyed: bool = True

    def user_rows(self, users: np.ndarray, width: int, salt: str = "user") -> np.ndarray:
        """Initial rows (n, width) of the given user ids or keys; another salt gives rows that no training ever used."""
        return keyed.table(users, width, self.user_bound, keyed.of_word(salt), self.seed)

    def item_rows(self, items: np.ndarray, width: int, salt: str = "item") -> np.ndarray:
        """Initial rows (n, width) of the given item ids or keys."""
        return keyed.table(items, width, self.item_bound, keyed.of_word(salt), self.seed)


@dataclass(frozen=True)
class TrainedModel:
    """A model, the data it stands on, and how it came to be.

    Attributes:
        params: the backbone's settings.
        recipe: how to train it again.
        arrays: the module's parameters by name.
        data: the prepared data whose graph it propagates over.
        patch: (n_users, d) added to the users' final vectors when serving, zero for most (the fusion gate's output).
        facts: numbers about it: seconds, gamma, history; no identifier.
        initial: where its rows started, of a model that was trained elsewhere, if somebody knows; see :meth:`started`.
    """

    params: BackboneParams
    recipe: Recipe
    arrays: dict[str, np.ndarray]
    data: Prepared
    patch: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)
    initial: Rows | None = None

    def started(self, users: keyed.Keys | None = None, items: keyed.Keys | None = None) -> Rows | None:
        """Where the rows of all users and items started: stored, or derived again from the ids; None: nobody knows.

        Args:
            users: (n_users,) their keys, where they are at hand.
            items: (n_items,) the same of items.
        """
        if self.initial is not None or not self.recipe.keyed:
            return self.initial
        who, what = (self.data.users if users is None else users), (self.data.items if items is None else items)
        width = self.params.width
        return Rows(self.recipe.user_rows(who, width), self.recipe.item_rows(what, width))

    def module(self, users: np.ndarray | None = None, items: np.ndarray | None = None) -> Backbone:
        """The backbone with its parameters; optionally with other user and item tables in place of its own."""
        rows = Rows(
            self.arrays["users"] if users is None else users,
            self.arrays["items"] if items is None else items,
        )
        widths = {m: self.data.features[m].shape[1] for m in self.data.modalities}
        module = builder(self.params.name)(params=self.params, widths=widths, rows=rows, seed=self.recipe.seed)
        shared = {k: torch.from_numpy(v) for k, v in self.arrays.items() if k not in ("users", "items")}
        module.load_state_dict(shared, strict=False)
        return module.eval()

    @torch.no_grad()
    def embed(self, inputs: Inputs | None = None) -> Embedding:
        """Vectors of everybody as served, patch included, on the model's own graph unless another is given."""
        found = self.module().embed(inputs or Inputs.of(self.data))
        return replace(found, users=found.users + torch.from_numpy(self.patch))

    def with_facts(self, **facts: Any) -> TrainedModel:  # noqa: ANN401 - whatever JSON can hold
        """The same model with more facts."""
        return replace(self, facts={**self.facts, **facts})

    def finished(self) -> TrainedModel:
        """The model, which has just been made, with the fact when that was."""
        return self.with_facts(ended=datetime.now(UTC).isoformat(timespec="milliseconds"))

    def save(self, folder: Path) -> None:
        """Write the model directory, ready to serve."""
        folder.mkdir(parents=True, exist_ok=True)
        self.data.save(folder / "prepared.npz")
        used = np.flatnonzero(np.abs(self.patch).sum(axis=1))
        arrays: dict[str, Any] = {f"module/{k}": v for k, v in self.arrays.items()}
        arrays |= {"patch/rows": used, "patch/values": self.patch[used]}
        if self.initial is not None:
            arrays |= {"initial/users": self.initial.users, "initial/items": self.initial.items}
        serving: dict[str, Any] = self._serving()
        np.savez(folder / "arrays.npz", **arrays)
        np.savez(folder / "serving.npz", **serving)
        words = {"params": self.params.model_dump(), "recipe": asdict(self.recipe), "facts": self.facts}
        (folder / "model.json").write_text(json.dumps(words, indent=2, sort_keys=True) + "\n")

    def _serving(self) -> dict[str, np.ndarray]:
        """All that answering "top k for this user" needs: vectors, ids, what to mask, what is popular."""
        found, data = self.embed(), self.data
        order = np.lexsort((data.train[:, 1], data.train[:, 0]))
        seen = np.bincount(data.train[:, 0], minlength=len(data.users))
        return {
            "users": data.users,
            "items": data.items,
            "user_vectors": found.users.numpy(),
            "item_vectors": found.items.numpy(),
            "seen_indptr": np.concatenate([[0], np.cumsum(seen)]).astype(np.int64),
            "seen_indices": data.train[order, 1].astype(np.int32),
            "popular": np.argsort(-data.popularity, kind="stable").astype(np.int32),
        }

    @classmethod
    def load(cls, folder: Path) -> TrainedModel:
        """Read a model directory.

        Raises:
            ModelError: it is missing or incomplete, or its backbone is of a package that is not installed.
        """
        try:
            words = json.loads((folder / "model.json").read_text())
            with (folder / "arrays.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            data = Prepared.load(folder / "prepared.npz")
            params = model_params(words["params"])
            patch = np.zeros((len(data.users), params.width), dtype=np.float32)
            patch[arrays.pop("patch/rows")] = arrays.pop("patch/values")
            rows = [arrays.pop(f"initial/{side}", None) for side in ("users", "items")]
            return cls(
                params=params,
                recipe=Recipe(**words["recipe"]),
                arrays={name.removeprefix("module/"): array for name, array in arrays.items()},
                data=data,
                patch=patch,
                facts=words["facts"],
                initial=None if rows[0] is None or rows[1] is None else Rows(rows[0], rows[1]),
            )
        except (OSError, EOFError, BadZipFile, ValueError, TypeError, LookupError, DataError) as error:
            raise ModelError(
                f"{folder} is not a model directory ({type(error).__name__}). Train one: `tru train`."
            ) from error


def fingerprint(folder: Path) -> str:
    """SHA-256 (64 hex characters) of the parameters in a model directory."""
    return hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
