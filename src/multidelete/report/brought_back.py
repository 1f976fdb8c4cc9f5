"""What the report shows of audits that try to bring deleted pairs back: the curve of relearning, and few bits.

Shape suffixes: S measured steps.
"""

from collections.abc import Sequence
from dataclasses import replace

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from multidelete.audits import compression, relearning
from multidelete.audits.compression import UNCOMPRESSED
from multidelete.audits.measure import ACCURACY, RECALL, Measure
from multidelete.audits.result import Figure
from multidelete.report.charts import MODEL_DASHES, STYLE, Chart, model_colour, to_svg
from multidelete.report.tables import cell, number

MARKERS = "oo^sDv"  # other models may share a colour


@mpl.rc_context(STYLE)
def relearning_curve(figures: Sequence[Figure]) -> Chart:
    """The headline measure of the deleted pairs that are not relearned, after each number of steps, by model.

    Bands are 95 % intervals. The original's value is a level: it is not trained.
    """
    title = "What learning a quarter of the deleted pairs again brings back of the others"
    rows = [row for row in figures if row.audit == relearning.AUDIT]
    if not rows:
        return Chart(title, absent="no relearning was asked for (--relearn)")
    if rows[0].void is not None:
        return Chart(title, absent=f"these figures are void ({rows[0].void})")
    points = [row for row in rows if row.measure.step is not None and row.measure.to is None]
    measured = [row for row in points if row.value is not None]
    if not measured:
        return Chart(title, absent=rows[0].absent)
    shown = replace(measured[0].measure, step=0)  # the headline measure comes first; the score, where there is no other
    curves: dict[str, dict[int, Figure]] = {}
    for row in measured:
        if (step := row.measure.step) is not None and replace(row.measure, step=0) == shown:
            curves.setdefault(row.model, {})[step] = row
    canvas = Canvas(figsize=(4.9, 2.5), layout="constrained")
    axes = canvas.subplots()
    steps = sorted({step for curve in curves.values() for step in curve})
    place = {step: at for at, step in enumerate(steps)}  # doubling steps at equal distances, and 0 among them
    for index, (model, curve) in enumerate(curves.items()):
        marker = MARKERS[index % len(MARKERS)]
        colour, dashes = model_colour(model), MODEL_DASHES.get(model, "-")
        if len(curve) == 1:
            axes.axhline(_value(curve[0]), color=colour, lw=1.1, ls=dashes, label=f"{model}, not trained")
            continue
        at_S = [place[step] for step in sorted(curve)]
        drawn = [curve[step] for step in sorted(curve)]
        axes.plot(
            at_S, [_value(row) for row in drawn], color=colour, ls=dashes, lw=1.6, marker=marker, ms=4, label=model
        )
        lows, highs = [row.low for row in drawn], [row.high for row in drawn]
        if None not in lows and None not in highs:
            axes.fill_between(at_S, lows, highs, color=colour, alpha=0.15, linewidth=0)  # type: ignore[arg-type]
    if shown.name in (RECALL, ACCURACY):
        axes.set_ylim(-0.03, 1.03)
    axes.set_xticks(range(len(steps)), [str(step) for step in steps])
    axes.set(xlabel="training steps on a quarter of the deleted pairs", ylabel=shown.short)
    canvas.legend(loc="outside upper right", ncols=max(1, min(3, len(curves))), fontsize=8)
    return Chart(title, to_svg(canvas, "relearning"))


def compression_lines(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """One line per measure and number of bits: each model's value, and what rounding changed of it."""
    rows = {(row.measure, row.split, row.model): row for row in figures if row.audit == compression.AUDIT}
    lines: dict[tuple[Measure, str | None], dict[str, object]] = {}
    for (measure, split, model), row in rows.items():
        if measure.to is not None:
            continue
        changed = rows.get((measure.against(UNCOMPRESSED), split, model))
        told = None if changed is None or changed.value is None else number(changed.value, signed=True)
        cells = lines.setdefault((measure, split), {})
        cells[model] = {**cell(row), "n": None, "changed": told}
    return [{"figure": str(measure), "split": split, "cells": cells} for (measure, split), cells in lines.items()]


def _value(row: Figure) -> float:
    return 0.0 if row.value is None else row.value
