import pytest

from tests import nights
from tru.ops.report.table import STRIP, blocks, exact_rows, is_exact, reasons, side_by_side


def found(batch, key="gate"):
    facts = batch.facts
    return blocks(facts[key], facts["evaluate"]["models"])


def row_of(batch, name, part):
    rows = next(block.rows for block in found(batch) if block.name == name)
    return next(row for row in rows if row.part == part)


def test_numbers_allowed_range_and_interval():
    row = row_of(nights.fresh(), "test/ndcg@20", "all who stay")
    assert (row.original, row.value, row.reference) == ("0.3596", "0.3571", "0.3587")
    assert (row.difference, row.interval) == ("−0.0016", "−0.0047 to +0.0015")
    assert (row.allowed, row.n, row.result) == ("at least 0.3479", "1\u202f204", "passed")
    row = row_of(nights.fresh(), "membership_auc", "pairs of people who went")
    assert row.allowed == "0.5011 to 0.6431" and row.original == "—"


def test_where_the_verdict_has_parts_only_the_whole_is_reported_first():
    rows = {block.name: block.rows for block in found(nights.fresh())}
    first = rows["forget/recall@20"][0]
    assert (first.part, first.original, first.value, first.reference) == (
        *("all forgotten pairs", "0.6906", "0.0839", "0.0790"),
    )
    assert first.result == "reported" and first.allowed == "—" and first.strip is None
    assert [row.part for row in rows["test/ndcg@20"]] == ["all who stay"]
    assert [row.part for row in found(nights.licensed())[0].rows] == [
        "against the old champion",
        "against the baseline",
    ]


def test_what_was_not_judged_allows_nothing_and_shows_no_band():
    row = row_of(nights.fresh(), "membership_auc", "pairs of items that went")
    assert (row.result, row.sign, row.allowed, row.strip) == ("not judged", "–", "—", None)


def test_pooled_nights_have_a_difference_and_no_value():
    row = row_of(nights.licensed(), "membership_auc", "pairs of people who went, with the nights before")
    assert (row.value, row.reference, row.allowed) == ("—", "—", "±0.0480") and row.difference == "+0.0230"
    assert row.result == "passed" and row.strip is not None


def test_the_fault_is_named():
    row = row_of(nights.held(), "membership_auc", "pairs of people who went")
    assert (row.result, row.fault) == ("refused", "still remembered")
    over = nights.verdict([nights.row("membership_auc", 0.2, 0.57, fault="over-forgotten")])
    assert blocks(over, {})[0].rows[0].fault.startswith("pushed down too far")


def test_a_strip_shows_the_interval_against_the_band():
    inside = row_of(nights.fresh(), "forget/recall@20", "pairs of people who went").strip
    assert 0 < inside.band[0] < inside.interval[0] < inside.value < inside.interval[1] < inside.band[1] < STRIP[0]
    assert inside.zero == STRIP[0] / 2
    outside = row_of(nights.held(), "membership_auc", "pairs of people who went").strip
    assert outside.band[1] < outside.interval[0]
    open_ended = row_of(nights.fresh(), "test/ndcg@20", "all who stay").strip
    assert open_ended.band[1] == STRIP[0]


def test_a_difference_of_nothing_is_drawn_in_the_middle():
    same = nights.verdict([nights.row("membership_auc", 0.5, 0.5, margin=0.0, half=0.0)])
    strip = blocks(same, {})[0].rows[0].strip
    assert strip.value == strip.zero == STRIP[0] / 2


def test_exact_checks_stand_apart():
    rows = exact_rows(nights.verdict(nights.exact("deleted items in the model", 3)))
    assert rows[1] == ("deleted items in the model", 3, False) and rows[0] == ("deleted users in the model", 0, True)
    assert len(rows) == len(nights.EXACT) and blocks({"table": nights.exact()}, {}) == []
    assert not is_exact(nights.row("membership_auc", 0.0, 0.0))


def test_reasons_say_it_plainly_and_keep_the_words_of_the_gate():
    said = reasons(nights.fresh().facts["gate"])
    assert [reason.result for reason in said] == ["passed"] * 4 + ["not judged"]
    assert said[0].plain == "Quality for those who stay: no worse than allowed" and "0.3571" in said[0].words
    assert said[-1].plain == "Too few tonight to be judged by themselves: pairs of items that went (2)"
    assert not any(name in reason.words for reason in said for name in nights.EXACT)
    said = reasons(nights.held().facts["gate"])
    assert {reason.result for reason in said} == {"refused"} and said[0].plain.endswith("who went: still remembered")


def test_a_broken_exact_check_is_a_reason():
    said = reasons(nights.verdict(nights.exact("deleted items in the model", 3)))
    assert [(r.result, r.plain) for r in said] == [("refused", "deleted items in the model: 3, must be 0")]


def test_a_reason_in_words_alone_is_no_line_of_the_table():
    gate = nights.unlicensed().facts["gate"]
    assert blocks(gate, {}) == [] and reasons(gate)[0].plain.startswith("it cannot be judged without a retrain")


def test_a_verdict_of_the_first_version_can_still_be_read():
    row = row_of(nights.old_form(), "test/ndcg@20", "all who stay")
    assert (row.value, row.reference, row.allowed, row.result) == ("0.3571", "—", "at least 0.3475", "passed")


def test_missing_numbers_are_dashes():
    for block in found(nights.without_numbers()):
        for row in block.rows:
            assert {row.value, row.reference, row.difference} == {"—"} and row.strip is None


def test_models_side_by_side():
    side = side_by_side(nights.fresh().facts["evaluate"])
    assert side.models == ["original", "unlearned", "retrained"] and len(side.rows) == 8
    assert side.rows[-1][2] == ["11 s", "0.3 s", "7.1 s"]
    licensed = side_by_side(nights.licensed().facts["evaluate"])
    assert licensed.models[-1] == "baseline" and licensed.rows[4][2] == ["0.4420", "0.0240", "—"]


@pytest.mark.parametrize("nothing", [{}, {"models": {}}, {"models": {"original": {}}}, {"models": None}])
def test_nothing_measured_is_nothing_to_show(nothing):
    assert side_by_side(nothing) is None
