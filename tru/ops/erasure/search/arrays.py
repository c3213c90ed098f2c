"""Ids, interactions and vectors in NumPy's files, and in our own archives, where a row is a pair of positions."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from tru.ops.erasure.search.kinds import kind_of, kind_of_numbers
from tru.ops.erasure.search.patterns import Needles, Tag

_LARGEST = 1 << 30
"""Bytes of an array that is read whole; vectors in larger ones are found by their bytes all the same."""


def in_array(array: np.ndarray, needles: Needles, name: str, *, searched: bool = False) -> set[Tag]:
    """Traces in one array.

    Args:
        array: of any type and shape.
        needles: what to look for.
        name: its key in the archive, or empty.
        searched: its bytes lie in a file as they are, and that file's bytes are searched anyway.
    """
    if array.dtype.kind in "US":
        kind = kind_of(name)
        texts = array.ravel().tolist()
        if array.dtype.kind == "S":
            texts = [text.decode(errors="replace") for text in texts]
        tags = needles.exact(set(texts), "any" if kind == "none" else kind)
        if array.ndim == 2 and array.shape[1] >= 2:
            tags |= needles.among(texts[:: array.shape[1]], texts[1 :: array.shape[1]], all_rows=True)
        return tags
    if array.dtype.kind in "iu":
        numbers = kind_of_numbers(name)
        if numbers == "none":
            return set()
        return needles.exact({str(n) for n in np.unique(array).tolist()}, numbers)
    if array.dtype.kind == "f":
        return set() if searched and _is_plain(array) else _in_floats(array, needles)
    if array.dtype.kind == "V" and array.dtype.names:
        return {tag for field in array.dtype.names for tag in in_array(array[field], needles, field)}
    return set()


def _in_floats(array: np.ndarray, needles: Needles) -> set[Tag]:
    """Vectors in an array, whatever its order and width; traces are rows of single or half precision."""
    with np.errstate(over="ignore", invalid="ignore"):
        plain = np.ascontiguousarray(array, dtype="<f2" if array.dtype.itemsize == 2 else "<f4").tobytes()
    return {tag for _, needle in needles.bytes.find(plain) if not needle.unit for tag in needle.tags}


def read_array(stream: BinaryIO, size: int) -> np.ndarray | None:
    """The array of a ``.npy`` stream; None if it is too large, or of objects.

    Raises:
        ValueError: damaged.
    """
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.hasobject or size > _LARGEST:
        return None
    data = stream.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise ValueError("a truncated array")
    return np.frombuffer(data, dtype=dtype, count=count).reshape(shape, order="F" if fortran else "C")


def in_archive(archive: zipfile.ZipFile, needles: Needles) -> set[Tag]:
    """Traces in the arrays of an ``.npz``, looked at together.

    Raises:
        ValueError, zipfile.BadZipFile, EOFError, zlib.error: damaged.
    """
    tags: set[Tag] = set()
    kept: dict[str, np.ndarray] = {}
    for entry in archive.infolist():
        if not entry.filename.endswith(".npy"):
            continue
        name = entry.filename.removesuffix(".npy")
        with archive.open(entry) as stream:
            array = read_array(stream, entry.file_size)  # type: ignore[arg-type]
        if array is None:
            continue
        tags |= in_array(array, needles, name, searched=entry.compress_type == zipfile.ZIP_STORED)
        if array.dtype.kind in "USiub":
            kept[name] = array
    return tags | in_positions(kept, needles)


def _is_plain(array: np.ndarray) -> bool:
    return array.dtype.str in ("<f4", "<f2") and array.flags.c_contiguous


def in_positions(arrays: Mapping[str, np.ndarray], needles: Needles) -> set[Tag]:
    """Deleted pairs and revoked modalities in arrays of numbers, by the ``users`` and ``items`` beside them."""
    items = _names(arrays, "items")
    if items is None or not (needles.pairs or needles.modalities):
        return set()
    users = _names(arrays, "users")
    tags = set() if users is None else _in_pairs(arrays, users, items, needles)
    return tags | _in_modalities(arrays, items, needles)


def _names(arrays: Mapping[str, np.ndarray], key: str) -> list[str] | None:
    array = arrays.get(key)
    return None if array is None or array.dtype.kind != "U" or array.ndim != 1 else array.tolist()


def _in_pairs(arrays: Mapping[str, np.ndarray], users: list[str], items: list[str], needles: Needles) -> set[Tag]:
    wanted = [row for row, user in enumerate(users) if user in needles.pair_users]
    tags: set[Tag] = set()
    for name, array in arrays.items():
        if array.dtype.kind in "iu" and array.ndim == 2 and array.shape[1] == 2 and not name.startswith("knn/"):
            rows = array[np.isin(array[:, 0], wanted)]
            rows = rows[(rows[:, 1] >= 0) & (rows[:, 1] < len(items))].tolist()
            tags |= needles.among([users[u] for u, _ in rows], [items[i] for _, i in rows])
    starts, seen = arrays.get("seen_indptr"), arrays.get("seen_indices")
    if starts is not None and seen is not None and len(starts) == len(users) + 1:
        for row in wanted:
            found = [items[i] for i in seen[starts[row] : starts[row + 1]].tolist() if 0 <= i < len(items)]
            tags |= needles.among([users[row]] * len(found), found)
    return tags


def _in_modalities(arrays: Mapping[str, np.ndarray], items: list[str], needles: Needles) -> set[Tag]:
    tags: set[Tag] = set()
    rows = {item: row for row, item in enumerate(items) if item in needles.revoked}
    for item, modality in needles.modalities:
        row = rows.get(item)
        if row is None:
            continue
        flags: Any = arrays.get(f"present/{modality}")
        flagged = flags is not None and flags.ndim == 1 and row < len(flags) and bool(flags[row])
        graph = arrays.get(f"knn/{modality}")
        related = graph is not None and graph.ndim == 2 and bool((graph == row).any())
        tags |= needles.modality(item, modality) if flagged or related else set()
    return tags
