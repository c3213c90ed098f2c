"""What Great Expectations demands of a data set, raw and after a cut.

Great Expectations sees columns of true and false and of plain numbers, never an identifier; and it answers with
booleans only. So nothing it prints, stores or raises can name a person.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from great_expectations.expectations.core.expect_table_row_count_to_equal import ExpectTableRowCountToEqual
from great_expectations.expectations.expectation import Expectation as GXExpectation

from tru.data.features import COSINE_SLACK, presence
from tru.data.forget import ForgetSet
from tru.data.interactions import SPLITS, TRAIN, Dataset
from tru.data.left import Left, in_batch, kept_items
from tru.errors import CheckFailed

# However much a batch takes: what is left must look as the batch explains. Only rounding may lie between the two.
DRIFT = 1e-9
WORDS = "words"  # under this key an expectation carries its wording through Great Expectations


@dataclass(frozen=True)
class Expectation:
    """One thing demanded.

    Attributes:
        words: in plain words.
        ok: whether it holds.
        fault: in a sentence, what it means that it does not; empty: the words say enough.
        overrulable: whether a person may say that it is right as it is. It is then no error in the data that is found,
            but that there is little of it.
    """

    words: str
    ok: bool
    fault: str = ""
    overrulable: bool = False

    @property
    def reason(self) -> str:
        """Why the check fails, where it does not hold."""
        return self.fault or f"it does not hold that {self.words}"


@dataclass(frozen=True)
class CheckReport:
    """The answer to one check; printing it gives a summary without identifiers."""

    name: str
    expectations: tuple[Expectation, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation holds."""
        return all(expectation.ok for expectation in self.expectations)

    def __str__(self) -> str:
        """One line per expectation, under a line with the result."""
        kept = sum(expectation.ok for expectation in self.expectations)
        lines = [f"  {'ok    ' if e.ok else 'FAILED'} {e.words}" for e in self.expectations]
        return "\n".join([f"{self.name}: {kept} of {len(self.expectations)} expectations hold", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        words = [{"expectation": e.words, "ok": e.ok} for e in self.expectations]
        return {"name": self.name, "passed": self.passed, "expectations": words}

    def raise_if_failed(self, *, overruled: bool = False) -> None:
        """Stop here unless everything holds.

        Args:
            overruled: a person has decided that what may be overruled is right as it is.

        Raises:
            CheckFailed: some expectation does not hold.
        """
        failed = [e for e in self.expectations if not (e.ok or (overruled and e.overrulable))]
        if failed:
            what = f"{self.name}: {len(failed)} of {len(self.expectations)} expectations failed:"
            lines = [what, *(f"  - {e.words}" for e in failed), "Nothing went on from here."]
            raise CheckFailed("\n".join(lines), [f"{self.name}: {e.reason}" for e in failed])


@dataclass
class _Table:
    """Columns without identifiers, all of one length, and what is expected of them."""

    name: str
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    expected: dict[str, GXExpectation] = field(default_factory=dict)
    overrulable: dict[str, str] = field(default_factory=dict)
    """Words of the expectations that a person may overrule -> what it means that they do not hold."""

    def true(self, words: str, values: np.ndarray) -> None:
        """Every value is true."""
        column = self._add(values)
        self.expected[words] = ExpectColumnValuesToBeInSet(column=column, value_set=[True], meta={WORDS: words})

    def within(self, words: str, values: np.ndarray, low: float, high: float | None = None) -> None:
        """Every value is from ``low`` to ``high``."""
        column = self._add(values)
        self.expected[words] = ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, meta={WORDS: words}
        )

    def left(self, words: str, count: int, fault: str) -> None:
        """Something is left; a person may say that it is right without."""
        self.within(words, np.array([count]), 1)
        self.overrulable[words] = fault

    def counts(self, words: str, rows: int) -> None:
        """The table has so many rows."""
        self.expected[words] = ExpectTableRowCountToEqual(value=rows, meta={WORDS: words})

    def _add(self, values: np.ndarray) -> str:
        """Keep a column, under a name that says nothing."""
        name = f"fact_{len(self.columns)}"
        self.columns[name] = np.asarray(values)
        return name


def check_raw(ds: Dataset) -> CheckReport:
    """Check a data set before anything is learned from it."""
    rows, cells = ds.interactions, _Table("interactions")
    cells.true("no user id is missing", rows["user_id"].notna().to_numpy())
    cells.true("no item id is missing", rows["item_id"].notna().to_numpy())
    cells.true("no user and item are paired twice", ~rows.duplicated(["user_id", "item_id"]).to_numpy())
    cells.within("every split is train, val or test", rows["split"].to_numpy(), min(SPLITS), max(SPLITS))
    cells.true("every interaction is with an item of the data set", rows["item_id"].isin(ds.items).to_numpy())
    items = _Table("items")
    items.true("no item is listed twice", ~pd.Series(ds.items, dtype="str").duplicated().to_numpy())
    totals = _Table("totals")
    # Without validation or test rows less can be said of a model, but it can be trained (see tru.data.shortcomings).
    totals.within("there are train rows", np.array([(rows["split"] == TRAIN).sum()]), 1)
    modalities = [_check_modality(ds, m) for m in ds.modalities]
    graphs = [_check_graph(ds, m) for m in sorted(ds.neighbours)]
    return _run("raw data", [cells, items, totals, *modalities, *graphs])


def _check_modality(ds: Dataset, modality: str) -> _Table:
    """One modality's matrix against the items."""
    matrix, table = ds.features[modality], _Table(modality)
    table.counts(f"{modality}: one feature row per item", len(ds.items))
    table.true(f"{modality}: every feature is a finite number", np.isfinite(matrix).all(axis=1))
    agree = _equal(presence(matrix), ds.present[modality])
    table.true(f"{modality}: a feature row is zero exactly where the item lacks it", agree)
    return table


def _check_graph(ds: Dataset, modality: str) -> _Table:
    """One modality's neighbour graph against the items."""
    graph, table = ds.neighbours[modality], _Table(f"{modality} neighbours")
    there = ds.items[ds.present[modality]] if len(ds.present[modality]) == len(ds.items) else ds.items
    known = (graph["item_id"].isin(there) & graph["neighbour_id"].isin(there)).to_numpy()
    table.true(f"{modality}: every neighbour relation is between items that have it", known)
    limit = 1 + COSINE_SLACK
    table.within(f"{modality}: every cosine is from -1 to 1", graph["cosine"].to_numpy(dtype=float), -limit, limit)
    return table


def check_cut(before: Dataset, after: Dataset, forget: ForgetSet) -> CheckReport:
    """Check that ``after`` is ``before`` without ``forget``, and nothing else.

    Written without :func:`tru.data.forget.cut`, so that an error there is seen here.
    """
    modalities = [_cut_modality(before, after, forget, m) for m in before.modalities]
    graphs = [_cut_graph(before, after, forget, m) for m in sorted(before.neighbours)]
    tables = [_cut_rows(before, after, forget), _cut_items(before, after, forget), *modalities, *graphs]
    return _run("data after the cut", [*tables, _cut_totals(before, after, forget)])


def _cut_rows(before: Dataset, after: Dataset, forget: ForgetSet) -> _Table:
    """Interactions after a cut."""
    rows, table = after.interactions, _Table("interactions")
    expected = before.interactions[~in_batch(before.interactions, forget)]
    table.counts("interactions: rows before, less those of the batch, are the rows after", len(expected))
    table.true("interactions: none of the batch is left", ~in_batch(rows, forget))
    table.true("interactions: no orphan, every item is still an item", rows["item_id"].isin(after.items).to_numpy())
    table.true("interactions: no user and item are paired twice", ~rows.duplicated(["user_id", "item_id"]).to_numpy())
    same = _equal(rows["user_id"], expected["user_id"]) & _equal(rows["item_id"], expected["item_id"])
    table.true("interactions: all others are there, in their order", same)
    table.true("interactions: no row changed its split", _equal(rows["split"], expected["split"]))
    for column in before.interactions.columns.difference(["user_id", "item_id", "split"]):
        kept = column in rows and rows[column].reset_index(drop=True).equals(expected[column].reset_index(drop=True))
        table.true(f"interactions: {column} is unchanged", np.full(len(rows), kept))
    return table


def _cut_items(before: Dataset, after: Dataset, forget: ForgetSet) -> _Table:
    """Items after a cut."""
    expected, table = kept_items(before, forget), _Table("items")
    table.counts("items: items before, less those of the batch, are the items after", int(expected.sum()))
    table.true("items: none of the batch is left", kept_items(after, forget))
    table.true("items: all others are there, in their order", _equal(after.items, before.items[expected]))
    return table


def _cut_modality(before: Dataset, after: Dataset, forget: ForgetSet, modality: str) -> _Table:
    """One modality's features after a cut."""
    matrix, flags = after.features.get(modality, np.zeros((0, 1))), after.present.get(modality, np.zeros(0, dtype=bool))
    kept, table = kept_items(before, forget), _Table(modality)
    revoked = np.array([(i, modality) in forget.modalities for i in before.items[kept].tolist()], dtype=bool)
    if not (before.present[modality][kept] & ~revoked).any():
        table.true(f"{modality}: no item has it any more, so it is gone", np.array([modality not in after.features]))
        return table
    table.counts(f"{modality}: one feature row per item", len(after.items))
    if len(matrix) != len(revoked) or len(flags) != len(revoked):
        table.true(f"{modality}: feature rows are those of the items left", np.zeros(len(matrix), dtype=bool))
        return table
    table.true(f"{modality}: nothing revoked is left", ~(revoked & (presence(matrix) | flags)))
    # Compared as bytes: equal values of another type would still be another file.
    same = matrix.dtype == before.features[modality].dtype and (matrix == before.features[modality][kept]).all(axis=1)
    table.true(f"{modality}: every other feature row is unchanged", np.asarray(revoked | same))
    table.true(f"{modality}: a feature row is zero exactly where the item lacks it", presence(matrix) == flags)
    return table


def _cut_graph(before: Dataset, after: Dataset, forget: ForgetSet, modality: str) -> _Table:
    """One modality's neighbour graph after a cut."""
    empty = before.neighbours[modality].iloc[:0]
    graph, table = after.neighbours.get(modality, empty), _Table(f"{modality} neighbours")
    gone = [*forget.items, *(item for item, name in forget.modalities if name == modality)]
    old = before.neighbours[modality]
    expected = old[~(old["item_id"].isin(gone) | old["neighbour_id"].isin(gone))]
    named = (graph["item_id"].isin(gone) | graph["neighbour_id"].isin(gone)).to_numpy()
    orphan = ~(graph["item_id"].isin(after.items) & graph["neighbour_id"].isin(after.items)).to_numpy()
    table.counts(f"{modality}: neighbour relations before, less those of the batch, are those after", len(expected))
    table.true(f"{modality}: no neighbour relation names the batch", ~named)
    table.true(f"{modality}: no orphan, both ends of a neighbour relation are items", ~orphan)
    same = [_equal(graph[column], expected[column]) for column in ("item_id", "neighbour_id", "cosine")]
    table.true(f"{modality}: all other neighbour relations are there, in their order", np.logical_and.reduce(same))
    return table


def _cut_totals(before: Dataset, after: Dataset, forget: ForgetSet) -> _Table:
    """Distributions after a cut, and whether anything is left at all."""
    old, expected, new, table = Left.of(before), Left.of(before, forget), Left.of(after), _Table("totals")
    for word, count in new.rows.items():
        if old.rows[word]:
            table.left(f"there are {word} rows", count, f"no {word} rows are left")
        drift = abs(new.shares[word] - expected.shares[word])
        table.within(f"the share of {word} rows is what the batch explains", np.array([drift]), 0, DRIFT)
    drift = abs(new.density - expected.density)
    table.within("a user has as many rows on average as the batch explains", np.array([drift]), 0, DRIFT)
    for modality, count in old.modalities.items():
        if count and new.items:
            has = new.modalities.get(modality, 0)
            table.left(f"some item has the modality {modality}", has, f"no item has the modality {modality} any more")
    return table


def _equal(left: np.ndarray | pd.Series, right: np.ndarray | pd.Series) -> np.ndarray:
    """Element by element; all false if the lengths differ."""
    if len(left) != len(right):
        return np.zeros(len(left), dtype=bool)
    return np.asarray(np.asarray(left) == np.asarray(right), dtype=bool)


def _run(name: str, tables: list[_Table]) -> CheckReport:
    """Let Great Expectations judge the tables, in a context that writes nothing and calls no one."""
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    with _quiet():
        context = gx.get_context(project_config=config, mode="ephemeral")
        source = context.data_sources.add_pandas("tables")
        return CheckReport(name, tuple(e for table in tables for e in _judge(context, source, table)))


def _judge(context: Any, source: Any, table: _Table) -> list[Expectation]:  # noqa: ANN401 - GX ships no usable types
    """The expectations of one table and how they came out."""
    batch = source.add_dataframe_asset(name=table.name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=table.name, expectations=list(table.expected.values())))
    definition = gx.ValidationDefinition(name=table.name, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=table.name,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={"result_format": "BOOLEAN_ONLY"},
    )
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": pd.DataFrame(table.columns)})
    (validation,) = result.run_results.values()
    outcome = {r.expectation_config.meta[WORDS]: bool(r.success) for r in validation.results}
    # An expectation without an answer counts as failed.
    return [
        Expectation(words, outcome.get(words, False), table.overrulable.get(words, ""), words in table.overrulable)
        for words in table.expected
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Great Expectations logs each step; what matters is in the report."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
