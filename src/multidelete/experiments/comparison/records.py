"""What is kept of a group: one audit of all of its models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from multidelete.artifacts.manifest import read_record, versions
from multidelete.artifacts.record import RunRecord
from multidelete.audits import AuditInput, ModelSignals, Shadow, Verdict
from multidelete.audits.controls import UNTOUCHED
from multidelete.audits.inputs import prefix
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure, Key, read_audit, write_audit
from multidelete.core.records import read_object
from multidelete.experiments.comparison.head import Audit, Head, ModelRecord, VerdictRecord
from multidelete.experiments.comparison.judging import Probe, audited
from multidelete.experiments.comparison.planning import Planned


def write_group(
    path: Path, planned: Planned, models: Mapping[str, ModelSignals], shadows: Sequence[Shadow],
    absent: Mapping[str, str], kept: Audit | None, probe: Probe | None,
) -> None:  # fmt: skip
    """The group's audit: new rows, and those of finished cells as they were."""
    group = planned.group
    folders = planned.folders
    made_by = {name: read_record(folders[name]) or RunRecord() for name in models if name in folders}
    costs = {name: record.spent for name, record in made_by.items() if name != "original"}
    audit = AuditInput(
        models={**models, "unlearned": models["original"], UNTOUCHED: models["original"]}, shadows=shadows,
        unit=planned.request.unit, noun=group.setting.noun, seed=group.draw,
        retain_pairs=len(planned.data.train) - len(planned.request.ids),
    )  # fmt: skip
    figures, judged, columns = audited(audit, costs, probe=probe)
    told = {name: _told(made_by.get(name, RunRecord()), judged.get(name)) for name in (*models, *judged)}
    told |= {name: ModelRecord(absent=why) for name, why in absent.items()}
    figures = _short(figures)
    figures += [
        Figure(audit="comparison", measure=Measure("model"), model=name, absent=why) for name, why in absent.items()
    ]
    if kept is not None:
        finished = {name: model for name, model in kept[0].models.items() if name not in told}
        figures += [row for row in kept[1] if row.model in finished]
        told |= finished
    head = Head(
        setting=group.setting.name,
        data=planned.data.name,
        family=group.setting.model.family,
        fraction=group.fraction,
        draw=group.draw,
        seed=group.seed,
        request={"unit": group.setting.unit, "pairs": len(planned.request.ids)},
        counts={name: len(pairs) for name, pairs in planned.data.splits.items()},
        date=datetime.now(UTC).date().isoformat(),
        versions=versions(),
        columns={name: (audit, str(measure), split or "") for name, (audit, measure, split) in columns.items()},
        keys=planned.keys,
        models=told,
    )
    write_audit(path, head.as_json(), figures)


def read_group(path: Path) -> Audit | None:
    """A group's audit as `write_group` wrote it, or None where there is none.

    Raises:
        CheckpointError: It holds something else.
    """
    if not path.is_file():
        return None
    run, figures = read_audit(path)
    return read_object(Head, run, f"{path} holds what no comparison writes", "Delete it."), figures


def _short(figures: Sequence[Figure]) -> list[Figure]:
    """Six digits, each note once, no targets (the retrained model has rows of its own): there are many such files."""
    noted: set[tuple[Key, str | None]] = set()
    rows = []
    for row in figures:
        key = (row.key, row.note)
        rows.append(_rounded(replace(row, target=None, note=None if key in noted else row.note)))
        noted.add(key)
    return rows


def _rounded(row: Figure) -> Figure:
    value, low, high = (None if part is None else float(f"{part:.6g}") for part in (row.value, row.low, row.high))
    return replace(row, value=value, low=low, high=high)


def _told(record: RunRecord, judged: Verdict | None) -> ModelRecord:
    """What the audit's head says of one model."""
    told = ModelRecord(
        method=record.method,
        loop=record.loop,
        trainable=record.trainable,
        seed=record.seed,
        decisions=record.decisions,
        cost=record.cost,
    )
    if judged is None:
        return told
    rows = {f"{prefix(row.kind)}{row.criterion}": {"gap": row.gap, "state": row.state} for row in judged.rows}
    return replace(told, verdict=VerdictRecord(outcome=judged.outcome, headline=judged.headline, criteria=rows))
