"""From the groups' audits to means, intervals, wins, and columns that a control makes void."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, stdev

from scipy.stats import t as student_t

from multidelete.audits import COLUMNS, Column, distance
from multidelete.audits.columns import NOISE
from multidelete.audits.controls import RANDOM_WEIGHTS, UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.core.words import counted
from multidelete.experiments.comparison.head import Audit, ModelRecord

YARDSTICK = "retrained"
BAD = ("unfinished", "over-forgotten", "damaged")
WON = ("test", "forget", "membership", "per pair", "margin gap")


@dataclass(frozen=True)
class Reading:
    """One figure of one model in one group, and its gap to the retrained model with its interval."""

    value: float
    gap: float
    low: float | None = None
    high: float | None = None

    def fails(self, column: Column) -> bool:
        """Whether the whole interval of the gap lies beyond the tolerance (the gap, where it has none)."""
        ends = [end for end in (self.low, self.high) if end is not None] or [self.gap]
        same_side = all(end > 0 for end in ends) or all(end < 0 for end in ends)
        return same_side and not any(column.passes(end) for end in ends)


@dataclass(frozen=True)
class Mean:
    """Mean over groups, and half the width of its 95 % interval; None of one group.

    >>> Mean.of([0.1, 0.2, 0.3])
    Mean(value=0.2, half=0.248, n=3)
    """

    value: float
    half: float | None
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> "Mean":
        """Student's t over the groups as they are: draws, and seeds where there are several."""
        half = None
        if len(values) > 1:
            half = round(float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values)), 3)
        return Mean(round(mean(values), 9), half, len(values))


@dataclass
class Row:
    """One model of a table over its groups.

    Attributes:
        values: Mean of each column.
        gaps: Mean signed gap of each column to the retrained model.
        seconds: Wall seconds of its making, caches included.
        share: The same as a fraction of retraining.
        peak_bytes: Most memory of its making.
        outcomes: How often each verdict was given.
        absent: Why it is not there, by group.
    """

    values: dict[str, Mean] = field(default_factory=dict)
    gaps: dict[str, Mean] = field(default_factory=dict)
    seconds: Mean | None = None
    share: Mean | None = None
    peak_bytes: Mean | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """All groups of one setting and one request size.

    Attributes:
        setting: Its name.
        fraction: Share of the units that was deleted.
        groups: Groups behind it.
        rows: By model: controls, then methods.
        wins: By column and method: groups in which it is nearest to the retrained model; ties count for each.
        void: Columns (and ``verdict``) that a control makes void, with the reason.
        partly: Columns that the audits call void in half of the groups or fewer, with the reason.
        figures: What each column shows, as the audits call it.
    """

    setting: str
    fraction: float
    groups: int
    rows: Mapping[str, Row]
    wins: Mapping[str, Mapping[str, int]]
    void: Mapping[str, str]
    partly: Mapping[str, str]
    figures: Mapping[str, str]


def summarise(audits: Mapping[str, Audit], methods: Sequence[str]) -> Block:
    """One block from its groups' audits, by the groups' names.

    Args:
        audits: At least one; all of one setting and fraction.
        methods: The experiment's rows, in their order.
    """
    readings = {group: _readings(audit) for group, audit in audits.items()}
    head = next(iter(audits.values()))[0]
    order = (UNTOUCHED, YARDSTICK, RETRAINED_AGAIN, RANDOM_WEIGHTS, *methods)
    rows = {name: _row(name, audits, readings) for name in order}
    told = _told(audits.values())
    void = _void(told, readings, rows)
    partly = {
        key: f"{why[0]} (in {len(why)} of {counted(len(audits), 'groups')})"
        for key, why in told.items()
        if key not in void
    }
    wins = {key: _wins(key, readings.values(), methods) for key in WON if key not in void}
    wins = {key: won for key, won in wins.items() if any(won.values())}
    figures = {key: f"{figure} ({split})" for key, (_, figure, split) in head.column_keys.items()}
    return Block(head.setting, head.fraction, len(audits), rows, wins, void, partly, figures)


Readings = Mapping[str, Mapping[str, Reading]]


def _readings(audit: Audit) -> Readings:
    """By model and column, void ones too."""
    head, figures = audit
    rows = {(*row.key, row.model): row for row in figures if row.value is not None}
    readings: dict[str, dict[str, Reading]] = {}
    for name in head.models:
        for column, (audited, measure, split) in head.column_keys.items():
            own, theirs = rows.get((audited, measure, split, name)), rows.get((audited, measure, split, YARDSTICK))
            if own is None or own.value is None:
                continue
            if audited == distance.AUDIT:  # is a gap to the retrained model itself
                readings.setdefault(name, {})[column] = Reading(own.value, own.value, own.low, own.high)
            elif theirs is not None and theirs.value is not None:
                apart = rows.get((audited, measure.against(YARDSTICK), split, name))
                low, high = (apart.low, apart.high) if apart else (None, None)
                readings.setdefault(name, {})[column] = Reading(own.value, own.value - theirs.value, low, high)
    return readings


def _told(audits: Iterable[Audit]) -> dict[str, list[str]]:
    """Why the audits themselves call a column's figure void, once for each such group."""
    told: dict[str, list[str]] = {}
    for head, figures in audits:
        void = {row.key: row.void for row in figures if row.void is not None}
        for column, key in head.column_keys.items():
            if key in void:
                told.setdefault(column, []).append(void[key])
    return told


def _row(name: str, audits: Mapping[str, Audit], readings: Mapping[str, Readings]) -> Row:
    row = Row()
    of = [of_group[name] for of_group in readings.values() if name in of_group]
    for column in COLUMNS:
        there = [of_group[column.key] for of_group in of if column.key in of_group]
        if there:
            row.values[column.key] = Mean.of([reading.value for reading in there])
            row.gaps[column.key] = Mean.of([reading.gap for reading in there])
    spent: dict[str, list[float]] = {"wall_s": [], "share": [], "peak_bytes": []}
    for group, (head, _) in audits.items():
        model = head.models.get(name, ModelRecord())
        if model.absent is not None:
            row.absent[group] = model.absent
        if model.verdict is not None:
            row.outcomes[model.verdict.outcome] = row.outcomes.get(model.verdict.outcome, 0) + 1
        cost, whole = model.spent, head.models[YARDSTICK].spent.wall_s
        for key, amount in (("wall_s", cost.wall_s), ("peak_bytes", cost.peak_bytes)):
            if amount:  # the peak is 0 where the system does not tell it
                spent[key].append(amount)
        if cost.wall_s is not None and whole:
            spent["share"].append(cost.wall_s / whole)
    row.seconds, row.share, row.peak_bytes = (Mean.of(values) if values else None for values in spent.values())
    return row


def _void(
    told: Mapping[str, Sequence[str]], readings: Mapping[str, Readings], rows: Mapping[str, Row]
) -> dict[str, str]:
    """Columns that a control comes out wrong in, in more than half of the groups; and the verdict, in any group."""
    void = {}
    for column in COLUMNS:
        reasons = []
        if 2 * len(told.get(column.key, ())) > len(readings):
            reasons = [f"{told[column.key][0]} (in {len(told[column.key])} of {counted(len(readings), 'groups')})"]
        if column.control is not None and any(column.key in row.values for row in rows.values()):
            reasons += _failed_controls(column, column.control, readings)
        if reasons:
            void[column.key] = "; ".join(reasons)
    outcomes = {name: rows[name].outcomes for name in (UNTOUCHED, RANDOM_WEIGHTS, RETRAINED_AGAIN)}
    reasons = [f"{name} is called forgotten" for name in (UNTOUCHED, RANDOM_WEIGHTS) if "forgotten" in outcomes[name]]
    reasons += [f"a second retrained model is called {bad}" for bad in BAD if bad in outcomes[RETRAINED_AGAIN]]
    if reasons:
        void["verdict"] = "; ".join(reasons)
    return void


def _failed_controls(column: Column, control: str, readings: Mapping[str, Readings]) -> list[str]:
    wrong = [of_group[control][column.key] for of_group in readings.values() if column.key in of_group.get(control, {})]
    passed = sum(column.passes(reading.gap) for reading in wrong)
    who = {UNTOUCHED: "the untouched model passes", RANDOM_WEIGHTS: "random weights pass"}[control]
    if not wrong:
        return [f"{control} was not measured"]
    again = [of_group.get(RETRAINED_AGAIN, {}).get(column.key) for of_group in readings.values()]
    right = [reading for reading in again if reading is not None]
    failed = sum(reading.fails(column) for reading in right)
    reasons = [f"{who} in {passed} of {counted(len(wrong), 'groups')}"] if 2 * passed > len(wrong) else []
    reasons += [f"a second retrained model fails in {failed} of {len(right)}"] if 2 * failed > len(right) else []
    return reasons


def _wins(key: str, readings: Iterable[Readings], methods: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(methods, 0)
    for of_group in readings:
        gaps = {name: abs(of_group[name][key].gap) for name in methods if key in of_group.get(name, {})}
        for name, gap in gaps.items():
            counts[name] += gap <= min(gaps.values()) + NOISE
    return counts
