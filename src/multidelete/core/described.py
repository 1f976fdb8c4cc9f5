"""What classes of settings say of themselves: titles, descriptions of fields, and the values that they take."""

import inspect
import re
from typing import Literal, cast, get_args, get_origin


def descriptions(kind: type) -> dict[str, str]:
    """What the ``Attributes:`` section of a class's docstring says of each field, in one line each."""
    told: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, section = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")
        for entry in re.split(r"\n(?=    \w)", "\n" + section.split("\n\n")[0]):
            name, colon, text = entry.strip().partition(":")
            if colon:
                told[name] = " ".join(text.split()).replace("``", "`")
    return told


def title(kind: type) -> str:
    """First line of a class's docstring, without its full stop; empty for classes that have none of their own."""
    text = inspect.cleandoc(kind.__doc__ or "")
    return "" if text.startswith(f"{kind.__name__}(") else text.split("\n")[0].rstrip(".").replace("``", "`")


def metavar(hint: object, *, repeated: bool = False) -> str:
    """What stands behind a flag in the help: ``NUMBER``, ``TEXT``, or the choices."""
    members = [member for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) is Literal:
        return "|".join(map(str, members))
    if get_origin(hint) is tuple:
        return "TEXT" if repeated else "A,B,..."
    if members:
        return metavar(members[0])
    return {int: "NUMBER", float: "NUMBER"}.get(cast(type, hint), "TEXT")
