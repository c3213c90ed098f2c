"""Model cards and notes: what they say of each kind of verdict, and that MLflow takes them."""

import re
from dataclasses import replace

import pytest

from tests import nights
from tru.ops.tracking.card import LONGEST, Card, in_markdown, verdict_note

SUMMARY = {"users": 146, "items": 80, "interactions": 2101, "train": 1669, "val": 217, "test": 215}
CARD = Card(
    made="Unlearned by `tru` from version 1 in batch-20261123-01, which forgot 4 people.",
    data_md5="9400820d0e6e820a4aad30c2bf1817ef.dir",
    summary={**SUMMARY, "modalities": {"image": [80, 64]}},
    requests=62,
    batches=3,
    metrics={"this version": {"test/recall@20": 0.578, "seconds": 0.45}, "retrained": {"test/recall@20": 0.5804}},
    verdict=nights.fresh().facts["gate"],
    limits=["That nothing is left."],
    links=["certificates: `tru certificate list`"],
)


def cells(text):
    """The rows of all tables."""
    tables = re.findall(r"```text\n(.*?)\n```", text, re.DOTALL)
    return [tuple(re.split(" {2,}", line)) for table in tables for line in table.splitlines()]


def test_a_card_has_data_verdict_numbers_limits_and_links():
    text = in_markdown(CARD)
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### Data",
        "### Verdict",
        "### Numbers",
        "### What it does not say",
        "### Where to read on",
    ]
    rows = cells(text)
    assert ("users, items", "146, 80") in rows and ("modalities", "image (64 numbers each)") in rows
    assert "62 completed deletion requests in 3 batches" in text
    assert ("test/recall_at_20", "0.5780", "0.5804") in rows and ("seconds", "0.4500", "—") in rows
    assert "is what the report, the docs and the Prefect page call `test/recall@20`" in text
    assert "- That nothing is left." in text


def test_a_model_that_no_gate_judged_has_no_verdict():
    text = in_markdown(replace(CARD, verdict=None, requests=0, batches=0))
    assert "### Verdict" not in text and "No deletion was completed before it." in text


@pytest.mark.parametrize("name", nights.ALL)
def test_every_verdict_can_be_said(name):
    facts = nights.ALL[name]().facts
    for verdict in (facts.get("gate"), facts.get("retrain")):
        if verdict:
            text = verdict_note(verdict)
            assert text.startswith(f"**{verdict['verdict']}**")
            assert {len(row) for row in cells(text)} <= {6, 7}  # the head has none for what came out


def test_a_verdict_says_what_was_found_and_what_was_not_judged():
    text = verdict_note(nights.fresh().facts["gate"])
    assert "must be zero are zero" in text and "retrained without them the same night" in text
    assert any(row[0] == "test/ndcg_at_20" and row[-1] == "passed" for row in cells(text))
    assert any(row[0] == "membership_auc" and row[-1] == "not judged" for row in cells(text))
    refused = verdict_note(nights.held().facts["gate"])
    assert refused.startswith("**fail**") and any(row[-1] == "refused" for row in cells(refused))


def test_a_failed_exact_check_is_named():
    gate = nights.fresh().facts["gate"]
    table = [{**row, "value": 2.0, "passed": False} if row["name"] == nights.EXACT[0] else row for row in gate["table"]]
    assert f"Must be zero and is not: {nights.EXACT[0]}: 2." in verdict_note({**gate, "table": table})


def test_a_card_fits_into_the_databases_of_mlflow():
    text = in_markdown(replace(CARD, limits=["A sentence of some length."] * 300))
    assert len(text) <= LONGEST and text.endswith("\n…")


def test_a_table_that_is_cut_short_ends_as_one():
    many = {f"model {n}": {"test/recall@20": 0.578} for n in range(900)}
    text = in_markdown(replace(CARD, metrics=many))
    assert len(text) <= LONGEST and text.count("```") % 2 == 0
