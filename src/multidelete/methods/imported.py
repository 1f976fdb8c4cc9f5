"""A user's own method, by the name of its module and class."""

import inspect
from dataclasses import fields
from typing import get_type_hints

from multidelete.core.config import shown, takes
from multidelete.core.errors import ConfigError
from multidelete.core.imported import import_class
from multidelete.methods.base import Method


def import_method(name: str) -> type[Method]:
    """Import ``package.module:Class``, and refuse what cannot be run.

    Raises:
        ConfigError: The module or the class is not there, the module fails while it is imported, or the class is
            no method that settings can be given to.
    """
    kind = import_class(name, "Method")
    if not issubclass(kind, Method):
        raise ConfigError(f"{name!r} is no subclass of multidelete.methods.Method.")
    _check(kind, name)
    return kind


def _check(kind: type[Method], name: str) -> None:
    """Refuse a class that cannot be made from settings.

    Raises:
        ConfigError: One line for each reason.
    """
    problems = []
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        problems.append(f"{name!r} does not say {missing}, which every method must. Define it.")
    if not isinstance(getattr(kind, "name", None), str):
        problems.append(f'{name!r} has no name. Give the class one: name = "my_method".')
    if "__dataclass_fields__" not in vars(kind):
        problems.append(f"{name!r} is no dataclass. Write @dataclass(frozen=True, kw_only=True) above the class.")
    else:
        try:
            hints = get_type_hints(kind)
        except (NameError, TypeError) as error:
            hints, problems = {}, [*problems, f"{name!r} has annotations that cannot be read: {error}."]
        problems += [
            f"{name!r}: {one.name} is of type {shown(hints[one.name])}, which settings cannot have; they are bool, "
            "int, float, str, Literal[...], tuple[X, ...] of these, and X | None."
            for one in fields(kind)
            if one.init and one.name in hints and not takes(hints[one.name])
        ]
    if problems:
        raise ConfigError(problems)
