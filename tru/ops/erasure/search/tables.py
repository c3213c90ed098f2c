"""Ids and interactions in tables: Parquet, Arrow, CSV. Columns are compared as wholes, never row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tru.ops.erasure.search.kinds import kind_of, kind_of_numbers, tokens
from tru.ops.erasure.search.patterns import Needles, Tag

_ROWS = 1 << 18
_LONG_TEXT = 24
"""Texts longer than this on average may hold ids rather than be ids."""
_BLOCK = 1 << 24
_DELIMITERS = ",\t;|"
_SEPARATOR = pa.scalar("\n", type=pa.large_string())

Batches = Iterable[pa.RecordBatch]


def parquet(source: Any, needles: Needles, hint: str) -> tuple[set[Tag], list[bytes]]:  # noqa: ANN401 - path or stream
    """Traces in a Parquet file, and its longer texts, to be searched as text.

    Raises:
        pa.ArrowException, OSError: damaged.
    """
    with pq.ParquetFile(source) as file:
        return in_batches(file.iter_batches(batch_size=_ROWS), needles, hint)


def arrow(source: Any, needles: Needles, hint: str) -> tuple[set[Tag], list[bytes]]:  # noqa: ANN401 - path or stream
    """Traces in an Arrow (Feather) file.

    Raises:
        pa.ArrowException, OSError: damaged.
    """
    with pa.ipc.open_file(source) as file:
        return in_batches((file.get_batch(k) for k in range(file.num_record_batches)), needles, hint)


def in_batches(batches: Batches, needles: Needles, hint: str) -> tuple[set[Tag], list[bytes]]:
    """Traces in record batches, and their longer texts."""
    tags: set[Tag] = set()
    texts: list[bytes] = []
    for batch in batches:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name, column in columns.items():
            found, more = _in_column(name, column, needles)
            tags |= found
            texts += more
        tags |= in_rows({name: column for name, column in columns.items()}, needles, hint)
    return tags, texts


def _in_column(name: str, column: pa.Array, needles: Needles) -> tuple[set[Tag], list[bytes]]:
    """Traces among the values of one column, nested ones included."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _in_column(name, column.dictionary, needles)
    if pa.types.is_struct(kind):
        parts = [_in_column(f"{name}.{kind.field(k).name}", column.field(k), needles) for k in range(kind.num_fields)]
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        parts = [_in_column(name, column.flatten(), needles)]
    elif pa.types.is_map(kind):
        parts = [_in_column(name, column.keys, needles), _in_column(name, column.items, needles)]
    elif pa.types.is_floating(kind) and not pa.types.is_float16(kind) and column.null_count == 0:
        return _in_numbers(name, column, needles) | _vectors(column, needles), []
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _in_numbers(name, column, needles), []
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _in_texts(name, column.cast(pa.large_string()), needles)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return set(), [value for value in column.to_pylist() if value]
    else:
        return set(), []
    return {tag for found, _ in parts for tag in found}, [text for _, texts in parts for text in texts]


def _in_texts(name: str, column: pa.Array, needles: Needles) -> tuple[set[Tag], list[bytes]]:
    kind = kind_of(name)
    kind = "any" if kind == "none" else kind
    tags = needles.exact(_among(column, sorted(needles.wanted(kind))), kind)
    size = pc.sum(pc.binary_length(column)).as_py() or 0
    if size <= _LONG_TEXT * len(column):
        return tags, []
    joined = pc.binary_join(
        pa.array([column.drop_null().to_pylist()], type=pa.large_list(pa.large_string())), _SEPARATOR
    )
    return tags, [joined[0].as_buffer().to_pybytes()]


def _in_numbers(name: str, column: pa.Array, needles: Needles) -> set[Tag]:
    kind = kind_of_numbers(name.rpartition(".")[2])
    if kind == "none":
        return set()
    numbers = []
    for word in needles.wanted(kind):
        if word.isdigit() and str(int(word)) == word and int(word) < 1 << 63:
            with suppress(pa.ArrowException, OverflowError):
                numbers.append(pa.scalar(int(word)).cast(column.type).as_py())
    return needles.exact({str(int(number)) for number in _among(column, sorted(numbers))}, kind)


def _among(column: pa.Array, wanted: list[Any]) -> set[Any]:
    """Those of ``wanted`` that the column holds."""
    if not wanted or not len(column):
        return set()
    mask = pc.is_in(column, value_set=pa.array(wanted, type=column.type))
    return set(column.filter(mask).to_pylist()) if pc.any(mask).as_py() else set()


def _vectors(column: pa.Array, needles: Needles) -> set[Tag]:
    plain = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).astype("<f4").tobytes()
    return {tag for _, needle in needles.bytes.find(plain) if not needle.unit for tag in needle.tags}


def in_rows(columns: Mapping[str, pa.Array], needles: Needles, hint: str) -> set[Tag]:
    """Deleted pairs and revoked modalities in rows; ``hint`` is the file's name, which may name a modality."""
    users = [c for name, c in columns.items() if kind_of(name) == "user" and _holds_ids(c)]
    items = [c for name, c in columns.items() if kind_of(name) == "item" and _holds_ids(c)]
    tags: set[Tag] = set()
    if users and needles.pairs:
        names = users[0].cast(pa.large_string())
        mask = pc.is_in(names, value_set=pa.array(sorted(needles.pair_users), type=pa.large_string()))
        rows = names.filter(mask).to_pylist()
        for item in items:
            tags |= needles.among(rows, item.filter(mask).cast(pa.large_string()).to_pylist())
    if items and needles.modalities:
        tags |= _revoked(columns, [item.cast(pa.large_string()) for item in items], needles, hint)
    return tags


def _holds_ids(column: pa.Array) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _revoked(columns: Mapping[str, pa.Array], items: list[pa.Array], needles: Needles, hint: str) -> set[Tag]:
    """``has_image`` of an item, a row of ``image_knn.parquet``, a row of item and modality."""
    revoked = pa.array(sorted(needles.revoked), type=pa.large_string())
    masks = [pc.is_in(item, value_set=revoked) for item in items]
    if not any(pc.any(mask).as_py() for mask in masks):
        return set()
    names = {modality for _, modality in needles.modalities}
    tags: set[Tag] = set()
    for item, mask in zip(items, masks, strict=True):
        here = item.filter(mask).to_pylist()
        for modality in names:
            has = columns.get(f"has_{modality}")
            if has is not None:
                flags = [str(flag).lower() in ("true", "1", "1.0") for flag in has.filter(mask).to_pylist()]
                tags |= {
                    t for name, flag in zip(here, flags, strict=True) if flag for t in needles.modality(name, modality)
                }
            elif len(items) > 1 and modality.lower() in tokens(hint):  # relations between items
                tags |= {t for name in here for t in needles.modality(name, modality)}
        if "modality" in columns:
            said = columns["modality"].filter(mask).to_pylist()
            tags |= {t for name, word in zip(here, said, strict=True) for t in needles.modality(name, str(word))}
    return tags


def delimited(text: bytes, needles: Needles, hint: str) -> set[Tag] | None:
    """Traces in CSV and its relatives; None if the text is no table.

    Without a header that names ids, only whole rows count: first a user, then an item.
    """
    lines = text[: 1 << 16].split(b"\n", 3)
    if len(lines) < 2 and not lines[0].strip():
        return None
    first = lines[0].rstrip(b"\r").decode(errors="replace")
    delimiter = max(_DELIMITERS, key=first.count)
    if not first.count(delimiter):
        return _lone_ids(text, first, needles, hint)
    header = [cell.strip().strip('"').lstrip("\ufeff") for cell in first.split(delimiter)]
    if any(_is_id_column(name) for name in header) and not any(name.isdigit() for name in header):
        names = [name.partition(":")[0] or f"column {k}" for k, name in enumerate(header)]  # RecBole's `user_id:token`
        return in_batches(_read_csv(text, names, delimiter), needles, hint)[0]
    if len(lines) > 1 and lines[1].strip() and lines[1].count(delimiter.encode()) == first.count(delimiter):
        return _headerless(text, len(header), delimiter, needles)
    return None


def _is_id_column(name: str) -> bool:
    return len(name) < 40 and kind_of(name.partition(":")[0]) != "none"


def _lone_ids(text: bytes, first: str, needles: Needles, hint: str) -> set[Tag] | None:
    """One id per line, under a header or in a file that says what it is; or three numbers and more."""
    words = text.decode(errors="replace").split("\n")
    words = [word.strip().strip('"') for word in words if word.strip()]
    if any(" " in word for word in words[:100]) or not words:
        return None
    kind = kind_of(first.strip().strip('"'))
    if kind == "none":
        named = {kind_of(token) for token in tokens(hint)} - {"none"}
        kind = named.pop() if len(named) == 1 else "any" if named or _are_ids(words) else "none"
    return needles.exact(set(words), kind)


def _are_ids(words: list[str]) -> bool:
    return len(words) >= 3 and all(word.isdigit() for word in words[:1000])


def _headerless(text: bytes, width: int, delimiter: str, needles: Needles) -> set[Tag]:
    names = [f"column {k}" for k in range(width)]
    tags: set[Tag] = set()
    if not needles.row_users:
        return tags
    wanted = pa.array(sorted(needles.row_users), type=pa.string())
    for batch in _read_csv(text, names, delimiter, skip=0, only=names[:2]):
        users, items = batch.columns
        mask = pc.is_in(users, value_set=wanted)
        tags |= needles.among(users.filter(mask).to_pylist(), items.filter(mask).to_pylist(), all_rows=True)
    return tags


def _read_csv(
    text: bytes, names: list[str], delimiter: str, skip: int = 1, only: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of texts; rows that do not fit the header, or have an open quotation, are cut at each delimiter."""
    unique = [name if names.index(name) == k else f"{name} {k}" for k, name in enumerate(names)]
    odd: list[list[str]] = []

    def patiently(row: Any) -> str:  # noqa: ANN401 - pyarrow's
        odd.append(_cells(row.text or "", delimiter))
        return "skip"

    wanted = only or [name for name in unique if _is_id_column(name) or name.startswith("has_") or name == "modality"]
    try:
        reader = pacsv.open_csv(
            pa.BufferReader(text),
            read_options=pacsv.ReadOptions(column_names=unique, skip_rows=skip, block_size=_BLOCK, use_threads=False),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=patiently),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(unique, pa.string()), include_columns=wanted, check_utf8=False
            ),
        )
        yield from (_trimmed(batch) for batch in reader)
        broken = text.count(b'"') % 2 == 1
    except pa.ArrowException:
        broken = True
    if broken:
        odd = [_cells(line, delimiter) for line in text.decode(errors="replace").splitlines()[skip:]]
    if odd:
        at = [unique.index(name) for name in wanted]
        cells = [[row[k] if k < len(row) else "" for row in odd] for k in at]
        yield pa.RecordBatch.from_arrays([pa.array(cell, type=pa.string()) for cell in cells], names=wanted)


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def _trimmed(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [pc.utf8_trim_whitespace(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
