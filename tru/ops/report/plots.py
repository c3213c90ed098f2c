"""Pictures for MLflow's pages and `dvc plots`, as PNG: a training, and quality, forgetting and membership of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tru.ops.report.charts import LINES, draw_profile
from tru.ops.report.table import METRICS
from tru.ops.report.words import finite

SIZE, DPI = (7.0, 4.6), 120
"""Inches, and dots in one."""

# A page has two lights, a PNG has one: the colours of the report's light page.
COLOURS = {
    "ink": "#1a2027",
    "muted": "#57616c",
    "line": "#d5dbe1",
    "original": "#6b7480",
    "unlearned": "#0067a8",
    "retrained": "#98417f",
    "canaries": "#00805c",
}
_STYLE: Any = {
    "font.size": 11,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "legend.frameon": False,
}
_QUALITY = [name for name in METRICS if name.startswith("test/")]
_MEMBERSHIP = ["membership_auc", "canary_auc"]

Rows = Mapping[str, Mapping[str, float]]


def write_plots(folder: Path, models: Rows, profiles: Mapping[str, Any]) -> list[Path]:
    """Draw what there are numbers for.

    Args:
        folder: made if it is not there.
        models: name -> flat metrics, in the order of drawing.
        profiles: see :func:`tru.ops.report.charts.profile`.

    Returns:
        The files: ``quality.png``, ``forgetting.png``, ``membership.png``, or fewer.
    """
    drawings: dict[str, tuple[str, Callable[[Axes], bool]]] = {
        "quality": ("Quality for those who stay: higher is better", lambda axes: _bars(axes, models, _QUALITY)),
        "forgetting": (
            "Where the forgotten pairs stand in the ranking: right is where retraining puts them",
            lambda axes: draw_profile(axes, profiles, COLOURS),
        ),
        "membership": (
            "Forgotten pairs above pairs never seen (AUC): right is what retraining gives",
            lambda axes: _bars(axes, models, _MEMBERSHIP, chance=0.5),
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [(folder / f"{name}.png", title, draw) for name, (title, draw) in drawings.items()]
    return [file for file, title, draw in pictures if _draw(file, title, draw)]


def write_training(file: Path, scores: Sequence[float]) -> None:
    """Draw how good a model was after each epoch of its training.

    Args:
        file: the picture; its folder is made if it is not there.
        scores: validation NDCG@20 after the first epoch, the second and so on; empty if there was nothing to validate
            with, which the picture then says.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _draw(file, "Validation NDCG@20 after each epoch of the original's training", lambda axes: _curve(axes, scores))


def _draw(file: Path, title: str, draw: Callable[[Axes], bool]) -> bool:
    """Write one picture, unless there is nothing to draw; the same numbers give the same bytes."""
    with rc_context(_STYLE):
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        if not draw(axes):
            return False
        axes.set_title(title, fontsize=11)
        figure.savefig(file, metadata={"Software": None})
    return True


def _curve(axes: Axes, scores: Sequence[float]) -> bool:
    if not scores:
        axes.text(0.5, 0.5, "The data has no validation rows, so nothing was measured.", ha="center", va="center")
        axes.set_axis_off()
        return True
    best = max(range(len(scores)), key=scores.__getitem__)
    axes.plot(range(1, len(scores) + 1), scores, color=COLOURS["original"])
    axes.plot(best + 1, scores[best], "o", color=COLOURS["original"])
    axes.annotate(
        f"{scores[best]:.4f}, epoch {best + 1}",
        (best + 1, scores[best]),
        (0, -24),
        textcoords="offset points",
        ha="center",
    )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return True


def _bars(axes: Axes, models: Rows, metrics: Sequence[str], chance: float | None = None) -> bool:
    """Groups of bars, one group per metric and one bar per model, each with its number on top."""
    shown = [name for name in metrics if any(finite(row.get(name)) is not None for row in models.values())]
    if not shown:
        return False
    width = 0.84 / len(models)
    for k, (model, row) in enumerate(models.items()):
        values = [finite(row.get(name)) for name in shown]
        at = [group - 0.42 + (k + 0.5) * width for group, value in enumerate(values) if value is not None]
        heights = [value for value in values if value is not None]
        role, _, other = model.partition("-")
        label = LINES[role].title + (f", other dice {other}" if other else "")
        bars = axes.bar(at, heights, 0.92 * width, color=COLOURS[role], alpha=0.55 if other else 1.0, label=label)
        axes.bar_label(bars, fmt="%.3f", fontsize=8, padding=2)
    if chance is not None:
        axes.axhline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (2, 3)), label="pure chance")
    axes.set_xticks(range(len(shown)), shown)
    axes.set_ylim(0, 1.3 * max(finite(row.get(name)) or 0.0 for row in models.values() for name in shown) or 1.0)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper center", ncols=2, fontsize=9)
    return True
