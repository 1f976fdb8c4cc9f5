"""The four criteria of the verdict: each a gap between the unlearned model and its yardstick.

    forgetting    headline recall@1 on the forget pairs   within 0.05 of the yardstick
    membership    AUC of the signal with the worst gap    within 0.10 of the yardstick
    retain        headline recall@1 on the retain pairs   at most 0.03 below
    test          recall@10 on held-out pairs             at most 0.02 below

The first three are asked of each kind of pair that was deleted. The yardstick of the first two is the
retrained model, from both sides; without one it is what the original gives for held-out pairs (a
random order, where there are none), and an AUC of 0.5. Retain and test are measured against the
original or the retrained model, whichever is lower.

Whether a gap meets its target, misses it or cannot tell is `multidelete.audits.judgement`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from multidelete.audits import forgetting, membership, utility
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.judgement import TOLERANCES, ScoreRow, state_of
from multidelete.audits.measure import ACCURACY, Measure
from multidelete.audits.result import Figure, Key
from multidelete.audits.roles import Role

Gap = tuple[float, float | None, float | None, int | None]  # unlearned minus yardstick, its 95 % interval, its groups


class Lookup:
    """Figures by measure; void ones count as absent."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        rows = [row if row.void is None else replace(row, value=None, absent=f"void: {row.void}") for row in figures]
        self._rows = {(*row.key, row.model): row for row in rows}

    def row(self, key: Key, model: str) -> Figure | None:
        """The row, if it has a value."""
        row = self._rows.get((*key, model))
        return row if row is not None and row.value is not None else None

    def value(self, key: Key, model: str) -> float | None:
        row = self.row(key, model)
        return None if row is None else row.value

    def models(self, role: Role) -> list[str]:
        """Models that play this part and have a value, sorted."""
        return sorted({row.model for row in self._rows.values() if row.value is not None and row.role is role})

    def why_absent(self, audit: str, kind: str | None = None) -> str:
        """The first reason that an audit's rows give, those of the kind before others."""
        rows = [row for row in self._rows.values() if row.audit == audit and row.absent]
        rows.sort(key=lambda row: kind is not None and row.measure.kind != kind)
        return next((row.absent for row in rows if row.absent), "it was not measured")

    def keys(self, audit: str) -> list[Key]:
        """Figures of the unlearned model that have a value and are no differences."""
        return [
            row.key
            for row in self._rows.values()
            if row.audit == audit and row.model == "unlearned" and row.value is not None
            if row.measure.to is None
        ]

    def gap_to(self, key: Key, model: str) -> Gap | None:
        """The paired difference of the unlearned model to original or retrained."""
        row = self.row((key[0], key[1].against(model), key[2]), "unlearned")
        return None if row is None or row.value is None else (row.value, row.low, row.high, row.groups)


def scorecard(figures: Sequence[Figure], counts: UnitCounts | None) -> list[ScoreRow]:
    """The criteria, each for every deleted kind, the headline's first; absent ones with the reason."""
    look = Lookup(figures)
    deleted = [counts, *(counts.others if counts else ())]
    rows = []
    for name, make, audit in (
        ("forgetting", _forgetting, forgetting.AUDIT),
        ("membership", _membership, membership.AUDIT),
        ("retain", _retain, forgetting.AUDIT),
    ):
        for one in deleted:
            kind = one.kind if one else None
            row = make(look, one)
            if row is None and name == "retain" and one is not counts:
                continue  # all pairs of this kind are deleted: there are none to keep
            rows.append(row or ScoreRow(criterion=name, kind=kind, note=look.why_absent(audit, kind)))
    tested = [row for key in _test_keys(look, counts) if (row := _kept(look, "test", key))]
    return rows + (tested or [ScoreRow(criterion="test", note=look.why_absent(utility.AUDIT))])


def _forgetting(look: Lookup, counts: UnitCounts | None) -> ScoreRow | None:
    if counts is None:
        return None
    key = (forgetting.AUDIT, counts.measure, "forget")
    unlearned = look.row(key, "unlearned")
    if unlearned is None:
        return None
    gap, source = look.gap_to(key, "retrained"), "the retrained model"
    if gap is None:
        never_seen, source = look.row((key[0], key[1], "test"), "original"), "held-out pairs in the original"
        if never_seen is None:
            never_seen, source = _constant(counts.chance), "a random order"
        gap = _unpaired_gap(unlearned, never_seen)
    return _two_sided(look, "forgetting", key, gap, source, counts)


def _membership(look: Lookup, counts: UnitCounts | None) -> ScoreRow | None:
    """The signal on which the unlearned model fares worst."""
    kind = counts.kind if counts else None
    rows = []
    for key in look.keys(membership.AUDIT):
        unlearned = look.row(key, "unlearned")
        if unlearned is None or not (key[1].is_attack and key[1].kind == kind):
            continue
        gap, source = look.gap_to(key, "retrained"), "the retrained model"
        if gap is None:
            gap, source = _unpaired_gap(unlearned, _constant(0.5)), "an attack that guesses"
        rows.append(_two_sided(look, "membership", key, gap, source, counts))
    return max(rows, key=lambda row: row.badness, default=None)


def _retain(look: Lookup, counts: UnitCounts | None) -> ScoreRow | None:
    """On all retain pairs of the kind where they were searched, else on the sample."""
    splits = ("retain", "retain sample") if counts else ()
    keys = [(forgetting.AUDIT, counts.measure, split) for split in splits if counts]
    key = next((key for key in keys if look.row(key, "unlearned")), None)
    return None if key is None or counts is None else _kept(look, "retain", key, counts.kind)


def _test_keys(look: Lookup, counts: UnitCounts | None) -> list[Key]:
    """Recall@10 from first to second modality (or accuracy), of each kind other than the headline's if there are any.

    What was memorised cannot generalise: held-out pairs of the headline kind say nothing of use.
    """
    kind = counts.kind if counts else None
    keys = [key for key in look.keys(utility.AUDIT) if key[1].k == 10 or key[1].name == ACCURACY]
    others = [key for key in keys if kind is None or key[1].kind != kind] or keys
    by_kind: dict[str | None, Key] = {}
    for key in others:  # the first direction of each kind
        by_kind.setdefault(key[1].kind, key)
    return list(by_kind.values())


def _kept(look: Lookup, criterion: str, key: Key, kind: str | None = None) -> ScoreRow | None:
    """One-sided: not below the lower of original and retrained."""
    bases = [(value, name) for name in ("original", "retrained") if (value := look.value(key, name)) is not None]
    yardstick, base = min(bases)
    gap = look.gap_to(key, base)
    if gap is None:
        return None
    words = "the retrained model" if base == "retrained" else "the original"
    target = f"at most {TOLERANCES[criterion][1]:.2f} below {yardstick:.3f} ({words})"
    return _row(look, criterion, key, gap, target, kind=kind)


def _two_sided(look: Lookup, criterion: str, key: Key, gap: Gap, source: str, counts: UnitCounts | None) -> ScoreRow:
    yardstick = (look.value(key, "unlearned") or 0.0) - gap[0]
    target = f"within {TOLERANCES[criterion][0]:.2f} of {yardstick:.3f} ({source})"
    return _row(look, criterion, key, gap, target, counts, kind=counts.kind if counts else None)


def _row(
    look: Lookup,
    criterion: str,
    key: Key,
    gap: Gap,
    target: str,
    counts: UnitCounts | None = None,
    *,
    kind: str | None,
) -> ScoreRow:
    value, low, high, groups = gap
    interval = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
    row = ScoreRow(
        criterion=criterion,
        kind=kind,
        original=look.row(key, "original"),
        unlearned=look.row(key, "unlearned"),
        retrained=look.row(key, "retrained"),
        yardstick=(look.value(key, "unlearned") or 0.0) - value,
        target=target,
        gap=value,
        low=low,
        high=high,
        groups=groups,
        note=f"{key[1]} ({key[2]}); gap to target {value:+.3f}{interval}",
    )
    unseen = look.value((key[0], key[1], "test"), "original")
    return replace(row, state=state_of(row, counts, unseen))


def _constant(value: float) -> Figure:
    """A yardstick that is known exactly."""
    return Figure(audit="", measure=Measure(""), model="", value=value, low=value, high=value)


def _unpaired_gap(unlearned: Figure, yardstick: Figure) -> Gap:
    """Difference of figures on different items; their intervals' arms add in quadrature."""
    groups = min((n for n in (unlearned.groups, yardstick.groups) if n is not None), default=None)
    value, base = unlearned.value or 0.0, yardstick.value or 0.0
    if unlearned.low is None or unlearned.high is None or yardstick.low is None or yardstick.high is None:
        return value - base, None, None, groups
    down = math.hypot(value - unlearned.low, yardstick.high - base)
    up = math.hypot(unlearned.high - value, base - yardstick.low)
    return value - base, value - base - down, value - base + up, groups
