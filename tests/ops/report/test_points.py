from dataclasses import replace

import pytest

from tests import nights
from tru.ops.report.points import Point, Tolerance, earlier, point, points, tolerance


def test_a_night_stands_where_its_worst_group_stands():
    assert point(nights.fresh()) == Point(pytest.approx(0.0385), 0.3571, True)
    assert point(nights.held()) == Point(pytest.approx(0.1689), 0.3564, False)
    assert tolerance(nights.fresh()) == Tolerance(0.071, pytest.approx(0.3479))


def test_groups_too_small_to_be_judged_count_only_if_there_is_no_other():
    assert point(nights.licensed()) == Point(pytest.approx(0.073), 0.0901, True, judged=False)
    assert tolerance(nights.licensed()).distance is None


def test_without_a_line_in_the_verdict_the_models_are_compared():
    facts = nights.facts(gate=nights.verdict(nights.exact()))
    assert point(replace(nights.fresh(), facts=facts)).distance == pytest.approx(0.6106 - 0.5721)
    assert tolerance(replace(nights.fresh(), facts=facts)) == Tolerance(None, None)


@pytest.mark.parametrize("batch", [nights.not_found(), nights.half_way(), nights.without_numbers()])
def test_a_night_without_numbers_is_no_point(batch):
    assert point(batch) is None


def test_a_model_that_did_not_serve_is_no_success():
    assert [point(b).served for b in (nights.retrained(), nights.released(), nights.declined())] == [False] * 3


def test_neither_tonight_nor_a_later_night_is_among_the_nights_before():
    past = nights.history(5)
    assert len(points(past, nights.fresh())) == 5 and len(points(past, past[2])) == 2
    assert earlier([nights.fresh(), *past], past[2]) == past[3:]
    assert earlier(past, nights.half_way()) == past
    # One that was held for long ended after nights that began after it.
    held = replace(past[4], closed=past[0].closed)
    assert held not in earlier([*past[:4], held], past[2])
    assert points([nights.not_found()], nights.fresh()) == []
