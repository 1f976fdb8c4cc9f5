"""One number per pair: how far the pair's own label or partner stands out, in nats.

Shape suffixes: N pairs.
"""

import numpy as np

from multidelete.audits import stats
from multidelete.audits.inputs import ModelSignals
from multidelete.audits.membership import margins
from multidelete.audits.retrieval import directions
from multidelete.audits.signals import Signals

NO_REFERENCE = "a pair has no unassociated retain pair to be measured against"


def pair_margins(model: ModelSignals, pairs: Signals, seed: int) -> stats.Floats | None:
    """Log-odds of each pair's own label, or of its own partner among others, (N,); higher means more associated.

    Classifiers: the margin of the label. Dual encoders: the mean of the two directions of
    `multidelete.audits.membership.margins`, among retain pairs of the pairs' own kind. Where there is
    neither, the association score.

    Args:
        model: Whose retain pairs are the reference.
        pairs: Pairs of one kind, of the same model.
        seed: Of the reference; the same for all models.

    Returns:
        None where a pair has no unassociated candidate in the reference.
    """
    if pairs.embeddings is None or pairs.can_be_judged:
        return pairs.label_aware_score.astype(np.float64)
    retain = model.retain.of_kind(pairs.kinds[0])
    both = [
        margins(pairs, retain, query=query, candidate=candidate, scale=model.logit_scale, seed=seed)
        for query, candidate in directions(pairs)
    ]
    there = [margin_N for margin_N in both if margin_N is not None]
    return np.mean(there, axis=0) if len(there) == len(both) else None


def meaning(pairs: Signals) -> str:
    """What the margin of these pairs is, for a figure's note."""
    if pairs.can_be_judged:
        return "margin: log-odds of the pair's own label"
    if pairs.embeddings is not None:
        return "margin: log-odds of the pair's own partner among retain pairs' members, both directions"
    return "margin: the association score"
