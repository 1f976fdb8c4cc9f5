"""What a JSON object holds, as a dataclass: types are checked when it is read, and each problem names its place."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import UnionType
from typing import Self, TypeVar, Union, get_args, get_origin, get_type_hints

from multidelete.core.config import shown
from multidelete.core.errors import CheckpointError
from multidelete.core.json_files import Json, JsonObject

_LARGEST = 2.0**1000  # whole numbers beyond overflow where they meet a float
_WORDS: Mapping[object, str] = {
    str: "a text", int: "a whole number", float: "a finite number", bool: "true or false", Mapping: "an object",
    tuple: "a list",
}  # fmt: skip
NULLABLE = {"nullable": True}
"""Metadata of a field that may be null in a file, which is as if it were left out."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Record:
    """An object of a JSON file. A field that is None is not there; keys that nobody knows are kept in ``rest``."""

    rest: JsonObject = field(default_factory=dict)

    def contradictions(self) -> Iterator[str]:
        """What is wrong with values that are of the right types."""
        return iter(())

    def as_json(self) -> dict[str, Json]:
        """The object."""
        return {**{name: as_json(value) for name, value in self._told()}, **self.rest}

    def over(self, other: Self) -> Self:
        """This record, and of the other what this one lacks."""
        return replace(other, **dict(self._told()), rest={**other.rest, **self.rest})

    def _told(self) -> Iterator[tuple[str, object]]:
        """The fields that are there."""
        own = ((one.name, getattr(self, one.name)) for one in fields(self) if one.name != "rest")
        return ((name, value) for name, value in own if value is not None)


def read_object(kind: type[T], content: JsonObject, where: str, remedy: str) -> T:
    """The dataclass that an object of a file holds.

    Args:
        kind: A dataclass, such as a `Record`.
        content: The object.
        where: The file it stands in.
        remedy: What to do about each problem, as a sentence.

    Raises:
        CheckpointError: Values of the wrong type, or parts that are missing; one line for each.
    """
    problems: list[str] = []
    value = _object(kind, content, "", problems)
    if isinstance(value, Record):
        problems += value.contradictions()
    if not problems and _overflows(content):
        problems = ["a number in it is larger than any that is written there."]
    if value is None or problems:
        raise CheckpointError([f"{where}: {problem} {remedy}" for problem in problems])
    return value


def as_json(value: object) -> Json:
    """A value of a record as JSON has it."""
    if isinstance(value, Record):
        return value.as_json()
    if is_dataclass(value):
        return {one.name: as_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is nothing that JSON can hold")


_hints = cache(get_type_hints)  # by name of a field


def _object(kind: type[T], content: object, place: str, problems: list[str]) -> T | None:
    """The instance of a dataclass that an object holds; None, and problems, where it holds none."""
    if not isinstance(content, Mapping):
        problems.append(_said(place, content, Mapping))
        return None
    before, hints, known = len(problems), _hints(kind), {one.name: one for one in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    known.pop("rest", None)
    values: dict[str, object] = {}
    for name, one in known.items():
        if name in content and not (content[name] is None and one.metadata == NULLABLE):
            is_absent = one.default is None  # and so no null is written
            inner = f"{place}.{name}" if place else name
            values[name] = _value(content[name], _not_none(hints[name]) if is_absent else hints[name], inner, problems)
    lacking = [
        name for name, one in known.items()
        if name not in values and one.default is MISSING and one.default_factory is MISSING
    ]  # fmt: skip
    if lacking and place:
        problems.append(f"{place} lacks {' and '.join(lacking)}, without which it tells nothing.")
    elif lacking:
        problems += [f"{name} is missing." for name in lacking]
    unknown = {name: value for name, value in content.items() if name not in known}
    if issubclass(kind, Record):
        values["rest"] = unknown
    else:
        problems += [f"{place + ': ' if place else ''}unknown {name!r}." for name in unknown]
    return kind(**values) if len(problems) == before else None


def _value(value: object, hint: object, place: str, problems: list[str]) -> object:
    """A value as its hint wants it; what does not fit goes to ``problems``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _value(value, _not_none(hint), place, problems)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            problems.append(_said(place, value, tuple))
            return None
        if arguments[0] in _WORDS:
            wrong = [item for item in value if not _is_a(item, arguments[0])]
            problems += [f"{place} holds {shown(one)}; each must be {_WORDS[arguments[0]]}." for one in wrong[:1]]
            return tuple(value)
        return tuple(_value(item, arguments[0], f"{place}[{at}]", problems) for at, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            problems.append(_said(place, value, Mapping))
        elif arguments[1] is not object:
            return {name: _value(one, arguments[1], f"{place}.{name}", problems) for name, one in value.items()}
        return value
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint, value, place, problems)
    if not _is_a(value, hint):
        problems.append(_said(place, value, hint))
    return value


def _not_none(hint: object) -> object:
    """What an optional hint wants besides None."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    return next(one for one in get_args(hint) if one is not type(None))


def _said(place: str, value: object, wanted: object) -> str:
    return f"{place} is {shown(value)}; it must be {_WORDS[wanted]}."


def _is_a(value: object, wanted: object) -> bool:
    """A truth value is no number, a whole number is a number, and numbers are finite."""
    if isinstance(value, bool):
        return wanted is bool
    if wanted is float:
        return isinstance(value, int | float) and abs(value) < _LARGEST and math.isfinite(value)
    if wanted is int:
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(wanted, type) and isinstance(value, wanted)


def _overflows(content: object) -> bool:
    """Whether a whole number somewhere is too large to meet a float."""
    left = [content]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, int) and abs(one) >= _LARGEST:
            return True
    return False
