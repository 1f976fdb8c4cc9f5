"""Whether a gap to a yardstick meets its target, misses it, or rests on too little to tell.

What the items at hand could not have missed they cannot meet: see `has_power`.
"""

import math
from dataclasses import dataclass
from typing import Literal

from multidelete.audits.forgetting import UnitCounts
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
PRECISION = 0.10  # a gap is known well enough for a verdict if its interval reaches no farther than this to a side
LUCK = 0.001  # of a model that knows nothing: the chance at most to come within the tolerance of what is to stay
ENOUGH_GROUPS = 6  # with n groups, no percentile interval covers the median more often than 1 - 2^(1 - n)
_FLOAT_NOISE = 1e-9
_WORSE: dict[State, int] = {"met": 0, "unclear": 1, "missed": 2, "absent": 3}


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One criterion: the models' figures, the gap to the yardstick, and whether it is met.

    Attributes:
        criterion: ``forgetting``, ``membership``, ``retain`` or ``test``.
        kind: Kind of the pairs it is about, where pairs have kinds.
        original: The original's figure, None where it is absent; so for the others.
        unlearned: The unlearned model's figure.
        retrained: The retrained model's figure, None without one.
        yardstick: What the gap is measured from, in [0, 1].
        target: The rule, in words.
        gap: Unlearned minus yardstick.
        low: Lower end of the gap's 95 % interval.
        high: Upper end.
        groups: Groups that the gap's interval resamples, on the side where they are fewest.
        state: ``met``: the gap is within its tolerance, and the items are enough to have missed it (`has_power`).
            ``missed``: no part of the gap's interval is within the tolerance, and at least `ENOUGH_GROUPS`
            groups stand behind it. ``unclear``: the items are too few to tell, or chance alone gives as much.
            A search that still finds what was deleted is no chance: there, few groups are enough, and where
            not one unit is forgotten the gap itself is.
        note: Which figure it is and its gap, or why it is absent.
    """

    criterion: str
    kind: str | None = None
    original: Figure | None = None
    unlearned: Figure | None = None
    retrained: Figure | None = None
    yardstick: float | None = None
    target: str = ""
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    groups: int | None = None
    state: State = "absent"
    note: str

    @property
    def name(self) -> str:
        """What is asked for, in plain words."""
        return NAMES[self.criterion] + ("" if self.kind is None else f" ({self.kind})")

    @property
    def badness(self) -> tuple[int, float]:
        """Which of several rows of a criterion fares worst: the largest."""
        return _WORSE[self.state], abs(self.gap or 0.0)

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

    @property
    def is_one_sided(self) -> bool:
        """Whether it is about what is to stay, which may only not get worse."""
        return math.isinf(TOLERANCES[self.criterion][0])

    @property
    def base(self) -> Figure | None:
        """The lower of original and retrained: what is to stay is measured from there."""
        known = [figure for figure in (self.original, self.retrained) if figure is not None]
        return min(known, key=lambda figure: figure.value or 0.0, default=None)


def state_of(row: ScoreRow, counts: UnitCounts | None, unseen: float | None = None) -> State:
    """See `ScoreRow`.

    Args:
        row: All but its state.
        counts: Of the deleted units, for the two criteria about them.
        unseen: The row's figure of held-out pairs in the original, where it is known.
    """
    is_enough = is_certain if row.is_beyond else has_power
    if not is_enough(row, counts, unseen):
        return "unclear"
    return "missed" if row.is_beyond else "met"


def is_certain(row: ScoreRow, counts: UnitCounts | None, unseen: float | None = None) -> bool:
    """Whether a gap beyond its tolerance is no chance."""
    is_evident = row.is_above and _finds_by_memory_alone(row, counts, unseen)
    if is_evident and counts is not None and counts.memorised and not counts.forgotten["unlearned"]:
        return True
    above, below = TOLERANCES[row.criterion]
    if row.low is None or row.high is None or (row.low <= above and row.high >= -below):
        return False
    if row.is_one_sided and not _is_above_chance(row.base):
        return False
    return is_evident or not has_few_groups(row, counts)


def has_power(row: ScoreRow, counts: UnitCounts | None, unseen: float | None = None) -> bool:
    """Whether a gap within its tolerance would have been seen to be beyond it, had it been.

    The interval must reach at most `PRECISION` from the gap to each side that can fail, `ENOUGH_GROUPS` groups
    must stand behind it, and of what is kept there must be so much above chance that its loss would be missed
    (`has_room`). A search that finds none of the deleted pairs is a fact about them, however few they are.
    """
    above, _ = TOLERANCES[row.criterion]
    value = None if row.unlearned is None else row.unlearned.value
    if value is not None and value <= above and _finds_by_memory_alone(row, counts, unseen):
        return True
    if row.gap is None or row.low is None or row.high is None or has_few_groups(row, counts):
        return False
    reach = row.gap - row.low
    if row.is_one_sided:
        return reach <= PRECISION + _FLOAT_NOISE and has_room(row)
    return max(reach, row.high - row.gap) <= PRECISION + _FLOAT_NOISE


def is_near_chance(row: ScoreRow) -> bool:
    """Whether an unclear row about what is to stay is so because too little lies above chance."""
    if row.state != "unclear" or not row.is_one_sided or row.low is None or has_few_groups(row, None):
        return False
    return not (_is_above_chance(row.base) if row.is_beyond else has_room(row))


def has_room(row: ScoreRow) -> bool:
    """Whether what is to stay lies so far above chance that its loss would be seen.

    A fall to chance must take the gap's whole interval beyond the tolerance. And a model that knows nothing must
    come within the tolerance with a probability of at most `LUCK`: exp(-n KL(q, c)) is never less than the
    probability that of n groups with the chance c each at least the share q is right (Hoeffding 1963).
    """
    base = row.base
    if base is None or base.value is None or base.chance is None or row.groups is None:
        return False
    reach = 0.0 if row.gap is None or row.low is None else row.gap - row.low
    below = TOLERANCES[row.criterion][1]
    needed = base.value - below
    if needed <= base.chance + reach:
        return False
    return row.groups * _divergence(needed, base.chance) >= -math.log(LUCK)


def _divergence(share: float, chance: float) -> float:
    """Kullback and Leibler's, of two coins; infinite where chance never gives any."""
    sides = ((share, chance), (1 - share, 1 - chance))
    return sum(p * math.log(p / q) if q > 0 else math.inf for p, q in sides if p > 0)


def _is_above_chance(figure: Figure | None) -> bool:
    """Whether a figure lies above chance with its whole interval: what is not there cannot be lost."""
    if figure is None or figure.low is None or figure.chance is None:
        return False
    return figure.low > figure.chance


def has_few_groups(row: ScoreRow, counts: UnitCounts | None) -> bool:
    """Whether an interval over so few groups is too narrow."""
    behind = (row.groups, None if counts is None else counts.groups)
    return min((groups for groups in behind if groups is not None), default=0) < ENOUGH_GROUPS


def _finds_by_memory_alone(row: ScoreRow, counts: UnitCounts | None, unseen: float | None) -> bool:
    """Whether it is a search for deleted pairs that finds hardly any by chance, nor any that it never saw."""
    if row.criterion != "forgetting" or counts is None:
        return False
    return max(counts.chance, unseen or 0.0) <= TOLERANCES["forgetting"][0]
