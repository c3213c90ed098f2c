"""What a batch could have left somewhere: its ids, its interactions, and the exact bytes of its vectors.

Traces are what an erasure searches with. They are set aside when a batch is promoted and destroyed when nothing of them
is found any more; until then they are the most sensitive file of the workspace.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from tru.data.forget import ForgetSet, Pair
from tru.errors import DataError
from tru.ops.erasure.places import TRACES

if TYPE_CHECKING:
    from tru.data.interactions import Dataset
    from tru.models.trained import TrainedModel

SHORTEST_VECTOR = 16
"""Bytes; fewer would be found anywhere by chance."""
FEWEST_VALUES = 4
"""Different numbers in a vector; a row of ones, or a one-hot row, says nothing of whom it belonged to."""


@dataclass(frozen=True, repr=False)
class Traces:
    """What one or several batches could have left somewhere. It holds raw identifiers; its repr shows counts only.

    Attributes:
        subjects: who and what was to be forgotten.
        vectors: exact little-endian bytes of the deleted rows of float tables, embeddings and features alike.
        rows: (user, item) of the interactions that went with deleted users and items.
    """

    subjects: ForgetSet
    vectors: frozenset[bytes] = frozenset()
    rows: frozenset[Pair] = frozenset()

    def __repr__(self) -> str:
        """Counts; a traceback must not name anybody."""
        return f"Traces({self.subjects.size} subjects, {len(self.vectors)} vectors, {len(self.rows)} rows)"

    @classmethod
    def of(cls, subjects: ForgetSet, before: Dataset, after: Dataset | None, original: TrainedModel | None) -> Traces:
        """The traces of a batch.

        Args:
            subjects: the batch.
            before: the data set that still holds it.
            after: the data set without it; None if nothing was left of it.
            original: the champion that knew it; None if there was none.
        """
        tables = [_features(before, after, subjects, modality) for modality in before.modalities]
        tables += [] if original is None else _of_model(original, subjects)
        vectors = frozenset(row for gone, kept in tables for row in _distinct(gone, kept))
        return cls(subjects, vectors, _rows_of(before, subjects))

    @classmethod
    def none(cls) -> Traces:
        """Nothing to look for; where a union begins."""
        return cls(ForgetSet())

    @property
    def names(self) -> frozenset[str]:
        """Every id of the subjects, those of pairs and of revoked modalities included."""
        found = self.subjects
        pairs = {name for pair in found.pairs for name in pair}
        return found.users | found.items | pairs | {item for item, _ in found.modalities}

    def __or__(self, other: Traces) -> Traces:
        """Both together."""
        mine, theirs = self.subjects, other.subjects
        subjects = ForgetSet(
            users=mine.users | theirs.users,
            items=mine.items | theirs.items,
            pairs=mine.pairs | theirs.pairs,
            modalities=mine.modalities | theirs.modalities,
        )
        return Traces(subjects, self.vectors | other.vectors, self.rows | other.rows)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look for."""
        return self.subjects.is_empty and not self.vectors and not self.rows

    def save(self, folder: Path) -> None:
        """Write them into ``folder`` (700, the file 600), whole or not at all; what was there is replaced."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        beside = folder / f"{TRACES}.new"
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            arrays: dict[str, Any] = self._arrays()
            np.savez(out, **arrays)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(folder / TRACES)

    @classmethod
    def load(cls, folder: Path) -> Traces:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: missing or damaged.
        """
        try:
            with (folder / TRACES).open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                words = json.loads(stored["words"].tobytes())
                vectors = [row.tobytes() for name in stored.files if name != "words" for row in stored[name]]
            rows = frozenset((user, item) for user, item in words["rows"])
            return cls(ForgetSet.from_dict(words["subjects"]), frozenset(vectors), rows)
        except (OSError, EOFError, BadZipFile, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{folder / TRACES} is missing or damaged ({type(error).__name__}). "
                "Name the subjects to look for yourself: `tru scan --batch ID --subjects FILE`."
            ) from error

    def _arrays(self) -> dict[str, np.ndarray]:
        """``words`` (JSON as bytes) and, for every width, the vectors of that width."""
        words = json.dumps({"subjects": self.subjects.to_dict(), "rows": [list(row) for row in sorted(self.rows)]})
        by_width: dict[int, list[bytes]] = {}
        for vector in sorted(self.vectors):
            by_width.setdefault(len(vector), []).append(vector)
        tables = {
            f"vectors/{width}": np.frombuffer(b"".join(some), dtype=np.uint8).reshape(len(some), width)
            for width, some in by_width.items()
        }
        return {"words": np.frombuffer(words.encode(), dtype=np.uint8), **tables}


Table = tuple[np.ndarray, np.ndarray]
"""Rows that went, rows that stay; both (n, d)."""


def _features(before: Dataset, after: Dataset | None, subjects: ForgetSet, modality: str) -> Table:
    """The raw feature rows of one modality."""
    gone = _gone(before.items, subjects.items | _revoked(subjects, modality))
    whole = before.features[modality]
    # Nothing stays of a modality that no item has any more, or where nothing stays at all.
    return whole[gone], whole[:0] if after is None else after.features.get(modality, whole[:0])


def _of_model(model: TrainedModel, subjects: ForgetSet) -> list[Table]:
    """Embedding rows, vectors as served, and features as the model saw them."""
    served = model.embed()
    users = _gone(model.data.users, subjects.users)
    items = _gone(model.data.items, subjects.items)
    tables = [(model.arrays[name], gone) for name, gone in (("users", users), ("items", items))]
    tables += [(served.users.numpy(), users), (served.items.numpy(), items), (model.patch, users)]
    for modality, matrix in model.data.features.items():
        tables.append((matrix, items | _gone(model.data.items, _revoked(subjects, modality))))
    return [(matrix[gone], matrix[~gone]) for matrix, gone in tables]


def _gone(names: np.ndarray, wanted: Collection[str]) -> np.ndarray:
    """(n,) bool: which of ``names`` are ``wanted``."""
    return np.fromiter((name in wanted for name in names.tolist()), dtype=bool, count=len(names))


def _revoked(subjects: ForgetSet, modality: str) -> frozenset[str]:
    """Items whose ``modality`` is to be forgotten."""
    return frozenset(item for item, name in subjects.modalities if name == modality)


def _distinct(gone: np.ndarray, kept: np.ndarray) -> Iterable[bytes]:
    """The rows that went, as bytes, without those that say nothing or that somebody who stays has as well."""
    told = {_bytes(row) for row in gone if _is_telling(row)}
    if gone.dtype == np.float16:  # what reads features makes them float32
        wide = _distinct(gone.astype(np.float32), kept.astype(np.float32))
        return set(wide) | told - set(_shared(kept, told))
    # One pass over what stays, row by row: a set of all of it would be a second copy of the features.
    return told - set(_shared(kept, told)) if told else told


def _shared(kept: np.ndarray, told: Collection[bytes]) -> Iterator[bytes]:
    for row in kept:
        if (here := _bytes(row)) in told:
            yield here


def _bytes(row: np.ndarray) -> bytes:
    return np.ascontiguousarray(row, dtype=row.dtype.newbyteorder("<")).tobytes()


def _is_telling(row: np.ndarray) -> bool:
    return row.nbytes >= SHORTEST_VECTOR and len(np.unique(row)) >= FEWEST_VALUES


def _rows_of(before: Dataset, subjects: ForgetSet) -> frozenset[Pair]:
    """The interactions of deleted users and items."""
    table = before.interactions
    gone = table["user_id"].isin(list(subjects.users)) | table["item_id"].isin(list(subjects.items))
    rows = table[gone]
    return frozenset(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))
