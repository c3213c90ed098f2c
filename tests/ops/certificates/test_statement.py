import json

import pytest

from tests import certified
from tests.certified import fields
from tru.errors import CertificateError
from tru.ops.certificates.statement import Facts, canonical, read_statement, refuse_identifiers, statement

SECRET = "u-anna-karenina"


@pytest.mark.parametrize("name", certified.ALL)
def test_a_statement_reads_back_as_it_was(name):
    facts = certified.ALL[name]()
    assert read_statement(statement(facts)) == facts
    assert statement(Facts(**facts.to_dict())) == statement(facts)


def test_it_is_an_in_toto_statement_about_model_and_data():
    found = json.loads(statement(certified.facts()))
    assert set(found) == {"_type", "subject", "predicateType", "predicate"}
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "urn:tru:erasure-certificate:v1"
    assert found["subject"] == [
        {"name": "model version 2", "digest": {"sha256": certified.digest("new")}},
        {"name": "data.dvc", "digest": {"md5": "9400820d0e6e820a4aad30c2bf1817ef"}},
    ]


def test_of_rows_and_verdicts_only_the_known_fields_are_taken():
    given = fields()
    assert "drift" in given["verdict"]
    given["verdict"] |= {"night": {SECRET: 1}}
    given["table"] = [{**row, "who": SECRET} for row in given["table"]]
    given["scan"] = [{**row, "example": SECRET} for row in given["scan"]]
    given["erasure"] = [{**row, "paths": [SECRET]} for row in given["erasure"]]
    facts = Facts(**given)
    assert facts == certified.facts() and SECRET not in json.dumps(facts.to_dict())


def test_texts_are_put_on_one_line_of_visible_characters():
    found = certified.facts(unreachable=["turned \u202e round", "\x9b31mred", "two\nlines", "x" * 5000]).unreachable
    assert found == ["turned round", "31mred", "two lines", "x" * 4000]
    assert certified.released().verdict["released"] == "The loss is small; the month is over."


FORMS = {
    "request": [SECRET, "req-123", "req-270a22c2f652fb5a\n", "../req-270a22c2f652fb5a", 7, None],
    "subject": [SECRET, "ab" * 31, "AB" * 32, ""],
    "regime": [SECRET, "users", ""],
    "batch": [SECRET, "batch-1"],
    "times": [
        {},
        {"received": "2026-11-01T09:15:02+00:00"},
        fields()["times"] | {SECRET: "2026-11-01T09:15:02+00:00"},
        fields()["times"] | {"erased": "yesterday"},
        fields()["times"] | {"erased": "2026-11-01T09:15:02+02:00"},
        fields()["times"] | {"erased": "2026-13-01T09:15:02+00:00"},
        fields()["times"] | {"erased": SECRET},
    ],
    "data": [{"before": SECRET, "after": "ab" * 16}, {"before": "ab" * 16}, [SECRET]],
    "models": [
        {"before": {"version": "1", "digest": "ab" * 32}},
        fields()["models"] | {"after": {"version": SECRET, "digest": "ab" * 32}},
        fields()["models"] | {SECRET: {"version": "1", "digest": "ab" * 32}},
    ],
    "code": [{"tru": SECRET}, {"tru": "0.1.0", "commit": SECRET}, {"tru": "0.1.0", "by": SECRET}],
    "params": [SECRET, "", {"a": 1}],
    "method": ["Anna Karenina", "", None, "Levin's", "a" * 201],
    "fallback": ["yes", 1, None],
    "verdict": [{}, "pass", {"verdict": "maybe", "mode": "fresh"}, {"verdict": "pass", "mode": "Anna K"}],
    "table": [[5], {}, [{"name": "auc", "passed": "yes", "words": "auc"}], [{"name": "auc"}], None],
    "erasure": [[{"store": "a\nb", "count": "many"}], [{"store": "dvc cache"}], [SECRET]],
    "scan": [
        [{"store": "dvc cache", "state": "found", "count": 2}],
        [{"store": "dvc cache", "state": "not found", "count": 1}],
        [{"store": "dvc cache", "state": "not found"}],
        [{"store": "a" * 200, "state": "not found", "count": 0}],
    ],
    "unreachable": ["backups", [5], [""], [{"a": 1}]],
    "key": [SECRET, "stolen"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FORMS.items() for value in values])
def test_what_does_not_fit_its_field_is_refused_and_not_repeated(name, value):
    with pytest.raises(CertificateError) as caught:
        certified.facts(**{name: value})
    assert SECRET not in str(caught.value) and "Anna" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(value):
    rows = fields()["table"]
    rows[-1] = rows[-1] | {"value": value}
    with pytest.raises(CertificateError, match="table"):
        certified.facts(table=rows)


def test_only_plain_json_is_taken():
    with pytest.raises(CertificateError, match="no object"):
        certified.facts(params=object())


def test_a_search_that_found_something_has_no_certificate():
    with pytest.raises(CertificateError, match="scan"):
        certified.facts(scan=[{"store": "logs", "state": "found", "count": 1, "why": "a.log"}])


# -- reading -----------------------------------------------------------------------------------------------------------


def altered(**more):
    found = json.loads(statement(certified.facts()))
    found.update(more)
    return canonical(found)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        altered(_type="https://in-toto.io/Statement/v2"),
        altered(predicateType="urn:tru:erasure-certificate:v2"),
        altered(subject=[]),
        altered(extra=1),
        altered(predicate=[]),
        altered(predicate={}),
        altered(predicate=certified.facts().to_dict() | {"name": SECRET}),
        altered(predicate={k: v for k, v in certified.facts().to_dict().items() if k != "unreachable"}),
        altered(predicate=certified.facts().to_dict() | {"table": 5}),
        altered(predicate=certified.facts().to_dict() | {"scan": {"a": 1}, "verdict": []}),
        json.dumps(json.loads(statement(certified.facts())), indent=1).encode(),
        statement(certified.facts()) + b"\n",
    ],
)
def test_what_is_no_statement_of_ours_is_refused(payload):
    with pytest.raises(CertificateError):
        read_statement(payload)


# -- identifiers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (SECRET, f"the file of {SECRET} is in use"),
        (SECRET, f"{SECRET}."),
        ("anna.k@example.org", "mail of anna.k@example.org"),
        ("Zoë Ångström", "a backup of Zoë Ångström"),
        ("885", 'user "885" is in the log'),
        ("885", "because of user 885, said the person"),
        ("885", "see item=885"),
        ("anna", "the pages of `anna`"),
        ("anna", "Git's colleagues' user 'anna' is there"),
    ],
)
@pytest.mark.parametrize("place", ["unreachable", "why", "released", "note", "words"])
def test_a_certificate_that_names_a_subject_is_refused(name, text, place):
    given = fields()
    if place == "unreachable":
        given["unreachable"] = [text]
    elif place == "why":
        given["scan"][-1] = given["scan"][-1] | {"why": text}
    elif place == "released":
        given["verdict"] = given["verdict"] | {"released": text}
    elif place == "note":
        given["verdict"] = given["verdict"] | {"notes": [text]}
    else:
        given["table"][-1] = given["table"][-1] | {"words": text}
    with pytest.raises(CertificateError) as caught:
        refuse_identifiers(Facts(**given), {"u-other-1", name})
    assert name not in str(caught.value)


@pytest.mark.parametrize("make", certified.ALL.values())
def test_numbers_and_everyday_words_are_no_identifiers(make):
    short = {str(n) for n in range(3000)} | {"a", "data", "user", "item", "tru", "forgotten", "objects"}
    refuse_identifiers(make(), short | {"u-1", "u-12345", "item-270a22", SECRET, "batch-2026"})


@pytest.mark.parametrize("method", ["tru", "shrink-2", "my_package.method:Shrink"])
def test_a_method_of_another_package_can_be_stated(method):
    assert certified.facts(method=method).method == method
