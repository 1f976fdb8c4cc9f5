"""The head of a group's audit: what was compared, and what is told of each model beside its figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from multidelete.artifacts.record import Cost, MethodRecord, TrainableRecord
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure, Key
from multidelete.core.config import shown
from multidelete.core.json_files import JsonObject
from multidelete.core.records import Record


@dataclass(frozen=True, kw_only=True)
class VerdictRecord(Record):
    """The outcome, the same in a line, and the gap and state of each criterion."""

    outcome: str
    headline: str | None = None
    criteria: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRecord(Record):
    """How a model was made, at what cost, and the verdict on it; or why it is ``absent``."""

    method: MethodRecord | None = None
    loop: JsonObject | None = None
    trainable: TrainableRecord | None = None
    seed: int | None = None
    decisions: JsonObject | None = None
    cost: Cost | None = None
    verdict: VerdictRecord | None = None
    absent: str | None = None

    @property
    def spent(self) -> Cost:
        """The cost, as far as it is known."""
        return self.cost or Cost()


@dataclass(frozen=True, kw_only=True)
class Head(Record):
    """What a group's audit is of.

    Attributes:
        setting: Name of the setting.
        data: Name of the data.
        family: Of the models.
        fraction: Share of the units that was deleted.
        draw: Number of the draw.
        seed: Of the models.
        request: Unit, and number of pairs.
        counts: Pairs of each split.
        date: Of the audit.
        versions: What the figures were made with.
        columns: Audit, figure and split that each column of the tables shows.
        keys: What each model, the pairs and the audits are recognised by.
        models: Each model by name.
    """

    setting: str
    data: str | None = None
    family: str | None = None
    fraction: float
    draw: int | None = None
    seed: int | None = None
    request: JsonObject | None = None
    counts: Mapping[str, int] | None = None
    date: str | None = None
    versions: JsonObject | None = None
    columns: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, str]
    models: Mapping[str, ModelRecord] = field(repr=False)

    def contradictions(self) -> Iterator[str]:
        """Columns that name no figure, and the yardstick that is not there."""
        for name, key in self.columns.items():
            if len(key) != 3:
                yield f"columns.{name} is {shown(list(key))}; it must be three texts."
        if "retrained" not in self.models:
            yield "models.retrained is missing."

    @property
    def column_keys(self) -> dict[str, Key]:
        """What each column of the tables shows."""
        return {name: (audit, Measure(figure), split) for name, (audit, figure, split) in self.columns.items()}


Audit: TypeAlias = tuple[Head, list[Figure]]
