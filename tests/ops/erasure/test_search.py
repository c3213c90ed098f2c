import numpy as np
import pytest

from tru.data.forget import ForgetSet
from tru.ops.erasure.search.kinds import kind_of, kind_of_numbers
from tru.ops.erasure.search.patterns import ByteSearch, Needle, Needles, is_distinctive
from tru.ops.erasure.search.text import hidden, in_text
from tru.ops.erasure.search.traces import Traces

STRONG = "u-3fa9c1d2e4b7"


def needles(**subjects):
    return Needles(Traces(ForgetSet(**{name: frozenset(some) for name, some in subjects.items()})))


def places(data, *names, **how):
    search = ByteSearch([Needle(name.encode(), (("user", name),), name, 1) for name in names])
    return sorted(at for at, _ in search.find(data, **how))


@pytest.mark.parametrize("name", [STRONG, "B07XJ8C8F5", "john.smith", "a@b.co", "123456789", "user_000123", "größe-1"])
def test_distinctive_ids(name):
    assert is_distinctive(name)


@pytest.mark.parametrize("name", ["885", "u-1", "martin", "Network", "ASDFGH", "12345678", "bob"])
def test_ids_that_could_be_met_by_chance(name):
    assert not is_distinctive(name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"user user_1000 left", True),
        (b'"user_1000"', True),
        (b"user_1000", True),
        (b"exports/user_1000.json", True),
        (b"export_user_1000_old", True),
        (b"user_10001", False),
        (b"superuser_1000", False),
        (b"user_1000user_1001", True),  # end to end, as in Arrow's buffers
        (b"user_100user_10001", False),
    ],
)
def test_an_id_counts_where_it_stands_alone(text, found):
    assert bool(places(text, "user_1000")) is found


def test_fields_of_a_database_have_nothing_in_between():
    page = b"req-12abuser-1234567queued2026"
    assert places(page, "user-1234567") == []
    assert places(page, "user-1234567", loose=True) == [8]
    assert places(b"abuser-12queued", "user-12", loose=True) == [2]
    assert places(b"abuser-123", "user-12", loose=True) == []


def test_all_of_many_are_found_wherever_they_lie():
    rng = np.random.default_rng(1)
    data = bytearray(rng.integers(0, 256, 200_000, dtype=np.uint8).tobytes())
    wanted = {}
    for k in range(300):
        content = rng.integers(0, 256, int(rng.integers(16, 600)), dtype=np.uint8).tobytes()
        at = 650 * k + int(rng.integers(0, 40))
        data[at : at + len(content)] = content
        wanted[at] = content
    search = ByteSearch(Needle(content, (("vector", str(at)),)) for at, content in wanted.items())
    assert {(at, needle.content) for at, needle in search.find(bytes(data))} == set(wanted.items())


def test_a_vector_full_of_zeros_does_not_match_zeros():
    vector = np.zeros(64, "<f4")
    vector[3:8] = [1.5, 2.5, 3.25, 4.125, 5.0625]
    search = ByteSearch([Needle(vector.tobytes(), (("vector", "0"),))])
    assert [at for at, _ in search.find(bytes(1000) + vector.tobytes() + bytes(1000))] == [1000]


def test_nothing_is_found_in_nothing():
    assert list(ByteSearch([]).find(b"anything at all")) == []
    assert places(b"", STRONG) == [] and places(b"u", STRONG) == []


@pytest.mark.parametrize(
    ("name", "kind", "numbers"),
    [
        ("user_id", "user", "user"),
        ("userId", "user", "user"),
        ("users", "user", "none"),
        ("n_users", "user", "none"),
        ("user", "user", "user"),
        ("itemID", "item", "item"),
        ("neighbour_id", "item", "item"),
        ("items", "item", "none"),
        ("id", "any", "none"),
        ("subjects", "any", "none"),
        ("experiment_id", "none", "none"),
        ("name", "none", "none"),
        ("epoch", "none", "none"),
    ],
)
def test_names_say_what_stands_under_them(name, kind, numbers):
    assert (kind_of(name), kind_of_numbers(name)) == (kind, numbers)


@pytest.mark.parametrize(
    "line",
    [
        b"user=885",
        b"user 885 got a list",
        b'user "885"',
        b"user_id: 885",
        b"--user 885",
        b'{"user": "885"}',
        b"{'user_id': '885', 'k': 20}",
        b'{\\"user\\": \\"885\\"}',
        b"&quot;user&quot;: &quot;885&quot;",
        b"served user 885.",
        b"users=['1', '885']",
        b"customer=885",
    ],
)
def test_a_short_id_counts_where_text_says_whose_it_is(line):
    assert in_text(b"2026-11-24 INFO " + line + b"\n", needles(users=["885"])) == {("user", "885")}


@pytest.mark.parametrize(
    "line",
    [
        b"885 users",
        b"users: 885",
        b"885",
        b"user 8851",
        b"item=885",
        b"port=885",
        b"885 ms, 1 user",
        b"n_users=885",
        b"superuser 885x",
    ],
)
def test_a_number_that_is_nobody_does_not_count(line):
    assert in_text(line, needles(users=["885"])) == set()


def test_an_item_in_prose_is_no_item():
    assert in_text(b"see item 3 of the list", needles(items=["3"])) == set()
    assert in_text(b"--item 3", needles(items=["3"])) == {("item", "3")}


@pytest.mark.parametrize(
    ("pair", "line", "found"),
    [
        ((STRONG, "B07XJ8C8F5"), f"{STRONG} took B07XJ8C8F5", True),
        ((STRONG, "B07XJ8C8F5"), f"{STRONG}\nB07XJ8C8F5", False),
        ((STRONG, "B07XJ8C8F5"), f"{STRONG} {'x ' * 60} B07XJ8C8F5", False),
        (("885", "12"), "user=885 item=12", True),
        (("885", "12"), "user=885 item=13", False),
        ((STRONG, "12"), f"user {STRONG}, item=12", True),
    ],
)
def test_a_pair_counts_where_both_are_named_together(pair, line, found):
    assert bool(in_text(line.encode(), needles(pairs=[pair]))) is found


def test_one_id_of_a_pair_is_no_trace():
    some = needles(pairs=[(STRONG, "B07XJ8C8F5")], modalities=[("B07XJ8C8F5", "image")])
    assert some.exact([STRONG, "B07XJ8C8F5"], "any") == set()
    assert list(some.bytes.find(STRONG.encode())) == []


def test_base64_is_read_in_one_line_and_in_many():
    import base64

    content = bytes(range(256))
    assert content in list(hidden(b'src="data:;base64,' + base64.b64encode(content) + b'"'))
    assert content in list(hidden(base64.encodebytes(content)))
    assert content in list(hidden(b'{"result": "' + base64.encodebytes(content).replace(b"\n", b"\\n") + b'"}'))
