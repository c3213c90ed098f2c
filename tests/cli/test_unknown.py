"""What is said when a request names nobody in the data: enough to mend it, and nothing of who is suppressed."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tru.cli.requests import app
from tru.cli.unknown import listed
from tru.data.interactions import load_dataset, save_dataset
from tru.ops.requests.store import open_inbox
from tru.ops.requests.suppression import KEY_VARIABLE
from tru.ops.workspace import Workspace

USERS = ["3", "4", "1234567890123", "00017", "jose\u0301-1", "jos\u00e9-0", "alice"]
LIKELY = "unless the champion still knows it, a night closes such a request as “not found”."


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Each user has the item "lamp", which has a picture; the item "mug" has none."""
    for variable in (KEY_VARIABLE, "TRU_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    root = tmp_path / "workspace"
    (root / "data").mkdir(parents=True)
    (root / "params.yaml").touch()
    rows = pa.table({"user_id": USERS, "item_id": ["lamp"] * len(USERS), "split": [0] * len(USERS)})
    pq.write_table(rows, root / "data" / "interactions.parquet")
    pq.write_table(pa.table({"item_id": ["lamp", "mug"], "has_image": [True, False]}), root / "data" / "items.parquet")
    monkeypatch.setenv("TRU_WORKSPACE", str(root))
    return Workspace(root)


def tru(*words):
    """What ``tru requests …`` prints to standard output and to standard error; it has to work."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


def imported(tmp_path, text, *words):
    file = tmp_path / "list.csv"
    file.write_text(text, encoding="utf-8")
    return tru("import", str(file), *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--user", "stranger"], "there is no such user in the data set;"),
        (["--item", "sofa"], "there is no such item in the data set;"),
        (["--user", "3", "--item", "mug"], "there is no interaction of such a user with such an item in the data set;"),
        (["--user", "stranger", "--item", "lamp"], "there is no interaction of such a user"),
        (["--item", "mug", "--modality", "image"], "there is no such modality of such an item in"),
        (["--item", "lamp", "--modality", "video"], "there is no such modality of such an item in"),
    ],
)
def test_what_names_nobody_is_filed_and_said_in_one_line(workspace, words, says):
    out, err = tru("add", *words)
    assert "filed; due" in out
    assert err == f"Warning: {err[9:]}" and says in err and err.endswith(LIKELY + "\n") and err.count("\n") == 1
    assert len(open_inbox(workspace).list()) == 1


@pytest.mark.parametrize(
    "words",
    [["--user", "3"], ["--item", "mug"], ["--user", "4", "--item", "lamp"], ["--item", "lamp", "--modality", "image"]],
)
def test_what_the_data_knows_is_filed_without_a_word(workspace, words):
    assert tru("add", *words)[1] == ""
    assert tru("add", *words)[1] == ""


def test_a_list_says_how_many_and_in_which_rows(workspace, tmp_path):
    out, err = imported(tmp_path, "user,item\n3,\nx,\n4,\ny,\n\nz,\n3,sofa\n,sofa\n,lamp\n")
    assert out.startswith("8 requests filed")
    assert err == f"Warning: 5 of 8 name nobody and nothing in the data set (rows 3, 5, 7-9); {LIKELY}\n"
    assert imported(tmp_path, "user\n3\n4\n")[1] == ""


def test_several_at_once_are_named_by_their_requests(workspace):
    _, err = tru("add", "--user", "x", "--user", "3", "--user", "y")
    x, _, y = (request.id for request in open_inbox(workspace).list())
    assert f"Warning: 2 of 3 name nobody and nothing in the data set ({x}, {y}); " in err


def test_programs_are_told_of_each_request(workspace, tmp_path):
    out, err = imported(tmp_path, "user\n3\nx\n3\n", "--json")
    assert [(row["added"], row["known"]) for row in json.loads(out)] == [(True, True), (True, False), (False, True)]
    assert "1 of 3" in err
    (workspace.data / "items.parquet").unlink()
    out, err = imported(tmp_path, "user\n3\nx\n", "--json")
    assert [row["known"] for row in json.loads(out)] == [None, None]
    assert err.startswith("Note: there is no data set here") and err.count("\n") == 1


def test_whoever_was_forgotten_is_answered_as_a_stranger(workspace):
    """Nothing but the data decides, so the words give away nobody who asked before."""
    inbox = open_inbox(workspace)
    inbox.add("user", user="gone")
    batch = inbox.claim("me").id
    inbox.close(batch, "me", "unlearned", "pass", {})
    assert inbox.suppression().is_user("gone") and not inbox.suppression().is_user("never here")
    assert tru("add", "--user", "gone")[1] == tru("add", "--user", "never here")[1] != ""
    gone, never = (json.loads(tru("add", "--user", name, "--json")[0])[0] for name in ("gone", "never here"))
    assert {k for k in gone if gone[k] != never[k]} <= {"id", "received", "due"}
    # Somebody who is suppressed and still in the data is answered as anybody else in the data.
    inbox.add("user", user="3")
    assert tru("add", "--user", "3", "--item", "lamp")[1] == tru("add", "--user", "4", "--item", "lamp")[1] == ""


@pytest.mark.parametrize(
    ("text", "rows", "cause"),
    [
        (
            "user\njose\u0301-0\njos\u00e9-0\njose\u0301-1\njos\u00e9-1\n",
            "rows 2, 5",
            "accents composed in another way",
        ),
        ("USER_ID\n3.0\n4.0\n", "rows 2-3", "a spreadsheet's number"),
        ("USER_ID\n1.23457E+12\n3\n", "row 2", "a spreadsheet's number"),
        ("USER_ID;\n'3;\n3;\n", "row 2", "a spreadsheet's number"),
        ('USER_ID\n"1,234"\n3\n', "row 2", "a spreadsheet's number"),
        ("USER_ID;item\n3,0;lamp\n3;lamp\n", "row 2", "a spreadsheet's number"),
        ("USER_ID\n17\n3\n", "row 2", "a spreadsheet's number"),
        ("USER_ID,item\nALICE,lamp\nalice,Lamp\nalice,lamp\n", "rows 2-3", "upper and lower case"),
    ],
)
def test_ids_that_were_changed_on_their_way_are_said_to_be_so(workspace, tmp_path, text, rows, cause):
    _, err = imported(tmp_path, text)
    first, second = err.splitlines()
    assert f"name nobody and nothing in the data set ({rows}); " in first
    assert second.startswith("  Perhaps the data spells some of them otherwise: ") and cause in second
    assert f"({rows}). Then `tru requests withdraw`, and file it as the data spells it." in second


def test_the_ids_that_are_filed_are_those_that_were_given(workspace, tmp_path):
    imported(tmp_path, "user\njose\u0301-0\nALICE\n3.0\n")
    assert [request.user for request in open_inbox(workspace).list()] == ["jose\u0301-0", "ALICE", "3.0"]


def test_a_single_id_that_was_changed_is_still_one_line(workspace):
    _, err = tru("add", "--user", "3.0", "--item", "lamp")
    assert err.count("\n") == 1 and "a spreadsheet's number" in err


def test_no_id_is_ever_repeated(workspace, tmp_path):
    text = "user,item\nzoe-the-first,\nzoe-the-second,lamp\n3.0,lamp\n,armchair\n"
    for said in (imported(tmp_path, text), imported(tmp_path, text, "--json"), tru("add", "--user", "zoe-the-first")):
        assert not {"zoe", "armchair"} & set("".join(said).replace("-", " ").split())


def test_a_very_long_list_is_answered_in_few_words(workspace, tmp_path):
    _, err = imported(tmp_path, "user\n" + "".join(f"{n}.0\n3\n" for n in range(5, 12_000)))
    assert len(err) < 800 and "11995 of 23990 name" in err
    assert "and 11985 more" in err


def test_rows_are_listed_in_ranges():
    assert listed([4]) == "row 4"
    assert listed([2, 3, 4, 7, 9, 10]) == "rows 2-4, 7, 9-10"
    assert listed(list(range(2, 40, 2))) == "rows 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 and 9 more"
    assert listed(["req-1", "req-2"]) == "req-1, req-2"


def test_somebody_whom_only_the_champion_knows_is_no_stranger(trained, monkeypatch):
    """An import has left them out; the night still finds and forgets them."""
    ds = load_dataset(trained.data)
    user, item = str(ds.users[3]), str(ds.items[0])
    rows = ds.interactions[ds.interactions["user_id"] != user].reset_index(drop=True)
    save_dataset(replace(ds, interactions=rows), trained.data)
    monkeypatch.setenv("TRU_WORKSPACE", str(trained.root))
    assert tru("add", "--user", user)[1] == ""
    assert json.loads(tru("add", "--user", user, "--json")[0])[0]["known"] is True
    out, err = tru("add", "--user", "a stranger", "--json")
    assert json.loads(out)[0]["known"] is False
    assert err == (
        "Warning: there is no such user in the data set or the champion; as things stand, a night closes such a "
        "request as “not found”.\n"
    )
    _, err = tru("add", "--item", item, "--item", "armchair")
    assert err.startswith("Warning: 1 of 2 name nobody and nothing in the data set or the champion (req-")


def test_a_champion_that_is_not_at_hand_is_not_asked(trained, monkeypatch):
    monkeypatch.setenv("TRU_WORKSPACE", str(trained.root))
    for file in trained.root.glob("mlartifacts/**/prepared.npz"):
        file.write_bytes(b"damaged")
    assert LIKELY in tru("add", "--user", "a stranger")[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert LIKELY in tru("add", "--user", "a stranger")[1]
    (trained.root / "mlflow.db").write_bytes(b"damaged")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert LIKELY in tru("add", "--user", "a stranger")[1]
