"""What a program passes to the library, checked: settings, data sets, and what is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from tru.data.forget import ForgetSet, Pair
from tru.data.interactions import TRAIN, Dataset
from tru.errors import DataError, TruError
from tru.params import Params

P = TypeVar("P", bound=Params)
NAMED = 3
"""So many unknown ids are named in an error."""


def checked(data: Dataset) -> Dataset:
    """``data``, if it is a data set."""
    if not isinstance(data, Dataset):
        raise DataError(f"data is of the type {type(data).__name__}, not a tru.Dataset. Make it one: tru.load(data).")
    return data


def canary_rate(data: Dataset, canaries: int) -> float:
    """The share of the train pairs to withhold."""
    train = int((data.interactions["split"] == TRAIN).sum())
    return min(0.05, canaries / max(train, 1))


def params_of(kind: type[P], given: Mapping[str, Any], error: type[TruError], also: Iterable[str] = ()) -> P:
    """Settings of a kind, with an error of ours for what is wrong; ``also``: other names that could be meant."""
    try:
        return kind(**given)
    except ValidationError as caught:
        raise error(" ".join(_fault(detail, [*kind.model_fields, *also]) for detail in caught.errors())) from None


def _fault(detail: Mapping[str, Any], known: Sequence[str]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        like = get_close_matches(name, known, n=1)
        return (
            f"there is no setting {name} ({f'did you mean {like[0]}?' if like else 'there are ' + ', '.join(known)})."
        )
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}."


def batch_of(
    users: Iterable[str], items: Iterable[str], interactions: Iterable[Pair], modalities: Iterable[Pair]
) -> ForgetSet:
    """What is to be forgotten, as text; a single id may stand without a list around it."""
    batch = ForgetSet(_names(users), _names(items), _pairs(interactions), _pairs(modalities))
    if batch.is_empty:
        raise DataError("nothing to forget is named. Give users=, items=, interactions= or modalities=.")
    return batch


def _names(ids: Iterable[str]) -> frozenset[str]:
    return frozenset([ids] if isinstance(ids, str) else map(str, ids))


def _pairs(pairs: Iterable[Pair]) -> frozenset[Pair]:
    try:
        return frozenset((str(first), str(second)) for first, second in pairs)
    except (TypeError, ValueError):
        raise DataError(
            "interactions and modalities are pairs, such as [('u17', 'i4')]. Give a list of pairs."
        ) from None


def refuse_unknown(unknown: ForgetSet, size: int) -> None:
    """Refuse what the data does not hold. Whoever typed the ids sees a few of them again; nothing is logged."""
    if unknown.is_empty:
        return
    pairs = (" ".join(pair) for pair in [*sorted(unknown.pairs), *sorted(unknown.modalities)])
    names = [*sorted(unknown.users), *sorted(unknown.items), *pairs]
    said = ", ".join(repr(name) for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")
    raise DataError(
        f"not in the data: {said} ({unknown.size} of the {size} to forget). "
        "Nothing was forgotten. Check the ids, which are text here."
    )
