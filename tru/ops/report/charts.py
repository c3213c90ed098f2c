"""The two drawings made of numbers, as SVG that takes its colours from the page, so that it follows light and dark.

matplotlib draws with stand-in colours; afterwards each becomes a CSS variable of the page. Nothing else of what
matplotlib writes survives that a page could stumble over: no metadata, no address, no style for the whole document.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tru.ops.report.points import Point, Tolerance
from tru.ops.report.words import finite

SIZE = (6.0, 4.6)
"""Inches; 72 units of the drawing each."""

# CSS variable of the page -> the colour that stands for it while matplotlib draws.
COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "line": "#030303",
    "band": "#040404",
    "original": "#060606",
    "unlearned": "#070707",
    "retrained": "#080808",
    "canaries": "#090909",
    "no": "#0a0a0a",
    "past": "#0b0b0b",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tru",
    "font.size": 12,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
    "axes.unicode_minus": True,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Line:
    """How a model's line is drawn: told apart by colour, by dashes and by marker, so that no eye needs all three."""

    title: str
    dashes: str | tuple[int, tuple[int, ...]]
    marker: str
    width: float


LINES = {
    "original": Line("original (before)", (0, (5, 2)), "s", 1.6),
    "unlearned": Line("unlearned", "solid", "o", 2.4),
    "retrained": Line("retrained without them", (0, (7, 2, 1, 2)), "^", 1.9),
    "canaries": Line("canaries (never trained on)", (0, (1, 1)), "D", 1.6),
}


def profile(profiles: Mapping[str, Any]) -> str | None:
    """How far up the ranking the forgotten pairs stand: the share of them in the top x % of all items.

    Args:
        profiles: ``edges`` (n+1,) of rank percentiles (1 is best) and for each model (n,) shares.

    Returns:
        An SVG element, or None if there is nothing to draw.
    """
    with rc_context(_STYLE):
        figure, axes = _figure()
        if not draw_profile(axes, profiles, COLOURS):
            return None
        return _svg(figure, "profile", "Share of the forgotten pairs in the top of the ranking, for each model")


def draw_profile(axes: Axes, profiles: Mapping[str, Any], colours: Mapping[str, str]) -> bool:
    """Draw what :func:`profile` shows; False, and nothing, if there is nothing to draw.

    Args:
        axes: empty.
        profiles: as there.
        colours: of the lines and of ``muted``, by the names of COLOURS.
    """
    edges = [finite(x) for x in profiles.get("edges") or []]
    curves = {name: shares for name in LINES if (shares := _shares(profiles.get(name), len(edges) - 1))}
    if len(edges) < 2 or None in edges or not curves:
        return False
    top = [100 * (1 - x) for x in reversed(edges) if x is not None]
    axes.plot([0, 100], [0, 100], color=colours["muted"], linewidth=1, dashes=(2, 3), label="pure chance")
    for name, shares in curves.items():
        line, heights = LINES[name], [0.0]
        for share in reversed(shares):
            heights.append(heights[-1] + 100 * share)
        axes.plot(
            *(top, heights),
            color=colours[name],
            linewidth=line.width,
            linestyle=line.dashes,
            marker=line.marker,
            markersize=4,
            markevery=2,
            label=line.title,
            zorder=4 if name == "unlearned" else 3,
        )
    axes.set(xlim=(0, 100), ylim=(0, 103), xlabel="top x % of the ranking", ylabel="% of the pairs found there")
    axes.legend(loc="lower right", handlelength=3.2)
    return True


def _shares(values: Any, bins: int) -> list[float] | None:  # noqa: ANN401 - whatever the facts hold
    """The histogram, or None if it is missing, of the wrong length or not finite."""
    if not isinstance(values, list) or len(values) != bins:
        return None
    found = [finite(value) for value in values]
    return None if None in found else [value for value in found if value is not None]


@dataclass(frozen=True)
class Dot:
    """How a night is drawn, and what the legend says of it."""

    title: str
    marker: str
    colour: str
    fill: Literal["full", "none"] = "full"


# Kind of a night -> how an earlier one is drawn, and how tonight's.
DOTS = {
    "judged": (Dot("earlier, served", "o", "past"), Dot("tonight, served", "*", "unlearned")),
    "few": (
        Dot("earlier, served, too few to judge alone", "o", "past", "none"),
        Dot("tonight, served, too few to judge alone", "*", "unlearned", "none"),
    ),
    "refused": (Dot("earlier, refused", "X", "no"), Dot("tonight, refused", "X", "no")),
}


def _kind(point: Point) -> str:
    return "refused" if not point.served else "judged" if point.judged else "few"


def scatter(points: Sequence[Point], tonight: Point | None, allowed: Tolerance) -> str | None:
    """Every night's unlearned model: how far its forgetting is from the reference against its quality.

    Args:
        points: earlier nights.
        tonight: this one; None if it was not measured.
        allowed: what the gate allowed tonight; the region is shaded.

    Returns:
        An SVG element, or None if there is nothing to draw.
    """
    if tonight is None and not points:
        return None
    with rc_context(_STYLE):
        figure, axes = _figure()
        for kind, (earlier, now) in DOTS.items():
            _dots(axes, [p for p in points if _kind(p) == kind], earlier, 7)
            if tonight is not None and _kind(tonight) == kind:
                _dots(axes, [tonight], now, 17 if now.marker == "*" else 13)
        _frame(axes, [*points, *([tonight] if tonight else [])], allowed)
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.17), ncols=1 if _long(axes) else 2, handletextpad=0.3)
        return _svg(figure, "scatter", "Each night's distance of forgetting to the reference against its quality")


def _dots(axes: Axes, points: Sequence[Point], dot: Dot, size: float) -> None:
    if not points:
        return
    axes.plot(
        [p.distance for p in points],
        [p.quality for p in points],
        marker=dot.marker,
        color=COLOURS[dot.colour],
        fillstyle=dot.fill,
        markersize=size,
        markeredgewidth=1.6 if dot.fill == "none" else 0.8,
        linestyle="none",
        label=dot.title,
        zorder=3 if size < 10 else 5,
    )


def _long(axes: Axes) -> bool:
    return any("too few" in str(title) for title in axes.get_legend_handles_labels()[1])


def _frame(axes: Axes, points: Sequence[Point], allowed: Tolerance) -> None:
    """Limits with room around the points, zero at the left, and the allowed region shaded."""
    right = 1.12 * max([p.distance for p in points] + [allowed.distance or 0.0, 0.02])
    values = [p.quality for p in points] + ([allowed.quality] if allowed.quality is not None else [])
    room = 0.15 * (max(values) - min(values)) or 0.02 * max(abs(max(values)), 0.01)
    low, high = min(values) - room, max(values) + room
    axes.set(xlim=(0, right), ylim=(low, high))
    axes.set(xlabel="distance to the reference (membership AUC)", ylabel="quality (test NDCG@20)")
    if allowed.distance is not None:
        bottom = low if allowed.quality is None else allowed.quality
        axes.fill_between([0, allowed.distance], bottom, high, color=COLOURS["band"], linewidth=0, zorder=0)
        top = high - 0.01 * (high - low)
        axes.text(allowed.distance / 2, top, "allowed tonight", color=COLOURS["muted"], ha="center", va="top")


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an element that can stand in a page beside others."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    head = f'<svg class="chart" role="img" aria-label="{title}"'
    return re.sub(r'<svg( width="[^"]*"| height="[^"]*"| version="[^"]*")*', head, text, count=1)
