"""Ids in nested values: JSON, and pickles read without running them."""

from __future__ import annotations

import json
import pickletools
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from tru.ops.erasure.search.arrays import in_array
from tru.ops.erasure.search.kinds import holds_rows, is_bare, kind_of, kind_of_numbers
from tru.ops.erasure.search.patterns import Needles, Tag

_DEEPEST = 200


@dataclass(eq=False)
class Opaque:
    """An object in a pickle: never made, only its parts are looked at."""

    parts: list[Any]


def in_json(text: bytes, needles: Needles) -> set[Tag] | None:
    """Traces in a JSON document, or in one per line; None if it is neither."""
    try:
        return in_tree(json.loads(text), needles)
    except (ValueError, RecursionError):
        pass
    tags: set[Tag] = set()
    try:
        for line in text.splitlines():
            if line.strip():
                tags |= in_tree(json.loads(line), needles)
    except (ValueError, RecursionError):
        return None
    return tags


def in_tree(tree: Any, needles: Needles, key: str = "") -> set[Tag]:  # noqa: ANN401 - whatever JSON and pickle hold
    """Traces in nested dicts, lists and plain values; ``key`` names the whole."""
    tags: set[Tag] = set()
    todo: list[tuple[Any, str, int]] = [(tree, key, 0)]
    while todo:
        node, name, depth = todo.pop()
        if depth > _DEEPEST:
            continue
        if isinstance(node, dict):
            tags |= _in_keys(node, needles, name) | _in_row(node, needles)
            todo += [(child, _named(inner, name), depth + 1) for inner, child in node.items()]
        elif isinstance(node, list | tuple | set | frozenset):
            tags |= _in_list(node, needles, name)
            todo += [(child, name, depth + 1) for child in node if not isinstance(child, str | int | float | None)]
        elif isinstance(node, Opaque):
            todo += [(child, name, depth + 1) for child in node.parts]
        elif isinstance(node, np.ndarray):
            tags |= in_array(node, needles, name)
        else:
            tags |= _in_scalar(node, needles, name)
    return tags


def _named(inner: object, outer: str) -> str:
    """The name of a value: ``{"user": {"id": …}}`` is a user's id."""
    name = str(inner)
    return outer if is_bare(name) and kind_of(outer) in ("user", "item") else name


def _in_scalar(value: object, needles: Needles, name: str) -> set[Tag]:
    if isinstance(value, str):
        return needles.exact([value], kind_of(name))
    if isinstance(value, int) and not isinstance(value, bool):
        kind = kind_of_numbers(name)
        return needles.exact([str(value)], kind) if kind != "none" else set()
    return set()


def _in_keys(node: dict[Any, Any], needles: Needles, name: str) -> set[Tag]:
    """Ids that are keys: ``{"885": [...]}``, under a name of ids or where the keys are no mere numbering."""
    keys = [str(inner) for inner in node]
    kind = kind_of(name)
    if kind == "none" and len(keys) > 1 and all(inner.isdigit() for inner in keys) and not _is_numbering(keys):
        kind = "any"
    return needles.exact(keys, kind)


def _is_numbering(keys: list[str]) -> bool:
    numbers = sorted(map(int, keys))
    return numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(numbers) - 1


def _in_row(node: dict[Any, Any], needles: Needles) -> set[Tag]:
    """An object that names a user and an item, or an item and its modality."""
    if not (needles.pairs or needles.modalities) or len(node) < 2:
        return set()
    plain = {str(k): str(v) for k, v in node.items() if isinstance(v, str | int) and not isinstance(v, bool)}
    users = [v for k, v in plain.items() if kind_of(k) == "user"]
    items = [v for k, v in plain.items() if kind_of(k) == "item"]
    tags = {tag for user in users for tag in needles.among([user] * len(items), items)}
    modality = plain.get("modality")
    return tags | ({t for item in items for t in needles.modality(item, modality)} if modality else set())


def _in_list(node: Iterable[Any], needles: Needles, name: str) -> set[Tag]:
    values = list(node)
    texts = [v for v in values if isinstance(v, str)]
    kind = kind_of(name)
    tags = needles.exact(texts, "any" if kind == "none" and len(texts) > 1 and not holds_rows(name) else kind)
    numbers = kind_of_numbers(name)
    if numbers != "none":
        tags |= needles.exact([str(v) for v in values if isinstance(v, int)], numbers)
    rows = [v for v in values if isinstance(v, list | tuple) and len(v) >= 2]
    tags |= _in_rows(rows, needles, name)
    if len(values) * 4 in needles.widths and all(isinstance(v, float | int) for v in values):
        with suppress(OverflowError, TypeError):
            tags |= needles.vector(array("f", values).tobytes())
    return tags


def _in_rows(rows: list[Any], needles: Needles, name: str) -> set[Tag]:
    """Lists of two: a user and an item, or an item and a modality. Bare numbers only where a name says so."""
    kinds = (str, int) if holds_rows(name) else (str,)
    two = [(str(r[0]), str(r[1])) for r in rows if isinstance(r[0], kinds) and isinstance(r[1], kinds)]
    if not two:
        return set()
    users, items = zip(*two, strict=True)
    tags = needles.among(users, items, all_rows=True)
    return tags | {tag for item, modality in two for tag in needles.modality(item, modality)}


def in_pickle(data: bytes, needles: Needles) -> set[Tag]:
    """Traces in a pickle, which is taken apart and never run.

    Raises:
        ValueError: it is damaged.
    """
    tags: set[Tag] = set()
    for tree in unpickled(data):
        tags |= in_tree(tree, needles)
    return tags


def unpickled(data: bytes) -> list[Any]:
    """The plain values of a pickle, all that is on the stack at its end; objects as their parts.

    Raises:
        ValueError: it is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for operation, value, _ in pickletools.genops(data):
            _step(operation.name, value, stack, memo)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("a damaged pickle") from error
    return [value for value in stack if value is not _MARK]


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_IGNORED = {"PROTO", "FRAME", "STOP", "READONLY_BUFFER"}


def _step(name: str, value: Any, stack: list[Any], memo: dict[int, Any]) -> None:  # noqa: ANN401
    """One instruction of the pickle machine, for plain values only."""
    if name in _IGNORED:
        return
    if name == "MARK":
        stack.append(_MARK)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append([] if name == "EMPTY_SET" else _EMPTY[name]())
    elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
        memo[len(memo) if name == "MEMOIZE" else int(value)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[int(value)])
    elif name in ("APPEND", "APPENDS", "ADDITEMS", "LIST", "TUPLE", "FROZENSET"):
        _gather(name, stack)
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(tuple(_pop(stack, int(name[-1]))))
    elif name in ("SETITEM", "SETITEMS", "DICT"):
        parts = _pop(stack, 2) if name == "SETITEM" else _to_mark(stack)
        if name == "DICT":
            stack.append({})
        _fill(stack[-1], parts)
    elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "STACK_GLOBAL", "INST", "OBJ"):
        _object(name, value, stack)
    elif name in ("POP", "POP_MARK", "DUP", "BINPERSID"):
        _shuffle(name, stack)
    else:  # every kind of text, number, bytes; names of classes are texts that no id equals
        stack.append(value)


def _gather(name: str, stack: list[Any]) -> None:
    parts = _pop(stack, 1) if name == "APPEND" else _to_mark(stack)
    if name in ("LIST", "TUPLE", "FROZENSET"):
        stack.append(tuple(parts) if name == "TUPLE" else parts)
    elif isinstance(stack[-1], list):
        stack[-1].extend(parts)
    else:
        stack[-1].parts.extend(parts)


def _fill(target: Any, parts: list[Any]) -> None:  # noqa: ANN401
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    if isinstance(target, dict):
        target.update((k if isinstance(k, str | int | float | bool | None) else str(type(k)), v) for k, v in pairs)
        # Keys of two ids, as in {(user, item): when}.
        tuples = [k for k, _ in pairs if isinstance(k, tuple)]
        if tuples:
            target["rows"] = [*target.get("rows", []), *tuples] if isinstance(target.get("rows", []), list) else tuples
    else:
        target.parts.append({str(k): v for k, v in pairs})


def _object(name: str, value: Any, stack: list[Any]) -> None:  # noqa: ANN401
    if name == "BUILD":
        state = stack.pop()
        made = _as_array(state)
        if isinstance(stack[-1], Opaque):
            stack[-1].parts.append(state if made is None else made)
    elif name in ("INST", "OBJ"):
        stack.append(Opaque(_to_mark(stack)))
    else:
        stack.append(Opaque(_pop(stack, 3 if name == "NEWOBJ_EX" else 2)))


def _as_array(state: Any) -> np.ndarray | None:  # noqa: ANN401
    """NumPy's state of an array, ``(version, shape, type, order, bytes)``, as an array."""
    if not (
        isinstance(state, tuple) and len(state) == 5 and isinstance(state[4], bytes) and isinstance(state[1], tuple)
    ):
        return None
    words = [p for p in _flat(state[2]) if isinstance(p, str) and p[:1] in "USfiub" and p[1:].isdigit()]
    try:
        return np.frombuffer(state[4], dtype=np.dtype(words[0])).reshape(state[1], order="F" if state[3] else "C")
    except (IndexError, TypeError, ValueError):
        return None


def _flat(node: Any) -> Iterable[Any]:  # noqa: ANN401
    parts = node.parts if isinstance(node, Opaque) else node
    for part in parts if isinstance(parts, list | tuple) else [parts]:
        yield from _flat(part) if isinstance(part, Opaque | list | tuple) else [part]


def _shuffle(name: str, stack: list[Any]) -> None:
    if name == "POP_MARK":
        _to_mark(stack)
    elif name == "DUP":
        stack.append(stack[-1])
    elif name == "POP":
        stack.pop()
    else:  # a persistent id: torch's reference to a tensor's file
        stack.append(Opaque([stack.pop()]))


def _pop(stack: list[Any], count: int) -> list[Any]:
    parts = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return parts


def _to_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1
    while stack[at] is not _MARK:
        at -= 1
        if at < 0:
            raise IndexError
    parts = stack[at + 1 :]
    del stack[at:]
    return parts
