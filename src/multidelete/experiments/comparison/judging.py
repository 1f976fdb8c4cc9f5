"""The audits of one group: the same pairs asked of all of its models, and a verdict on each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from multidelete.audits import (
    AuditInput,
    compression,
    cost,
    distance,
    mark_void,
    membership,
    per_pair,
    relearning,
    run_audits,
    separation,
    unit_counts,
    verdict,
    with_targets,
)
from multidelete.audits.controls import UNTOUCHED
from multidelete.audits.criteria import Lookup
from multidelete.audits.forgetting import UnitCounts, headline_measure
from multidelete.audits.measure import AUC, Measure
from multidelete.audits.result import Figure, Key
from multidelete.audits.verdict import Verdict

Probe = Callable[[AuditInput], list[Figure]]  # figures of copies that may be changed
Columns = dict[str, Key]  # of a table: what each shows


def audited(
    audit: AuditInput, costs: Mapping[str, Mapping[str, float]], *, probe: Probe | None = None
) -> tuple[list[Figure], dict[str, Verdict], Columns]:
    """All figures of all models, a verdict on each, and which figures the tables show.

    Args:
        audit: All models by name, ``unlearned`` and `UNTOUCHED` being the original: one that unlearning left untouched.
        costs: What making each model took, by name.
        probe: What else to ask of copies of the models.
    """
    figures = [row for row in run_audits(audit) if row.audit != cost.AUDIT]
    if probe is not None:
        once = replace(audit, models={name: model for name, model in audit.models.items() if name != UNTOUCHED})
        probed = [replace(row, model=UNTOUCHED) if row.model == "unlearned" else row for row in probe(once)]
        figures += mark_void(with_targets(probed))
    counts = unit_counts(audit)
    measure = headline_measure(audit, audit.headline_kind())
    columns = _columns([replace(row, void=None) for row in figures], counts, measure)
    figures = [row for row in figures if row.model != "unlearned"]
    judged = {
        name: verdict(_as_unlearned(figures, name), counts and counts.of_model(name))
        for name in audit.models
        if name not in ("original", "unlearned", "retrained")
    }
    retrained_s = costs["retrained"].get("wall_s")
    for name, spent in costs.items():
        rows = cost.figures(replace(audit, cost={**spent, "retrained_wall_s": retrained_s}))
        figures += [replace(row, model=name) for row in rows if row.model == "unlearned"]
    return figures, judged, columns


def _as_unlearned(figures: Sequence[Figure], name: str) -> list[Figure]:
    """The figures as an audit of this model alone has them."""
    return [replace(row, model="unlearned") if row.model == name else row for row in figures]


def _columns(figures: Sequence[Figure], counts: UnitCounts | None, measure: Measure) -> Columns:
    """Which figure each column shows: the verdict's own; of membership the signal that tells most of the original."""
    look, kind = Lookup(figures), counts.kind if counts else None
    keys = {
        row.criterion: row.unlearned.key
        for row in reversed(verdict(figures, counts).rows)  # the headline's kind comes first
        if row.unlearned is not None
    }
    columns = {name: keys[row] for name, row in (("test", "test"), ("retain", "retain"), ("forget", "forgetting"))
               if row in keys}  # fmt: skip
    columns["separation"] = (separation.AUDIT, Measure(AUC, kind=kind), separation.SPLIT)
    columns["as released"] = (separation.AUDIT, Measure(separation.AS_RELEASED, kind=kind), separation.SPLIT)
    columns["per pair"] = (per_pair.AUDIT, Measure(AUC, kind=kind, signal=per_pair.LIRA), membership.SPLIT)
    columns["margin gap"] = (distance.AUDIT, Measure(distance.SIGNED, kind=kind), "forget")
    probed: Columns = {
        "4 bits": (compression.AUDIT, replace(measure, state=compression.weights_in(4)), "forget"),
        "relearned": (relearning.AUDIT, replace(measure, state=relearning.MEAN), relearning.SPLIT),
    }
    there = {row.key for row in figures}
    columns |= {name: key for name, key in probed.items() if key in there}
    attacks = [key for key in look.keys(membership.AUDIT) if key[1].is_attack and key[1].kind == kind]
    confidence = (membership.AUDIT, Measure(AUC, kind=kind, signal=membership.CONFIDENCE), membership.SPLIT)
    if confidence in attacks:  # tells models apart that the others do not: it needs no label
        columns["confidence"] = confidence
        attacks.remove(confidence)
    if attacks:
        columns["membership"] = max(attacks, key=lambda key: look.value(key, "original") or 0.0)
    return columns
