"""The one row that every audit writes, and the file that holds them (``audit.json``)."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from multidelete.artifacts.room import write_whole
from multidelete.audits.measure import Measure
from multidelete.audits.roles import Role
from multidelete.core.config import misfits, shown
from multidelete.core.errors import CheckpointError, first_few
from multidelete.core.json_files import Json, read_json_object

SCHEMA = 1
Better = Literal["higher", "lower", "target"]
Key = tuple[str, Measure, str | None]  # audit, measure, split


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure, or the reason why it is absent.

    Attributes:
        audit: Which audit (``"forgetting"``).
        measure: What was measured; as text, `figure` (``"recall@1 image to text"``).
        model: ``original``, ``unlearned``, ``retrained``, or another name of the run.
        split: On which pairs (``"forget"``, ``"retain sample"``, ``"test"``).
        value: Rates in [0, 1], seconds, bytes or counts.
        low: Lower end of the 95 % interval, where one is defined.
        high: Upper end.
        n: Number of items behind the figure.
        groups: Number of groups that these hang together in: what the interval resamples. Of an AUC, the fewer of both
            sides.
        chance: What a model gives that knows nothing: a random order, or the most frequent label for every pair.
        better: ``target`` means: closer to the retrained model's value, from both sides.
        target: The retrained model's value, where there is one.
        note: What a reader must know to read it (gallery, attack signal, ...).
        absent: Why there is no value. Missing is never zero.
        void: What the audit got wrong on a model of known answers, so that no value of it counts.
    """

    audit: str
    measure: Measure
    model: str
    split: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    groups: int | None = None
    chance: float | None = None
    better: Better | None = None
    target: float | None = None
    note: str | None = None
    absent: str | None = None
    void: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.absent is None):
            raise ValueError(f"{self.audit}/{self.figure}/{self.model}: give either a value or the reason it is absent")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.audit}/{self.figure}/{self.model}: {self.value} is not finite; say why")

    @property
    def key(self) -> Key:
        """What tells it from other figures of the same model."""
        return self.audit, self.measure, self.split

    @property
    def role(self) -> Role:
        """The part that its model plays."""
        return Role.of(self.model)

    @property
    def figure(self) -> str:
        """What was measured, as text."""
        return self.measure.text


def write_audit(path: Path, run: Mapping[str, object], figures: Sequence[Figure]) -> None:
    """Write ``audit.json``, a figure on each line; fields that are None are left out."""
    rows = [
        {"audit": f.audit, "figure": f.figure}
        | {k: v for k, v in vars(f).items() if k not in ("audit", "measure") and v is not None}
        for f in figures
    ]
    head = json.dumps({"schema": SCHEMA, "run": run}, indent=1, allow_nan=False).removesuffix("\n}")
    lines = ",\n".join("  " + json.dumps(row, allow_nan=False) for row in rows)
    write_whole(path, f'{head},\n "figures": [\n{lines}\n ]\n}}\n')


def read_audit(path: Path) -> tuple[dict[str, Json], list[Figure]]:
    """Read ``audit.json`` back: the run's description and the figures, whose measures are known by their texts alone.

    Raises:
        CheckpointError: The file is damaged, or of another version.
    """
    remedy = "Audit again, or delete it."
    content = read_json_object(path, remedy)
    if content.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path} has schema {shown(content.get('schema'))}; this version reads {SCHEMA}. {remedy}"
        )
    run, rows = content.get("run"), content.get("figures")
    if not isinstance(run, dict) or not isinstance(rows, list):
        raise CheckpointError(f"{path} lacks its run or its figures. {remedy}")
    figures, problems = [], []
    make: Callable[..., Figure] = Figure
    for at, row in enumerate(rows, 1):
        try:
            wrong = _misfits(row) if isinstance(row, dict) else [f"{shown(row)} is no JSON object"]
            if not wrong:
                figures.append(make(measure=Measure(row.pop("figure")), **row))
        except (TypeError, ValueError) as error:
            wrong = [str(error)]
        problems += [f"figure {at}: {one}" for one in wrong]
    if problems:
        raise CheckpointError(f"{path} holds what no audit writes: {first_few(problems)}. {remedy}")
    return run, figures


def _misfits(row: Mapping[str, object]) -> list[str]:
    """What is wrong with the fields of a row; the measure stands there as its text."""
    figure = row.get("figure")
    wrong = [] if isinstance(figure, str) else [f"figure is {shown(figure)}; it must be a text"]
    wrong += ["unknown 'measure'"] if "measure" in row else []
    return wrong + misfits(Figure, {name: value for name, value in row.items() if name not in ("figure", "measure")})
