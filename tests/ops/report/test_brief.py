import pytest

from tests import nights
from tru.ops.report.brief import gate_line, outline
from tru.ops.report.sequel import Link, Sequel


def test_a_yes_says_how_many_checks_and_how_good():
    assert gate_line(nights.facts()["gate"]) == (
        "pass, 10 of 10 checks, 1 not judged, test NDCG@20 0.3571 against 0.3587 retrained"
    )
    assert gate_line(nights.licensed().facts["gate"]).endswith("test NDCG@20 0.0901 against 0.0911 of the champion")


def test_a_no_says_what_was_refused():
    assert gate_line(nights.verdict(nights.refused())) == (
        "fail, 7 of 9 checks; refused: forget/recall@20 of forgotten users (still remembered); membership_auc of "
        "forgotten users (still remembered)"
    )
    broken = nights.verdict(nights.exact("deleted users in the model", 3))
    assert gate_line(broken).endswith("refused: deleted users in the model (something was left in)")


def test_where_nothing_was_measured_the_reasons_stand():
    assert gate_line(nights.not_found().facts["gate"]) == "pass; nothing to forget"
    assert gate_line(nights.unlicensed().facts["gate"]) == (
        "fail; it cannot be judged without a retrain: no rehearsal has passed for items"
    )


def test_a_retraining_that_is_due_is_said_beside_what_was_measured():
    rows = [*nights.facts()["gate"]["table"], {"name": "a retraining is due", "words": "a retraining is due"}]
    said = gate_line(nights.verdict([*rows[:-1], {**rows[-1], "passed": False}]))
    assert said == "fail, 10 of 10 checks, 1 not judged; refused: a retraining is due"


@pytest.mark.parametrize("name", nights.ALL)
def test_it_is_one_line_and_no_page(name):
    for key in ("gate", "retrain"):
        if verdict := nights.ALL[name]().facts.get(key):
            said = gate_line(verdict)
            assert "\n" not in said and len(said) < 300 and "nan" not in said


def test_a_batch_in_a_few_lines():
    said = outline(nights.fresh(), nights.sequel(links=[Link("MLflow run", "4f2a", "http://127.0.0.1:1/x")]), "/r.html")
    assert said.startswith("# batch-20261123-01: Passed\n") and "Version 9 serves now." in said
    assert "- Gate: pass, 10 of 10 checks" in said and "- Report: `/r.html`" in said
    assert "62 requests were certified" in said and "- MLflow run: [4f2a](http://127.0.0.1:1/x)" in said


@pytest.mark.parametrize("name", nights.ALL)
def test_every_batch_can_be_told_in_a_few_lines(name):
    said = outline(nights.ALL[name](), Sequel(), "/r.html")
    assert len(said.splitlines()) < 25 and "None" not in said.replace("None of", "") and "nan" not in said
