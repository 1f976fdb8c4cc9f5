"""Figures as the lines of a table: text of each value, interval, and reason of absence."""

from collections.abc import Sequence
from functools import partial

from multidelete.audits import cost
from multidelete.audits.judgement import ScoreRow, State
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure

MODELS = ("original", "unlearned", "retrained")
STATES: dict[State, str] = {
    "met": "met",
    "missed": "missed",
    "unclear": "unclear",
    "absent": "not judged",
}


def score_line(row: ScoreRow, *, has_retrained: bool = True) -> dict[str, object]:
    """One criterion: what each model gives, the gap to the yardstick, and the judgement."""
    gap = interval = to_retrained = None
    if row.gap is not None:
        gap = number(row.gap, signed=True)
    if row.low is not None and row.high is not None:
        interval = f"{number(row.low, signed=True)} to {number(row.high, signed=True)}"
    unlearned, retrained = (None if f is None else f.value for f in (row.unlearned, row.retrained))
    if unlearned is not None and retrained is not None:
        difference = number(unlearned - retrained, signed=True)
        to_retrained = None if difference == gap else difference
    by_model = {"original": row.original, "unlearned": row.unlearned}
    if has_retrained:
        by_model["retrained"] = row.retrained
    return {
        "name": row.name,
        "cells": [(model, None if figure is None else cell(figure)) for model, figure in by_model.items()],
        "gap": gap,
        "interval": interval,
        "to_retrained": to_retrained,
        "target": row.target,
        "state": row.state,
        "note": row.note if row.unlearned is None else f"{row.unlearned.figure} ({row.unlearned.split})",
    }


def cell(figure: Figure) -> dict[str, object]:
    """The text of a figure: value, 95 % interval, items, why it is absent, and whether it is void."""
    text = partial(number, signed=figure.measure.to is not None, in_bytes=figure.measure.name == cost.PEAK)
    bounds = [text(b) for b in (figure.low, figure.high) if b is not None]
    return {
        "value": None if figure.value is None else text(figure.value),
        "interval": " to ".join(bounds) if len(bounds) == 2 else None,
        "n": None if figure.n is None else f"{figure.n:,}",
        "absent": figure.absent,
        "void": figure.void is not None,
    }


def number(value: float, *, signed: bool = False, in_bytes: bool = False) -> str:
    """Three decimals below ten, fewer above, none for whole numbers above, bytes as MiB; a typographic minus.

    >>> number(0.5), number(1234.5), number(-0.02, signed=True), number(3 * 2**20, in_bytes=True)
    ('0.500', '1,234.5', '\N{MINUS SIGN}0.020', '3.0 MiB')
    """
    sign = "+" if signed else ""
    if in_bytes:
        text = f"{value / 2**20:{sign},.1f} MiB"
    elif abs(value) >= 10 and value == int(value):
        text = f"{value:{sign},.0f}"
    elif abs(value) < 10:
        text = f"{value:{sign}.3f}"
    elif abs(value) < 10_000:
        text = f"{value:{sign},.1f}"
    else:
        text = f"{value:{sign},.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def figure_table(figures: Sequence[Figure]) -> list[tuple[str, list[dict[str, object]]]]:
    """Figures by audit, one line per figure and split, the models side by side."""
    audits: dict[str, dict[tuple[Measure, str], dict[str, Figure]]] = {}
    for f in figures:
        audits.setdefault(f.audit, {}).setdefault((f.measure, f.split or ""), {})[f.model] = f
    return [
        (
            audit,
            [
                {
                    "figure": str(measure),
                    "split": split,
                    "cells": {model: cell(f) for model, f in by_model.items()},
                    "notes": list(dict.fromkeys(note for f in by_model.values() for note in (f.void, f.note) if note)),
                }
                for (measure, split), by_model in lines.items()
            ],
        )
        for audit, lines in audits.items()
    ]
