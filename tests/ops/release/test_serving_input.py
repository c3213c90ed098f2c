import io
import json
import sys
from typing import Any

import mlflow.pyfunc.scoring_server as server
import pytest

from tru.errors import ModelError
from tru.ops.release import packing
from tru.ops.release.serving import Query, checked_query
from tru.ops.release.serving_input import install, of_csv, of_json
from tru.ops.release.serving_model import read_queries

HARD = ["007", "7", "7.0", "NA", "null", "None", "nan", "1e5", "True", "2026-01-01", "a b", "josé"]
"""Ids that a reader which guesses at types would change."""


def forms(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The same questions in each of MLflow's JSON forms."""
    names = [name for name in ("user_id", "k") if any(name in row for row in rows)]
    columns = {name: [row.get(name) for row in rows] for name in names}
    return [
        {"dataframe_records": list(rows)},
        {"dataframe_split": {"columns": names, "data": [[row.get(name) for name in names] for row in rows]}},
        {"instances": list(rows)},
        {"instances": columns},
        {"inputs": list(rows)},
        {"inputs": columns},
    ]


@pytest.mark.parametrize("form", range(6))
def test_ids_and_numbers_stay_what_they_are_in_every_form(form: int) -> None:
    rows = [{"user_id": user, "k": k + 1} for k, user in enumerate(HARD)]
    assert read_queries(of_json(forms(*rows)[form])) == [Query(row["user_id"], row["k"]) for row in rows]


@pytest.mark.parametrize("form", range(6))
def test_k_may_be_left_out_for_all_or_for_some(form: int) -> None:
    assert read_queries(of_json(forms({"user_id": "a"}, {"user_id": "b"})[form])) == [Query("a"), Query("b")]
    some = forms({"user_id": "a"}, {"user_id": "b", "k": 3}, {"user_id": "c", "k": None})[form]
    assert read_queries(of_json(some)) == [Query("a"), Query("b", 3), Query("c")]


@pytest.mark.parametrize("form", range(6))
@pytest.mark.parametrize("user", [7, 7.0, 0, None, True, "", {}, {"id": "a"}, [], ["a"], "a\ud800"])
def test_what_is_no_user_is_named_by_its_row_in_every_form(form: int, user: Any) -> None:
    with pytest.raises(ModelError, match="Row 1: user_id"):
        read_queries(of_json(forms({"user_id": "a"}, {"user_id": user})[form]))


@pytest.mark.parametrize("form", range(6))
@pytest.mark.parametrize("k", [0, -1, 1001, 2.5, "2", "x", True, [2], {}, 10**30, float("inf")])
def test_what_is_no_number_of_items_is_named_by_its_row_in_every_form(form: int, k: Any) -> None:
    with pytest.raises(ModelError, match="Row 1: k must be a whole number from 1 to 1000"):
        read_queries(of_json(forms({"user_id": "a", "k": 2}, {"user_id": "b", "k": k})[form]))


def test_one_value_counts_for_all_rows() -> None:
    assert read_queries(of_json({"inputs": {"user_id": ["a", "b"], "k": 3}})) == [Query("a", 3), Query("b", 3)]
    assert read_queries(of_json({"inputs": {"user_id": "a"}})) == [Query("a")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"dataframe_records": {"user_id": ["a"]}}, "must be a list of records"),
        ({"dataframe_records": "a"}, "must be a list of records"),
        ({"instances": 7}, "must be a list of records"),
        ({"inputs": [{"user_id": "a"}, "b"]}, "Row 1: a record needs"),
        ({"inputs": {"user_id": ["a", "b"], "k": [1]}}, "user_id and k differ in length"),
        ({"dataframe_split": [["a"]]}, 'needs "columns" and "data"'),
        ({"dataframe_split": {"data": [["a"]]}}, 'needs "columns" and "data"'),
        (
            {"dataframe_split": {"columns": ["user_id", "k"], "data": [["a", 1], ["b"]]}},
            "Row 1: there must be 2 values",
        ),
        ({"dataframe_split": {"columns": ["user_id"], "data": ["a"]}}, "Row 0: there must be 1 values"),
        ({"dataframe_split": {"columns": ["user_id", "user_id"], "data": [["a", "b"]]}}, "two columns user_id"),
    ],
)
def test_a_form_that_is_none_is_refused(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        of_json(body)


@pytest.mark.parametrize("body", [{"dataframe_records": []}, {"inputs": ["a"]}, {"dataframe_records": [{"user": "a"}]}])
def test_a_body_without_users_has_no_such_column(body: dict[str, Any]) -> None:
    assert "user_id" not in of_json(body).columns


def csv(text: str) -> list[Query]:
    return read_queries(of_csv(io.StringIO(text)))


def test_a_cell_of_csv_is_text_and_only_an_empty_one_is_missing() -> None:
    assert csv("user_id\n" + "\n".join(HARD) + "\n") == [Query(user) for user in HARD]
    assert csv('user_id,k\n"a,b",3\n"say ""x""",\n') == [Query("a,b", 3), Query('say "x"')]


@pytest.mark.parametrize(
    "text",
    [
        "user_id,k\na,2\nb,\n",
        "k,user_id\n2,a\n,b\n",
        ",user_id,k\n0,a,2.0\n1,b,\n",  # as pandas writes a column with a gap, and its index
        "user_id,k\r\na,2\r\nb\r\n",
        "\ufeffuser_id, k\na,2\nb,\n\n\n",
        "user_id,k,note\na,2,x\nb,,y\n",
    ],
)
def test_csv_as_spreadsheets_and_pandas_write_it(text: str) -> None:
    assert csv(text) == [Query("a", 2), Query("b")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "needs a header"),
        ("user_id;k\na;2\n", "needs a header.*separated by commas"),
        ("a\nb\n", "needs a header"),
        ("user_id\n", "1 to 10000 users"),
        ("user_id,k\n,2\n", "Row 0: user_id"),
        ("user_id\na\n\nb\n", "Row 1: user_id"),
        ("user_id\na,2\n", "Row 0: there are 2 cells, and 1 in the header"),
        ("user_id,user_id\na,b\n", "two columns user_id"),
        ("user_id,k\na,2.5\n", "Row 0: k must be"),
        ("user_id,k\na,1e2\n", "Row 0: k must be"),
        ("user_id,k\na,True\n", "Row 0: k must be"),
        ("user_id,k\na,99999999999999999999\n", "Row 0: k must be"),
        ('user_id\n"a\n', "cannot be read"),
        ("user_id\n" + "x" * 200_000, "cannot be read"),
    ],
)
def test_csv_that_says_no_users_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        csv(text)


@pytest.mark.parametrize("user", ["a\ud800", "\udfff"])
def test_broken_text_is_no_user(user: str) -> None:
    with pytest.raises(ModelError, match="broken text"):
        checked_query(user)
    assert checked_query("😀").user == "😀"


def test_the_server_reads_as_before_what_is_not_asked_of_our_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("parse_csv_input", "infer_and_parse_data"):
        monkeypatch.setattr(server, name, getattr(server, name))  # put back in the end
    monkeypatch.setattr(server, "tru_reads", False, raising=False)
    install()
    install()
    ours = packing._SIGNATURE.inputs
    assert server.parse_csv_input(csv_input=io.StringIO("user_id\n007\n"), schema=ours)["user_id"].tolist() == ["007"]
    assert server.parse_csv_input(csv_input=io.StringIO("user_id\n007\n"), schema=None)["user_id"].tolist() == [7]
    body = json.loads('{"inputs": {"user_id": [null]}}')
    assert server.infer_and_parse_data(body, ours)["user_id"].tolist() == [None]
    assert server.infer_and_parse_data({"inputs": [1, 2]}, None).tolist() == [1, 2]
    with pytest.raises(server.MlflowException, match="exactly one of the input fields"):
        server.infer_and_parse_data({"inputs": [], "instances": []}, ours)


def test_a_process_that_serves_nothing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mlflow.pyfunc.scoring_server")
    install()
    assert "mlflow.pyfunc.scoring_server" not in sys.modules
