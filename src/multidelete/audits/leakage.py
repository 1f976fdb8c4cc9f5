"""Does a member of a deleted pair still give the other one away, by more than the model's own score shows?

This project's own attack. A linear map from the unimodal representations of one modality to those of the other is
fitted on retain pairs, whose associations are no secret. It is applied to one member of each forget pair, and the
nearest of the forget pairs' other members is taken. What hides an association behind a changed projection or fusion
does not hide it from a map that is fitted anew.

Two places to look for the other member in:

- *by a fitted map*: its representation by the same model, which is all that the attack needs. Either encoder may hold
  what was memorised, or both together.
- *alone, by a fitted map*: its representation by the retrained model, which never saw the pair. Only the member that
  is asked can give anything away. The original's representation would not do: that of a memorised text holds what its
  picture looks like, and even a retrained image encoder finds it.

Recall above chance is no leak by itself, since what pairs have in general in common carries over to unseen ones. The
retrained model's value says how much that is.

Shape suffixes: N pairs, D representation.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from multidelete.audits.compare import Heading, absent_figures, mean_figures, shuffled
from multidelete.audits.controls import Controls
from multidelete.audits.inputs import AuditInput
from multidelete.audits.measure import RECALL, Measure
from multidelete.audits.result import Figure
from multidelete.audits.retrieval import directions, search
from multidelete.audits.signals import Signals
from multidelete.audits.stats import Array
from multidelete.core.words import counted

AUDIT = "leakage"
QUESTION = "Can the partner of a deleted pair be told from one half of it alone?"
CONTROLS = Controls(apart=0.20)
KS = (1, 5)
MAX_FIT = 4000
LEAST_FIT = 20
PENALTIES = np.logspace(-1, 5, 7)

_Float32 = NDArray[np.float32]


def figures(audit: AuditInput) -> list[Figure]:
    """Recall of the other member among the forget pairs', per kind, in both directions and both places to look.

    The second place is the retrained model: without one there is the first alone.
    """
    rows = []
    places = [("", None), *([(" alone", "retrained")] if "retrained" in audit.models else [])]
    for kind in audit.kinds():
        forget = {name: model.forget.of_kind(kind) for name, model in audit.models.items()}
        retain = {name: model.retain.of_kind(kind) for name, model in audit.models.items()}
        for query, candidate in directions(audit.original.forget):
            for ending, known_by in places:
                direction = (query + ending, candidate)
                measure = Measure(RECALL, kind=kind, k=1, direction=direction, by="a fitted map")
                rows += _direction_figures(audit, measure, forget, retain, query, candidate, known_by)
    return rows


def _direction_figures(
    audit: AuditInput,
    measure: Measure,
    forget: Mapping[str, Signals],
    retain: Mapping[str, Signals],
    query: str,
    candidate: str,
    known_by: str | None,
) -> list[Figure]:
    """All models in one direction; the other members are represented by ``known_by``, else by each model itself."""
    one, rows = forget["original"], shuffled(len(retain["original"]), MAX_FIT, audit.seed)
    gallery = len(set(one.sources[candidate]))
    why = None
    if gallery < 2:
        why = f"{counted(gallery, f'distinct {candidate}s')} to choose from; it takes 2"
    elif len(rows) < LEAST_FIT:
        why = f"{counted(len(rows), 'retain pairs')} of the kind to fit a map on; it takes {LEAST_FIT}"
    if why is not None:
        return absent_figures(AUDIT, measure, "forget", audit.models, why)
    searches = {}
    for model, asked in forget.items():
        other = model if known_by is None else known_by
        mapped_ND, known_ND = mapped(
            retain[model].unimodal[query][rows],
            retain[other].unimodal[candidate][rows],
            asked.unimodal[query],
            forget[other].unimodal[candidate],
        )
        signals = replace(asked, embeddings={query: mapped_ND, candidate: known_ND}, gallery=None)
        everything = np.ones(len(signals), dtype=bool)
        searches[model] = search(signals, everything, everything, query=query, candidate=candidate, ks=KS)
    note = (
        f"gallery: {counted(gallery, f'distinct {candidate}s')} of the forget pairs; chance is "
        f"{searches['original'].chance[1].mean():.3f}; map fitted on {counted(len(rows), 'retain pairs')}"
    )
    return [
        row
        for k in KS
        for row in mean_figures(
            Heading(AUDIT, replace(measure, k=k), "forget", note=note),
            values={model: result.recall[k] for model, result in searches.items()},
            groups=searches["original"].groups,
            seed=audit.seed,
            with_differences=k == 1,
        )
    ]


def mapped(fit_ND: Array, onto_ND: Array, asked_ND: Array, known_ND: Array) -> tuple[_Float32, _Float32]:
    """Where a ridge map puts the asked members, and where the known ones are: of length 1 around the fit's mean.

    The penalty is chosen among `PENALTIES` by leave-one-out error on the pairs that it is fitted on; the inputs are
    scaled to unit variance.
    """
    scaler = StandardScaler().fit(fit_ND.astype(np.float64))
    mean_D = onto_ND.mean(axis=0, dtype=np.float64)
    ridge = RidgeCV(alphas=PENALTIES).fit(scaler.transform(fit_ND.astype(np.float64)), onto_ND - mean_D)
    return _unit(ridge.predict(scaler.transform(asked_ND.astype(np.float64)))), _unit(known_ND - mean_D)


def _unit(array: Array) -> _Float32:
    return np.asarray(array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9), dtype=np.float32)
