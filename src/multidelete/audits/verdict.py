"""The verdict in words: was it forgotten, what did it cost, and can that be told at all?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from multidelete.audits import cost, relearning
from multidelete.audits.compare import TO_ORIGINAL, TO_RETRAINED
from multidelete.audits.criteria import TOLERANCES, Lookup, ScoreRow, scorecard, still_found
from multidelete.audits.floor import UNKNOWN, Floor, farthest, floor
from multidelete.audits.forgetting import AUDIT as FORGETTING
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.result import Figure

Outcome = Literal["forgotten", "unfinished", "over-forgotten", "damaged", "unjudged"]

SOMETHING_TO_FORGET = 2 * TOLERANCES["forgetting"][0]  # then a gap within tolerance means that over half of it is gone
BEYOND = {  # criterion, and whether the gap lies above
    ("forgetting", True): "Deleted pairs are still known",
    ("forgetting", False): "Deleted pairs are known less than if they had never been seen",
    ("membership", True): "An attack still tells that deleted pairs were trained on",
    (
        "membership",
        False,
    ): "Deleted pairs look less known to an attack than if they had never been seen, and so stand out",
    ("retain", False): "Pairs that were to stay are known less than before",
    ("test", False): "Unseen pairs are known less than before",
}
DOUBTFUL_YARDSTICK = 0.10  # a retrained model that keeps this much less than the original was trained otherwise


@dataclass(frozen=True)
class Verdict:
    """Outcome, what was forgotten in one sentence, what else there is to say, the scorecard, and the floor."""

    outcome: Outcome
    headline: str
    sentences: list[str]
    rows: list[ScoreRow]
    floor: Floor = UNKNOWN

    @property
    def is_indistinguishable(self) -> bool:
        """Forgotten, and no farther from the retrained model than a second retrained one."""
        return self.outcome == "forgotten" and self.floor.state == "within"


def verdict(figures: Sequence[Figure], counts: UnitCounts | None) -> Verdict:
    """Judge the model called ``unlearned`` by the four criteria of `multidelete.audits.criteria`.

    The first that holds:

    - *damaged*: retain or test is missed;
    - *unfinished*: forgetting or membership is missed from above; or a search is unclear from above
      while not one memorised unit is forgotten;
    - *over-forgotten*: forgetting or membership is missed from below;
    - *unjudged*: a criterion is absent; the original finds the forget pairs hardly better than the
      yardstick does, so that nothing could be seen to go; too few items to tell; or a retrained
      model that itself keeps far less than the original;
    - *forgotten*.

    Beside the outcome stands the floor: a *forgotten* model that is within it is indistinguishable from a
    retrained one by these audits. Neither the floor nor relearning changes the outcome; what comes back sooner than
    the retrained model learns it is said.

    An untouched model is never *forgotten*: its gap is the original's own, which is either beyond the
    tolerance or too small to judge. The retrained model itself has no gap and is never called bad; one
    of another seed is *unjudged* where items are too few to tell it from a bad one.

    Args:
        figures: What `run_audits` gives.
        counts: What `unit_counts` gives for the same input.
    """
    look = Lookup(figures)
    rows = scorecard(figures, counts)
    reasons = _reasons_not_to_judge(look, rows, counts)
    forget_side = (rows["forgetting"], rows["membership"])
    kept_side = (rows["retain"], rows["test"])
    outcome: Outcome
    if any(row.state == "missed" for row in kept_side):
        outcome = "damaged"
    elif any(row.state == "missed" and row.is_above for row in forget_side) or _nothing_gone(rows, counts):
        outcome = "unfinished"
    elif any(row.state == "missed" for row in forget_side):
        outcome = "over-forgotten"
    else:
        outcome = "unjudged" if reasons else "forgotten"
    beside = floor(look, rows, counts)
    sentences = [_without_retrained(rows), *map(_beyond, rows.values()), *reasons]
    sentences += [_comes_back(look, counts), beside.sentence, farthest(look, counts), _cost(look, rows)]
    told = [sentence for sentence in sentences if sentence]
    return Verdict(outcome, _count(counts), told, list(rows.values()), beside)


def _nothing_gone(rows: Mapping[str, ScoreRow], counts: UnitCounts | None) -> bool:
    """A search finds every memorised unit still, and the gap is too large, however noisy."""
    row = rows["forgetting"]
    untouched = counts is not None and counts.memorised > 0 and counts.forgotten["unlearned"] == 0
    return untouched and row.state == "unclear" and still_found(row, counts)


def _comes_back(look: Lookup, counts: UnitCounts | None) -> str:
    """A sentence where relearning some deleted pairs brings back more of the others than the retrained model learns."""
    if counts is None:
        return ""
    row = look.row((relearning.AUDIT, counts.measure + relearning.MEAN + TO_RETRAINED, relearning.SPLIT), "unlearned")
    if row is None or row.value is None or row.low is None or row.high is None or row.low <= 0:
        return ""
    return (
        "What was deleted comes back: trained again on some of the deleted pairs, the unlearned model gets "
        f"{row.value:.3f} more of the others right than the retrained model, on average over the steps "
        f"(95 % interval {row.low:+.3f} to {row.high:+.3f}). Some of it may be hidden rather than gone."
    )


def _reasons_not_to_judge(look: Lookup, rows: Mapping[str, ScoreRow], counts: UnitCounts | None) -> list[str]:
    """Sentences, one per reason; any of them forbids calling it forgotten."""
    reasons = [f"Not measured: {name}, since {row.note}." for name, row in rows.items() if row.state == "absent"]
    forget = rows["forgetting"]
    if forget.original is not None and forget.yardstick is not None:
        margin = (forget.original.value or 0.0) - forget.yardstick
        if margin <= SOMETHING_TO_FORGET:
            reasons.append(
                f"On the forget pairs {forget.original.figure} is {forget.original.value:.3f} for the original and "
                f"{forget.yardstick:.3f} for the yardstick: too little was memorised for this audit to see it go."
            )
    reasons += [
        f"Too few items to tell whether {name} meets its target."
        for name, row in rows.items()
        if row.state == "unclear"
    ]
    if counts is not None:
        for split in ("retain", "retain sample"):
            lost = look.row((FORGETTING, counts.measure + TO_ORIGINAL, split), "retrained")
            if lost is None or lost.value is None:
                continue
            if (lost.value if lost.high is None else lost.high) < -DOUBTFUL_YARDSTICK:
                reasons.append(
                    f"The retrained model finds {-lost.value:.3f} fewer of the retain pairs than the original: "
                    "a doubtful yardstick; was it trained by the same recipe?"
                )
            break
    return reasons


def _count(counts: UnitCounts | None) -> str:
    """How many units are forgotten, and what each model finds."""
    if counts is None:
        return "The deleted units could not be counted: this family can be searched neither by embedding nor by label."
    gone, noun, total = counts.forgotten["unlearned"], counts.noun, counts.total
    _, _, searched = counts.measure.partition(" to ")  # "text among all training texts"
    if not searched:
        return _count_of_labels(counts)
    found_means = f"an own {searched.replace(' among', ' ranks first among', 1)}"
    known = f"the original finds {counts.found['original']}, the unlearned model {counts.found['unlearned']}"
    if "retrained" in counts.found:
        known += f", a model retrained without them {counts.found['retrained']}"
    known += f" (found: {found_means})."
    only = "only the original" if "retrained" in counts.found else "the original"
    if not counts.memorised:
        return f"Of {total} {noun}, none is found by {only}, so none could be forgotten: {known}"
    if counts.memorised == total:
        of_all = f" (drawn from {counts.requested} that were requested)" if counts.requested else ""
        return f"{gone} of {total} {noun} forgotten{of_all}: {known}"
    asked = f"drawn from {counts.requested} that were" if counts.requested else "were"
    return (
        f"{gone} of the {counts.memorised} {noun} that {only} finds are forgotten, {total} {asked} requested: {known}"
    )


def _count_of_labels(counts: UnitCounts) -> str:
    """Totals: labels are also predicted right without having been seen, so single units say little."""
    noun, total, right = counts.noun, counts.total, counts.found
    beside = f", the original of {right['original']}"
    if "retrained" in right:
        beside += f", a model retrained without them of {right['retrained']}"
    return (
        f"The unlearned model knows the labels of {right['unlearned']} of {total} deleted {noun}{beside}: "
        f"a label can also be told without having been seen, so compare with the retrained model, not with 0."
    )


def _without_retrained(rows: Mapping[str, ScoreRow]) -> str:
    """What the targets are when nothing was retrained."""
    row = rows["forgetting"]
    if row.state == "absent" or row.retrained is not None:
        return ""
    return (
        "No model was retrained without these pairs, so how one would behave is not known. The targets are instead: "
        f"forgetting {row.target}; membership an AUC of 0.5, a guess."
    )


def _beyond(row: ScoreRow) -> str:
    """A sentence for a criterion whose gap is beyond its tolerance, by chance or not."""
    if not row.is_beyond or row.gap is None or row.unlearned is None:
        return ""
    interval = "" if row.low is None or row.high is None else f" (95 % interval {row.low:+.3f} to {row.high:+.3f})"
    side = "above" if row.is_above else "below"
    certainty = ", so that it may lie within its target after all" if row.state == "unclear" else ""
    figure = row.unlearned.figure
    if row.criterion == "membership":  # "sensitive auc of score"
        kind, _, signal = figure.partition("auc of ")
        figure = f"the AUC of the attack by the {kind}pairs' {signal}"
    return (
        f"{BEYOND[row.criterion, row.is_above]}: {figure} is {row.unlearned.value:.3f} and should be {row.target}; "
        f"it lies {abs(row.gap):.3f} {side}{interval}{certainty}."
    )


def _cost(look: Lookup, rows: Mapping[str, ScoreRow]) -> str:
    """Seconds, fraction of retraining, and what was lost."""
    parts = []
    wall_s = look.value((cost.AUDIT, "wall seconds", None), "unlearned")
    fraction = look.value((cost.AUDIT, "fraction of retraining", None), "unlearned")
    if wall_s is not None:
        parts.append(f"{wall_s:,.1f} s" + ("" if fraction is None else f", {fraction:.2f} of the time of retraining"))
    for criterion, words in (("retain", "retain pairs"), ("test", "held-out pairs")):
        before, after = rows[criterion].original, rows[criterion].unlearned
        if before is not None and after is not None:
            name = after.figure
            if " to " in name:  # "recall@1 image to text among ..." is "recall@1"
                name = name.partition(" to ")[0].rpartition(" ")[0]
            parts.append(f"{name} on {words} {before.value:.3f} before, {after.value:.3f} after")
    return f"What it cost: {'; '.join(parts)}." if parts else ""
