"""What the models still do on held-out pairs: retrieval both ways, or accuracy.

Each kind of pair is searched within its own gallery. Differences to the original and to the
retrained model are paired over the queries.
"""

from collections.abc import Mapping

import numpy as np

from multidelete.audits.compare import Heading, absent_figures, mean_figures
from multidelete.audits.controls import Controls, worse_than_original
from multidelete.audits.inputs import AuditInput, groups, kinds_of, prefix
from multidelete.audits.measure import ACCURACY, RECALL, Measure
from multidelete.audits.result import Figure
from multidelete.audits.retrieval import KS, NO_EMBEDDINGS, NOT_DRAWN, directions, drawn, search
from multidelete.audits.signals import Signals
from multidelete.core.words import counted

AUDIT = "utility"
QUESTION = "Is the model still useful? Held-out pairs, which no model was trained on."
CONTROLS = Controls(rules=[worse_than_original])


def figures(audit: AuditInput) -> list[Figure]:
    """Held-out recall@1, 5 and 10 both ways per kind, or accuracy where there are labels."""
    split = "test" if audit.original.test is not None else "val"
    holdout = {name: model.holdout for name, model in audit.models.items()}
    by_model = {name: signals for name, signals in holdout.items() if signals is not None and len(signals)}
    if len(by_model) < len(holdout):
        missing = Measure(RECALL, k=10) if audit.original.forget.logits is None else Measure(ACCURACY)
        return absent_figures(AUDIT, missing, "test", audit.models, "there are no held-out pairs")
    rows = []
    for kind in kinds_of(by_model["original"]):
        of_kind = {name: signals.of_kind(kind) for name, signals in by_model.items()}
        rows += quality_figures(of_kind, audit=AUDIT, kind=kind, split=split, seed=audit.seed)
    return rows


def quality_figures(
    by_model: Mapping[str, Signals], *, audit: str, kind: str | None, split: str, seed: int
) -> list[Figure]:
    """Retrieval within the pairs' own gallery, and accuracy; absent where the family has neither."""
    original = by_model["original"]
    figures = []
    if original.can_be_judged:
        figures += accuracy_figures(by_model, audit=audit, kind=kind, split=split, seed=seed)
    if not original.can_be_searched:
        return figures or absent_figures(audit, Measure(RECALL, kind=kind, k=10), split, by_model, NO_EMBEDDINGS)
    everything = original.in_gallery
    if not everything.any():
        return figures + absent_figures(audit, Measure(RECALL, kind=kind, k=10), split, by_model, NOT_DRAWN)
    for query, candidate in directions(original):
        searches = {
            name: search(signals, everything, everything, query=query, candidate=candidate)
            for name, signals in by_model.items()
        }
        one = searches["original"]
        for k in KS:
            figures += mean_figures(
                Heading(
                    audit,
                    Measure(RECALL, kind=kind, k=k, direction=(query, candidate)),
                    split,
                    better="higher",
                    note=f"gallery: {counted(one.gallery, f'distinct {prefix(kind)}{split} {candidate}s')}"
                    + drawn(original),
                    chance=float(one.chance[k].mean()),
                ),
                values={name: result.recall[k] for name, result in searches.items()},
                groups=one.groups,
                seed=seed,
            )
    return figures


def accuracy_figures(
    by_model: Mapping[str, Signals], *, audit: str, kind: str | None, split: str, seed: int
) -> list[Figure]:
    """Share of pairs whose own label has the highest logit; tied labels share the hit."""
    labels = by_model["original"].labels
    return mean_figures(
        Heading(
            audit,
            Measure(ACCURACY, kind=kind),
            split,
            better="higher" if audit == AUDIT or split != "forget" else "target",
            chance=None if labels is None else float(np.unique(labels, return_counts=True)[1].max() / len(labels)),
        ),
        values={name: correct(signals) for name, signals in by_model.items()},
        groups=groups(by_model["original"]),
        seed=seed,
    )


def correct(signals: Signals) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Probability that each pair's own label is predicted, ties broken at random, (N,)."""
    if signals.logits is None or signals.labels is None:
        raise ValueError("accuracy needs logits and labels")
    best = signals.logits == signals.logits.max(axis=1, keepdims=True)
    own = best[np.arange(len(signals)), signals.labels]
    return np.asarray(own / best.sum(axis=1), dtype=np.float64)
