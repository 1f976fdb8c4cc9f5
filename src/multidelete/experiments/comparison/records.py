"""What is kept of a group: one audit of all of its models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path
from typing import cast

from multidelete.artifacts.manifest import read_record, versions
from multidelete.artifacts.record import RunRecord
from multidelete.audits import AuditInput, ModelSignals, Shadow, Verdict
from multidelete.audits.controls import UNTOUCHED
from multidelete.audits.inputs import prefix
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure, Key, read_audit, write_audit
from multidelete.core.config import shown
from multidelete.core.errors import CheckpointError, first_few
from multidelete.core.json_files import Json
from multidelete.experiments.comparison.judging import Probe, audited
from multidelete.experiments.comparison.planning import Audit, Planned


def write_group(
    path: Path, planned: Planned, models: Mapping[str, ModelSignals], shadows: Sequence[Shadow],
    absent: Mapping[str, str], kept: Audit | None, probe: Probe | None,
) -> None:  # fmt: skip
    """The group's audit: new rows, and those of finished cells as they were."""
    group = planned.group
    folders = planned.folders
    made_by = {name: read_record(folders[name]) or RunRecord() for name in models if name in folders}
    costs = {name: _cost(record) for name, record in made_by.items() if name != "original"}
    audit = AuditInput(
        models={**models, "unlearned": models["original"], UNTOUCHED: models["original"]}, shadows=shadows,
        unit=planned.request.unit, noun=group.setting.noun, seed=group.draw,
        retain_pairs=len(planned.data.train) - len(planned.request.ids),
    )  # fmt: skip
    figures, judged, columns = audited(audit, costs, probe=probe)
    told: dict[str, object] = {
        name: _told(made_by.get(name, RunRecord()), judged.get(name)) for name in (*models, *judged)
    }
    told |= {name: {"absent": why} for name, why in absent.items()}
    figures = _short(figures)
    figures += [
        Figure(audit="comparison", measure=Measure("model"), model=name, absent=why) for name, why in absent.items()
    ]
    if kept is not None:
        finished = {n: t for n, t in cast(dict[str, object], kept[0]["models"]).items() if n not in told}
        figures += [row for row in kept[1] if row.model in finished]
        told |= finished
    run: dict[str, object] = {
        "setting": group.setting.name,
        "data": planned.data.name,
        "family": group.setting.model.family,
        "fraction": group.fraction,
        "draw": group.draw,
        "seed": group.seed,
        "request": {"unit": group.setting.unit, "pairs": len(planned.request.ids)},
        "counts": {name: len(pairs) for name, pairs in planned.data.splits.items()},
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "columns": {name: [audit, str(measure), split] for name, (audit, measure, split) in columns.items()},
        "keys": dict(planned.keys),
        "models": told,
    }
    write_audit(path, run, figures)


def read_group(path: Path) -> Audit | None:
    """A group's audit as `write_group` wrote it, or None where there is none.

    Raises:
        CheckpointError: It holds something else.
    """
    if not path.is_file():
        return None
    run, figures = read_audit(path)
    if problems := _misfits(run):
        raise CheckpointError(f"{path} holds what no comparison writes: {first_few(problems)}. Delete it.")
    return run, figures


def _misfits(run: Mapping[str, object]) -> list[str]:
    """What of a head is not as `write_group` writes it."""
    problems: list[str] = []

    def fits(value: object, kind: type, where: str, rule: str) -> bool:
        if not (is_right := isinstance(value, kind) and not isinstance(value, bool)):
            problems.append(f"{where} is {shown(value)}; it must be {rule}")
        return is_right

    def entries(value: object, where: str) -> dict[str, object]:
        return cast(dict[str, object], value) if fits(value, dict, where, "a JSON object") else {}

    fits(run.get("setting"), str, "setting", "a text")
    fits(run.get("fraction"), Real, "fraction", "a number")
    for name, key in entries(run.get("keys"), "keys").items():
        fits(key, str, f"keys.{name}", "a text")
    for name, key in entries(run.get("columns"), "columns").items():
        if not (isinstance(key, list) and [type(part) for part in key] == [str, str, str]):
            problems.append(f"columns.{name} is {shown(key)}; it must be three texts")
    models = entries(run.get("models"), "models")
    for name in dict.fromkeys(["retrained", *models]):
        told = entries(models.get(name), f"models.{name}")
        for key, spent in entries(told.get("cost", {}), f"models.{name}.cost").items():
            fits(spent, Real, f"models.{name}.cost.{key}", "a number")
        if "verdict" in told:
            outcome = entries(told["verdict"], f"models.{name}.verdict").get("outcome")
            fits(outcome, str, f"models.{name}.verdict.outcome", "a text")
    return problems


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


def _cost(record: RunRecord) -> dict[str, float]:
    told = {} if record.cost is None else record.cost.as_json()
    return {key: float(value) for key, value in told.items() if isinstance(value, int | float)}


def _told(record: RunRecord, judged: Verdict | None) -> dict[str, Json]:
    """What the audit's head says of one model."""
    kept = ("method", "loop", "trainable", "seed", "decisions", "cost")
    told = {key: value for key, value in record.as_json().items() if key in kept}
    if judged is not None:
        rows = {f"{prefix(row.kind)}{row.criterion}": {"gap": row.gap, "state": row.state} for row in judged.rows}
        told["verdict"] = {"outcome": judged.outcome, "headline": judged.headline, "criteria": rows}
    return told
