from dataclasses import replace
from datetime import timedelta

from tests import nights
from tru.ops.report.record import aftermath, origin
from tru.ops.report.sequel import Link, Sequel


def test_the_erasure_is_told_with_what_it_did_not_reach():
    found = aftermath(nights.fresh(), nights.sequel())
    assert found.sentence == (
        "On 23 November 2026, 02:30 UTC, 14 objects of older data and models were destroyed, 1 store was searched "
        "afterwards and nothing of the forgotten was found; 62 requests were certified."
    )
    assert found.destroyed == [("dvc cache", "13, 2.17 MB"), ("mlflow runs", "1")]
    assert found.searched == [("data", True, ""), ("dvc remote", False, "no credentials")]
    assert found.unreachable == ["what others computed from earlier models or lists"]
    assert found.certificates[0] == "../certificates/req-0000000000000000.json" and len(found.certificates) == 62


def test_certificates_beyond_number_are_counted_not_named():
    found = aftermath(nights.fresh(), nights.sequel(certificates=[f"req-{n:016x}.json" for n in range(700)]))
    assert len(found.certificates) == 500 and found.more == 200 and "700 requests" in found.sentence


def test_an_erasure_that_is_to_come_is_said_where_one_is():
    assert "`tru erase`" in aftermath(nights.fresh(), Sequel()).sentence
    assert "no certificate yet" in aftermath(nights.fresh(), nights.sequel(certificates=())).sentence
    for batch in (nights.held(), nights.half_way(), nights.not_found()):
        assert aftermath(batch, Sequel()) is None


def test_the_origin_says_from_when_to_when_its_version_served():
    found = {link.name: link.text for link in origin(nights.fresh(), nights.sequel())}
    assert found["Served"] == ("version 2, from 23 November 2026, 02:30 UTC until 24 November 2026, 02:30 UTC")
    assert found["Written"] == "23 December 2026, 02:30 UTC"
    assert found["Prefect run"] == "0a1b2c3d-0000-4000-8000-000000000000"
    serving = {link.name: link.text for link in origin(nights.fresh(), nights.sequel(until=None))}
    assert serving["Served"] == "version 2, from 23 November 2026, 02:30 UTC"


def test_what_is_not_known_has_no_line():
    plain = origin(replace(nights.half_way("claim"), closed=None), Sequel())
    assert [link.name for link in plain] == ["Batch", "Taken up"] and all(isinstance(link, Link) for link in plain)
    assert nights.sequel().written - nights.NIGHT == timedelta(days=30)
