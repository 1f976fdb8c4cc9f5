"""The verdict in plain words, for readers who decide by it and do not know the field."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from multidelete.audits import cost, relearning
from multidelete.audits.criteria import Lookup
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.judgement import ENOUGH_GROUPS, PRECISION, ScoreRow, has_few_groups, is_near_chance
from multidelete.audits.measure import ACCURACY, Measure
from multidelete.core.words import counted

Outcome = Literal["forgotten", "unfinished", "over-forgotten", "damaged", "unjudged"]
ReasonKind = Literal[
    "untouched",
    "kept repeats",
    "little memorised",
    "doubtful yardstick",
    "absent",
    "few deleted",
    "too few",
    "near chance",
]
Pace = Literal["auto", "given", "none", "retrained"]
"""How a run came by its rate and its end: found, given, or neither, as its method does not train; or it retrained."""

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
ABOUT_DELETED = ("forgetting", "membership")
ASKED = {
    "forgetting": "deleted pairs are found no more than if they had never been seen",
    "membership": "an attacker can tell that the deleted pairs were trained on",
    "retain": "other training pairs are found as before",
    "test": "unseen pairs are found as before",
}


@dataclass(frozen=True)
class Reason:
    """Why a model cannot be called forgotten, and the sentence that says so where no criterion's own does."""

    kind: ReasonKind
    sentence: str = ""


def headline(
    outcome: Outcome, reasons: Sequence[ReasonKind], counts: UnitCounts | None, has_retrained: bool, is_within: bool
) -> str:
    """The outcome in one line: its word, a colon, and what it means here."""
    deleted = "deleted pairs" if counts is None else f"deleted {counts.noun}"
    if outcome == "forgotten":
        if not has_retrained:
            return f"Forgotten: as far as can be told without a retrained model to compare the {deleted} with"
        if is_within:
            return "Forgotten: no farther from a retrained model than a second retrained model is"
        return f"Forgotten: {deleted} are treated as if never seen, and what was to stay has stayed"
    if outcome == "unfinished":
        return f"Unfinished: traces of the {deleted} remain"
    if outcome == "over-forgotten":
        return f"Over-forgotten: the {deleted} stand out by their absence"
    if outcome == "damaged":
        return "Damaged: the model has lost what it should have kept"
    because = {
        "untouched": "the unlearned model is the original",
        "kept repeats": "pairs that were kept are the same as deleted ones",
        "little memorised": f"the original had memorised too little of the {deleted} to see it go",
        "doubtful yardstick": "the retrained model is a doubtful yardstick",
        "absent": "not everything that a verdict takes could be measured",
        "few deleted": f"too few {deleted} to tell",
        "too few": "too few pairs to tell",
        "near chance": "chance alone finds nearly as much of what was to stay, so that a loss of it could not be seen",
    }
    return f"Not judged: {because[reasons[0]]}"


def count(counts: UnitCounts | None) -> str:
    """How many of the deleted units each model finds, by their pairs of the counts' kind."""
    if counts is None:
        return "The deleted units could not be counted: this family can be searched neither by embedding nor by label."
    number_of, total = counts.found, counted(counts.total, counts.noun)
    if counts.measure.direction is None:
        return _count_of_labels(counts)
    drawn = f", drawn from {counts.requested:,} that were requested," if counts.requested else ""
    known = f"the original finds {number_of['original']:,}, the unlearned model {number_of['unlearned']:,}"
    if "retrained" in number_of:
        known += f", a model retrained without them {number_of['retrained']:,}"
    by_kind = "" if counts.kind is None else f" (by {counts.kind} pairs)"
    told = f"Of {total} to be forgotten{by_kind}{drawn} {known}."
    candidate = counts.measure.direction[1]
    told += f" Found means: an own {candidate} ranks first among {counts.measure.gallery} {candidate}s."
    if not counts.memorised:
        only = "only the original" if "retrained" in number_of else "the original"
        return f"{told} None is found by {only}, so that none could be seen to go."
    if counts.memorised < number_of["original"]:
        still = counts.memorised - counts.forgotten["unlearned"]
        told += f" Of the {counts.memorised:,} that only the original finds, the unlearned model finds {still:,}."
    return told


def _count_of_labels(counts: UnitCounts) -> str:
    """Totals: labels are also predicted right without having been seen, so single units say little."""
    right = counts.found
    beside = f", the original of {right['original']:,}"
    of_kind = "" if counts.kind is None else f"{counts.kind} "
    deleted = counted(counts.total, f"deleted {of_kind}{counts.noun}")
    told = f"The unlearned model knows the labels of {right['unlearned']:,} of {deleted}"
    means = "A label can also be told without having been seen, so that 0 is not what to expect"
    if "retrained" in right:
        beside += f", a model retrained without them of {right['retrained']:,}"
        means += "; the retrained model shows what is"
    return f"{told}{beside}. {means}."


def without_retrained(rows: Sequence[ScoreRow]) -> str:
    """What the targets are when nothing was retrained."""
    row = next(row for row in rows if row.criterion == "forgetting")
    if row.state == "absent":
        return ""
    return (
        "No model was retrained without these pairs, so how one would behave is not known. The targets are instead: "
        f"forgetting {row.target}; membership an AUC of 0.5, a guess."
    )


def row_sentence(row: ScoreRow, counts: UnitCounts | None) -> str:
    """What a criterion says that is not met; empty where it is."""
    if row.state == "met":
        return ""
    of_kind = "" if row.kind is None else f" ({row.kind} pairs)"
    if row.state == "absent" or row.gap is None or row.unlearned is None:
        return f"Not measured: whether {ASKED[row.criterion]}{of_kind}, since {row.note}."
    if row.state == "missed":
        interval = "" if row.low is None or row.high is None else f" (95 % interval {row.low:+.3f} to {row.high:+.3f})"
        side = "above" if row.is_above else "below"
        return (
            f"{BEYOND[row.criterion, row.is_above]}{of_kind}: {_measured(row)} is {row.unlearned.value:.3f} and should "
            f"be {row.target}; it lies {abs(row.gap):.3f} {side}{interval}."
        )
    return (
        f"It cannot be told whether {ASKED[row.criterion]}{of_kind}. {_measured(row)[:1].upper()}{_measured(row)[1:]} "
        f"is {row.unlearned.value:.3f} and should be {row.target}; {_why_unclear(row, counts)}."
    )


def _measured(row: ScoreRow) -> str:
    """The figure in words: the scorecard has its full name."""
    if row.unlearned is None:
        return ""
    measure = row.unlearned.measure
    if row.criterion == "membership":
        return f"the AUC of the attack by the pairs' {measure.signal}"
    if measure.name == ACCURACY:
        return "the share of right labels"
    return "the share found first" if measure.k == 1 else f"the share found among the first {measure.k}"


def _why_unclear(row: ScoreRow, counts: UnitCounts | None) -> str:
    """What keeps a criterion from being judged."""
    if counts is not None and is_of_few_deleted(row, counts):
        if counts.groups == counts.total:
            return (
                f"{counted(counts.groups, f'deleted {counts.noun}')} cannot show it: it takes at least {ENOUGH_GROUPS}"
            )
        return f"the deleted pairs are of {_subjects(counts.groups)} alone, and it takes at least {ENOUGH_GROUPS}"
    if row.low is None or row.high is None or row.gap is None:
        return "these pairs hang together too closely to say how far chance reaches"
    if has_few_groups(row, counts if row.criterion in ABOUT_DELETED else None):
        return f"it rests on {_subjects(row.groups or 0)}, and it takes at least {ENOUGH_GROUPS}"
    interval = (
        f"its distance from there, {row.gap:+.3f}, may in truth be anything from {row.low:+.3f} to {row.high:+.3f}"
    )
    if is_near_chance(row):
        chance = 0.0 if row.base is None else row.base.chance or 0.0
        return f"chance alone gives {chance:.3f}, so near that a loss of all of it could not be told from chance"
    if row.is_beyond:
        return f"{interval}, which is partly within the target and partly not"
    return f"{interval}, and a judgement takes it more exactly, to within {PRECISION:.2f}"


def is_of_few_deleted(row: ScoreRow, counts: UnitCounts | None) -> bool:
    """Whether too little was deleted to judge a criterion by, however many other pairs there are."""
    return row.criterion in ABOUT_DELETED and counts is not None and counts.groups < ENOUGH_GROUPS


def _subjects(groups: int) -> str:
    """What pairs are grouped by, subjects or else pictures, with how many there are."""
    return "one subject or picture" if groups == 1 else f"{groups} subjects or pictures"


def comes_back(look: Lookup, counts: UnitCounts | None) -> str:
    """A sentence where relearning some deleted pairs brings back more of the others than the retrained model learns."""
    if counts is None:
        return ""
    area = replace(counts.measure, state=relearning.MEAN, to="retrained")
    row = look.row((relearning.AUDIT, area, relearning.SPLIT), "unlearned")
    if row is None or row.value is None or row.low is None or row.high is None or row.low <= 0:
        return ""
    return (
        "What was deleted comes back: trained again on some of the deleted pairs, the unlearned model gets "
        f"{row.value:.3f} more of the others right than the retrained model, on average over the steps "
        f"(95 % interval {row.low:+.3f} to {row.high:+.3f}). Some of it is hidden rather than gone."
    )


def spent(look: Lookup, rows: Sequence[ScoreRow]) -> str:
    """Seconds, fraction of retraining, and what was lost."""
    parts = []
    wall_s = look.value((cost.AUDIT, Measure(cost.WALL), None), "unlearned")
    fraction = look.value((cost.AUDIT, Measure(cost.FRACTION), None), "unlearned")
    if wall_s is not None:
        parts.append(f"{wall_s:,.1f} s" + ("" if fraction is None else f", {fraction:.2f} of the time of retraining"))
    for row in rows:
        if row.criterion in ("retain", "test") and row.original is not None and row.unlearned is not None:
            words = "retain pairs" if row.criterion == "retain" else "held-out pairs"
            name = row.original.measure.short
            parts.append(f"{name} on {words} {row.original.value:.3f} before, {row.unlearned.value:.3f} after")
    return f"What it cost: {'; '.join(parts)}." if parts else ""


_CHANGED_OTHERWISE: dict[Pace | None, dict[Outcome, str]] = {
    "auto": {
        "unfinished": "with more validation pairs that are like the deleted ones or more of the model to change "
        "(--trainable all)",
        "over-forgotten": "with validation pairs that are like the deleted ones",
        "damaged": "with more kept pairs to hold (--retain-sample)",
    },
    "given": {
        "unfinished": "with more --passes",
        "over-forgotten": "with fewer --passes or a lower --lr",
        "damaged": "with a lower --lr or more --retain-per-forget",
    },
    "none": dict.fromkeys(("unfinished", "over-forgotten", "damaged"), "with other hyperparameters (--set)"),
    "retrained": dict.fromkeys(("unfinished", "over-forgotten", "damaged"), "with another --seed"),
    None: dict.fromkeys(("unfinished", "over-forgotten", "damaged"), "with other settings"),
}
"""What to change in a run, by how it came by its rate (None: not known) and what became of it."""


def next_steps(
    outcome: Outcome, reasons: Collection[ReasonKind], has_retrained: bool, is_hidden: bool, pace: Pace | None = None
) -> list[str]:
    """What to do with the model, and what would tell more; ``pace`` is of the run that made it, where that is known."""
    retrain = (
        "Make a model without these pairs (multidelete unlearn --method retrain, with the same --data and --forget), "
        "and audit again with --retrained: it shows what never having seen them looks like."
    )
    if pace == "retrained":
        retrain = (
            "This model was itself made without these pairs. Make another with another --seed, and audit again with "
            "that one as --retrained: it shows how far two such models lie apart."
        )
    again = "Delete again from the original, not from this model"
    steps = []
    if outcome == "forgotten":
        steps.append(
            "Use the unlearned model in the place of the original, and delete what still knows the pairs: the "
            "original and its copies, caches and stores of reference models, the request, and the pairs themselves."
        )
    elif outcome != "unjudged":
        refused = "Do not use this model." if outcome == "damaged" else "Do not rely on this model."
        otherwise = _CHANGED_OTHERWISE[pace][outcome]
        steps.append(
            f"{refused} {again}, {otherwise} or by another --method, and audit again; where nothing helps, retrain."
        )
    else:
        steps.append("Do not read this as a success or as a failure: the evidence allows neither.")
        if "kept repeats" in reasons:
            steps.append("Name the kept pairs that are the same as deleted ones too, delete again, and audit that.")
        if "doubtful yardstick" in reasons:
            steps.append("Retrain by the recipe of the original, and audit again with that model as --retrained.")
        if "absent" in reasons:
            steps.append(
                "Give what was not measured, such as held-out pairs (--holdout when training), and audit again."
            )
        steps += _more_pairs(reasons)
    if is_hidden:
        steps.append("Since deleted pairs come back, do not hand out the weights, or retrain.")
    return steps if has_retrained else [*steps, retrain]


def _more_pairs(reasons: Collection[ReasonKind]) -> list[str]:
    """Which further pairs would tell more."""
    steps = []
    held_out, requests = "with more held-out pairs", "together with further requests"
    if "few deleted" in reasons or "too few" in reasons:
        with_more = requests if "too few" not in reasons else f"{held_out}, or {requests}"
        if "few deleted" in reasons and "too few" in reasons:
            with_more = f"{requests}, and {held_out}"
        steps.append(
            f"Audit {with_more}: what few pairs leave open, more pairs of the same kind may settle. Where that is not "
            "possible, only retraining is certain."
        )
    if "near chance" in reasons:
        steps.append(
            ("" if "too few" in reasons else f"Audit {held_out}. ")
            + "The larger the gallery, the less is found in it by chance. Where the original itself finds no more than "
            "chance does, there is nothing to be kept, and nothing to judge by."
        )
    return steps
