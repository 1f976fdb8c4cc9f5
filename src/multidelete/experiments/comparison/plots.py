"""The comparison's plot: what was forgotten against what was kept, both as gaps to the retrained model."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from multidelete.audits.controls import UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.experiments.comparison.summary import Block, Row
from multidelete.report.charts import FAINT, INK, MUTED, STYLE, Chart, to_svg

_POINT = 22.0  # area of a point that took no time, in square points
_WHOLE = 700.0  # what retraining's time would add to it


@mpl.rc_context(STYLE)
def gaps_plot(block: Block, name: str) -> Chart:
    """Forgetting gap against utility gap; the area of a point grows with its time as a fraction of retraining.

    The grey field is as wide as a second retrained model lies apart from the first.
    """
    title = f"{block.setting}: forgetting gap against utility gap"
    wrong = [f"{key}: {block.void[key]}" for key in ("forget", "test") if key in block.void]
    points = {
        model: row for model, row in block.rows.items()
        if {"forget", "test"} <= set(row.gaps) and (row.share is not None or model == UNTOUCHED)
    }  # fmt: skip
    floor = block.rows[RETRAINED_AGAIN]
    if len(points) < 2 or "forget" not in floor.gaps:
        return Chart(title, absent="there are no gaps of both kinds")
    canvas = Canvas(figsize=(7.4, 4.4), layout="constrained")
    axes = canvas.subplots()
    x, y = abs(floor.gaps["forget"].value), abs(floor.gaps["test"].value)
    axes.add_patch(Rectangle((-x, -y), 2 * x, 2 * y, color=FAINT, lw=0, zorder=0))
    axes.axhline(0, color=MUTED, lw=0.6, zorder=0)
    axes.axvline(0, color=MUTED, lw=0.6, zorder=0)
    methods = [model for model in points if model not in (UNTOUCHED, RETRAINED_AGAIN, "retrained")]
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]  # lists of colours have it
    markers = dict(zip([m for m in points if m in (UNTOUCHED, *methods)], cycle("osD^v"), strict=False))
    for model in markers:
        row = points[model]
        colour = INK if model == UNTOUCHED else colours[methods.index(model) % len(colours)]
        at = row.gaps["forget"].value, row.gaps["test"].value
        axes.errorbar(*at, xerr=row.gaps["forget"].half, yerr=row.gaps["test"].half, color=colour, lw=0.5, fmt="none")
        axes.scatter(*at, s=_area(row), color=colour, marker=markers[model], alpha=0.8, linewidths=0)
    shown = [
        Line2D([], [], color=INK if model == UNTOUCHED else colours[methods.index(model) % len(colours)],
               marker=marker, lw=0, ms=5, label=model)
        for model, marker in markers.items()
    ]  # fmt: skip
    canvas.legend(handles=shown, loc="outside right upper", fontsize=7.5, frameon=False)
    _frame(axes, points)
    axes.set_xlabel("forget figure minus the retrained model's (left: over-forgotten, right: unfinished)")
    axes.set_ylabel("test figure minus the retrained model's")
    note = "; ".join(wrong)
    return Chart(title + (f" (void: {note})" if note else ""), to_svg(canvas, name))


def _frame(axes: Axes, points: Mapping[str, Row]) -> None:
    """The frame holds every point; intervals may leave it."""
    for key, limit in (("forget", axes.set_xlim), ("test", axes.set_ylim)):
        values = [0.0, *(row.gaps[key].value for row in points.values())]
        room = 0.12 * (max(values) - min(values)) or 0.1
        limit(min(values) - room, max(values) + room)


def _area(row: Row) -> float:
    return _POINT + (0.0 if row.share is None else _WHOLE * min(row.share.value, 1.0))
