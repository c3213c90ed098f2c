"""The one training loop: keyed noise, early stopping, checkpoints that resume, a progress bar."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from tru import randomness
from tru.data.interactions import TRAIN, VAL, Dataset
from tru.data.prepare import Prepared, pair_keys, prepare
from tru.data.shortcomings import shortcomings
from tru.errors import DataError, ModelError
from tru.evaluation.metrics import rank_metrics
from tru.models.base import Batch, Rows, builder
from tru.models.graph import Inputs
from tru.models.hash_ring import Ring
from tru.models.params import BackboneParams, TrainParams, refuse_without_features
from tru.models.trained import Recipe, TrainedModel

CHUNK = 512
"""Pairs per group of contrastive negatives."""


def fresh_recipe(n_users: int, n_items: int, n_train: int, model: BackboneParams, train: TrainParams) -> Recipe:
    """The recipe of a first training, with sizes taken from the data."""
    batch = train.batch or min(4096, 2 ** round(math.log2(max(n_users / 2, 64))))
    return Recipe(
        seed=train.seed,
        epochs=train.epochs,
        batches=max(1, math.ceil(n_train / batch)),
        chunks=max(1, math.ceil(min(batch, n_train) / CHUNK)),
        user_bound=math.sqrt(6 / (n_users + model.width)),
        item_bound=math.sqrt(6 / (n_items + model.width)),
        canary_rate=min(0.05, train.canaries / n_train),
    )


def fit(
    ds: Dataset, model: BackboneParams, train: TrainParams, *, checkpoint: Path | None = None, title: str = "train"
) -> TrainedModel:
    """Train from scratch with early stopping on validation NDCG@20; without validation rows, for all epochs.

    Args:
        ds: the raw data set.
        model: the backbone.
        train: the loop.
        checkpoint: file to write after every epoch and to resume from.
        title: what the progress bar says.

    Raises:
        DataError: there are no train rows.
        ModelError: the backbone needs features and the data has none.
    """
    refuse_without_features(model.name, ds.modalities)
    n_train, n_val = (int((ds.interactions["split"] == part).sum()) for part in (TRAIN, VAL))
    if not n_train:
        raise DataError("the data has no train rows (split 0). Import a data set with some.")
    recipe = fresh_recipe(len(ds.users), len(ds.items), n_train, model, train)
    data = prepare(ds, recipe.canary_rate)
    loop = _Loop(data, model, recipe, train, stop_early=n_val > 0, title=title, checkpoint=checkpoint)
    return loop.run(shortcomings(ds))


def refit(
    data: Prepared,
    like: TrainedModel,
    train: TrainParams,
    *,
    seed: int | None = None,
    checkpoint: Path | None = None,
    title: str = "retrain",
) -> TrainedModel:
    """Train from scratch on other data with the recipe of ``like``: the same dice, exactly its number of epochs.

    Args:
        data: what to train on.
        like: the model whose recipe is repeated.
        train: the loop; its seed and epochs are not used.
        seed: another seed gives an independent model with the same recipe.
        checkpoint: file to write after every epoch and to resume from.
        title: what the progress bar says.

    Raises:
        ModelError: ``like`` was trained elsewhere, so that there is no recipe to repeat.
    """
    if not like.recipe.keyed:
        raise ModelError(
            "the model was trained elsewhere, so there is no recipe to repeat. Give the training: "
            "tru.retrain(model, data, trainer=…)."
        )
    recipe = like.recipe if seed is None else Recipe(**{**asdict(like.recipe), "seed": seed})
    gone = set(like.data.modalities) - set(data.modalities)  # revoked for every item: there is no such branch any more
    params = like.params.without_modalities(gone)
    return _Loop(data, params, recipe, train, stop_early=False, title=title, checkpoint=checkpoint).run()


@dataclass
class _Progress:
    """Where a training stands; everything a resumed run needs besides the parameters."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0
    history: list[float] = field(default_factory=list)


class _Loop:
    """One training. Draws depend on (pair, epoch, seed) only, so a checkpoint needs no state of random generators."""

    def __init__(
        self,
        data: Prepared,
        model: BackboneParams,
        recipe: Recipe,
        train: TrainParams,
        *,
        stop_early: bool,
        title: str,
        checkpoint: Path | None,
    ) -> None:
        self.data, self.model, self.recipe, self.train = data, model, recipe, train
        self.stop_early, self.title, self.checkpoint = stop_early, title, checkpoint
        rows = Rows(recipe.user_rows(data.users, model.width), recipe.item_rows(data.items, model.width))
        widths = {m: data.features[m].shape[1] for m in data.modalities}
        self.module = builder(model.name)(params=model, widths=widths, rows=rows, seed=recipe.seed)
        self.inputs = Inputs.of(data)
        self.optimiser = torch.optim.Adam(self.module.parameters(), lr=train.learning_rate, fused=True)
        self.edges = data.edges
        self.keys = pair_keys(data.users, data.items, self.edges, recipe.seed)
        connected = np.flatnonzero(data.popularity > 0)
        self.connected, self.ring = connected, Ring(data.items[connected])
        self.progress = _Progress()
        self.best: dict[str, np.ndarray] = {}

    def run(self, notices: Sequence[str] = ()) -> TrainedModel:
        """Train to the end and return the chosen state; ``notices`` are said before it starts."""
        self._resume()
        with _threads(self.train.threads), _bar(self.title, self.recipe.epochs) as bar:
            for words in notices:
                bar.say(words)
            bar.move(self.progress.epoch, "")
            while self.progress.epoch < self.recipe.epochs and not self._is_done():
                score = self._epoch()
                bar.move(self.progress.epoch, f"validation NDCG@20 {score:.4f}" if self.stop_early else "")
        state = self.best if self.stop_early else _numpy(self.module)
        p, r = self.progress, self.recipe
        epochs = p.best_epoch if self.stop_early else r.epochs
        return TrainedModel(
            params=self.model,
            recipe=Recipe(**{**asdict(r), "epochs": epochs}),
            arrays=state,
            data=self.data,
            patch=np.zeros((len(self.data.users), self.model.width), dtype=np.float32),
            facts={
                "seconds": round(p.seconds, 3),
                "epochs": p.epoch,
                "validation": p.history if self.stop_early else [],
            },
        )

    def _is_done(self) -> bool:
        p = self.progress
        return self.stop_early and p.epoch >= self.train.min_epochs and p.epoch - p.best_epoch >= self.train.patience

    def _epoch(self) -> float:
        """One pass over the pairs, then validation; returns its NDCG@20 (0 where nothing is validated)."""
        start = time.perf_counter()
        self.module.train()
        for batch in self._batches(self.progress.epoch):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.module.loss(self.inputs, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        if not torch.isfinite(loss):
            raise ModelError(f"{self.title}: the loss is not finite. Lower train.learning_rate in params.yaml.")
        p = self.progress
        p.epoch += 1
        score = self._validate() if self.stop_early else 0.0
        p.history.append(round(score, 6))
        if self.stop_early and score > p.best_score:
            p.best_score, p.best_epoch, self.best = score, p.epoch, _numpy(self.module)
        p.seconds += time.perf_counter() - start
        self._save()
        return score

    @torch.no_grad()
    def _validate(self) -> float:
        found = self.module.eval().embed(self.inputs)
        return rank_metrics(found.users, found.items, self.data, self.data.val)["ndcg@20"]

    def _batches(self, epoch: int) -> list[Batch]:
        """The epoch's batches: which one a pair is in, its place there and its negative are hashes of the pair."""
        mixed = randomness.mix(self.keys, randomness.of_word("batch"), epoch)
        negatives = self.connected[self.ring.draw(randomness.mix(self.keys, randomness.of_word("negative"), epoch))]
        per_batch = self.recipe.chunks
        group = (randomness.uniform(mixed) * self.recipe.batches * per_batch).astype(np.int64)
        order = np.lexsort((mixed, group))
        batches = []
        for number in range(self.recipe.batches):
            first, last = np.searchsorted(group[order], [number * per_batch, (number + 1) * per_batch])
            at = order[first:last]
            sizes = np.bincount(group[at] - number * per_batch, minlength=per_batch)
            batches.append(
                Batch(
                    users=torch.from_numpy(self.edges[at, 0]),
                    positives=torch.from_numpy(self.edges[at, 1]),
                    negatives=torch.from_numpy(negatives[at]),
                    chunks=[int(n) for n in sizes if n],
                    epoch=epoch,
                    number=number,
                )
            )
        return [batch for batch in batches if len(batch.users)]

    @functools.cached_property
    def _fingerprint(self) -> str:
        """Of everything that decides the result; a checkpoint of another training is not resumed."""
        settings = [self.model.model_dump(), asdict(self.recipe), self.train.model_dump(), self.stop_early]
        words = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(words.encode())
        for _, array in sorted(self.data.arrays().items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _save(self) -> None:
        """Write the checkpoint beside its place, then rename it there, so that a crash leaves the last good one."""
        if self.checkpoint is None:
            return
        flat: dict[str, Any] = {f"now/{k}": v for k, v in _numpy(self.module).items()}
        flat |= {f"best/{k}": v for k, v in self.best.items()}
        for k, parameter in enumerate(self.module.parameters()):
            for name, value in self.optimiser.state[parameter].items():
                flat[f"adam/{k}/{name}"] = value.numpy()
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        beside = self.checkpoint.with_name(self.checkpoint.name + ".new.npz")
        np.savez(beside, progress=json.dumps(asdict(self.progress)), fingerprint=self._fingerprint, **flat)
        beside.replace(self.checkpoint)

    def _resume(self) -> None:
        """Go on from the checkpoint if it is one of this very training."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            with self.checkpoint.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                if str(stored["fingerprint"]) != self._fingerprint:
                    return
                progress = json.loads(str(stored["progress"]))
                arrays = {name: stored[name] for name in stored.files if "/" in name}
        except (OSError, EOFError, BadZipFile, ValueError, TypeError, KeyError):  # torn or not ours: start over
            return
        self.progress = _Progress(**progress)
        self.module.load_state_dict({k[4:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("now/")})
        self.best = {k[5:]: v for k, v in arrays.items() if k.startswith("best/")}
        for k, parameter in enumerate(self.module.parameters()):
            state = {n: torch.from_numpy(arrays[f"adam/{k}/{n}"].copy()) for n in ("step", "exp_avg", "exp_avg_sq")}
            self.optimiser.state[parameter] = state


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while: how many it uses otherwise is the host program's to say."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _numpy(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


class _bar:  # noqa: N801 - used as a with statement only
    """A progress bar on standard error; plain lines now and then where nobody watches a terminal."""

    def __init__(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True, quiet=bool(os.environ.get("TRU_QUIET")))  # see `tru.cli.output`
        self.title, self.total, self.watched, self.console = title, total, console.is_terminal, console
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"))
        self.progress = Progress(*columns, TextColumn("{task.fields[words]}"), TimeElapsedColumn(), console=console)
        self.task = self.progress.add_task(title, total=total, words="")

    def __enter__(self) -> _bar:
        if self.watched:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.watched:
            self.progress.stop()

    def say(self, words: str) -> None:
        """One line that stays."""
        self.console.print(f"{self.title}: {words}", highlight=False, soft_wrap=True)

    def move(self, epoch: int, words: str) -> None:
        """Show that ``epoch`` epochs are done."""
        self.progress.update(self.task, completed=epoch, words=words)
        if not self.watched and epoch and epoch % 10 == 0:
            self.console.print(f"{self.title}: epoch {epoch} of at most {self.total} {words}", highlight=False)
