"""Columns of numbers, dates and the like (parquet, arrow, the hub) as the text that tables hold."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Types:
    """What the types of columns say of their values.

    Attributes:
        whole: Columns of decimal numbers that hold whole numbers alone.
        names: Columns of numbered classes, and what the numbers mean.
        notes: For each column whose type says less than text would, a note.
        problems: What makes columns useless.
    """

    whole: frozenset[str]
    names: Mapping[str, Sequence[str]]
    notes: Mapping[str, str]
    problems: Mapping[str, str]


def types_of(features: Mapping[str, object], column: Callable[[str], Iterable[object]]) -> Types:
    """What the features of `datasets` say of columns, and the values of columns of decimal numbers."""
    whole, notes, problems = set(), {}, {}
    for name, feature in features.items():
        kind = feature.dtype if isinstance(feature, Value) else ""
        if kind in _EXACT:
            exact, digits = _EXACT[kind]
            largest = _largest_whole(column(name))
            if largest is not None:
                whole.add(name)
                notes[name] = f"column {name} holds decimal numbers ({kind}) that are whole, read as whole numbers"
                if largest >= exact:
                    problems[name] = (
                        f"column {name} holds numbers of over {digits} digits as decimals ({kind}), which merges "
                        "different ones; write it as text"
                    )
        elif kind.startswith(("date", "time")):
            notes[name] = f"column {name} holds dates ({kind}), read as in 2014-01-31"
    names = {name: f.names for name, f in features.items() if isinstance(f, ClassLabel)}
    return Types(frozenset(whole), names, notes, problems)


def _largest_whole(values: Iterable[object]) -> float | None:
    """The largest of numbers without regard to sign; None where some are not whole, or there are none."""
    largest = None
    for value in values:
        if isinstance(value, float) and not math.isnan(value):
            if not value.is_integer():
                return None
            largest = max(largest or 0.0, abs(value))
    return largest


def text_rows(dataset: Dataset) -> tuple[TextRows, Types]:
    """The rows as text, and what the types of the columns say."""
    types = types_of(dict(dataset.features), lambda name: (row[name] for row in dataset.select_columns([name])))
    return TextRows(dataset, types.whole, types.names), types
