"""What a question to ``mlflow models serve`` says, read without guessing at types.

MLflow reads CSV by guessing (007 becomes 7, the user NA nobody) or, where a column may be of any type, not at all; and
of its JSON forms, ``inputs`` and ``instances`` make text of everything (a missing user becomes one called "None"). Here
every value stays what it was written as, and the check of each row says what is no user.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import pandas as pd

from tru.errors import ModelError

COLUMNS = ("user_id", "k")
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
WHOLE = re.compile(r"([0-9]{1,9})(\.0*)?")


def of_csv(text: TextIO) -> pd.DataFrame:
    """The questions in CSV with a header; every cell is text, an empty one is missing, and k is a number if it is one.

    Raises:
        ModelError: it is no CSV, a row is longer than the header, or a column is missing or there twice.
    """
    try:
        header, *rows = list(csv.reader(text, strict=True)) or [[]]
    except csv.Error as error:
        raise ModelError(f"The CSV cannot be read: {error}.") from None
    while rows and not rows[-1]:  # blank lines at the end
        rows.pop()
    header = [name.lstrip("\ufeff").strip() for name in header]
    if "user_id" not in header:
        raise ModelError('The CSV needs a header with "user_id", and may have "k", separated by commas.')
    for number, row in enumerate(rows):
        if len(row) > len(header):
            raise ModelError(f"Row {number}: there are {len(row)} cells, and {len(header)} in the header.")
    found = _of_table(header, rows)
    if "k" in found.columns:
        found["k"] = pd.Series([_number(cell) for cell in found["k"]], dtype=object)
    return found.replace({"": None})


def of_json(body: Mapping[str, Any]) -> pd.DataFrame:
    """The questions in a body of one of MLflow's JSON forms.

    Raises:
        ModelError: the form is not as MLflow has it.
    """
    form = next(name for name in FORMS if name in body)
    content = body[form]
    if form == "dataframe_split":
        return _of_split(content)
    if isinstance(content, dict) and form != "dataframe_records":
        return _of_columns(content)
    if not isinstance(content, list):
        raise ModelError(f"{form} must be a list of records.")
    if not any(isinstance(record, dict) for record in content):
        return pd.DataFrame()
    for number, record in enumerate(content):
        if not isinstance(record, dict):
            raise ModelError(f'Row {number}: a record needs "user_id", and may have "k".')
    known = [name for name in COLUMNS if any(name in record for record in content)]
    return _frame({name: [record.get(name) for record in content] for name in known})


def install() -> None:
    """Let MLflow's server, where this process is one, read questions to our models with the functions above."""
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")
    if server is None or getattr(server, "tru_reads", False):
        return
    csv_before, json_before = server.parse_csv_input, server.infer_and_parse_data

    def parse_csv_input(csv_input: Any, schema: Any = None) -> Any:  # noqa: ANN401 - as MLflow's
        return _answered(of_csv, csv_input) if _is_ours(schema) else csv_before(csv_input, schema)

    def infer_and_parse_data(data: Any, schema: Any = None) -> Any:  # noqa: ANN401 - as MLflow's
        is_one_form = sum(form in data for form in FORMS) == 1
        return _answered(of_json, data) if _is_ours(schema) and is_one_form else json_before(data, schema)

    server.parse_csv_input, server.infer_and_parse_data = parse_csv_input, infer_and_parse_data
    server.tru_reads = True


def _is_ours(schema: Any) -> bool:  # noqa: ANN401 - MLflow's Schema, or none
    return schema is not None and schema.has_input_names() and tuple(schema.input_names()) == COLUMNS


def _answered(read: Callable[[Any], pd.DataFrame], given: object) -> pd.DataFrame:
    """What was read; an error becomes the answer 400."""
    from mlflow.exceptions import MlflowException

    try:
        return read(given)
    except ModelError as exc:
        raise MlflowException.invalid_parameter_value(str(exc)) from None


def _of_split(content: object) -> pd.DataFrame:
    """``{"columns": [...], "data": [[...], ...]}``."""
    columns, rows = (content.get("columns"), content.get("data")) if isinstance(content, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise ModelError('dataframe_split needs "columns" and "data".')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise ModelError(f"Row {number}: there must be {len(columns)} values, one per column.")
    return _of_table([str(name) for name in columns], rows)


def _of_table(header: list[str], rows: list[list[Any]]) -> pd.DataFrame:
    """Our columns of a table; what is missing at the end of a row is missing."""
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise ModelError(f"There are two columns {twice[0]}.")
    at = {name: header.index(name) for name in COLUMNS if name in header}
    return _frame({name: [row[k] if k < len(row) else None for row in rows] for name, k in at.items()})


def _of_columns(content: Mapping[str, Any]) -> pd.DataFrame:
    """``{"user_id": [...], "k": [...]}``; a value that is no list counts for all rows."""
    known = {name: content[name] for name in COLUMNS if name in content}
    lengths = {len(value) for value in known.values() if isinstance(value, list)}
    if len(lengths) > 1:
        raise ModelError("user_id and k differ in length.")
    n = lengths.pop() if lengths else 1
    return _frame({name: value if isinstance(value, list) else [value] * n for name, value in known.items()})


def _frame(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Columns of Python objects: pandas would make floats of whole numbers with gaps."""
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def _number(cell: object) -> object:
    """A cell of k as the number that it spells; anything else stays, and is refused by its row."""
    found = WHOLE.fullmatch(cell.strip()) if isinstance(cell, str) else None
    return int(found[1]) if found else cell
