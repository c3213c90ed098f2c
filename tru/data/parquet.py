"""Parquet as tables: one file, or a folder of parts as Spark and Dask write them; and writing it the same every time.

A folder is read whole, its parts in the order of their names, numbers by value (``part.2`` before ``part.10``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tru.data.tables import Where, require_columns
from tru.errors import DataError

# In such a folder some of the files are of rows that were deleted since; to read them would bring people back.
TABLE_FORMATS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table", "metadata": "an Iceberg table"}
INTEGERS = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
"""Through floats, as pandas would have it where a value is missing, large integers lose their last digits."""


def read_table(path: Path, required: Sequence[str] = (), optional: Sequence[str] = ()) -> tuple[pd.DataFrame, Where]:
    """Columns of a Parquet file, or of a folder of parts, as pandas columns; integers stay integers.

    Args:
        path: the file or folder.
        required: names of columns.
        optional: columns that are read if they are there. All others stay unread.

    Returns:
        The table, and the place of its rows for messages.

    Raises:
        DataError: no such file, not Parquet, a column of ``required`` is missing, or parts that do not fit together.
    """
    files = _parts(path) if path.is_dir() else [path]
    tables = {file: _read(file, required, optional) for file in files}
    filled = {file: table for file, table in tables.items() if table.num_rows} or dict(list(tables.items())[:1])
    _refuse_different(filled)
    try:
        table = pa.concat_tables(filled.values())
        table.validate(full=True)  # text that is no UTF-8 would else break what reads it later
        frame: pd.DataFrame = table.to_pandas(types_mapper=INTEGERS.get)
    except (pa.ArrowException, ValueError) as error:
        raise _unreadable(path) from error
    return frame, Where(path, parts=tuple((file, part.num_rows) for file, part in filled.items()))


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file, or of the first part of a folder of them.

    Raises:
        DataError: no such file, or not Parquet.
    """
    file = _parts(path)[0] if path.is_dir() else path
    try:
        with pq.ParquetFile(file, arrow_extensions_enabled=True) as opened:
            return [*opened.schema_arrow.names, *_counted(opened.schema_arrow)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(file) from error


def _parts(folder: Path) -> list[Path]:
    """The files that together are one table.

    Raises:
        DataError: the folder is something else, or was not finished.
    """
    for name, what in TABLE_FORMATS.items():
        if (folder / name).exists():
            raise DataError(f"{folder} is {what}, whose files also hold deleted rows. Export it as plain Parquet.")
    if (folder / "_temporary").exists():
        raise DataError(f"{folder} is unfinished: it has a folder _temporary. Write it again.")
    parts = sorted((path for path in folder.iterdir() if path.name[0] not in "._"), key=_by_number)
    for path in parts:
        if path.is_dir():
            raise DataError(f"{path} is a folder in a folder of Parquet parts. Write the table without partitions.")
        if path.suffix != ".parquet":
            raise DataError(f"{path} is not a Parquet part. Move it elsewhere, or write the table again.")
    if not parts:
        raise DataError(f"{folder} is a folder without Parquet files. Write the table again.")
    return parts


def _by_number(path: Path) -> list[Any]:
    """A key by which part.2 is before part.10."""
    pieces = re.split(r"([0-9]+)", path.name)
    return [int(piece) if k % 2 else piece for k, piece in enumerate(pieces)]


def _read(file: Path, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    """The wanted columns of one file; also those that pandas would hide, as they were an index."""
    if not file.is_file():
        raise DataError(f"{file} does not exist. A data set needs this file; name a folder that has it.")
    try:
        # ParquetFile, not read_table: the latter would turn a folder called `a=b` into a column.
        with pq.ParquetFile(file, arrow_extensions_enabled=True) as opened:
            names, counted = opened.schema_arrow.names, _counted(opened.schema_arrow)
            require_columns([*names, *counted], required, file)
            wanted = {*required, *optional}
            table = opened.read(columns=[name for name in names if name in wanted])
            columns = {name: _storage(table[name]) for name in table.schema.names}
            columns |= {name: pa.array(counted[name], pa.int64()) for name in wanted & counted.keys()}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(file) from error
    return pa.table(dict(sorted(columns.items())))


def _counted(schema: pa.Schema) -> dict[str, range]:
    """Name -> numbers of an index that pandas did not write as a column, as it only counts."""
    noted = (schema.pandas_metadata or {}).get("index_columns", [])
    indices = [index for index in noted if isinstance(index, dict) and index.get("kind") == "range" and index["name"]]
    return {str(index["name"]): range(index["start"], index["stop"], index["step"]) for index in indices}


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type that pandas knows; UUIDs as text."""
    if isinstance(column.type, pa.UuidType):
        return pa.chunked_array([pa.array([str(v) if v else None for v in column.to_pylist()], pa.string())])
    if isinstance(column.type, pa.BaseExtensionType):
        return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column


def _refuse_different(tables: dict[Path, pa.Table]) -> None:
    first = next(iter(tables.values())).schema
    for file, table in tables.items():
        if differ := sorted({field.name for field in set(first) ^ set(table.schema)}):
            raise DataError(
                f"{file}: its {', '.join(differ)} is not of the type that it has in the parts before, or is in one of "
                "them only. Write all parts with the same columns and types."
            )


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path} cannot be read as Parquet: it is damaged or of another kind. Write it again.")


def write_table(columns: dict[str, tuple[pa.DataType, Any]], path: Path) -> None:
    """Write named columns as Parquet, each as ``(type, values)``.

    No compression and no pandas metadata: the bytes then depend on the values and the pinned pyarrow alone.
    """
    arrays = [pa.array(values, type=kind, from_pandas=True) for kind, values in columns.values()]
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), path, compression="none")
