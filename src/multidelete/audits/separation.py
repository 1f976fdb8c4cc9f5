"""D_f|D_r: can the score of the matched pair tell forget pairs from retain pairs?

The figure that Cheng and Amiri report ("MultiDelete for Multimodal Machine Unlearning", ECCV 2024,
arXiv:2311.12047): forget is 0, retain is 1, so that 0.5 is an untouched model, and lower scores of
forget pairs raise it. Read it beside the retrained model's own value: beyond it is over-forgetting.
"""

import numpy as np

from multidelete.audits.compare import absent_figures, auc_figures
from multidelete.audits.inputs import AuditInput, groups, prefix, units
from multidelete.audits.result import Figure

AUDIT = "separation"
MAX_SAMPLES = 10


def figures(audit: AuditInput) -> list[Figure]:
    """AUC of the label-aware score per kind, retain above forget; mean over disjoint retain samples of size |F|.

    The mean of the AUCs against equally large samples is the AUC against their union, which is what
    is computed.
    """
    found = []
    for kind in audit.kinds():
        forget = {name: model.forget.of_kind(kind) for name, model in audit.models.items()}
        retain = {name: model.retain.of_kind(kind) for name, model in audit.models.items()}
        size, available = len(forget["original"]), len(retain["original"])
        name = f"{prefix(kind)}auc"
        if not available:
            why = f"there are no {prefix(kind)}retain pairs"
            found += absent_figures(AUDIT, name, "forget and retain", audit.models, why)
            continue
        samples = min(available // size, MAX_SAMPLES)
        drawn = whole_units_first(units(retain["original"], audit.unit), audit.seed)[: samples * size or available]
        note = f"label-aware score of the matched pair; {samples} disjoint retain samples of {size:,} pairs"
        if not samples:
            note = f"label-aware score of the matched pair; only {available:,} retain pairs for {size:,} forget pairs"
        found += auc_figures(
            audit=AUDIT,
            figure=name,
            split="forget and retain",
            positives={model: signals.select(drawn).label_aware_score for model, signals in retain.items()},
            negatives={model: signals.label_aware_score for model, signals in forget.items()},
            positive_groups=groups(retain["original"].select(drawn)),
            negative_groups=groups(forget["original"]),
            seed=audit.seed,
            note=note,
        )
    return found


def whole_units_first(unit_of_pair: list[str], seed: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Positions of pairs, unit after unit in random order."""
    names = sorted(set(unit_of_pair))
    order = np.random.default_rng(seed).permutation(len(names))
    place = {names[i]: rank for rank, i in enumerate(order)}
    return np.argsort([place[unit] for unit in unit_of_pair], kind="stable")
