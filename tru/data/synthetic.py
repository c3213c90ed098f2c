"""The built-in data set: people with tastes, items with qualities, pictures and texts that show some of them.

It is the same to the byte on every machine with the pinned packages. Therefore only operations whose result IEEE 754
fixes to the last bit are used (+ - * / sqrt, element by element, in a written order): no matrix product (BLAS picks its
own order of summation), no exp or log (their last bits depend on the processor), no bell-shaped draws (they use log).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tru.data.features import presence
from tru.data.interactions import Dataset
from tru.data.params import SyntheticParams
from tru.data.split import assign_split

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# float16 holds every multiple of 1/2048 between -1 and 1, so that rounding to this grid makes the cast exact.
GRID = 2048.0


@dataclass(frozen=True)
class _World:
    """What is hidden behind the data: tastes (users, latent), qualities (items, latent), popularity (items,)."""

    tastes: np.ndarray
    qualities: np.ndarray
    popularity: np.ndarray


def generate(params: SyntheticParams, *, name: str = "builtin", split_seed: int = 0) -> Dataset:
    """Draw the built-in data set, split assigned."""
    rng = np.random.Generator(np.random.PCG64(params.seed))
    world = _world(params, rng)
    users = np.array([_user_id(params.seed, k) for k in range(params.users)])
    items = np.array([_item_id(params.seed, k) for k in range(params.items)])
    rows = _interactions(params, world, users, items, rng)
    rows["split"] = assign_split(rows, split_seed)
    # Each modality shows most qualities but not all, so that neither makes the other superfluous.
    seen = {"image": range(0, max(1, params.latent * 3 // 4)), "text": range(params.latent // 4, params.latent)}
    widths = {"image": params.image_width, "text": params.text_width}
    features = {m: _features(world.qualities, seen[m], widths[m], params.noise, rng) for m in sorted(widths)}
    present = {m: presence(matrix) for m, matrix in features.items()}
    source = f"tru's built-in generator, seed {params.seed}"
    return Dataset(name, rows, items, features, present, {}, "assigned", source)


def _bell(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Bell-shaped noise of mean 0 and variance 1: the sum of twelve uniforms, less six."""
    total = np.zeros(shape)
    for _ in range(12):
        total = total + rng.random(shape)
    return total - 6.0


def _world(params: SyntheticParams, rng: np.random.Generator) -> _World:
    """Tastes and qualities gather around a few genres; popularity has a long tail and is no one's taste."""
    genres = _bell(rng, 2 * params.latent, params.latent)
    qualities = genres[_pick(len(genres), params.items, rng)] + 0.5 * _bell(rng, params.items, params.latent)
    tastes = genres[_pick(len(genres), params.users, rng)] + 0.5 * _bell(rng, params.users, params.latent)
    rank = np.empty(params.items)
    rank[np.argsort(rng.random(params.items), kind="stable")] = np.arange(params.items)
    return _World(_unit(tastes), _unit(qualities), 1.0 / ((rank + 20.0) * np.sqrt(rank + 20.0)))


def _pick(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """``size`` numbers below ``n``."""
    return np.floor(rng.random(size) * n).astype(np.int64)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, summed in column order."""
    square = np.zeros(len(rows))
    for k in range(rows.shape[1]):
        square = square + rows[:, k] * rows[:, k]
    return np.asarray(rows / np.sqrt(square)[:, None])


def _weights(world: _World, user: int) -> np.ndarray:
    """(n_items,) how much a user wants each item: popularity times a steep function of how well it fits the taste."""
    fit = np.zeros(len(world.qualities))
    for k in range(world.qualities.shape[1]):
        fit = fit + world.tastes[user, k] * world.qualities[:, k]
    steep = 1.0 + 0.75 * fit
    for _ in range(4):  # (1 + 0.75 x)^16, which needs no exp
        steep = steep * steep
    return np.asarray(world.popularity * steep)


def _interactions(
    params: SyntheticParams, world: _World, users: np.ndarray, items: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """Each user's items, drawn without replacement, sorted by user and item id."""
    spread = 1.0 / np.sqrt(1.0 - rng.random(params.users)) - 1.0  # long-tailed, mean 1
    extra = np.floor(spread * (params.mean_interactions - params.min_interactions))
    counts = np.minimum(params.min_interactions + extra, params.items // 4).astype(np.int64)
    pairs: list[tuple[str, str]] = []
    for user, count in enumerate(counts.tolist()):
        draws = rng.random(params.items)
        # Pareto sampling (Rosén 1997): the smallest u/(1-u)/weight draw by weight, without replacement and without log.
        keys = draws / (1.0 - draws) / _weights(world, user)
        picked = items[np.argsort(keys, kind="stable")[:count]]
        pairs += [(str(users[user]), str(item)) for item in picked]
    return pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"], dtype="str")


def _features(qualities: np.ndarray, seen: range, width: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """(n_items, width) float16 of unit length: a random projection of the qualities ``seen``, plus noise."""
    signal = np.zeros((len(qualities), width))
    for k in seen:
        signal = signal + qualities[:, k, None] * (2.0 * rng.random(width) - 1.0)[None, :]
    deviation = np.sqrt(len(seen) / qualities.shape[1] / 3.0)  # the signal's own: unit rows, draws of variance 1/3
    noisy = _unit(signal + noise * deviation * _bell(rng, *signal.shape))
    return np.asarray((np.floor(noisy * GRID + 0.5) / GRID).astype(np.float16))


def _digest(seed: int, kind: str, k: int) -> bytes:
    """Bytes that stand for the k-th user or item."""
    return hashlib.blake2b(f"{seed}/{kind}/{k}".encode(), digest_size=16).digest()


def _user_id(seed: int, k: int) -> str:
    """As web shops have them: ``u-`` and 12 hexadecimal digits, which say nothing of the order of users."""
    return f"u-{_digest(seed, 'user', k).hex()[:12]}"


def _item_id(seed: int, k: int) -> str:
    """As large shops have them: ``B0`` and 8 letters or digits."""
    number, letters = int.from_bytes(_digest(seed, "item", k), "big"), ""
    for _ in range(8):
        number, digit = divmod(number, len(ALPHABET))
        letters += ALPHABET[digit]
    return f"B0{letters}"
