"""The verdict: was it forgotten, what did it cost, and can that be told at all?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from multidelete.audits import controls
from multidelete.audits.columns import Audited, Column
from multidelete.audits.criteria import Lookup, scorecard
from multidelete.audits.floor import UNKNOWN, Floor, farthest, floor
from multidelete.audits.forgetting import AUDIT as FORGETTING
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.judgement import TOLERANCES, ScoreRow, is_near_chance
from multidelete.audits.result import Figure, Key
from multidelete.audits.sentences import (
    Outcome,
    Pace,
    Reason,
    comes_back,
    count,
    headline,
    is_of_few_deleted,
    next_steps,
    row_sentence,
    spent,
    without_retrained,
)
from multidelete.core.words import counted

__all__ = ["Outcome", "Verdict", "verdict"]

SOMETHING_TO_FORGET = 2 * TOLERANCES["forgetting"][0]  # then a gap within tolerance means that over half of it is gone
UNTOUCHED = Reason(
    "untouched", "The unlearned model is the original: their weights are the same, and so nothing was forgotten."
)
DOUBTFUL_YARDSTICK = 0.10  # a retrained model that keeps this much less than the original was trained otherwise


@dataclass(frozen=True)
class Verdict:
    """Outcome, the same in a line, what else there is to say, the scorecard, the floor, and what to do next."""

    outcome: Outcome
    headline: str
    sentences: list[str]
    rows: list[ScoreRow]
    floor: Floor = UNKNOWN
    steps: list[str] = field(default_factory=list)

    @property
    def is_indistinguishable(self) -> bool:
        """Forgotten, and no farther from the retrained model than a second retrained one."""
        return self.outcome == "forgotten" and self.floor.state == "within"


def verdict(
    figures: Sequence[Figure],
    counts: UnitCounts | None,
    *,
    kept_repeats: int = 0,
    is_untouched: bool = False,
    pace: Pace | None = None,
) -> Verdict:
    """Judge the model called ``unlearned`` by the criteria of `multidelete.audits.criteria`, of every deleted kind.

    The first that holds:

    - *damaged*: retain or test is missed;
    - *unfinished*: forgetting or membership is missed from above;
    - *over-forgotten*: forgetting or membership is missed from below;
    - *unjudged*: a criterion is absent, or too few items tell whether it is met, or chance alone gives as much; the
      original finds the forget pairs hardly better than the yardstick does, so that nothing could be seen to go; or a
      retrained model that itself keeps far less than the original; or pairs that were kept are the same as deleted
      ones;
    - *forgotten*.

    Beside the outcome stands the floor: a *forgotten* model that is within it is indistinguishable from a
    retrained one by these audits. Neither the floor nor relearning changes the outcome; what comes back sooner than
    the retrained model learns it is said.

    An untouched model is never *forgotten*: its gap is the original's own, which is either beyond the
    tolerance or too small to judge. A retrained model of another seed is never called bad, and *unjudged* where
    items are too few to tell it from a bad one.

    Args:
        figures: What `run_audits` gives.
        counts: What `unit_counts` gives for the same input.
        kept_repeats: Number of kept pairs that are the same pairs as deleted ones, under other ids.
        is_untouched: Whether the unlearned model has the weights of the original, which is said.
        pace: How the run that made it came by its rate, which advice goes by; None where that is not known.
    """
    look = Lookup(figures)
    rows = scorecard(figures, counts)
    missed = [row for row in rows if row.state == "missed"]
    reasons = [
        *([UNTOUCHED] if is_untouched else []),
        *_repeated(kept_repeats),
        *_reasons_not_to_judge(look, rows, counts),
    ]
    outcome: Outcome
    if any(row.criterion in ("retain", "test") for row in missed):
        outcome = "damaged"
    elif missed:
        outcome = "unfinished" if any(row.is_above for row in missed) else "over-forgotten"
    else:
        outcome = "unjudged" if reasons else "forgotten"
    has_retrained = any(row.retrained is not None for row in rows)
    beside = floor(look, rows, counts)
    hidden = comes_back(look, counts)
    told = [count(counts), *([] if has_retrained else [without_retrained(rows)])]
    told += [count(one) for one in (counts.others if counts else ())]
    told += [row_sentence(row, counts) for row in rows]
    told += [reason.sentence for reason in reasons]
    told += [hidden, beside.sentence, farthest(look, counts), spent(look, rows)]
    first = headline(outcome, [reason.kind for reason in reasons], counts, has_retrained, beside.state == "within")
    steps = next_steps(outcome, [reason.kind for reason in reasons], has_retrained, bool(hidden), pace)
    return Verdict(outcome, first, [sentence for sentence in told if sentence], rows, beside, steps)


def _repeated(kept_repeats: int) -> list[Reason]:
    if not kept_repeats:
        return []
    are = "is the same pair as a deleted one" if kept_repeats == 1 else "are the same pairs as deleted ones"
    told = f"{counted(kept_repeats, 'kept pairs')} {are}, under other ids: the request is not done while they stay."
    return [Reason("kept repeats", told)]


def _reasons_not_to_judge(look: Lookup, rows: Sequence[ScoreRow], counts: UnitCounts | None) -> list[Reason]:
    """Each of them forbids calling it forgotten. Rows that are absent or unclear have sentences of their own."""
    reasons = []
    forget = [row for row in rows if row.criterion == "forgetting"]
    margins = [
        (row.original.value or 0.0) - row.yardstick
        for row in forget
        if row.original is not None and row.yardstick is not None
    ]
    first = forget[0]
    if margins and max(margins) <= SOMETHING_TO_FORGET and first.original is not None:
        doubt = "" if first.retrained is None else " Or had the retrained model seen them too?"
        reasons.append(
            Reason(
                "little memorised",
                "Too little was memorised for this audit to see it go: of the deleted pairs the original finds "
                f"{first.original.value:.3f}, and {first.yardstick or 0.0:.3f} would be found without their "
                f"having been seen.{doubt}",
            )
        )
    if counts is not None:
        for split in ("retain", "retain sample"):
            lost = look.row((FORGETTING, counts.measure.against("original"), split), "retrained")
            if lost is None or lost.value is None:
                continue
            if (lost.value if lost.high is None else lost.high) < -DOUBTFUL_YARDSTICK:
                reasons.append(
                    Reason(
                        "doubtful yardstick",
                        f"The retrained model finds {-lost.value:.3f} fewer of the kept pairs than the original, "
                        "which makes it a doubtful yardstick. Was it trained by the same recipe?",
                    )
                )
            break
    if any(row.state == "absent" for row in rows):
        reasons.append(Reason("absent"))
    unclear = [row for row in rows if row.state == "unclear"]
    few = [is_of_few_deleted(row, counts) for row in unclear if not is_near_chance(row)]
    if any(few):
        reasons.append(Reason("few deleted"))
    if not all(few):
        reasons.append(Reason("too few"))
    if any(is_near_chance(row) for row in unclear):
        reasons.append(Reason("near chance"))
    return reasons


def _judged(criterion: str) -> Callable[[Audited], Key | None]:
    """The figure that the verdict judges a criterion by: of the headline's kind, which comes first."""

    def figure(audited: Audited) -> Key | None:
        rows = [row for row in verdict(audited.figures, audited.counts).rows if row.criterion == criterion]
        return next((row.unlearned.key for row in rows if row.unlearned is not None), None)

    return figure


COLUMNS = (
    *(
        Column(
            key=criterion,
            figure=_judged(criterion),
            tolerance=TOLERANCES[criterion][1],
            one_sided=True,
            control=controls.RANDOM_WEIGHTS,
        )
        for criterion in ("test", "retain")
    ),
    Column(
        key="forget", figure=_judged("forgetting"), tolerance=TOLERANCES["forgetting"][1], control=controls.UNTOUCHED
    ),
)
