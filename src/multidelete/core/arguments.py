"""Arguments of the wrong type, from Python: an error of ours that says what is wanted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multidelete.core.config import shown
from multidelete.core.errors import ConfigError, SettingProblem

PLACE = (str, Path)


@dataclass(frozen=True)
class Wanted:
    """What an argument must be.

    Attributes:
        value: What was given.
        types: What it may be an instance of; ``bool`` is no ``int``, and a whole number will do for a ``float``.
        rule: The same in words that follow "must be", with the remedy.
        optional: None will do too.
    """

    value: object
    types: tuple[type, ...]
    rule: str
    optional: bool = False

    @property
    def fits(self) -> bool:
        """Whether the value is of one of the types."""
        if self.value is None:
            return self.optional
        if isinstance(self.value, bool):
            return bool in self.types
        return isinstance(self.value, (*self.types, int) if float in self.types else self.types)


def flag(value: object) -> Wanted:
    """Wants True or False."""
    return Wanted(value, (bool,), "True or False")


def whole(value: object) -> Wanted:
    """Wants a whole number."""
    return Wanted(value, (int,), "a whole number")


def number(value: object, *, optional: bool = False) -> Wanted:
    """Wants a number."""
    return Wanted(value, (float,), "a number", optional)


def place(value: object, *, optional: bool = False) -> Wanted:
    """Wants the path of a file or folder."""
    return Wanted(value, PLACE, "a path, as a text or a Path", optional)


def text(value: object, *, optional: bool = False) -> Wanted:
    """Wants a text."""
    return Wanted(value, (str,), "a text", optional)


def names_by_name(value: object) -> Wanted:
    """Wants every name and value of a mapping to be a text."""
    entries = value.items() if isinstance(value, Mapping) else ()
    wrong = [part for entry in entries for part in entry if not isinstance(part, str)]
    return Wanted(wrong[0] if wrong else None, (str,), "names by name, each a text", optional=True)


def check_arguments(arguments: Mapping[str, Wanted]) -> None:
    """Refuse arguments of the wrong type and paths that are empty, all of them at once.

    Raises:
        ConfigError: One line for each, with its name, the value, its type and the rule.
    """
    problems = [
        SettingProblem(name, f"is {shown(one.value)}, of type {type(one.value).__name__}; it must be {one.rule}.")
        for name, one in arguments.items()
        if not one.fits
    ]
    problems += [
        SettingProblem(name, f"is empty; it must be {one.rule}.")
        for name, one in arguments.items()
        if one.types == PLACE and one.value == ""  # which would be the working folder
    ]
    if problems:
        raise ConfigError(problems)
