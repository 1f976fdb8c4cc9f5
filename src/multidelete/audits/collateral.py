"""What became of untouched pairs that resemble the forget pairs?

Forgetting may take along what lies beside it. Neighbours are retain pairs of a deleted pair's subject or with one of
its members, and the pairs whose member is among the nearest to a deleted one, in the retain and in the held-out data.
Nearness is the cosine of the original's unimodal representations. The target is the retrained model, from both sides.

Shape suffixes: N pairs, Q queries, C candidates, D representation.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from multidelete.audits.compare import Heading, absent_figures, mean_figures
from multidelete.audits.controls import Controls, worse_than_original
from multidelete.audits.forgetting import headline_measure
from multidelete.audits.headline import headline
from multidelete.audits.inputs import AuditInput, groups, kinds_of
from multidelete.audits.measure import LABEL_MARGIN, SCORE, Measure
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals
from multidelete.audits.stats import Array

AUDIT = "collateral"
QUESTION = "What became of the neighbours: pairs that share something with deleted ones, or lie near them?"
CONTROLS = Controls(rules=[worse_than_original])
K = 5
_BLOCK = 20_000_000  # similarities held at once

Neighbourhood = tuple[str, NDArray[np.bool_] | str]  # name, and a mask over the pairs or why there are none


def figures(audit: AuditInput) -> list[Figure]:
    """Mean score and headline measure of each neighbourhood, per kind, with differences to original and retrained."""
    rows = []
    whole = {name: model.training for name, model in audit.models.items()}
    retain_only = np.arange(len(whole["original"])) >= len(audit.original.forget)
    for split, chosen in _retain_neighbours(audit):
        if isinstance(chosen, str):
            rows += _absent(audit, split, chosen)
            continue
        mask = retain_only.copy()
        mask[retain_only] = chosen
        rows += _neighbourhood(audit, split, whole, mask, headline_measure)
    held = {name: model.holdout for name, model in audit.models.items() if model.holdout is not None}
    for modality in audit.original.forget.unimodal:
        split = f"held-out, nearest {modality}s"
        if not held:
            rows += _absent(audit, split, "there are no held-out pairs")
            continue
        mask_or_why = _nearest(audit.original.forget, held["original"], modality)
        if isinstance(mask_or_why, str):
            rows += _absent(audit, split, mask_or_why)
        else:
            rows += _neighbourhood(audit, split, held, mask_or_why, _held_out_measure)
    return rows


def _retain_neighbours(audit: AuditInput) -> Iterator[Neighbourhood]:
    """Retain pairs of a forgotten subject, with a forgotten member, and with a member near a forgotten one."""
    forget, retain = audit.original.forget, audit.original.retain
    subjects = {subject for subject in forget.subjects if subject is not None}
    same = np.array([subject in subjects for subject in retain.subjects], dtype=bool)
    yield "retain, same subject", same if same.any() else "no retain pair is of a deleted pair's subject"
    for modality in forget.modalities:
        keys = set(forget.sources[modality])
        same = np.array([key in keys for key in retain.sources[modality]], dtype=bool)
        yield f"retain, same {modality}", same if same.any() else f"no retain pair has the {modality} of a deleted one"
    for modality in forget.unimodal:
        yield f"retain, nearest {modality}s", _nearest(forget, retain, modality)


def _nearest(forget: Signals, others: Signals, modality: str) -> NDArray[np.bool_] | str:
    """Mask over ``others``: pairs of a deleted pair's kind whose member is among the K nearest to a deleted one's.

    Pairs that share a member or the subject with a deleted pair do not compete: they are neighbours of another sort.
    """
    taken = {m: set(keys) for m, keys in forget.sources.items()}
    subjects = {subject for subject in forget.subjects if subject is not None}
    apart = np.array([subject not in subjects for subject in others.subjects], dtype=bool)
    for m, keys in others.sources.items():
        apart &= np.array([key not in taken[m] for key in keys], dtype=bool)
    is_near = np.zeros(len(others), dtype=bool)
    for kind in kinds_of(forget):
        at = np.flatnonzero(apart & np.array([k == kind for k in others.kinds], dtype=bool))
        if not len(at):
            continue
        members = np.asarray([others.sources[modality][int(i)] for i in at])
        _, first, member = np.unique(members, return_index=True, return_inverse=True)
        near = nearest(forget.of_kind(kind).unimodal[modality], others.unimodal[modality][at[first]], K)
        is_near[at] = np.isin(member, near)
    return (
        is_near if is_near.any() else "no pair of the same kind shares neither member nor subject with the deleted ones"
    )


def nearest(asked_QD: Array, among_CD: Array, k: int) -> list[int]:
    """Positions of all candidates that are among the k nearest of some query, by cosine; earlier ones win ties.

    >>> nearest(np.array([[1.0, 0.1]]), np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), k=2)
    [1, 2]
    """
    asked, among = _unit(asked_QD), _unit(among_CD)
    positions: set[int] = set()
    block = max(1, _BLOCK // len(among))
    for start in range(0, len(asked), block):
        similarity_QC = np.round(asked[start : start + block] @ among.T, 6)
        positions.update(np.argsort(-similarity_QC, axis=1, kind="stable")[:, :k].ravel().tolist())
    return sorted(positions)


def _neighbourhood(
    audit: AuditInput,
    split: str,
    models: Mapping[str, Signals],
    mask: NDArray[np.bool_],
    measure_of: Callable[[AuditInput, str | None], Measure],
) -> list[Figure]:
    """Figures of each kind of the pairs that the mask chooses."""
    rows = []
    original = models["original"]
    note = f"the {K} nearest of each deleted one, by the original's representation" if "nearest" in split else None
    for kind in kinds_of(original.select(mask)):
        of_kind = np.array([k == kind for k in original.kinds], dtype=bool)
        own = mask & of_kind
        rows += mean_figures(
            Heading(AUDIT, Measure(LABEL_MARGIN if original.can_be_judged else SCORE, kind=kind), split, note=note),
            values={name: signals.select(own).label_aware_score for name, signals in models.items()},
            groups=groups(original.select(own)),
            seed=audit.seed,
        )
        measure, measured = measure_of(audit, kind), headline(models, own, of_kind)
        if isinstance(measured, str):
            rows += absent_figures(AUDIT, measure, split, models, measured)
            continue
        rows += mean_figures(
            Heading(AUDIT, measure, split, note="; ".join(part for part in (measured.note, note) if part) or None),
            values=measured.values,
            groups=measured.groups,
            seed=audit.seed,
        )
    return rows


def _held_out_measure(audit: AuditInput, kind: str | None) -> Measure:
    measure = headline_measure(audit, kind)
    return measure if measure.gallery is None else replace(measure, gallery="all held-out")


def _absent(audit: AuditInput, split: str, why: str) -> list[Figure]:
    return absent_figures(AUDIT, headline_measure(audit, audit.headline_kind()), split, audit.models, why)


def _unit(array: Array) -> NDArray[np.float64]:
    wide = array.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
