"""Pictures of the results, as SVG with the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.quality import tables
from benchmarks.quality.grid import NOISE, ORIGINAL, YARDSTICKS
from benchmarks.quality.tables import FASTER, MEMBERSHIP, RETAINED, TRU, Results, Spot

PALETTE = ["#d1495b", "#30638e", "#edae49", "#00798c", "#8d6b94", "#66a182", "#a0522d", "#c2b280", "#b56576", "#3d405b"]
GREY = {ORIGINAL: "#555555", NOISE: "#aaaaaa"}
MARKERS = {"user": "o", "item": "s", "interaction": "^", "modality": "D", "mixed": "P"}
STYLE: Any = {
    "svg.hashsalt": "tru",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}


def draw(found: Results, folder: Path) -> dict[str, Path]:
    """Write all pictures that there are numbers for; name -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "trade-off": _trade_off(found),
        "ablation": _ablation(found),
        "drift": _drift(found),
        "time": _time(found),
    }
    out = {}
    for name, figure in made.items():
        file = folder / f"{name}.svg"
        file.unlink(missing_ok=True)
        if figure is not None:
            with mpl.rc_context(STYLE):
                figure.savefig(file, metadata={"Date": None})
            out[name] = file
    return out


def _main_spots(found: Results) -> list[Spot]:
    """Those of the largest share, where the differences are clearest."""
    shares = [spot[3] for spot in found.spots() if "." in spot[3]]
    return [spot for spot in found.spots() if shares and spot[3] == max(shares, key=float)]


def _pairs(spots: Sequence[Spot]) -> list[tuple[str, str]]:
    return sorted({spot[:2] for spot in spots})


def _panels(pairs: Sequence[tuple[str, str]], width: float, height: float) -> Iterator[tuple[Axes, tuple[str, str]]]:
    """One set of axes for each backbone and data set, in rows of at most three; empty places stay empty."""
    if not pairs:
        return
    columns = 2 if len(pairs) == 4 else min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(width * columns, 8.0), height * rows + 0.9))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place in axes[len(pairs) :]:
            place.set_axis_off()
        for place, pair in zip(axes, pairs, strict=False):
            place.set_title(f"{pair[0]} on {pair[1]}")
            yield place, pair


def _colours(found: Results, *, yardsticks: bool = True) -> dict[str, str]:
    """TRU first, always in the same colour; yardsticks are grey; ablations have a picture of their own."""
    names = {name for spot in found.spots() for name in found.methods(spot)}
    names = {name for name in names if name not in YARDSTICKS and not name.startswith(f"{TRU}/")}
    order = sorted(names, key=lambda name: (name != TRU, name))
    colours = {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(order)}
    return {**colours, **(GREY if yardsticks else {})}


def _scatter(
    found: Results, spots: Sequence[Spot], x: str, y: str, colours: dict[str, str]
) -> Iterator[tuple[Axes, tuple[str, str]]]:
    """Medians over seeds, with half the range as bars, of each method in each regime."""
    for axes, pair in _panels(_pairs(spots), 3.6, 3.1):
        for spot in [spot for spot in spots if spot[:2] == pair]:
            for method, colour in colours.items():
                across, up = found.get(spot, method, x), found.get(spot, method, y)
                if across.known and up.known:
                    axes.errorbar(
                        across.median,
                        up.median,
                        xerr=across.half,
                        yerr=up.half,
                        fmt=_marker(spot[2]),
                        color=colour,
                        markersize=9 if method == TRU else 6,
                        markeredgecolor="black" if method == TRU else colour,
                        elinewidth=0.7,
                        zorder=3 if method == TRU else 2,
                    )
        yield axes, pair


def _legend(figure: Figure | None, colours: dict[str, str], regimes: Sequence[str]) -> None:
    handles = [Line2D([], [], marker="o", linestyle="", color=c, label=name) for name, c in colours.items()]
    handles += [
        Line2D([], [], marker=_marker(r), linestyle="", color="none", markeredgecolor="black", label=r) for r in regimes
    ]
    if figure is not None:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)


def _figure(axes: Axes | None) -> Figure | None:
    found = axes.get_figure() if axes is not None else None
    return found if isinstance(found, Figure) else None


def _marker(regime: str) -> str:
    return MARKERS.get(regime.partition(":")[0], "X")


def _regimes(spots: Sequence[Spot]) -> list[str]:
    return list(dict.fromkeys(spot[2] for spot in spots))


def _trade_off(found: Results) -> Figure | None:
    """What is retained against what is forgotten, both relative to retraining; the best place is the grey cross."""
    spots, colours, last = _main_spots(found), _colours(found), None
    for axes, _ in _scatter(found, spots, "ks", "relative/ndcg@20", colours):
        axes.axhline(1.0, color="#cccccc", zorder=0)
        axes.axhline(RETAINED, color="#cccccc", linestyle=":", zorder=0)
        axes.plot(0, 1, marker="+", color="#888888", markersize=14, zorder=1)
        axes.set_xlabel("KS distance of forgotten ranks to retrained")
        axes.set_ylabel("NDCG@20 / retrained")
        last = axes
    _legend(_figure(last), colours, _regimes(spots))
    return _figure(last)


def _time(found: Results) -> Figure | None:
    """How much faster than retraining, and how far from it."""
    spots, colours, last = _main_spots(found), _colours(found), None
    colours.pop(ORIGINAL)
    for axes, _ in _scatter(found, spots, "speedup", "ks", colours):
        axes.set_xscale("log")
        axes.axvline(FASTER, color="#cccccc", linestyle=":", zorder=0)
        axes.set_xlabel("times faster than retraining (processor time)")
        axes.set_ylabel("KS distance of forgotten ranks to retrained")
        last = axes
    _legend(_figure(last), colours, _regimes(spots))
    return _figure(last)


def _ablation(found: Results) -> Figure | None:
    """What becomes worse without each intervention, in each regime, beside the noise between two retrains."""
    spots = [s for s in _main_spots(found) if any(m.startswith(f"{TRU}/") for m in found.methods(s))]
    names = sorted({m for s in spots for m in found.methods(s) if m.startswith(f"{TRU}/")})
    pairs = _pairs(spots)
    if not pairs:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 2.4 * len(pairs) + 0.8))
        grid = figure.subplots(len(pairs), len(tables.CRITERIA), squeeze=False)
        for row, pair in enumerate(pairs):
            for column, (criterion, (words, _)) in enumerate(tables.CRITERIA.items()):
                axes = grid[row][column]
                _bars(found, axes, [s for s in spots if s[:2] == pair], names, criterion)
                axes.set_title(words if row == 0 else "")
                axes.set_ylabel(f"{pair[0]}, {pair[1]}\nchange" if column == 0 else "")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _bars(found: Results, axes: Axes, spots: Sequence[Spot], names: Sequence[str], criterion: str) -> None:
    width = 0.8 / max(len(spots), 1)
    for k, spot in enumerate(spots):
        parts = [tables.earned(found, spot, name, criterion) for name in names]
        at = np.arange(len(names)) + (k - (len(spots) - 1) / 2) * width
        colour = PALETTE[k % len(PALETTE)]
        axes.bar(at, [part.change for part in parts], width, color=colour, label=spot[2])
        noise = parts[0].noise
        if np.isfinite(noise):
            label = "noise between two retrains" if k == 0 else None
            axes.errorbar(at, np.zeros(len(at)), yerr=noise, fmt="none", ecolor="black", elinewidth=0.8, label=label)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xticks(np.arange(len(names)), [name.partition("/")[2].removeprefix("no-") for name in names], rotation=20)


def _drift(found: Results) -> Figure | None:
    """Night after night: three distances to a retrain, each beside that between two retrains."""
    courses = found.nights()
    if not courses:
        return None
    quantities = {
        "relative/ndcg@20": ("NDCG@20 / retrained", RETAINED),
        "ks": ("KS of forgotten ranks", None),
        "distance/membership_auc": ("membership AUC away from retrained", MEMBERSHIP),
        "distance/lists": ("top-20 lists that differ", None),
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 3.6))
        for axes, (metric, (words, bound)) in zip(figure.subplots(1, 4), quantities.items(), strict=True):
            for k, (key, nights) in enumerate(courses.items()):
                _curve(found, axes, key, nights, metric, PALETTE[k % len(PALETTE)])
            if bound is not None:
                axes.axhline(bound, color="#888888", linestyle=":", linewidth=0.9)
            axes.set(xlabel="nights", title=words)
        handles, labels = axes.get_legend_handles_labels()
        handles.append(Line2D([], [], color="#555555", linestyle="--", label="retrained with other dice"))
        figure.legend(
            handles, [*labels, "retrained with other dice"], loc="outside lower center", ncols=4, frameon=False
        )
    return figure


def _curve(
    found: Results, axes: Axes, key: tuple[str, str, str, int], nights: Sequence[int], metric: str, colour: str
) -> None:
    backbone, dataset, regime, size = key
    for method, style in ((TRU, "-"), (NOISE, "--")):
        rows = [found.get((backbone, dataset, regime, f"{n}x{size}"), method, metric) for n in nights]
        medians, halves = (np.array([getattr(row, part) for row in rows]) for part in ("median", "half"))
        label = f"{backbone}, {dataset}: {size} {regime} a night" if method == TRU else None
        weight = 1.6 if method == TRU else 0.9
        axes.plot(
            nights, medians, style, color=colour, linewidth=weight, marker="." if method == TRU else "", label=label
        )
        if method == TRU:
            axes.fill_between(nights, medians - halves, medians + halves, color=colour, alpha=0.15, linewidth=0)
