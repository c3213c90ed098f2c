"""The picture of a request's life with tonight's way through it: lying for wide pages, standing for narrow ones.

Only geometry is here; what is drawn solid, dashed or crossed out follows from the :class:`~tru.ops.report.story.Way`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tru.ops.report.story import Mark, Way

NAMES = {
    "requested": "Requested",
    "batched": "Batched",
    "cut": "Cut",
    "unlearned": "Unlearned",
    "gate": "Gate",
    "promoted": "Promoted",
    "erased": "Erased",
    "certified": "Certified",
    "retrained": "Retrained",
    "gate again": "Gate again",
    "held": "Held",
    "nobody": "Not found",
}
# Arrow -> what is written beside it. Those of `SELDOM` are drawn only when they were taken.
ARROWS = {
    ("requested", "batched"): "",
    ("batched", "cut"): "",
    ("cut", "unlearned"): "",
    ("unlearned", "gate"): "",
    ("gate", "promoted"): "yes",
    ("promoted", "erased"): "",
    ("erased", "certified"): "",
    ("batched", "nobody"): "",
    ("gate", "retrained"): "no",
    ("retrained", "gate again"): "",
    ("gate again", "promoted"): "yes",
    ("gate again", "held"): "no",
}
SELDOM = {
    ("promoted", "held"): "not approved",
    ("held", "promoted"): "released",
    ("cut", "erased"): "",  # nobody is left to recommend to
    **{(station, "held"): "cannot go on" for station in ("cut", "unlearned", "gate")},
}
SIGNS: dict[Mark, str] = {"done": "✓", "refused": "✗", "next": "…", "off": ""}


@dataclass(frozen=True)
class Box:
    """A station: its corner, what is written in it and how it is drawn."""

    x: float
    y: float
    name: str
    label: str
    mark: Mark
    sign: str


@dataclass(frozen=True)
class Arrow:
    """An arrow: its line as an SVG path, the words beside it and whether it was taken."""

    path: str
    words: str
    x: float
    y: float
    anchor: str
    taken: bool


@dataclass(frozen=True)
class Picture:
    """Everything the template draws.

    Attributes:
        kind: ``wide`` or ``narrow``.
        width: of the drawing, like all lengths in its own units.
        height: of the drawing.
        box: width and height of a station.
        bar: corner, width and height of the bar that says from where on the subjects are suppressed.
        boxes: stations.
        arrows: between them.
    """

    kind: str
    width: float
    height: float
    box: tuple[float, float]
    bar: tuple[float, float, float, float]
    boxes: list[Box]
    arrows: list[Arrow]


_WAY = tuple(NAMES)[:8]
_WIDE = {
    **{name: (53 + 131 * n, 84) for n, name in enumerate(_WAY)},
    **{"nobody": (184, 196), "retrained": (577, 196), "gate again": (708, 196), "held": (839, 196)},
}
_NARROW = {
    **{name: (96, 46 + 82 * n) for n, name in enumerate(_WAY)},
    **{"nobody": (266, 128), "retrained": (266, 374), "gate again": (266, 456), "held": (266, 538)},
}


def pictures(way: Way) -> list[Picture]:
    """The lying and the standing drawing."""
    return [
        _draw("wide", way, _WIDE, (1023, 234), (100, 58), (3, 14, 1017, 22)),
        _draw("narrow", way, _NARROW, (340, 662), (128, 52), (0, 20, 14, 626)),
    ]


def _draw(
    kind: str,
    way: Way,
    places: dict[str, tuple[int, int]],
    size: tuple[float, float],
    box: tuple[float, float],
    bar: tuple[float, float, float, float],
) -> Picture:
    boxes = []
    for name, (x, y) in places.items():
        mark = way.marks.get(name, "off")
        corner = x - box[0] / 2, y - box[1] / 2
        boxes.append(Box(*corner, NAMES[name], way.labels.get(name, ""), mark, SIGNS[mark]))
    taken = way.steps
    drawn = {**ARROWS, **_seldom(taken)}
    arrows = [_arrow(places[a], places[b], box, words, (a, b) in taken) for (a, b), words in drawn.items()]
    # Taken ones last, so that they lie on top.
    return Picture(kind, *size, box, bar, boxes, sorted(arrows, key=lambda arrow: arrow.taken))


def _seldom(taken: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The arrows there and back share one line; where both were taken, the second one's words stand beside it."""
    found = {pair: words for pair, words in SELDOM.items() if pair in taken}
    return {pair: words if n == len(found) - 1 else "" for n, (pair, words) in enumerate(found.items())}


def _arrow(
    start: tuple[float, float], end: tuple[float, float], box: tuple[float, float], words: str, taken: bool
) -> Arrow:
    """From edge to edge, straight along a row or column, otherwise with two corners half-way between the rows."""
    (x1, y1), (x2, y2), (w, h), gap = start, end, box, 3
    if y1 == y2:
        way = 1 if x2 > x1 else -1
        a, b = x1 + way * w / 2, x2 - way * (w / 2 + gap)
        return Arrow(f"M{a:g} {y1:g}H{b:g}", words, (a + b) / 2, y1 - 7, "middle", taken)
    way = 1 if y2 > y1 else -1
    if x1 == x2:
        a, b = y1 + way * h / 2, y2 - way * (h / 2 + gap)
        return Arrow(f"M{x1:g} {a:g}V{b:g}", words, x1 - 8, (a + b) / 2 + 4, "end", taken)
    side = 1 if x2 > x1 else -1
    left, right = x1 + side * w / 4, x2 - side * w / 4
    a, middle, b = y1 + way * h / 2, (y1 + y2) / 2, y2 - way * (h / 2 + gap)
    return Arrow(f"M{left:g} {a:g}V{middle:g}H{right:g}V{b:g}", words, (left + right) / 2, middle + 15, "middle", taken)
