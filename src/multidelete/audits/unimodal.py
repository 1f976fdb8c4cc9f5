"""Whether each modality's own representation stayed as the original had it.

Compared are the encoders' outputs before the joint space or the fusion, on the forget pairs and on
the retain sample. Neither measure changes when a space is rotated, so that a model trained from
scratch can be compared with the original too: the retrained model shows what is lost anyway.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from multidelete.audits.compare import Heading, absent_figures, mean_figures, shuffled
from multidelete.audits.controls import RANDOM_WEIGHTS, SAME, Controls, some
from multidelete.audits.inputs import AuditInput, groups
from multidelete.audits.linear_probe import probe_figures
from multidelete.audits.measure import Measure
from multidelete.audits.representations import is_constant, knn_overlap, linear_cka
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals
from multidelete.audits.stats import Floats
from multidelete.core.words import counted

AUDIT = "unimodal"
QUESTION = "Are single pictures and texts still represented as the original did? Near 1 is good."
K = 10
MAX_ITEMS = 2000
OVERLAP, CKA = f"{K}-nearest-neighbour overlap", "linear CKA"


def _is_agreement(row: Figure) -> bool:
    """Figures that compare representations with the original's, which itself has none."""
    return row.measure.name in (OVERLAP, CKA) and row.measure.to is None


def _loses_some(rows: Sequence[Figure]) -> list[str]:
    """Random weights keep less of some neighbourhood or alignment than the original."""
    agreements = [row for row in rows if row.model == RANDOM_WEIGHTS and _is_agreement(row)]
    return some(agreements, lambda row: (row.value or 0) < 1 - SAME, "random weights: as the original in every figure")


CONTROLS = Controls(expected=lambda row: 1.0 if _is_agreement(row) else None, rules=[_loses_some])


def figures(audit: AuditInput) -> list[Figure]:
    """k-NN overlap and linear CKA with the original, per modality, for every other model; each model's linear probe."""
    rows = []
    for split in ("forget", "retain sample"):
        for modality in audit.original.forget.unimodal:
            rows += _modality_figures(audit, split, modality)
    return rows + probe_figures(audit, AUDIT)


def _modality_figures(audit: AuditInput, split: str, modality: str) -> list[Figure]:
    """Both measures on the distinct members of one modality of one split."""
    chosen = {
        name: model.forget if split == "forget" else model.retain.select(audit.retain_sample)
        for name, model in audit.models.items()
    }
    original = chosen["original"]
    rows = _distinct_rows(original, modality)
    rows = rows[shuffled(len(rows), MAX_ITEMS, audit.seed)]
    k = min(K, len(rows) - 1)
    knn, cka = Measure(OVERLAP, modality=modality), Measure(CKA, modality=modality)
    others = [name for name in audit.models if name != "original"]
    if len(rows) < 3:
        why = f"{counted(len(rows), f'distinct {modality}s')}; neighbours need at least 3"
        return [
            row for measure in (knn, cka) for row in absent_figures(AUDIT, measure, split, dict.fromkeys(others), why)
        ]
    reference = original.unimodal[modality][rows]
    overlaps: dict[str, Floats] = {}
    figures = []
    note = f"with the original, on {counted(len(rows), f'distinct {modality}s')}"
    for name in others:
        representation = chosen[name].unimodal[modality][rows]
        row = partial(Figure, audit=AUDIT, model=name, split=split)
        if is_constant(reference) or is_constant(representation):
            why = f"all {modality}s have the same representation"
            figures += [row(measure=cka, absent=why), row(measure=knn, absent=why)]
            continue
        value = linear_cka(reference, representation)
        figures.append(row(measure=cka, value=value, n=len(rows), better="higher", note=note))
        overlaps[name] = knn_overlap(reference, representation, k)
    everyone = groups(original)
    return figures + mean_figures(
        Heading(
            AUDIT,
            knn,
            split,
            better="higher",
            note=f"{note}; k = {k}; unrelated representations agree on {k / (len(rows) - 1):.3f}",
        ),
        values=overlaps,
        groups=[everyone[i] for i in rows],
        seed=audit.seed,
    )


def _distinct_rows(signals: Signals, modality: str) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Position of the first pair of each distinct member."""
    first: dict[str, int] = {}
    for position, key in enumerate(signals.sources[modality]):
        first.setdefault(key, position)
    return np.array(list(first.values()), dtype=np.intp)
