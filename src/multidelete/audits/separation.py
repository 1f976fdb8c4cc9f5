"""D_f|D_r: can the score of the matched pair tell forget pairs from retain pairs?

The figure that Cheng and Amiri report ("MultiDelete for Multimodal Machine Unlearning", ECCV 2024,
arXiv:2311.12047): forget is 0, retain is 1, so that 0.5 is an untouched model, and lower scores of
forget pairs raise it. Read it beside the retrained model's own value: beyond it is over-forgetting.

``auc`` is of the label-aware score. The code that the paper's authors released scores otherwise, and the
numbers in the paper compare with ``auc as released`` alone: see `released_auc`.

Shape suffixes: P retain pairs, M forget pairs, C classes.
"""

import numpy as np

from multidelete.audits import stats
from multidelete.audits.columns import Column
from multidelete.audits.compare import Heading, Measured, absent_figures, auc_figures, target_figures
from multidelete.audits.controls import UNTOUCHED, Controls
from multidelete.audits.inputs import AuditInput, groups, prefix, units
from multidelete.audits.judgement import TOLERANCES
from multidelete.audits.measure import AUC, Measure
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals
from multidelete.core.streams import Stream, stream
from multidelete.core.words import counted

AUDIT = "separation"
QUESTION = "Do the model's own scores tell deleted pairs from kept ones?"
CONTROLS = Controls(apart=0.20)
SPLIT = "forget and retain"
AS_RELEASED = "auc as released"
MAX_SAMPLES = 10
MAX_CLASSES = 20  # of more, the released figure has no interval: each class is resampled by itself


def figures(audit: AuditInput) -> list[Figure]:
    """Both AUCs per kind, retain above forget; mean over disjoint retain samples of size |F|.

    The mean of the AUCs against equally large samples is the AUC against their union, which is what
    is computed.
    """
    rows = []
    for kind in audit.kinds():
        forget = {name: model.forget.of_kind(kind) for name, model in audit.models.items()}
        retain = {name: model.retain.of_kind(kind) for name, model in audit.models.items()}
        size, available = len(forget["original"]), len(retain["original"])
        if not available:
            why = f"there are no {prefix(kind)}retain pairs"
            for name in (AUC, AS_RELEASED):
                rows += absent_figures(AUDIT, Measure(name, kind=kind), SPLIT, audit.models, why)
            continue
        samples = min(available // size, MAX_SAMPLES)
        drawn = whole_units_first(units(retain["original"], audit.unit), audit.seed)[: samples * size or available]
        extent = f"{counted(samples, 'disjoint retain samples')} of {counted(size, 'pairs')}"
        if not samples:
            extent = f"only {available:,} retain pairs for {size:,} forget pairs"
        retain = {name: signals.select(drawn) for name, signals in retain.items()}
        rows += auc_figures(
            Heading(AUDIT, Measure(AUC, kind=kind), SPLIT, note=f"label-aware score of the matched pair; {extent}"),
            scores={m: (retain[m].label_aware_score, forget[m].label_aware_score) for m in audit.models},
            groups=(groups(retain["original"]), groups(forget["original"])),
            seed=audit.seed,
        )
        rows += _released_figures(audit, Measure(AS_RELEASED, kind=kind), retain, forget, extent)
    return rows


def released_scores(signals: Signals) -> stats.Floats | None:
    """What the released code scores a pair by, (N, C) or (N, 1); None where there is neither.

    Of a classifier the probability of each class, whatever the pair's label; else the cosine of its two embeddings.
    """
    if signals.logits is not None:
        shifted_NC = signals.logits.astype(np.float64) - signals.logits.max(axis=1, keepdims=True)
        weight_NC = np.exp(shifted_NC)
        return np.asarray(weight_NC / weight_NC.sum(axis=1, keepdims=True))
    if signals.embeddings is None:
        return None
    first, second = (signals.embeddings[modality].astype(np.float64) for modality in signals.modalities)
    return np.asarray(np.round((first * second).sum(axis=1, keepdims=True), 6))


def released_auc(retain_PC: stats.Floats, forget_MC: stats.Floats) -> float:
    """Mean over classes of the AUC of p(class), retain above forget.

    The labels play no part in it. Of two classes it is always 0.5: what one AUC has above, the other has below.

    >>> released_auc(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[0.3, 0.7]]))
    0.5
    """
    return float(np.mean([stats.auc(p, m) for p, m in zip(retain_PC.T, forget_MC.T, strict=True)]))


def _released_figures(
    audit: AuditInput, measure: Measure, retain: dict[str, Signals], forget: dict[str, Signals], extent: str
) -> list[Figure]:
    scores = {name: (released_scores(retain[name]), released_scores(forget[name])) for name in audit.models}
    hang_together = groups(retain["original"]), groups(forget["original"])
    measured: Measured = {}
    classes = 1
    for name, (retain_PC, forget_MC) in scores.items():
        if retain_PC is None or forget_MC is None:
            why = "the released code scores classes or cosines, and this family has neither"
            return absent_figures(AUDIT, measure, SPLIT, audit.models, why)
        classes = retain_PC.shape[1]
        resampled = [
            stats.auc_resamples(retain_P, forget_M, *hang_together, seed=audit.seed)
            for retain_P, forget_M in zip(retain_PC.T, forget_MC.T, strict=True)
            if classes <= MAX_CLASSES
        ]
        known = [resampled_R for resampled_R in resampled if resampled_R is not None]
        resampled_R = np.mean(known, axis=0) if known else None
        measured = {**measured, name: (released_auc(retain_PC, forget_MC), resampled_R)}
    note = "cosine of the pair's embeddings"
    if retain["original"].logits is not None:
        note = f"AUC of p(class), mean over {classes} classes, whatever the labels"
        note += "; of two classes it is 0.5 in any model" if classes == 2 else ""
    n = len(retain["original"])
    return target_figures(
        Heading(AUDIT, measure, SPLIT, note=f"as in the released code: {note}; {extent}"), measured=measured, n=n
    )


def whole_units_first(unit_of_pair: list[str], seed: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Positions of pairs, unit after unit in random order."""
    names = sorted(set(unit_of_pair))
    order = stream(seed, Stream.SEPARATED_UNITS).permutation(len(names))
    place = {names[i]: rank for rank, i in enumerate(order)}
    return np.argsort([place[unit] for unit in unit_of_pair], kind="stable")


def _column(key: str, name: str) -> Column:
    return Column(
        key=key,
        figure=lambda audited: (AUDIT, Measure(name, kind=audited.kind), SPLIT),
        tolerance=TOLERANCES["membership"][1],
        control=UNTOUCHED,
    )


COLUMNS = (_column("separation", AUC), _column("as released", AS_RELEASED))
