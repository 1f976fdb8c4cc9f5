"""Audits: signals once, figures after. Every audit is a pure function of `AuditInput`."""

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
from multidelete.audits.columns import Audited, Column
from multidelete.audits.controls import Controls
from multidelete.audits.forgetting import UnitCounts, unit_counts
from multidelete.audits.inputs import AuditInput, ModelSignals, Shadow
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals, cached, collect
from multidelete.audits.verdict import COLUMNS as OF_THE_VERDICT
from multidelete.audits.verdict import Verdict, verdict

__all__ = [
    "AUDITS",
    "COLUMNS",
    "CONTROLS",
    "QUESTIONS",
    "VERSION",
    "AuditInput",
    "Audited",
    "Column",
    "Figure",
    "ModelSignals",
    "Shadow",
    "Signals",
    "UnitCounts",
    "Verdict",
    "cached",
    "check_controls",
    "collect",
    "mark_void",
    "run_audits",
    "unit_counts",
    "verdict",
    "with_targets",
]

VERSION = 3  # of the figures: raised where one changes or is added, so that comparisons never mix old and new ones

_EVERY = (
    (utility.AUDIT, utility.QUESTION, utility.figures, utility.CONTROLS),
    (forgetting.AUDIT, forgetting.QUESTION, forgetting.figures, forgetting.CONTROLS),
    (separation.AUDIT, separation.QUESTION, separation.figures, separation.CONTROLS),
    (membership.AUDIT, membership.QUESTION, membership.figures, membership.CONTROLS),
    (per_pair.AUDIT, per_pair.QUESTION, per_pair.figures, per_pair.CONTROLS),
    (distance.AUDIT, distance.QUESTION, distance.figures, distance.CONTROLS),
    (unimodal.AUDIT, unimodal.QUESTION, unimodal.figures, unimodal.CONTROLS),
    (leakage.AUDIT, leakage.QUESTION, leakage.figures, leakage.CONTROLS),
    (collateral.AUDIT, collateral.QUESTION, collateral.figures, collateral.CONTROLS),
    (cost.AUDIT, cost.QUESTION, cost.figures, None),
)
AUDITS: dict[str, Callable[[AuditInput], list[Figure]]] = {name: figures for name, _, figures, _ in _EVERY}
QUESTIONS: dict[str, str] = {
    **{name: question for name, question, _, _ in _EVERY},
    compression.AUDIT: compression.QUESTION,
    relearning.AUDIT: relearning.QUESTION,
}
"""What each audit asks, for a reader who has never heard of unlearning."""
CONTROLS: dict[str, Controls] = {
    **{name: controls for name, _, _, controls in _EVERY if controls is not None},
    compression.AUDIT: compression.CONTROLS,
    relearning.AUDIT: relearning.CONTROLS,
}
"""What each audit promises of models of known answers, those that are only run when asked for among them."""
COLUMNS: tuple[Column, ...] = (
    *OF_THE_VERDICT,
    *separation.COLUMNS,
    *membership.COLUMNS,
    *per_pair.COLUMNS,
    *compression.COLUMNS,
    *relearning.COLUMNS,
    *distance.COLUMNS,
)
"""What the tables of a comparison show, in their order."""


def check_controls(figures: Sequence[Figure]) -> dict[str, str | None]:
    """Whether each audit's controls came out right, as its `Controls` say; *untouched* has the original's values.

    Args:
        figures: Of any models; those that are no controls are passed over.

    Returns:
        For each audit of which a control could be looked at None, or what came out wrong. Audits without
        controls, or whose control rows are absent, are left out. Cost has no controls.
    """
    told: dict[str, str | None] = {}
    for audit in dict.fromkeys(row.audit for row in figures if row.audit in CONTROLS):
        outcomes = CONTROLS[audit].outcomes([row for row in figures if row.audit == audit and row.value is not None])
        if outcomes:
            told[audit] = "; ".join(reason for reason in outcomes if reason) or None
    return told


def mark_void(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, those of audits with a wrong control marked as void with the reason."""
    wrong = check_controls(figures)
    return [replace(row, void=wrong[row.audit]) if wrong.get(row.audit) else row for row in figures]


def run_audits(audit: AuditInput) -> list[Figure]:
    """All figures of all audits, with the retrained model's value as every row's ``target``.

    Where models of known answers are among the audited ones, figures of audits that get them wrong are
    marked as void; see `check_controls`.
    """
    return mark_void(with_targets([figure for run in AUDITS.values() for figure in run(audit)]))


def with_targets(figures: Sequence[Figure]) -> list[Figure]:
    """Fill in ``target`` from the retrained model's row of the same audit, figure and split.

    Cost has no target, nor has a difference: its target is 0. A row that has a target keeps it.
    """
    of_retrained = {
        row.key: row.value
        for row in figures
        if row.model == "retrained" and row.audit != cost.AUDIT and row.measure.to is None
    }
    return [
        row
        if row.model == "retrained" or row.value is None or row.target is not None
        else replace(row, target=of_retrained.get(row.key))
        for row in figures
    ]
