"""Controls: models of known answers among the audited ones. An audit that gets them wrong says nothing of others.

    untouched         the original, given as if it had unlearned
    retrained again   a second retrained model, of another seed; further ones are "retrained again 2", ...
    random weights    a new model that was never trained

Models with these names are taken as controls wherever figures come from; `run_audits` marks figures itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from multidelete.audits import (
    collateral,
    compression,
    cost,
    distance,
    forgetting,
    leakage,
    membership,
    per_pair,
    relearning,
    separation,
    unimodal,
    utility,
)
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.audits.measure import ACCURACY, AUC, Measure
from multidelete.audits.result import Figure

UNTOUCHED, RANDOM_WEIGHTS = "untouched", "random weights"
SAME = 1e-4  # the same weights asked twice, perhaps in other batches
APART = {
    forgetting.AUDIT: 0.10,
    membership.AUDIT: 0.20,
    per_pair.AUDIT: 0.20,
    separation.AUDIT: 0.20,
    leakage.AUDIT: 0.20,
    compression.AUDIT: 0.20,
    relearning.AUDIT: 0.20,
}
"""Twice the verdict's tolerances: two retrained models differ, and few items make narrow intervals."""


def check_controls(figures: Sequence[Figure]) -> dict[str, str | None]:
    """Whether each audit's controls came out right.

    - *untouched* has the original's value in every figure, up to `SAME`; and where forget pairs are relearned, it
      has certainly more of the others than the retrained model on average over the steps;
    - *retrained again* is not certainly farther than `APART` from the retrained model in recall@1 among training
      pairs, accuracy or AUC, nor in recall by a fitted map, with weights of few bits and on average over the steps of
      relearning: its interval reaches into that. Per-pair attacks without shadows calibrate each of the two by the
      other, and there 0.5 stands in for the retrained model's AUC;
    - *random weights* are certainly worse than the original in some figure of utility, of forgetting on retain
      pairs, of their neighbours and of few bits; give no AUC of membership that is certainly farther than `APART`
      from 0.5; keep less of some neighbourhood or alignment than the original; and lie farther from the retrained
      model than the second one.

    Args:
        figures: Of any models; those that are no controls are passed over.

    Returns:
        For each audit of which a control could be looked at None, or what came out wrong. Audits without
        controls, or whose control rows are absent, are left out. Cost has no controls.
    """
    found: dict[str, str | None] = {}
    for audit in dict.fromkeys(row.audit for row in figures if row.audit != cost.AUDIT):
        rows = [row for row in figures if row.audit == audit and row.value is not None]
        outcomes = [*_untouched(rows), *_retrained_again(audit, rows), *_random_weights(audit, rows)]
        if audit == relearning.AUDIT:
            outcomes += _untouched_comes_back(rows)
        if outcomes:
            found[audit] = "; ".join(reason for reason in outcomes if reason) or None
    return found


def mark_void(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, those of audits with a wrong control marked as void with the reason."""
    wrong = check_controls(figures)
    return [replace(row, void=wrong[row.audit]) if wrong.get(row.audit) else row for row in figures]


def _untouched(rows: Sequence[Figure]) -> list[str]:
    """One outcome for each comparable figure, empty where it is right."""
    original = {(row.measure, row.split): row.value for row in rows if row.model == "original"}
    found = []
    for row in rows:
        expected = 0.0 if row.measure.to == "original" else original.get((row.measure, row.split))
        if _is_agreement(row):
            expected = 1.0
        if row.model != UNTOUCHED or row.value is None or expected is None:
            continue
        is_same = abs(row.value - expected) <= SAME * max(1.0, abs(expected))
        where = f"{row.figure} ({row.split})" if row.split else row.figure
        found.append("" if is_same else f"untouched: {where} is {row.value:.3f}, the original's {expected:.3f}")
    return found


def _untouched_comes_back(rows: Sequence[Figure]) -> list[str]:
    """What never went is there at every step: a curve that does not tell it from the retrained model tells nothing."""
    gaps = [row for row in rows if row.model == UNTOUCHED and _is_area(row.measure)]
    return _some(gaps, lambda row: (row.low or 0) > 0, "untouched: no more is there than in the retrained model")


def _is_area(measure: Measure) -> bool:
    """The area between a model's curve of relearning and the retrained model's, of recall or accuracy."""
    is_headline = measure.gallery == forgetting.ALL_TRAINING or measure.name == ACCURACY
    return is_headline and measure.state == relearning.MEAN and measure.to == "retrained"


def _retrained_again(audit: str, rows: Sequence[Figure]) -> list[str]:
    """Certainly far from the retrained model; or, where that is no yardstick of it, from an attack that guesses?"""
    found = []
    if audit == per_pair.AUDIT:
        compared = {(row.measure, row.model) for row in rows if row.measure.to == "retrained"}
        alone = [row for row in rows if row.model.startswith(RETRAINED_AGAIN) and _is_attack(row)]
        alone = [row for row in alone if (row.measure.against("retrained"), row.model) not in compared]
        found += [_far(row, 0.5, APART[audit], f"{row.model}: {row.figure} is {row.value:.3f}") for row in alone]
    for row in rows:
        measure = row.measure
        if measure.to != "retrained" or not row.model.startswith(RETRAINED_AGAIN) or audit not in APART:
            continue
        is_search = measure.gallery in (forgetting.ALL_TRAINING, forgetting.SAMPLED_TRAINING)
        if audit == forgetting.AUDIT and (row.split != "forget" or not (is_search or measure.name == ACCURACY)):
            continue
        if audit == relearning.AUDIT and not _is_area(measure):
            continue
        figure = replace(measure, to=None)
        found.append(_far(row, 0.0, APART[audit], f"{row.model}: {figure} lies {row.value:+.3f} from the retrained's"))
    return found


def _random_weights(audit: str, rows: Sequence[Figure]) -> list[str]:
    """One outcome for each rule that applies to the audit."""
    random = [row for row in rows if row.model == RANDOM_WEIGHTS]
    if audit in (membership.AUDIT, per_pair.AUDIT):
        aucs = [row for row in random if _is_attack(row)]
        return [_far(row, 0.5, APART[audit], f"random weights: {row.figure} is {row.value:.3f}") for row in aucs]
    if audit in (utility.AUDIT, forgetting.AUDIT, collateral.AUDIT, compression.AUDIT):
        kept = [row for row in random if row.measure.to == "original" and row.split != "forget"]
        return _some(kept, _below_zero, "random weights: nothing is certainly worse than the original's")
    if audit == unimodal.AUDIT:
        agreements = [row for row in random if _is_agreement(row)]
        return _some(
            agreements, lambda row: (row.value or 0) < 1 - SAME, "random weights: as the original in every figure"
        )
    if audit == distance.AUDIT:
        floor = {(row.measure, row.split): row.value for row in rows if row.model == RETRAINED_AGAIN}
        gaps = [row for row in random if row.measure.name == distance.ABSOLUTE and (row.measure, row.split) in floor]
        nearer = "random weights: nowhere farther from the retrained model than a second one is"
        return _some(gaps, lambda row: (row.value or 0) > (floor[row.measure, row.split] or 0), nearer)
    return []


def _is_attack(row: Figure) -> bool:
    """AUCs of single signals."""
    return row.measure.name == AUC and row.measure.signal is not None and row.measure.to is None


def _is_agreement(row: Figure) -> bool:
    """Figures that compare representations with the original's, which itself has none."""
    is_one = row.audit == unimodal.AUDIT and row.measure.name in (unimodal.OVERLAP, unimodal.CKA)
    return is_one and row.measure.to is None


def _far(row: Figure, centre: float, tolerance: float, words: str) -> str:
    """Words, if the whole interval is farther from the centre than the tolerance; no interval proves nothing."""
    if row.low is None or row.high is None:
        return ""
    is_far = row.low > centre + tolerance or row.high < centre - tolerance
    return f"{words}, 95 % interval {row.low:.3f} to {row.high:.3f}" if is_far else ""


def _some(rows: Sequence[Figure], holds: Callable[[Figure], bool], words: str) -> list[str]:
    """One outcome for all rows: right if the rule holds for any; none where there are no rows."""
    return ["" if any(map(holds, rows)) else words] if rows else []


def _below_zero(row: Figure) -> bool:
    return (row.value or 0) < 0 and (row.high is None or row.high < 0)
