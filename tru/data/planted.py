"""Planted interactions: users who do not exist and push certain items, to see whether forgetting them takes it back.

A push attack of recommender security (Mobasher et al., *Toward Trustworthy Recommender Systems*, 2007): a fake user
has the targets and, to be near to real people, some items of one of them. (With popular items instead, the bandwagon
attack, the fakes are a crowd of their own and no real list moves.) A model that never saw them says what lists should
be like once they are forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeInt, PositiveInt

from tru import randomness
from tru.data.forget import ForgetSet
from tru.data.interactions import TRAIN, Dataset
from tru.errors import DataError
from tru.params import Params


class PlantParams(Params):
    """A planted attack, for research."""

    users: PositiveInt = 50
    """Fake users."""
    targets: PositiveInt = 5
    """Items that each of them has: unpopular ones, which nobody would be shown otherwise."""
    fillers: NonNegativeInt = 10
    """At most so many further items of each, taken from one real user's."""
    coldest: float = Field(default=0.5, gt=0, le=1)
    """Share of the items with train rows, from the least popular on, among which targets are drawn."""
    seed: NonNegativeInt = 0
    """Which targets, which fillers."""


@dataclass(frozen=True)
class Planted:
    """A data set with fake users in it.

    Attributes:
        dataset: the original and all that the fake users have, in the train split.
        forget: the fake users.
        targets: ids of the items that they push.
    """

    dataset: Dataset
    forget: ForgetSet
    targets: tuple[str, ...]


def plant(ds: Dataset, params: PlantParams) -> Planted:
    """Put fake users into a data set. Without them (:func:`tru.data.forget.cut`) it is what it was.

    Raises:
        DataError: there are fewer items than targets, or a name is taken.
    """
    train = ds.interactions[ds.interactions["split"] == TRAIN]
    counts = train["item_id"].value_counts()
    items = np.array(sorted(counts.index), dtype=str)
    popularity = counts[items].to_numpy(dtype=float)
    if params.targets >= len(items):
        raise DataError(f"{params.targets} of {len(items)} items cannot all be pushed. Ask for fewer targets.")
    targets = _coldest(items, popularity, params)
    fakes = [f"planted-{params.seed}-{k:05d}" for k in range(params.users)]
    if set(fakes) & set(ds.users.tolist()):
        raise DataError("there are users with the names of planted ones. Plant once, or with another seed.")
    real = train[~train["item_id"].isin(targets)].groupby("user_id", observed=True)["item_id"].agg(list)
    lists = {fake: (*map(str, targets), *_copied(real.tolist(), fake, params)) for fake in fakes}
    rows = [(fake, item) for fake, wanted in lists.items() for item in wanted]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"], dtype="str")
    frame["split"] = np.int8(TRAIN)
    if "timestamp" in ds.interactions:
        frame["timestamp"] = pd.array([pd.NA] * len(frame), dtype="Int64")
    frame = frame.astype(ds.interactions.dtypes.to_dict())
    together = pd.concat([ds.interactions, frame[list(ds.interactions.columns)]], ignore_index=True)
    return Planted(replace(ds, interactions=together), ForgetSet(users=frozenset(fakes)), tuple(map(str, targets)))


def _coldest(items: np.ndarray, popularity: np.ndarray, params: PlantParams) -> np.ndarray:
    """(targets,) ids drawn from the least popular items."""
    keys = randomness.mix(randomness.of_ids(items), randomness.of_word("target"), params.seed)
    pool = np.lexsort((keys, popularity))[: max(params.targets, round(params.coldest * len(items)))]
    return np.sort(items[pool[np.argsort(keys[pool], kind="stable")[: params.targets]]])


def _copied(profiles: list[list[str]], fake: str, params: PlantParams) -> list[str]:
    """What one fake user has besides the targets: items of a drawn profile."""
    word = randomness.of_word(fake)
    copied = profiles[int(randomness.uniform(randomness.mix(word, params.seed))[0] * len(profiles))]
    order = np.argsort(randomness.mix(randomness.of_ids(np.array(copied)), word, params.seed), kind="stable")
    return sorted(copied[k] for k in order[: params.fillers])
