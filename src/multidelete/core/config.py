"""Settings: plain frozen dataclasses, resolved from flags over a TOML file over defaults.

A settings class lists its fields with their defaults and checks their ranges in ``__post_init__`` with
`check_settings`. Field types are ``bool``, ``int``, ``float``, ``str``, ``Literal[...]``, ``tuple[X, ...]`` of these,
and ``X | None``. The word ``none`` means None in files and flags, since TOML has no null.
"""

import difflib
import json
import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from multidelete.core.described import descriptions
from multidelete.core.errors import ConfigError, SettingProblem
from multidelete.core.json_files import JsonObject
from multidelete.core.toml_files import SettingsFile, read_toml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SHOWN = 61  # characters

Settings = TypeVar("Settings", bound="DataclassInstance")


def check_settings(settings: "DataclassInstance", rules: Mapping[str, tuple[bool, str]]) -> None:
    """Raise one error for all fields that break their rule; for use in ``__post_init__``.

    Args:
        settings: The instance being made.
        rules: For each field, whether its rule holds, and the rule with its remedy in words that follow
            "must be" (``"greater than 0; 3e-4 suits small models"``).

    Raises:
        ConfigError: One line for each broken rule, with the value found.
    """
    problems = [
        SettingProblem(name, f"is {shown(getattr(settings, name))}; it must be {rule}.")  # the caller's own fields
        for name, (holds, rule) in rules.items()
        if not holds
    ]
    if problems:
        raise ConfigError(problems)


def shown(value: object) -> str:
    """A value as a message shows it: at most about sixty characters.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of very many digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing remark on an unknown name: the nearest known one, if any, and all of them.

    >>> did_you_mean("pases", ["passes", "seed"])
    "Did you mean 'passes'? Known: passes, seed."
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(names) or 'none'}."


def resolve(
    kind: type[Settings],
    toml: Path | SettingsFile | None = None,
    flags: JsonObject | None = None,
    *,
    table: str | None = None,
    also: Collection[str] = (),
) -> Settings:
    """Make settings: flags override the file, and the file overrides the defaults.

    Args:
        kind: A dataclass of settings.
        toml: Settings file, or what was read from it, or None.
        flags: Values by field name. None means not given; text is parsed (``"0.5"``, ``"a,b"``, ``"true"``).
        table: Read ``[table]`` of the file instead of its top level.
        also: Keys at the same level of the file that belong to somebody else.

    Returns:
        The settings, of the types the fields declare: whole numbers given for floats are floats.

    Raises:
        ConfigError: Unknown keys, wrong types, missing values and broken rules, all of them, one line each.
    """
    hints = _hints(kind)
    known = {field.name: field for field in fields(kind) if field.init}
    values: dict[str, object] = {}
    problems: list[str] = []
    refused, of_file = set[str](), set[str]()

    def about(name: str, rest: str, spelt: str | None = None) -> str:
        """A problem with a setting, with the file that it stands in."""
        return f"{where}{spelt or name} {rest}" if name in of_file else SettingProblem(name, rest)

    def take(entries: JsonObject, from_text: bool, others: Collection[str]) -> None:
        for key, value in entries.items():
            name = key.replace("-", "_")  # flags are spelt with hyphens
            if name in others or key in others:
                continue
            if name not in known:
                place = "" if from_text else where
                problems.append(f"{place}unknown setting {key!r}. {did_you_mean(name, [*known, *others])}")
                continue
            (of_file.discard if from_text else of_file.add)(name)
            try:
                values[name] = _convert(value, hints[name], from_text)
            except _WrongTypeError:
                problems.append(about(name, f"is {shown(value)}; it must be {_wanted(hints[name])}.", key))
                refused.add(name)

    file = SettingsFile(toml, read_toml(toml)) if isinstance(toml, Path) else toml
    where = f"{file and file.path}{f', [{table}]' if table else ''}: "
    if file is not None:
        take(_level(file, table), from_text=False, others=also)
    take({name: value for name, value in (flags or {}).items() if value is not None}, from_text=True, others=())

    missing = [n for n, one in known.items() if n not in values and one.default is one.default_factory is MISSING]
    told = descriptions(kind) if missing else {}
    problems += [
        about(n, f"is not given; it must be {_wanted(hints[n])}. {_give(told.get(n, ''))}")
        for n in missing
        if n not in refused
    ]
    settings = None
    if not missing:
        make: Callable[..., Settings] = kind
        try:
            settings = make(**values)
        except ConfigError as error:
            problems += [
                about(told.setting, told.rest) if isinstance(told, SettingProblem) else told for told in error.problems
            ]
    if settings is None or problems:
        raise ConfigError(problems)
    return settings


def _give(description: str) -> str:
    """What to give for a field that is missing: the first sentence of its description."""
    first = description.split(". ")[0].rstrip(".")
    return f"Give it ({first[:1].lower()}{first[1:]})." if first else "Give it."


def misfits(kind: type, values: Mapping[str, object]) -> list[str]:
    """What is wrong with values of a dataclass's fields that a file holds: unknown names, and types.

    >>> misfits(SettingProblem, {"named": 1})
    ["unknown 'named'"]
    """
    hints = _hints(kind)
    problems = [f"unknown {shown(name)}" for name in values if name not in hints]
    plain = _plain(kind)
    for name in hints.keys() & values.keys():
        value = values[name]
        if type(value) in plain[name] and (not isinstance(value, float) or math.isfinite(value)):
            continue
        try:
            _convert(value, hints[name], from_text=False)
        except _WrongTypeError:
            problems.append(f"{name} is {shown(value)}; it must be {_wanted(hints[name])}")
    return sorted(problems)


@cache
def _hints(kind: type) -> dict[str, object]:
    return dict(get_type_hints(kind))


@cache
def _plain(kind: type) -> dict[str, set[type]]:
    """Of each field the types of which any value, finite, will do: long files need not ask `_convert` for each."""
    return {
        name: {bool, int, float, str, type(None)} & set(_choices(hint) or [hint]) for name, hint in _hints(kind).items()
    }


def as_toml(settings: "DataclassInstance", *, table: str | None = None, only: Collection[str] | None = None) -> str:
    """Write settings so that `resolve` reads the same ones back.

    Args:
        settings: An instance with the field types of this module.
        table: Put a ``[table]`` line before them.
        only: Names of the fields to write; None writes all.
    """
    lines = [f"[{table}]"] if table else []
    chosen = [field.name for field in fields(settings) if field.init and (only is None or field.name in only)]
    lines += [f"{name} = {_written(getattr(settings, name))}" for name in chosen]
    return "\n".join(lines) + "\n"


class _WrongTypeError(Exception):
    """A value is not of the field's type."""


def _level(file: SettingsFile, table: str | None) -> JsonObject:
    """The top level of a file, or one of its tables (empty where the file has none)."""
    if table is None:
        return file.content
    inner = file.content.get(table, {})
    if not isinstance(inner, Mapping):
        what = f"{table} is {shown(inner)}; it must be a table, [{table}] with its settings below."
        raise ConfigError(f"{file.path}: {what}")
    return inner


def _choices(hint: object) -> tuple[object, ...] | None:
    """The members of a union, or None for any other type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else None


def _convert(value: object, hint: object, from_text: bool) -> object:
    """The value as the type ``hint`` asks for; raises `_WrongTypeError`."""
    if members := _choices(hint):
        if value is None or (value == "none" and type(None) in members):
            return None
        return _first_that_fits(value, members, from_text)
    if get_origin(hint) is Literal:
        return _literal(value, get_args(hint), from_text)
    if get_origin(hint) is tuple:
        item, ellipsis = get_args(hint)
        if ellipsis is not ...:
            raise TypeError(f"settings cannot be of type {hint}; write tuple[X, ...]")
        if from_text and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise _WrongTypeError
        return tuple(_convert(part, item, from_text) for part in value)
    return _scalar(value, hint, from_text)


def _first_that_fits(value: object, members: tuple[object, ...], from_text: bool) -> object:
    for member in members:
        if member is not type(None):
            try:
                return _convert(value, member, from_text)
            except _WrongTypeError:
                continue
    raise _WrongTypeError


def _literal(value: object, allowed: tuple[object, ...], from_text: bool) -> object:
    for choice in allowed:
        if type(value) is type(choice) and value == choice:
            return choice
        if from_text and isinstance(value, str) and value == str(choice):
            return choice
    raise _WrongTypeError


def _scalar(value: object, hint: object, from_text: bool) -> object:
    """A bool, int, float or text; a bool is no number, a whole number will do for a float, NaN and infinity won't."""
    if hint not in (bool, int, float, str):
        raise TypeError(f"settings cannot be of type {hint}")
    if from_text and isinstance(value, str) and hint is not str:
        value = _parsed(value, hint)
    if hint is float and type(value) is int and abs(value) < 2**1023:  # larger ones overflow
        value = float(value)
    if type(value) is not hint or (isinstance(value, float) and not math.isfinite(value)):
        raise _WrongTypeError
    return value


def _parsed(text: str, hint: object) -> object:
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if hint is int else float(text)
    except ValueError:
        raise _WrongTypeError from None


def takes(hint: object) -> bool:
    """Whether settings can have fields of a type.

    >>> takes(tuple[int, ...]), takes(dict[str, int])
    (True, False)
    """
    if members := _choices(hint):
        return all(takes(member) for member in members if member is not type(None))
    if get_origin(hint) is tuple:
        return len(get_args(hint)) == 2 and get_args(hint)[1] is ... and takes(get_args(hint)[0])
    return get_origin(hint) is Literal or hint in (bool, int, float, str)


def _wanted(hint: object) -> str:
    """What a type asks for, in words that follow "must be"."""
    if members := _choices(hint):
        return ", or ".join([_wanted(member) for member in members if member is not type(None)] + ["none"])
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each item {_wanted(get_args(hint)[0])}"
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
    return next(text for kind, text in words.items() if kind is hint)


def _written(value: object) -> str:
    """A value as TOML."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    raise TypeError(f"settings cannot hold {value!r}")
