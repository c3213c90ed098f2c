"""What is finished: one small file per cell, written whole or not at all, and the one tidy table made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.grid import Cell
from benchmarks.quality.pantry import write_whole
from tru.errors import DataError

COLUMNS = ["backbone", "dataset", "regime", "fraction", "method", "seed", "metric", "value", "commit", "data_md5"]
PLACE = ["backbone", "dataset", "regime", "fraction", "method", "seed"]
FAILED = "failed"
"""Metric of a cell whose method raised an error; it is its only one."""
SCHEMA = pa.schema(
    [(name, {"seed": pa.int64(), "value": pa.float64()}.get(name, pa.string())) for name in COLUMNS],
)


def keep(folder: Path, cell_id: str, cell: Cell, metrics: Mapping[str, float], facts: Mapping[str, Any]) -> None:
    """Write the file of a finished cell.

    Args:
        folder: the cache.
        cell_id: names the file.
        cell: its coordinates.
        metrics: finite numbers.
        facts: ``commit``, ``data_md5``, ``settings``.
    """
    words = {**cell.axes, **facts, "metrics": dict(metrics), "finished": datetime.now(UTC).isoformat()}
    write_whole(folder / "cells" / f"{cell_id}.json", json.dumps(words, indent=1, allow_nan=False) + "\n")


def read(folder: Path, cell_id: str) -> dict[str, Any] | None:
    """The record of a cell; None if it is not finished."""
    try:
        found: dict[str, Any] = json.loads((folder / "cells" / f"{cell_id}.json").read_text())
    except FileNotFoundError:
        return None
    return found


def is_done(folder: Path, cell_id: str) -> bool:
    """Whether a cell need not run again; one that failed is tried again."""
    found = read(folder, cell_id)
    return found is not None and FAILED not in found["metrics"]


def forget(folder: Path, cell_ids: Iterable[str]) -> None:
    """Let cells run again."""
    for cell_id in cell_ids:
        (folder / "cells" / f"{cell_id}.json").unlink(missing_ok=True)


def table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Records as tidy rows, sorted."""
    rows = [
        {**{name: record[name] for name in (*PLACE, "commit", "data_md5")}, "metric": metric, "value": float(value)}
        for record in records
        for metric, value in record["metrics"].items()
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"seed": "int64", "value": "float64"})
    return frame.sort_values([*PLACE, "metric"], ignore_index=True)


def merge(file: Path, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Put records into the results: a cell's new rows take the place of all its old ones, other cells stay."""
    new = table(records)
    found = new
    if file.exists():
        old = load(file)
        again = pd.MultiIndex.from_frame(old[PLACE]).isin(pd.MultiIndex.from_frame(new[PLACE].drop_duplicates()))
        old = old[~again]
        found = pd.concat([old, new]) if len(old) and len(new) else (old if len(old) else new)
        found = found.sort_values([*PLACE, "metric"], ignore_index=True)
    if found.duplicated([*PLACE, "metric"]).any():
        raise DataError(f"{file}: the same cell and metric twice. Remove the file; the cache has all that is finished.")
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(file.name + ".new")
    pq.write_table(pa.Table.from_pandas(found[COLUMNS], schema=SCHEMA, preserve_index=False), beside)
    beside.replace(file)
    return found


def load(file: Path) -> pd.DataFrame:
    """The results.

    Raises:
        DataError: they are missing, damaged or of another form.
    """
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is missing or damaged. Run `python -m benchmarks.quality run`.") from error
    if list(frame.columns) != COLUMNS:
        raise DataError(f"{file} has other columns than {', '.join(COLUMNS)}. Remove it and run the grid.")
    return frame


def log(folder: Path, workspace: Path, finished: Mapping[str, Mapping[str, Any]]) -> int:
    """Log finished cells into a workspace's MLflow, each once; how many are new there.

    Args:
        folder: the cache; it remembers what was logged where.
        workspace: a workspace of ``tru``.
        finished: cell id -> its record.
    """
    from benchmarks.quality.pantry import digest
    from tru.ops.release.registry import Registry
    from tru.ops.tracking.settings import flat
    from tru.ops.workspace import Workspace

    registry = Registry(Workspace(workspace.resolve()), experiment="quality")
    new = 0
    for cell_id, record in finished.items():
        mark = folder / "logged" / digest(str(workspace.resolve())) / f"{cell_id}-{digest(record['finished'])[:8]}"
        if mark.exists():
            continue
        place = {name: record[name] for name in PLACE}
        registry.log_run(
            "-".join(str(place[name]) for name in ("backbone", "dataset", "regime", "fraction", "method", "seed")),
            key=f"quality/{cell_id}/{digest(record['finished'])[:8]}",
            data_md5=record["data_md5"],
            metrics={name: value for name, value in record["metrics"].items() if math.isfinite(value)},
            params={**place, **flat(record["settings"], "unlearn.")},
            tags={"tru.method": record["method"], "tru.git_commit": record["commit"].rstrip("+")},
        )
        write_whole(mark, "")
        new += 1
    return new
