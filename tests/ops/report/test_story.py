from dataclasses import replace

import pytest

from tests import nights
from tru.ops.report.story import Way, current, ending, not_found, way

BEGIN = ["requested", "batched", "cut", "unlearned"]


@pytest.mark.parametrize(
    ("batch", "end", "stations"),
    [
        (nights.fresh(), "unlearned", [*BEGIN, "gate", "promoted", "erased"]),
        (nights.licensed(), "unlearned", [*BEGIN, "gate", "promoted", "erased"]),
        (nights.retrained(), "retrained", [*BEGIN, "gate", "retrained", "gate again", "promoted", "erased"]),
        (nights.unlicensed(), "retrained", [*BEGIN, "gate", "retrained", "gate again", "promoted", "erased"]),
        (nights.held(), "held", [*BEGIN, "gate", "retrained", "gate again", "held"]),
        (nights.released(), "released", [*BEGIN, "gate", "retrained", "gate again", "held", "promoted", "erased"]),
        (nights.declined(), "declined", [*BEGIN, "gate", "promoted", "held"]),
        (nights.declined_then_released(), "released", [*BEGIN, "gate", "promoted", "held", "promoted", "erased"]),
        (nights.not_found(), "not found", ["requested", "batched", "nobody"]),
        (nights.stopped("cut"), "stopped", ["requested", "batched", "cut", "held"]),
        (nights.stopped("evaluate"), "stopped", [*BEGIN, "gate", "held"]),
        (nights.retired(), "retired", ["requested", "batched", "cut", "erased"]),
        (nights.withdrawn(), "withdrawn", ["requested", "batched"]),
        (nights.half_way("claim"), "open", ["requested", "batched", "cut"]),
        (nights.half_way("check"), "open", BEGIN),
        (nights.half_way("evaluate"), "open", [*BEGIN, "gate"]),
        (nights.half_way("gate"), "passed", [*BEGIN, "gate", "promoted"]),
    ],
    ids=lambda value: value.id if hasattr(value, "id") else None,
)
def test_the_way_of_a_batch(batch, end, stations):
    assert ending(batch) == end
    found = way(batch)
    assert list(found.stations) == stations
    assert set(found.marks) == {*stations, *(end for _, end in found.branches)}


def test_requests_that_name_nobody_take_a_branch_of_their_own():
    """Whatever becomes of the others."""
    for batch in (nights.fresh(), nights.held(), nights.half_way("gate"), nights.declined_then_released()):
        some = replace(batch, facts=batch.facts | {"not_found": 5})
        before, after = way(batch), way(some)
        assert before.steps | {("batched", "nobody")} == after.steps and ("batched", "nobody") not in before.steps
        assert after.stations == before.stations
        assert after.marks == before.marks | {"nobody": "done"}
        assert after.labels["nobody"] == "5 requests"
    assert way(nights.fresh()).labels["nobody"] == "not in the data"
    assert not way(nights.not_found()).branches


def test_batches_of_earlier_versions_say_only_how_many_were_found():
    old = nights.licensed()
    assert "not_found" not in old.facts and not_found(old) == 1
    assert not_found(nights.half_way("claim")) == 0 and not_found(nights.fresh()) == 0
    assert not_found(replace(old, facts=old.facts | {"not_found": 3})) == 3


def test_what_follows_the_close_is_the_end_of_the_way():
    assert way(nights.fresh()).marks["erased"] == "next"
    erased = way(nights.fresh(), nights.sequel(certificates=()))
    assert erased.marks["erased"] == "done" and erased.marks["certified"] == "next"
    whole = way(nights.fresh(), nights.sequel())
    assert whole.stations[-3:] == ["promoted", "erased", "certified"] and set(whole.marks.values()) == {"done"}
    assert whole.labels["erased"] == "14 objects" and whole.labels["certified"] == "62 requests"
    for batch in (nights.held(), nights.not_found(), nights.half_way()):
        assert not {"erased", "certified"} & set(way(batch, nights.sequel()).marks)


def test_what_was_refused_is_marked():
    marks = way(nights.held()).marks
    assert {name for name, mark in marks.items() if mark == "refused"} == {"gate", "gate again", "held"}
    assert way(nights.retrained()).marks["gate again"] == "done"
    assert way(nights.declined()).marks["promoted"] == "refused"
    unable = replace(nights.retrained(), facts=nights.retrained().facts | {"unlearn": {"method": "none"}})
    assert way(unable).marks["unlearned"] == "refused" and way(unable).labels["unlearned"] == "not possible"


@pytest.mark.parametrize(
    ("step", "station"),
    [("claim", "cut"), ("cut", "cut"), ("check", "unlearned"), ("unlearn", "gate"), ("evaluate", "gate")],
)
def test_an_open_batch_says_what_comes_next(step, station):
    marks = way(nights.half_way(step)).marks
    assert [name for name, mark in marks.items() if mark == "next"] == [station]


def test_after_the_gate_comes_what_the_gate_said():
    refused = nights.verdict(nights.refused())
    half = nights.half_way("gate")
    assert way(replace(half, facts=half.facts | {"gate": refused})).marks["retrained"] == "next"
    both = half.facts | {"gate": refused, "retrain": refused}
    assert way(replace(half, step="retrain", facts=both)).marks["held"] == "next"
    promoted = replace(half, step="promote", facts=half.facts | {"version": "9"})
    assert way(promoted).marks["erased"] == "next" and way(promoted).labels["promoted"] == "version 9"


def test_labels_say_nothing_of_what_was_not_reached():
    labels = way(nights.not_found()).labels
    assert labels["promoted"] == "serves" and labels["gate"] == "judges" and "unlearned" not in labels


def test_a_second_attempt_forgets_the_verdicts_of_the_first():
    again = nights.again()
    assert {"gate", "retrain", "evaluate", "unlearn"} <= set(again.facts)
    assert not {"gate", "retrain", "evaluate", "unlearn"} & set(current(again).facts)
    assert current(again).facts["regimes"] == again.facts["regimes"]
    for whole in (nights.held(), nights.fresh(), nights.half_way("gate")):
        assert current(whole) is whole


def test_the_steps_are_the_arrows():
    assert Way(["a", "b", "a"], {}).steps == {("a", "b"), ("b", "a")}
