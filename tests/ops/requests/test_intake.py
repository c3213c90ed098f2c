import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.contracts import NIGHT
from tru.errors import RequestError
from tru.ops.requests import MemoryInbox, Subject
from tru.ops.requests.filing import Filing
from tru.ops.requests.intake import import_requests, read_requests


def subjects(path):
    return [filing.subject for filing in read_requests(path)]


def users(*names):
    return [Subject.of(user=name) for name in names]


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
    assert subjects(write(tmp_path, "r.csv", text)) == ALL


def test_one_column_of_users(tmp_path):
    path = write(tmp_path, "r.txt", 'USER_ID\nu1\n"u,2"\n\n0003\n')
    assert subjects(path) == users("u1", "u,2", "0003")
    assert [filing.row for filing in read_requests(path)] == [2, 3, 5]


def test_json_is_a_list_of_objects(tmp_path):
    rows = [
        {"regime": "user", "user": "u1", "item": None},
        {"ITEM_ID": "i1"},
        {"user_id": "u1", "item": "i1", "regime": "Interaction"},
        {"item": "i1", "modality": "image"},
    ]
    assert subjects(write(tmp_path, "r.JSON", json.dumps(rows))) == ALL
    assert subjects(write(tmp_path, "n.json", '[{"user": 17}, {"user": 9007199254740993}]')) == users(
        "17", "9007199254740993"
    )


@pytest.mark.parametrize(
    "text",
    [
        "user;item\r\n3;16\r\n4;17\r\n",
        "user\titem\n3\t16\n4\t17",
        "user|item\n3|16\n4|17\n",
        "sep=;\r\nuser;item\r\n3;16\r\n4;17\r\n",
        "SEP=,\r\nuser,item\r\n3,16\r\n4,17\r\n",
        '"sep=;"\n"user";"item"\n"3";"16"\n"4";"17"\n',
        "\ufeffsep=\t\r\nuser\titem\r\n3\t16\r\n4\t17\r\n",
        "user;item;\r\n3;16;\r\n4;17;\r\n",
        "user;item\n3;16;;\n4;17\n",
        ";;\nitem; USER ;\n16;3;\n17;4;\n",
        "user,item\n3,16\n4,17",
    ],
)
def test_a_spreadsheet_may_separate_its_cells_by_other_things_than_commas(tmp_path, text):
    wanted = [Subject.of(user="3", item="16"), Subject.of(user="4", item="17")]
    assert subjects(write(tmp_path, "r.csv", text)) == wanted


def test_a_list_of_users_from_a_spreadsheet(tmp_path):
    """Excel writes a separator after the only column, too; and an id may hold what separates elsewhere."""
    assert subjects(write(tmp_path, "r.csv", "USER_ID;\r\n3;\r\n4;\r\n")) == users("3", "4")
    assert subjects(write(tmp_path, "r.csv", 'sep=;\r\nUSER_ID\r\n"a;b"\r\nc,d\r\n')) == users("a;b", "c,d")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.jsonl", '{"user": "3"}\n{"user": "4"}\n'),
        ("r.ndjson", '\n{"user": "3"}\r\n\r\n{"USER_ID": 4}'),
        ("r.json", '{"user": "3"}\n{"user": "4"}\n'),
        ("r.txt", '{"user": "3"}\n{"user": "4"}\n'),
        ("r.jsonl", '[{"user": "3"},\n {"user": "4"}]'),
        ("r.json", '{"requests": [{"user": "3"}, {"user": "4"}]}'),
        ("r.jsonl", '{"requests": [{"user": "3"}, {"user": "4"}]}'),
    ],
)
def test_json_may_come_in_lines_or_in_an_object(tmp_path, name, text):
    assert subjects(write(tmp_path, name, text)) == users("3", "4")


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.csv"])
def test_a_single_object_is_a_single_request(tmp_path, name):
    assert subjects(write(tmp_path, name, '{"user": "3"}')) == users("3")


def test_rows_of_json_lines_are_lines(tmp_path):
    path = write(tmp_path, "r.jsonl", '\n{"user": "3"}\n\n{"user": "4"}\n')
    assert [filing.row for filing in read_requests(path)] == [2, 4]


# case numbers


@pytest.mark.parametrize("column", ["ref", "Reference", "case", "case_number"])
def test_a_row_has_the_case_number_of_whoever_sends_it(tmp_path, column):
    inbox = MemoryInbox()
    import_requests(inbox, write(tmp_path, "r.csv", f"user,{column}\nu1,C-1\nu2,\nu3,C-1\n"))
    assert [request.user for request in inbox.filed_under("C-1")] == ["u1", "u3"]
    import_requests(inbox, write(tmp_path, "r.json", json.dumps([{"item": "i1", column: 17}])))
    assert [request.item for request in inbox.filed_under("17")] == ["i1"]


def test_a_case_number_that_cannot_be_one_is_named_by_its_row_alone(tmp_path):
    path = write(tmp_path, "r.json", json.dumps([{"user": "u1"}, {"user": "u2", "ref": "secret\nsecond line"}]))
    with pytest.raises(RequestError, match="row 2: The case number") as caught:
        read_requests(path)
    assert "secret" not in str(caught.value)


# when it was received


ASKED = datetime.fromisoformat("2026-10-02T23:30:00-05:00")


@pytest.mark.parametrize("column", ["received", "Received_At", "submitted_time", "SUBMITTED_AT", "received_time"])
def test_a_row_says_when_it_was_received(tmp_path, column):
    wanted = [Filing(Subject.of(user="3"), ASKED, 2), Filing(Subject.of(user="4"), None, 3)]
    path = write(tmp_path, "r.csv", f"user,{column}\n3,2026-10-02T23:30:00-05:00\n4,\n")
    assert read_requests(path, now=NIGHT) == wanted
    rows = [{"user": "3", column: "2026-10-03T04:30:00Z"}, {"user": "4", column: None}]
    for name, text in (("r.json", json.dumps(rows)), ("r.jsonl", "\n" + "\n".join(map(json.dumps, rows)))):
        found = read_requests(write(tmp_path, name, text), now=NIGHT)
        assert [filing.received for filing in found] == [ASKED, None]


def test_each_row_has_a_month_of_its_own(tmp_path):
    inbox = MemoryInbox(lambda: NIGHT)
    days = [NIGHT - timedelta(days=n) for n in (40, 0, 3)]
    lines = [f"{name};{day.isoformat()}" for name, day in zip("abc", days, strict=True)]
    receipts = import_requests(inbox, write(tmp_path, "r.csv", "\n".join(["user;received", *lines])))
    assert [receipt.request.received for receipt in receipts] == days
    assert [receipt.request.due for receipt in receipts] == [day + timedelta(days=30) for day in days]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("2026-10-12", "a time of day and a time zone"),
        ("2026-10-12T15:00:00", "a time of day and a time zone"),
        ("2999-01-01T00:00:00Z", "in the future"),
        ("9999-12-31T23:59:59-14:00", "in the future"),
        ("1970-01-01T00:00:00Z", "more than ten years"),
        ("0001-01-01T00:00:00+14:00", "more than ten years"),
        ("02.10.2026 15:00", "not ISO 8601"),
        ("10/2/2026", "not ISO 8601"),
        ("1759400000", "not ISO 8601"),
        ("46297.625", "not ISO 8601"),
        ("2026-02-30T00:00:00Z", "not ISO 8601"),
        ("alice", "not ISO 8601"),
    ],
)
def test_a_day_that_cannot_be_is_refused_with_its_row(tmp_path, value, says):
    inbox = MemoryInbox()
    for name, text in (
        ("r.csv", f"user,received\nu1,\nu2,{value}\n"),
        ("r.jsonl", "\n" * 2 + json.dumps({"user": "u2", "received": value})),
    ):
        with pytest.raises(RequestError, match=says) as caught:
            import_requests(inbox, write(tmp_path, name, text))
        assert ", row 3:" in str(caught.value) and value not in str(caught.value)
    assert list(inbox.list()) == []


def test_a_time_of_receipt_is_text(tmp_path):
    for value in (1759400000, 1.5, ["2026-10-02T15:00:00Z"], True):
        with pytest.raises(RequestError, match="row 1: The time of receipt is not ISO 8601"):
            read_requests(write(tmp_path, "r.json", json.dumps([{"user": "u", "received": value}])))


def test_the_present_is_no_future(tmp_path):
    path = write(tmp_path, "r.csv", f"user,received\nu,{datetime.now(UTC).isoformat()}\n")
    assert len(import_requests(MemoryInbox(), path)) == 1


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
        ("r.json", '{"people": ["alice"]}', "not a list"),
        ("r.json", '{"alice": {"user": "bob"}}', "not a list"),
        ("r.json", '{"requests": {"user": "alice"}}', "not a list"),
        ("r.json", '{"requests": [{"user": "alice"}], "next": 2}', "not a list"),
        ("r.json", '{"requests": [], "requests": [{"user": "alice"}]}', "not a list"),
        ("r.json", '{"requests": ["alice"]}', "row 1: this is not an object; an id alone does not say whose"),
        ("r.json", '["alice", "bob"]', "row 1: this is not an object; an id alone does not say whose"),
        ("r.json", '"alice"', "not a list"),
        ("r.json", '[{"subject_request_id": "1", "subject_request_type": "access"}]', "row 1: .* OpenDSR"),
        ("r.json", '{"subject_identities": [{"identity_value": "alice"}]}', "row 1: .* OpenDSR"),
        ("r.json", '[{"user": "alice", "user": "bob"}]', "row 1: a key is unknown or given twice"),
        ("r.json", '{"user": "alice"} {"user": "bob"}', "row 1: this is not JSON; each line should be one object"),
        ("r.json", '[{"user": 3.0}]', "row 1: The user must be text"),
        ("r.json", '[{"user": 1.23457e12}]', "row 1: The user must be text"),
        ("r.json", '[{"user": NaN}]', "row 1: The user must be text"),
        ("r.jsonl", "", "no request"),
        ("r.jsonl", '{"user": "u1"}\n{"user": alice}\n', "row 2: this is not JSON"),
        ("r.jsonl", '{"user": "u1"}\n["alice"]\n', "row 2: this is not an object"),
        ("r.jsonl", "user\nalice\n", "row 1: this is not JSON"),
        ("r.csv", "user;alice\n", "row 1: column 2 is unknown"),
        ("r.csv", "user;item\nalice\n", "row 2: 1 cells where the header has 2 columns, read with the semicolon"),
        ("r.csv", "user;item\nalice,i1\n", "row 2: 1 cells where the header has 2 columns, read with the semicolon"),
        ("r.csv", "sep=;\nuser;item\nalice;i1;x\n", "row 3: 3 cells where the header has 2"),
        ("r.csv", "sep=;\nuser,item\nalice,i1\n", "row 2: column 1 is unknown"),
        ("r.csv", "sep=#\nuser#item\nalice#i1\n", "row 1: the separator that is stated here is none of"),
        ("r.csv", "sep=\nuser\nalice\n", "row 1: the separator that is stated here is none of"),
        ("r.csv", ",user\n0,alice\n", "row 2: column 1 has no name"),
        ("r.csv", "user;\nalice;\nbob;alice\n", "row 3: column 2 has no name"),
        ("r.csv", "user\nalice\n1,234\n", "row 3: 2 cells where the header has 1 columns, read with the comma"),
        ("r.csv", "user\nalice\n".encode("utf-16"), "UTF-16, which Excel calls"),
        ("r.csv", "user\nalice\n".encode("utf-16-le"), "UTF-16, which Excel calls"),
        ("r.csv", b"\xfe\xff" + "user\nalice\n".encode("utf-16-be"), "UTF-16"),
        ("r.json", '[{"user": "alice"}]'.encode("utf-16"), "UTF-16"),
        ("r.csv", b"PK\x03\x04alice", "a workbook or a zip archive"),
        ("r.csv", b"\xd0\xcf\x11\xe0alice", "an Excel workbook"),
        ("r.csv", b"\x1f\x8balice", "compressed"),
        ("r.csv", b"PAR1alice", "Parquet"),
        ("r.csv", "USER_ID\nDvo\u0159\u00e1k-alice\n".encode("cp1250"), "not UTF-8"),
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
