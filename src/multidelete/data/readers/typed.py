"""Columns of numbers, dates and the like (parquet, arrow, the hub) as the text that tables hold."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal

from datasets import ClassLabel, Dataset, Value

from multidelete.data.tables.strict_json import Literal

# Up to here decimals hold every whole number: how far, and all numbers of how many digits.
_EXACT = {"float16": (2**11, 3), "float32": (2**24, 7), "float64": (2**53, 15)}


@dataclass(frozen=True)
class TextRows:
    """The rows of a data set with every number and date as text; pictures and bytes stay as they are.

    Attributes:
        dataset: Where the rows come from.
        whole: Columns of decimal numbers that hold whole numbers alone.
        names: Columns of numbered classes, and what the numbers mean.
    """

    dataset: Dataset
    whole: frozenset[str]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        for row in self.dataset:
            yield {
                name: as_name(value, self.names[name])
                if name in self.names
                else as_text(value, whole=name in self.whole)
                for name, value in row.items()
            }

    def __len__(self) -> int:
        return len(self.dataset)


def as_name(number: object, names: Sequence[str]) -> object:
    """The name of a numbered class; None for -1 and nothing. A number that has no name stays one.

    >>> as_name(1, ["no", "yes"]), as_name(-1, ["no", "yes"]), as_name(2, ["no", "yes"])
    ('yes', None, '2')
    """
    if not isinstance(number, int) or number >= len(names):
        return as_text(number)
    return names[number] if number >= 0 else None


def as_text(value: object, *, whole: bool = False) -> object:
    """A value as the text that stands for it alone; None for NaN, nothing and blanks.

    >>> as_text(7), as_text(7.0, whole=True), as_text(7.5), as_text(float("nan")), as_text(date(2014, 1, 2))
    ('7', '7', '7.5', None, '2014-01-02')
    """
    match value:
        case bool():
            return Literal(value)
        case int() | Decimal():
            return Literal(value)
        case float():
            return None if math.isnan(value) else Literal(int(value) if whole else value)
        case str():
            return value if value.strip() else None
        case datetime() | date() | time():
            return value.isoformat()
        case list():
            return [as_text(one, whole=whole) for one in value]
    return value


def text_rows(dataset: Dataset) -> tuple[TextRows, dict[str, str], dict[str, str]]:
    """The rows as text; for each column whose type says less than text would, a note; and what makes one useless."""
    whole, notes, problems = set(), {}, {}
    for column, feature in dict(dataset.features).items():
        kind = feature.dtype if isinstance(feature, Value) else ""
        if kind in _EXACT:
            exact, digits = _EXACT[kind]
            values = [v for v in _column(dataset, column) if isinstance(v, float) and not math.isnan(v)]
            if values and all(v.is_integer() for v in values):
                whole.add(column)
                notes[column] = f"column {column} holds decimal numbers ({kind}) that are whole, read as whole numbers"
                if any(abs(v) >= exact for v in values):
                    problems[column] = (
                        f"column {column} holds numbers of over {digits} digits as decimals ({kind}), which merges "
                        "different ones; write it as text"
                    )
        elif kind.startswith(("date", "time")):
            notes[column] = f"column {column} holds dates ({kind}), read as in 2014-01-31"
    names = {column: f.names for column, f in dict(dataset.features).items() if isinstance(f, ClassLabel)}
    return TextRows(dataset, frozenset(whole), names), notes, problems


def _column(dataset: Dataset, column: str) -> Iterable[object]:
    return (row[column] for row in dataset.select_columns([column]))
