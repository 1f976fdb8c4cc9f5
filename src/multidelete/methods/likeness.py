"""Whether unseen pairs are of the same kind as the deleted ones.

A run brings deleted pairs to where unseen ones lie. Retraining leaves them there where both are alike; pictures of
another style, or texts about other things, are known better or worse from the start. A classifier that is asked which
is which tells.

Shape suffixes: N pairs, D representation.
"""

from collections.abc import Mapping

import numpy as np
import torch

from multidelete.methods.searching import CLOSE_TO_NOTHING, Asked

# Of pictures that were drawn together it was at most 0.56 in 15 requests, of drawings of two styles 0.84 and 0.90.
UNLIKE = 0.7
SURE = 3.0  # standard deviations from one half that chance hardly explains
MOST = 256  # of each side
PARTS = 5  # of which each is told by what the others taught
PENALTY = 0.01  # the smaller, the less a representation of hundreds of numbers learns by heart of as many pairs
MAX_STEPS = 500


def told_apart(deleted: Asked, unseen: Asked, modality: str) -> float | None:
    """How well one modality's members alone tell deleted pairs from unseen ones: an AUC, one half where they are alike.

    Lopez-Paz and Oquab: "Revisiting Classifier Two-Sample Tests", ICLR 2017, arXiv:1610.06545. Differs from the paper:
    a logistic regression on unimodal representations, an AUC in the place of the accuracy, and all pairs are asked,
    each by a classifier that saw nothing of its subject (or, without subjects, of its member).

    Returns:
        In [0, 1]; None where a side has fewer than five subjects or members, and where the model gives no numbers.
    """
    # here, since each command would take a second longer to begin
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    sides = [_some(one, modality) for one in (deleted, unseen)]
    if min(len(set(names)) for _, names in sides) < PARTS:
        return None
    every_ND = np.concatenate([side_ND for side_ND, _ in sides])
    if not np.isfinite(every_ND).all():
        return None
    every_ND = (every_ND - every_ND.mean(axis=0)) / max(every_ND.std(), CLOSE_TO_NOTHING)
    is_deleted_N = np.repeat([True, False], [len(names) for _, names in sides])
    classifier = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=MAX_STEPS)
    said_N = cross_val_predict(
        classifier, every_ND, is_deleted_N, groups=[name for _, names in sides for name in names],
        cv=StratifiedGroupKFold(PARTS), method="decision_function",
    )  # fmt: skip
    return float(roc_auc_score(is_deleted_N, said_N))


def what_is_unlike(apart: Mapping[str, float], doubt: float) -> str | None:
    """A warning where members of deleted pairs are clearly of another kind than those of validation pairs.

    Args:
        apart: By modality, what `told_apart` says.
        doubt: Standard deviation of such a figure by chance.
    """
    modality = max(apart, key=lambda name: apart[name], default=None)
    if modality is None or apart[modality] <= max(UNLIKE, 0.5 + SURE * doubt):
        return None
    return (
        f"the {modality} side alone tells the deleted pairs from the validation pairs, to which the run brings them: "
        f"of one of each a classifier finds the deleted one in {apart[modality]:.2f} of cases, where 0.50 is chance. "
        "A model that never saw them may know more or less of them than of validation pairs, so they may end too low "
        "or too high. Hold out pairs that are like those that are deleted."
    )


def _some(asked: Asked, modality: str) -> tuple[np.ndarray, list[str]]:
    """Representations, (N, D), and by what they hang together; evenly spaced pairs where there are many."""
    pairs, outputs = asked
    at = torch.linspace(0, len(pairs) - 1, min(MOST, len(pairs))).round().long()
    names = [pairs[position].subject or pairs[position].sources[modality] for position in at.tolist()]
    return outputs.unimodal[modality][at].flatten(1).double().numpy(), names
