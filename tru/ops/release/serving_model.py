"""The model MLflow loads and serves: models from code, so the artifact is this script and arrays, and no pickle.

MLflow runs this file by itself, with the model directory under the artifact name ``model``.
It looks for the workspace in ``$TRU_WORKSPACE`` or the current directory, and refuses to load without it:
a server that cannot see who asked to be forgotten must not answer.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from tru.errors import ModelError
from tru.ops.release import serving_input
from tru.ops.release.serving import DEFAULT_K, MAX_USERS, Query, Recommender, checked_query
from tru.ops.requests.store import open_suppression
from tru.ops.workspace import Workspace

_log = logging.getLogger(__name__)


def read_queries(frame: pd.DataFrame) -> list[Query]:
    """The questions in a frame with the column ``user_id`` and, if wanted, ``k``.

    Raises:
        ModelError: a column is missing, the frame is empty or too long, or a value is not usable; it names the row.
    """
    if "user_id" not in frame.columns:
        raise ModelError('The input needs the column "user_id" (text), and may have "k" (1 to 1000).')
    if not 1 <= len(frame) <= MAX_USERS:
        raise ModelError(f"Ask for 1 to {MAX_USERS} users at a time.")
    ks = frame["k"].tolist() if "k" in frame.columns else [None] * len(frame)
    queries = []
    for row, (user, k) in enumerate(zip(frame["user_id"].tolist(), ks, strict=True)):
        try:
            queries.append(checked_query(user, _number(k)))
        except ModelError as exc:
            raise ModelError(f"Row {row}: {exc}") from None
    return queries


def _number(k: object) -> object:
    """The value of ``k`` as it was meant: pandas turns a column of numbers with gaps into floats and NaN."""
    if k is None or k is pd.NA or (isinstance(k, float) and math.isnan(k)):
        return DEFAULT_K
    return int(k) if isinstance(k, float) and k.is_integer() else k


class TopK(PythonModel):
    """Top-k lists as a pyfunc: rows of ``user_id`` (and ``k``) in, rows of ``items`` and ``suppressed`` out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the arrays and open the suppression list; without either there is no serving."""
        serving_input.install()
        suppression = open_suppression(Workspace.find())
        self.recommender = Recommender.load(Path(context.artifacts["model"]), suppression)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One row per row of the input, in order. Malformed input is answered 400, a lost inbox 503."""
        try:
            queries = read_queries(model_input)
        except ModelError as exc:
            raise MlflowException.invalid_parameter_value(str(exc)) from None
        try:
            answers = self.recommender.answer(queries)
        except Exception as exc:
            # MLflow would answer any other error with "400, check your input", which is not what went wrong.
            _log.error("The suppression list could not be read (%s); no answer was given.", type(exc).__name__)
            raise MlflowException("Serving is paused: try again later.", TEMPORARILY_UNAVAILABLE) from exc
        return [{"items": list(answer.items), "suppressed": answer.suppressed} for answer in answers]


set_model(TopK())
