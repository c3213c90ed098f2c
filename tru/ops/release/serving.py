"""The scoring object: top-k lists from arrays; whoever asked to be forgotten is suppressed from the first moment.

Nothing here knows MLflow or the inbox's tables; :mod:`tru.ops.release.serving_model` puts this object behind
``mlflow models serve``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tru.errors import ModelError

SERVING_FILE = "serving.npz"
DEFAULT_K = 20
MAX_K = 1000
MAX_USERS = 10_000
_BLOCK = 256  # users scored by one matrix product; bounds the score matrix to 256 x n_items floats
_SLACK = 64  # how many ranks beyond k are sorted at first; suppressed pairs rarely use them up


class Suppression(Protocol):
    """Who and what must not appear; asked at every call, so a request filed a moment ago already counts."""

    def version(self) -> int:
        """A number that changes whenever anything is suppressed or lifted."""
        ...

    def retirements(self) -> int:
        """How often nobody was left to recommend to, so that every model of before must be silent."""
        ...

    def users_among(self, users: Iterable[str]) -> frozenset[str]:
        """Those of ``users`` who asked to be forgotten."""
        ...

    def items_among(self, items: Iterable[str]) -> frozenset[str]:
        """Those of ``items`` that were taken down."""
        ...

    def pairs_among(self, user: str, items: Sequence[str]) -> frozenset[str]:
        """Those of ``items`` whose interaction with ``user`` is to be forgotten."""
        ...


@dataclass
class ListedSuppression:
    """The test double: suppresses exactly what is put in its sets."""

    users: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    retired: int = 0

    def retirements(self) -> int:
        """What was put in."""
        return self.retired

    def version(self) -> int:
        """Changes with the content."""
        return hash((frozenset(self.users), frozenset(self.items), frozenset(self.pairs)))

    def users_among(self, users: Iterable[str]) -> frozenset[str]:
        """Those of ``users`` in the set."""
        return frozenset(users) & self.users

    def items_among(self, items: Iterable[str]) -> frozenset[str]:
        """Those of ``items`` in the set."""
        return frozenset(items) & self.items

    def pairs_among(self, user: str, items: Sequence[str]) -> frozenset[str]:
        """Those of ``items`` paired with ``user`` in the set."""
        return frozenset(item for item in items if (user, item) in self.pairs)


@dataclass(frozen=True)
class Query:
    """One question: the ``k`` best items for one user."""

    user: str
    k: int = DEFAULT_K


@dataclass(frozen=True)
class Recommendation:
    """One answer.

    Attributes:
        items: item ids, best first; at most k.
        suppressed: the user asked to be forgotten, so this is the popular list.
        known: the list is personal; False for a suppressed user, whether or not the model still knows them.
    """

    items: tuple[str, ...]
    suppressed: bool
    known: bool


@dataclass(frozen=True)
class ServingArrays:
    """What a model directory keeps in ``serving.npz``; shapes: n_u users, n_i items, d dimensions."""

    users: NDArray[np.str_]  # (n_u,)
    items: NDArray[np.str_]  # (n_i,)
    user_vectors: NDArray[np.float32]  # (n_u, d)
    item_vectors: NDArray[np.float32]  # (n_i, d)
    seen_indptr: NDArray[np.int64]  # (n_u + 1,)
    seen_indices: NDArray[np.int32]  # train items of user u: [indptr[u], indptr[u + 1])
    popular: NDArray[np.int32]  # item indices, most popular first

    @classmethod
    def read(cls, file: Path) -> ServingArrays:
        """Read and check one file; pickled content is refused.

        Raises:
            ModelError: the file is missing, damaged or inconsistent.
        """
        try:
            with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                arrays = cls(**{name: stored[name] for name in cls.__dataclass_fields__})
        except FileNotFoundError:
            raise ModelError(
                f"{file} is missing: this folder holds no model that can serve. Train one first."
            ) from None
        except KeyError as exc:
            raise ModelError(f"{file} lacks an array ({exc.args[0]}). Train the model again.") from None
        except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as exc:
            raise ModelError(
                f"{file} cannot be read ({type(exc).__name__}). Download or train the model again."
            ) from exc
        if fault := arrays.fault():
            raise ModelError(f"{file} is inconsistent: {fault}. Train the model again.")
        return arrays

    def fault(self) -> str | None:
        """What is wrong with these arrays, in words; None if nothing."""
        n_u, n_i = len(self.users), len(self.items)
        if n_i == 0 or len(set(self.users.tolist())) < n_u:
            return "there is no item, or a user appears twice"
        if self.user_vectors.shape[:1] != (n_u,) or self.item_vectors.shape[:1] != (n_i,):
            return "ids and vectors differ in number"
        if self.user_vectors.ndim != 2 or self.user_vectors.shape[1:] != self.item_vectors.shape[1:]:
            return "user and item vectors differ in width"
        starts = self.seen_indptr
        if (
            starts.shape != (n_u + 1,)
            or starts[0] != 0
            or starts[-1] != len(self.seen_indices)
            or (np.diff(starts) < 0).any()
        ):
            return "the seen items do not match the users"
        for indices in (self.seen_indices, self.popular):
            if len(indices) and not 0 <= indices.min() <= indices.max() < n_i:
                return "an item index is out of range"
        if not (np.isfinite(self.user_vectors).all() and np.isfinite(self.item_vectors).all()):
            return "a vector is not finite"
        return None


class Recommender:
    """Answers top-k questions from one model, under one suppression.

    Train items of a user are masked. A suppressed or unknown user gets the popular list. A suppressed item, or an
    item of one of the user's suppressed pairs, is in no list. Safe to use from several threads.
    """

    def __init__(self, arrays: ServingArrays, suppression: Suppression) -> None:
        self._arrays = arrays
        self._suppression = suppression
        self._retirements = suppression.retirements()
        self._rows = {user: row for row, user in enumerate(arrays.users.tolist())}
        self._items: list[str] = arrays.items.tolist()
        self._taken_down: tuple[int | None, NDArray[np.bool_]] = (None, np.zeros(0, bool))

    @classmethod
    def load(cls, model_dir: Path, suppression: Suppression) -> Recommender:
        """The recommender of one model directory.

        Raises:
            ModelError: the directory holds no model that can serve.
        """
        return cls(ServingArrays.read(Path(model_dir) / SERVING_FILE), suppression)

    def recommend(self, user: str, k: int = DEFAULT_K) -> Recommendation:
        """The ``k`` (1 to 1000) best items for one user.

        Raises:
            ModelError: the user id or k is not usable.
        """
        return self.recommend_many([user], k)[0]

    def recommend_many(self, users: Sequence[str], k: int = DEFAULT_K) -> list[Recommendation]:
        """As :meth:`recommend`, for several users, in their order."""
        return self.answer([checked_query(user, k) for user in users])

    def answer(self, queries: Sequence[Query]) -> list[Recommendation]:
        """One recommendation per query, in order.

        Raises:
            ModelError: everybody whom this model was trained on is forgotten.
        """
        if self._suppression.retirements() != self._retirements:
            raise ModelError("Nobody of whom this model knows is left, so it must not answer. Load the present one.")
        blocks = (queries[start : start + _BLOCK] for start in range(0, len(queries), _BLOCK))
        return [answer for block in blocks for answer in self._answer_block(block)]

    def _answer_block(self, queries: Sequence[Query]) -> Iterator[Recommendation]:
        hidden = self._hidden_items()
        suppressed = self._suppression.users_among(query.user for query in queries)
        rows = [None if query.user in suppressed else self._rows.get(query.user) for query in queries]
        scores = self._arrays.user_vectors[[row for row in rows if row is not None]] @ self._arrays.item_vectors.T
        scores[:, hidden] = -np.inf
        popular = self._arrays.popular[~hidden[self._arrays.popular]].tolist()
        personal = iter(scores)
        for query, row in zip(queries, rows, strict=True):
            ranking = iter(popular) if row is None else self._ranking(next(personal), row, query.k)
            items = self._without_pairs(query, ranking)
            yield Recommendation(items, suppressed=query.user in suppressed, known=row is not None)

    def _hidden_items(self) -> NDArray[np.bool_]:
        """Mask (n_i,) of items taken down; made anew only when the suppression says that something changed."""
        version = self._suppression.version()  # before the items: at worst they are read once more than needed
        known, mask = self._taken_down
        if version != known:
            names = self._suppression.items_among(self._items)
            mask = np.fromiter((item in names for item in self._items), bool, len(self._items))
            self._taken_down = (version, mask)
        return mask

    def _ranking(self, scores: NDArray[np.float32], row: int, k: int) -> Iterator[int]:
        """Unseen items, best first, ties by row. The head is sorted at once, the tail only if it is asked for."""
        seen = self._arrays.seen_indices[self._arrays.seen_indptr[row] : self._arrays.seen_indptr[row + 1]]
        scores[seen] = -np.inf
        head = min(len(scores), k + _SLACK)
        threshold = np.partition(scores, len(scores) - head)[len(scores) - head]
        yield from _sorted(scores, np.flatnonzero(scores >= threshold))  # with every tie: the order is one order
        yield from _sorted(scores, np.flatnonzero(scores < threshold))

    def _without_pairs(self, query: Query, ranking: Iterator[int]) -> tuple[str, ...]:
        """The first k items of a ranking that are not in a suppressed pair with this user."""
        chosen: list[str] = []
        while len(chosen) < query.k and (chunk := [self._items[i] for i in islice(ranking, query.k)]):
            refused = self._suppression.pairs_among(query.user, chunk)
            chosen += [item for item in chunk if item not in refused]
        return tuple(chosen[: query.k])


def _sorted(scores: NDArray[np.float32], candidates: NDArray[np.intp]) -> Iterator[int]:
    candidates = candidates[np.isfinite(scores[candidates])]
    yield from candidates[np.argsort(-scores[candidates], kind="stable")].tolist()


def checked_query(user: object, k: object = DEFAULT_K) -> Query:
    """A query out of untrusted values.

    Raises:
        ModelError: the user id is no text or empty, or k is no whole number from 1 to 1000; it repeats neither.
    """
    if not isinstance(user, str) or not user:
        raise ModelError("user_id must be a text that is not empty.")
    if any("\ud800" <= character <= "\udfff" for character in user):
        raise ModelError("user_id holds broken text; check the encoding (UTF-8).")
    if isinstance(k, bool | np.bool_) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_K:
        raise ModelError(f"k must be a whole number from 1 to {MAX_K}.")
    return Query(user, int(k))
