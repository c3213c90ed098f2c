import math
import re
from xml.etree import ElementTree

import pytest

from tests import nights
from tru.ops.report.charts import COLOURS, profile, scatter
from tru.ops.report.points import Point, Tolerance, point, points, tolerance


def a_scatter():
    tonight = nights.fresh()
    return scatter(points(nights.history(), tonight), point(tonight), tolerance(tonight))


@pytest.fixture(scope="module")
def both():
    return {"profile": profile(nights.profiles()), "scatter": a_scatter()}


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_they_are_the_same_every_time(both):
    assert both == {"profile": profile(nights.profiles()), "scatter": a_scatter()}


@pytest.mark.parametrize("name", ["profile", "scatter"])
def test_they_are_elements_that_follow_the_page(both, name):
    svg = both[name]
    assert svg.startswith('<svg class="chart" role="img" aria-label="')
    assert not re.findall(r"#[0-9a-f]{6}\b|rgb\(|http|<style|<metadata|font-family|DejaVu|xmlns", svg)
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= set(COLOURS)
    ElementTree.fromstring(svg.replace("xlink:href", "href"))


def test_their_ids_do_not_meet(both):
    ids = {name: re.findall(r'\bid="([^"]+)"', svg) for name, svg in both.items()}
    assert not set(ids["profile"]) & set(ids["scatter"])
    for name, svg in both.items():
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) <= set(ids[name])


def test_the_profile_draws_what_there_is(both):
    assert {"original (before)", "unlearned", "retrained without them"} <= set(texts(both["profile"]))
    licensed = texts(profile(nights.profiles(retrained=False)))
    assert "retrained without them" not in licensed and "canaries (never trained on)" in licensed


def test_the_profile_is_the_share_in_the_top():
    """All pairs in the best twentieth: the line is at its height from there on."""
    svg = profile({"edges": nights.EDGES, "unlearned": [0.0] * 19 + [1.0]})
    line = max(re.findall(r'<path d="(M[^"]+)"[^>]*stroke: var\(--unlearned\)', svg), key=len)
    heights = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", line)]
    assert len(heights) == 21 and heights[0] > heights[1] and len(set(heights[1:])) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"edges": []},
        {"edges": nights.EDGES},
        {"edges": nights.EDGES, "unlearned": None},
        {"edges": nights.EDGES, "unlearned": [0.5]},
        {"edges": nights.EDGES, "unlearned": [math.nan] * 20},
        {"edges": [None] * 21, "unlearned": [0.05] * 20},
    ],
)
def test_a_profile_without_numbers_is_not_drawn(bad):
    assert profile(bad) is None


def test_the_scatter_says_what_is_what(both):
    assert {"earlier, served", "earlier, refused", "tonight, served", "allowed tonight"} <= set(texts(both["scatter"]))
    alone = texts(scatter([], Point(0.2, 0.3, False), Tolerance(None, None)))
    assert "tonight, refused" in alone and "allowed tonight" not in alone and "earlier, served" not in alone


def test_a_scatter_of_nothing_is_not_drawn():
    assert scatter([], None, Tolerance(0.03, 0.3)) is None
    assert scatter([Point(0.0, 0.0, True)], None, Tolerance(0.0, None)) is not None


def test_a_night_of_a_few_is_drawn_hollow():
    few = scatter([Point(0.1, 0.3, True, judged=False)], Point(0.2, 0.3, True, judged=False), Tolerance(None, None))
    assert sum("too few to judge alone" in text for text in texts(few)) == 2
    assert "fill: var(--unlearned)" not in few and "stroke: var(--unlearned)" in few
