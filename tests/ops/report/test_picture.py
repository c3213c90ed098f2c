import re

import pytest

from tests import nights
from tru.ops.report.picture import ARROWS, NAMES, pictures
from tru.ops.report.story import way


def taken(picture):
    return sum(arrow.taken for arrow in picture.arrows)


@pytest.mark.parametrize("name", nights.ALL)
def test_every_step_of_the_way_has_its_arrow_in_both_drawings(name):
    found = way(nights.ALL[name]())
    for picture in pictures(found):
        assert taken(picture) == len(found.steps), picture.kind
        assert {box.name for box in picture.boxes if box.mark != "off"} == {NAMES[name] for name in found.marks}


def test_the_way_to_the_certificate_has_its_arrows():
    for picture in pictures(way(nights.fresh(), nights.sequel())):
        assert taken(picture) == 7 and [box.name for box in picture.boxes if box.mark == "done"][-1] == "Certified"


@pytest.mark.parametrize("kind", [0, 1])
def test_everything_is_inside_and_no_boxes_touch(kind):
    picture = pictures(way(nights.released()))[kind]
    w, h = picture.box
    for box in picture.boxes:
        assert box.x >= 0 and box.x + w <= picture.width and box.y >= 0 and box.y + h <= picture.height
        others = [other for other in picture.boxes if other is not box]
        assert all(abs(box.x - other.x) > w or abs(box.y - other.y) > h for other in others)
    for arrow in picture.arrows:
        assert all(0 <= float(n) <= picture.width + picture.height for n in re.findall(r"[\d.]+", arrow.path))


def test_the_seldom_arrows_are_drawn_only_when_taken():
    assert len(pictures(way(nights.fresh()))[0].arrows) == len(ARROWS)
    words = [arrow.words for arrow in pictures(way(nights.declined()))[0].arrows]
    assert len(words) == len(ARROWS) + 1 and "not approved" in words
    both = [arrow.words for arrow in pictures(way(nights.declined_then_released()))[0].arrows]
    assert len(both) == len(ARROWS) + 2 and "released" in both and "not approved" not in both


def test_taken_arrows_lie_on_top():
    flags = [arrow.taken for arrow in pictures(way(nights.retrained()))[0].arrows]
    assert flags == sorted(flags)
