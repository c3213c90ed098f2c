import json

import pytest

from tru.errors import RequestError
from tru.requests import MemoryInbox, Subject
from tru.requests.intake import import_requests, read_requests


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ALL = [
    Subject.of("user", user="u1"),
    Subject.of("item", item="i1"),
    Subject.of("interaction", user="u1", item="i1"),
    Subject.of("modality", item="i1", modality="image"),
]


@pytest.mark.parametrize(
    "text",
    [
        "regime,user,item,modality\nuser,u1,,\nitem,,i1,\ninteraction,u1,i1,\nmodality,,i1,image\n",
        "Modality, ITEM ,regime,User_ID\r\n,,USER,u1\r\n,i1, item ,\r\n\n,i1,interaction,u1\nimage,i1,modality,\n",
        "\ufeffuser,item,modality\nu1,,\n,i1,\nu1,i1,\n,i1,image",
    ],
)
def test_csv_in_any_order_case_and_width(tmp_path, text):
    assert read_requests(write(tmp_path, "r.csv", text)) == ALL


def test_one_column_of_users(tmp_path):
    found = read_requests(write(tmp_path, "r.txt", 'USER_ID\nu1\n"u,2"\n\n0003\n'))
    assert found == [Subject.of("user", user=name) for name in ("u1", "u,2", "0003")]


def test_json_is_a_list_of_objects(tmp_path):
    rows = [
        {"regime": "user", "user": "u1", "item": None},
        {"ITEM_ID": "i1"},
        {"user_id": "u1", "item": "i1", "regime": "Interaction"},
        {"item": "i1", "modality": "image"},
    ]
    assert read_requests(write(tmp_path, "r.JSON", json.dumps(rows))) == ALL
    assert read_requests(write(tmp_path, "n.json", '[{"user": 17}]')) == [Subject.of("user", user="17")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("r.csv", "", "no request"),
        ("r.csv", "USER_ID\n", "no request"),
        ("r.csv", "alice\nbob\n", "row 1: column 1 is unknown"),
        ("r.csv", "user,alice\n", "row 1: column 2 is unknown"),
        ("r.csv", "user,USER_ID\nalice,alice\n", "row 1: column 2 is named twice"),
        ("r.csv", "user,item\nu1,i1\nalice\n", "row 3: 1 cells where the header has 2"),
        ("r.csv", "user\nu1\nalice,bob\n", "row 3: 2 cells where the header has 1"),
        ("r.csv", "user,item\nu1,i1\n\nalice,\x00\n", "row 4: The item holds a control"),
        ("r.csv", "regime,user\nuser,u1\nalice,bob\n", "row 3: Unknown regime"),
        ("r.csv", "regime,user,item\nuser,alice,i1\n", "row 2: A request of regime 'user' names user and nothing else"),
        ("r.csv", 'user\n"alice\n', "not CSV"),
        ("r.csv", b"user\n\xff\xfealice\n", "not UTF-8"),
        ("r.json", "", "row 1: this is not JSON"),
        ("r.json", '[\n{"user": alice}]', "row 2: this is not JSON"),
        ("r.json", "[" * 100_000, "not JSON"),
        ("r.json", '{"user": "alice"}', "not a list"),
        ("r.json", "[]", "no request"),
        ("r.json", '["alice"]', "row 1: this is not an object"),
        ("r.json", '[{"user": "u1"}, {"alice": "x"}]', "row 2: a key is unknown"),
        ("r.json", '[{"user": "alice", "USER_ID": "bob"}]', "row 1: a key is unknown or given twice"),
        ("r.json", '[{"user": ["alice"]}]', "row 1: The user must be text"),
        ("r.json", '[{"user": true}]', "row 1: The user must be text"),
        ("r.json", '[{"user": "alice", "regime": ["alice"]}]', "row 1: Unknown regime"),
    ],
)
def test_a_bad_file_is_refused_as_a_whole_and_nobody_is_named(tmp_path, name, content, says):
    inbox = MemoryInbox()
    path = write(tmp_path, name, content)
    with pytest.raises(RequestError, match=says) as caught:
        import_requests(inbox, path)
    assert str(path) in str(caught.value)
    assert "alice" not in str(caught.value)
    assert list(inbox.list()) == []


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        read_requests(tmp_path / "r.csv")
    with pytest.raises(RequestError, match="cannot be read"):
        read_requests(tmp_path)


def test_a_file_taken_twice_adds_once(tmp_path):
    inbox = MemoryInbox()
    path = write(tmp_path, "r.csv", "USER_ID\nu1\nu2\n")
    assert [receipt.added for receipt in import_requests(inbox, path)] == [True, True]
    assert [receipt.added for receipt in import_requests(inbox, path)] == [False, False]
