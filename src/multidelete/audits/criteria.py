"""The four criteria of the verdict: each a gap between the unlearned model and its yardstick.

    forgetting    headline recall@1 on the forget pairs   within 0.05 of the yardstick
    membership    AUC of the signal with the worst gap    within 0.10 of the yardstick
    retain        headline recall@1 on the retain pairs   at most 0.03 below
    test          recall@10 on held-out pairs             at most 0.02 below

The yardstick of the first two is the retrained model, from both sides; without one it is what the
original gives for held-out pairs (a random order, where there are none), and an AUC of 0.5. Retain
and test are measured against the original or the retrained model, whichever is lower.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from multidelete.audits import forgetting, membership, utility
from multidelete.audits.compare import TO_ORIGINAL, TO_RETRAINED
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.inputs import prefix
from multidelete.audits.result import Figure

State = Literal["met", "missed", "unclear", "absent"]

NAMES = {
    "forgetting": "Deleted pairs are found no more than if they had never been seen",
    "membership": "An attacker cannot tell that they were trained on",
    "retain": "Other training pairs are found as before",
    "test": "Unseen pairs are found as before",
}
TOLERANCES = {
    "forgetting": (0.05, 0.05),
    "membership": (0.10, 0.10),
    "retain": (math.inf, 0.03),
    "test": (math.inf, 0.02),
}
ENOUGH_GROUPS = 6  # with n groups, no percentile interval covers the median more often than 1 - 2^(1 - n)
_FLOAT_NOISE = 1e-9
_WORSE: dict[State, int] = {"met": 0, "unclear": 1, "missed": 2, "absent": 3}

Key = tuple[str, str, str]  # audit, figure, split
Gap = tuple[float, float | None, float | None]  # unlearned minus yardstick, and its 95 % interval


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One criterion: the models' figures, the gap to the yardstick, and whether it is met.

    Attributes:
        criterion: ``forgetting``, ``membership``, ``retain`` or ``test``.
        original: The original's figure, None where it is absent; so for the others.
        unlearned: The unlearned model's figure.
        retrained: The retrained model's figure, None without one.
        yardstick: What the gap is measured from, in [0, 1].
        target: The rule, in words.
        gap: Unlearned minus yardstick.
        low: Lower end of the gap's 95 % interval.
        high: Upper end.
        state: ``met``: the gap is within its tolerance. ``missed``: so is no part of its interval.
            ``unclear``: the gap is beyond its tolerance, and there are too few items to tell whether by
            chance: the interval reaches into the tolerance, or there is none, or fewer than
            `ENOUGH_GROUPS` deleted groups stand behind it. A search that still finds what was deleted
            is no chance: there, an interval that lies beyond the tolerance is enough, or the gap, where
            there is no interval.
        note: Which figure it is and its gap, or why it is absent.
    """

    criterion: str
    original: Figure | None = None
    unlearned: Figure | None = None
    retrained: Figure | None = None
    yardstick: float | None = None
    target: str = ""
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    state: State = "absent"
    note: str

    @property
    def name(self) -> str:
        """What is asked for, in plain words."""
        return NAMES[self.criterion]

    @property
    def met(self) -> bool | None:
        """Yes, no, or None: cannot be told."""
        return {"met": True, "missed": False}.get(self.state)

    @property
    def is_above(self) -> bool:
        """Whether the unlearned model lies above its yardstick."""
        return self.gap is not None and self.gap > 0

    @property
    def is_beyond(self) -> bool:
        """Whether the gap itself is larger than the tolerance, however the noise is."""
        if self.gap is None:
            return False
        above, below = TOLERANCES[self.criterion]
        return self.gap > above + _FLOAT_NOISE or self.gap < -below - _FLOAT_NOISE


class Lookup:
    """Figures by name; void ones count as absent."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        rows = [row if row.void is None else replace(row, value=None, absent=f"void: {row.void}") for row in figures]
        self._rows = {(row.audit, row.figure, row.split, row.model): row for row in rows}

    def row(self, key: tuple[str, str, str | None], model: str) -> Figure | None:
        """The row, if it has a value."""
        row = self._rows.get((*key, model))
        return row if row is not None and row.value is not None else None

    def value(self, key: tuple[str, str, str | None], model: str) -> float | None:
        row = self.row(key, model)
        return None if row is None else row.value

    def models(self, beginning: str) -> list[str]:
        """Models whose names begin like this and which have a value, sorted."""
        names = {row.model for row in self._rows.values() if row.value is not None}
        return sorted(name for name in names if name.startswith(beginning))

    def why_absent(self, audit: str) -> str:
        """The first reason that an audit's rows give."""
        reasons = (row.absent for row in self._rows.values() if row.audit == audit and row.absent)
        return next(reasons, "it was not measured")

    def keys(self, audit: str) -> list[Key]:
        """Figures of the unlearned model that have a value and are no differences."""
        return [
            (row.audit, row.figure, row.split or "")
            for row in self._rows.values()
            if row.audit == audit and row.model == "unlearned" and row.value is not None
            if ", difference to " not in row.figure
        ]

    def gap_to(self, key: Key, model: str) -> Gap | None:
        """The paired difference of the unlearned model to original or retrained."""
        ending = TO_ORIGINAL if model == "original" else TO_RETRAINED
        row = self.row((key[0], key[1] + ending, key[2]), "unlearned")
        return None if row is None or row.value is None else (row.value, row.low, row.high)


def scorecard(figures: Sequence[Figure], counts: UnitCounts | None) -> dict[str, ScoreRow]:
    """The four criteria by name, absent ones with the reason."""
    look = Lookup(figures)
    kind = counts.kind if counts else None
    rows = {
        "forgetting": _forgetting(look, counts),
        "membership": _membership(look, counts),
        "retain": _kept(look, "retain", _retain_key(look, counts)),
        "test": _kept(look, "test", _test_key(look, kind)),
    }
    audits = {"retain": forgetting.AUDIT, "test": utility.AUDIT}
    return {
        name: row or ScoreRow(criterion=name, note=look.why_absent(audits.get(name, name)))
        for name, row in rows.items()
    }


def _forgetting(look: Lookup, counts: UnitCounts | None) -> ScoreRow | None:
    if counts is None:
        return None
    key = (forgetting.AUDIT, counts.measure, "forget")
    unlearned = look.row(key, "unlearned")
    if unlearned is None:
        return None
    gap, source = look.gap_to(key, "retrained"), "the retrained model"
    if gap is None:
        never_seen, source = look.row((*key[:2], "test"), "original"), "held-out pairs in the original"
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
        if unlearned is None or not key[1].startswith(f"{prefix(kind)}auc of "):
            continue
        gap, source = look.gap_to(key, "retrained"), "the retrained model"
        if gap is None:
            gap, source = _unpaired_gap(unlearned, _constant(0.5)), "an attack that guesses"
        rows.append(_two_sided(look, "membership", key, gap, source, counts))
    return max(rows, key=lambda row: (_WORSE[row.state], abs(row.gap or 0.0)), default=None)


def _retain_key(look: Lookup, counts: UnitCounts | None) -> Key | None:
    """All retain pairs where they were searched, else the sample."""
    splits = ("retain", "retain sample") if counts else ()
    keys = [(forgetting.AUDIT, counts.measure, split) for split in splits if counts]
    return next((key for key in keys if look.row(key, "unlearned")), None)


def _test_key(look: Lookup, kind: str | None) -> Key | None:
    """Recall@10 from first to second modality (or accuracy), of kinds other than the headline's if there are any.

    What was memorised cannot generalise: held-out pairs of the headline kind say nothing of use.
    """
    keys = [key for key in look.keys(utility.AUDIT) if "recall@10 " in key[1] or key[1].endswith("accuracy")]
    others = [key for key in keys if kind is None or not key[1].startswith(prefix(kind))]
    return next(iter(others or keys), None)


def _kept(look: Lookup, criterion: str, key: Key | None) -> ScoreRow | None:
    """One-sided: not below the lower of original and retrained."""
    if key is None:
        return None
    bases = [(value, name) for name in ("original", "retrained") if (value := look.value(key, name)) is not None]
    yardstick, base = min(bases)
    gap = look.gap_to(key, base)
    if gap is None:
        return None
    words = "the retrained model" if base == "retrained" else "the original"
    return _row(look, criterion, key, gap, f"at most {TOLERANCES[criterion][1]:.2f} below {yardstick:.3f} ({words})")


def _two_sided(look: Lookup, criterion: str, key: Key, gap: Gap, source: str, counts: UnitCounts | None) -> ScoreRow:
    yardstick = (look.value(key, "unlearned") or 0.0) - gap[0]
    target = f"within {TOLERANCES[criterion][0]:.2f} of {yardstick:.3f} ({source})"
    return _row(look, criterion, key, gap, target, counts)


def _row(look: Lookup, criterion: str, key: Key, gap: Gap, target: str, counts: UnitCounts | None = None) -> ScoreRow:
    value, low, high = gap
    interval = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
    row = ScoreRow(
        criterion=criterion,
        original=look.row(key, "original"),
        unlearned=look.row(key, "unlearned"),
        retrained=look.row(key, "retrained"),
        yardstick=(look.value(key, "unlearned") or 0.0) - value,
        target=target,
        gap=value,
        low=low,
        high=high,
        note=f"{key[1]} ({key[2]}); gap to target {value:+.3f}{interval}",
    )
    return replace(row, state=_state(row, counts))


def _state(row: ScoreRow, counts: UnitCounts | None) -> State:
    """See `ScoreRow`; ``counts`` are those of the deleted units, for the two criteria about them."""
    if not row.is_beyond:
        return "met"
    is_evident = still_found(row, counts)
    if row.low is None or row.high is None:
        return "missed" if is_evident else "unclear"
    above, below = TOLERANCES[row.criterion]
    if row.low <= above and row.high >= -below:
        return "unclear"
    too_few = counts is not None and counts.groups < ENOUGH_GROUPS
    return "unclear" if too_few and not is_evident else "missed"


def still_found(row: ScoreRow, counts: UnitCounts | None) -> bool:
    """Whether a search finds more of the deleted pairs than it should, where chance finds hardly any."""
    chance = 1.0 if counts is None else counts.chance
    return row.criterion == "forgetting" and row.is_above and chance <= TOLERANCES["forgetting"][0]


def _constant(value: float) -> Figure:
    """A yardstick that is known exactly."""
    return Figure(audit="", figure="", model="", value=value, low=value, high=value)


def _unpaired_gap(unlearned: Figure, yardstick: Figure) -> Gap:
    """Difference of figures on different items; their intervals' arms add in quadrature."""
    value, base = unlearned.value or 0.0, yardstick.value or 0.0
    if unlearned.low is None or unlearned.high is None or yardstick.low is None or yardstick.high is None:
        return value - base, None, None
    down = math.hypot(value - unlearned.low, yardstick.high - base)
    up = math.hypot(unlearned.high - value, base - yardstick.low)
    return value - base, value - base - down, value - base + up
