"""The audits of one group: the same pairs asked of all of its models, and a verdict on each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from multidelete.audits import (
    COLUMNS,
    Audited,
    AuditInput,
    cost,
    mark_void,
    run_audits,
    unit_counts,
    verdict,
    with_targets,
)
from multidelete.audits.controls import UNTOUCHED
from multidelete.audits.forgetting import headline_measure
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
    shown = Audited([replace(row, void=None) for row in figures], counts, measure)
    columns = {column.key: key for column in COLUMNS if (key := column.figure(shown)) is not None}
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
