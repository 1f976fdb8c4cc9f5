"""Figures of several models on the same items, with intervals, and with intervals of their differences.

Shape suffixes: Q items, P positives, M negatives, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidelete.audits import stats
from multidelete.audits.measure import Measure
from multidelete.audits.result import Better, Figure
from multidelete.core.streams import Stream, stream
from multidelete.core.words import counted


@dataclass(frozen=True)
class Size:
    """Items behind a figure, and the groups that these hang together in; see `Figure`."""

    n: int
    groups: int | None = None


@dataclass(frozen=True)
class Heading:
    """What the rows of one figure have in common, whatever the model; see `Figure`.

    Differences to the retrained model are always ``target``.
    """

    audit: str
    measure: Measure
    split: str
    better: Better = "target"
    note: str | None = None
    chance: float | None = None


Scores = Mapping[str, tuple[stats.Array, stats.Array]]  # for each model those of positives and of negatives
Groups = tuple[Sequence[str], Sequence[str]]  # which of either are resampled together
Measured = Mapping[str, tuple[float, stats.Floats | None]]  # for each model the value, and that of resamples, (R,)


def mean_figures(
    heading: Heading,
    *,
    values: Mapping[str, stats.Array],
    groups: Sequence[str],
    seed: int,
    with_differences: bool = True,
) -> list[Figure]:
    """One row per model: the mean over the same items, and its differences to original and retrained.

    Args:
        heading: What was measured.
        values: For each model one value per item, (Q,), in the same order.
        groups: Which items are resampled together.
        seed: Of the bootstrap. All models share the draws, so the differences are paired.
        with_differences: Whether to add the difference rows.
    """
    measured = {
        model: (float(value_Q.mean()), stats.mean_resamples(value_Q, groups, seed)) for model, value_Q in values.items()
    }
    return _rows(heading, measured, Size(len(groups), len(set(groups))), with_differences)


def auc_figures(heading: Heading, *, scores: Scores, groups: Groups, seed: int) -> list[Figure]:
    """One row per model: AUC of positives against negatives; differences as in `mean_figures`."""
    measured = {model: (stats.auc(*both), stats.auc_resamples(*both, *groups, seed)) for model, both in scores.items()}
    return _rows(heading, measured, _size_of_both(groups), True)


def target_figures(heading: Heading, *, measured: Measured, n: int) -> list[Figure]:
    """One row per model of what was measured elsewhere; differences as in `mean_figures`."""
    return _rows(heading, measured, Size(n), True)


def tpr_figures(heading: Heading, *, scores: Scores, groups: Groups, fpr: float, seed: int) -> list[Figure]:
    """One row per model: share of members caught at a low false positive rate; absent below 1 / fpr nonmembers."""
    measured = {}
    for model, (member_P, nonmember_M) in scores.items():
        if len(nonmember_M) * fpr < 1 - 1e-9:
            few = counted(len(nonmember_M), "nonmembers")
            why = f"{few} cannot resolve a rate of {fpr}; it takes {round(1 / fpr):,}"
            return absent_figures(heading.audit, heading.measure, heading.split, scores, why)
        resampled_R = stats.tpr_resamples(member_P, nonmember_M, fpr, *groups, seed)
        measured[model] = (stats.tpr_at_fpr(member_P, nonmember_M, fpr), resampled_R)
    return _rows(heading, measured, _size_of_both(groups), False)


def _size_of_both(groups: Groups) -> Size:
    return Size(len(groups[0]), min(len(set(side)) for side in groups))


def absent_figures(audit: str, measure: Measure, split: str, models: Mapping[str, object], why: str) -> list[Figure]:
    """The same reason for every model."""
    return [Figure(audit=audit, measure=measure, model=model, split=split, absent=why) for model in models]


def shuffled(length: int, limit: int, seed: int) -> NDArray[np.intp]:
    """At most ``limit`` of ``length`` positions at random, in ascending order."""
    return np.sort(stream(seed, Stream.AUDITED_ROWS).permutation(length)[:limit])


def _rows(heading: Heading, measured: Measured, size: Size, with_differences: bool) -> list[Figure]:
    def row(measure: Measure, model: str, value: float, resampled_R: stats.Floats | None, better: Better) -> Figure:
        low, high = stats.percentiles(resampled_R) or (None, None)
        return Figure(
            audit=heading.audit,
            measure=measure,
            model=model,
            split=heading.split,
            value=value,
            low=low,
            high=high,
            n=size.n,
            groups=size.groups,
            chance=heading.chance if measure.to is None else None,
            better=better,
            note=heading.note,
        )

    of, better = heading.measure, heading.better
    rows = [row(of, model, value, resampled_R, better) for model, (value, resampled_R) in measured.items()]
    if not with_differences:
        return rows
    for base in ("original", "retrained"):
        if base not in measured:
            continue
        base_value, base_R = measured[base]
        for model, (value, resampled_R) in measured.items():
            if model not in ("original", base):
                apart_R = None if resampled_R is None or base_R is None else resampled_R - base_R
                better_than = "target" if base == "retrained" else better
                rows.append(row(of.against(base), model, value - base_value, apart_R, better_than))
    return rows
