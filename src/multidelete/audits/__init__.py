"""Audits: signals once, figures after. Every audit is a pure function of `AuditInput`."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from multidelete.audits import (
    collateral,
    cost,
    distance,
    forgetting,
    leakage,
    membership,
    per_pair,
    separation,
    unimodal,
    utility,
)
from multidelete.audits.controls import check_controls, mark_void
from multidelete.audits.forgetting import UnitCounts, unit_counts
from multidelete.audits.inputs import AuditInput, ModelSignals, Shadow
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals, cached, collect
from multidelete.audits.verdict import Verdict, verdict

__all__ = [
    "AUDITS",
    "VERSION",
    "AuditInput",
    "Figure",
    "ModelSignals",
    "Shadow",
    "Signals",
    "UnitCounts",
    "Verdict",
    "cached",
    "check_controls",
    "collect",
    "run_audits",
    "unit_counts",
    "verdict",
    "with_targets",
]

VERSION = 3  # of the figures: raised where one changes or is added, so that comparisons never mix old and new ones

AUDITS: dict[str, Callable[[AuditInput], list[Figure]]] = {
    "utility": utility.figures,
    "forgetting": forgetting.figures,
    "separation": separation.figures,
    "membership": membership.figures,
    "per-pair membership": per_pair.figures,
    "distance": distance.figures,
    "unimodal": unimodal.figures,
    "leakage": leakage.figures,
    "collateral": collateral.figures,
    "cost": cost.figures,
}


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
