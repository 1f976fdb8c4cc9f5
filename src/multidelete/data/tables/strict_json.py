"""JSON in which nothing changes: numbers stay as they are written, and what is ambiguous is refused."""

import json
import re
from pathlib import Path

from multidelete.core.errors import DataError
from multidelete.data.tables.source import read_text

Json = str | bool | None | list["Json"] | dict[str, "Json"]
_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


class Literal(str):
    """A number of JSON as it is written, or True or False: text, but not a string of the file."""

    __slots__ = ()


def is_truth(value: object) -> bool:
    """Whether a value is what was ``true`` or ``false``, and not a string of the file.

    >>> is_truth(decode_json("true")), is_truth("True")
    (True, False)
    """
    return isinstance(value, Literal) and value in ("True", "False")


class JsonError(ValueError):
    """Text is not JSON, or is JSON that means two things."""


def decode_json(text: str) -> Json:
    """Decode JSON; whole numbers keep all of their digits, NaN is None.

    Raises:
        JsonError: The text is not JSON, is nested too deeply, has a key twice in one object, an infinite number, or
            half of a character (a lone surrogate).

    >>> decode_json('{"id": 007}')
    Traceback (most recent call last):
    ...
    multidelete.data.tables.strict_json.JsonError: Expecting ',' delimiter, character 9
    >>> decode_json('{"id": 12345678901234567890.0, "seen": NaN}')
    {'id': '12345678901234567890.0', 'seen': None}
    """
    try:
        value: Json = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg}, character {error.pos + 1}") from error
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 60) : error.start]
        raise JsonError(f"half of a character, a lone surrogate, after {before!r}") from error
    return _literal(value)


def read_json(path: Path) -> Json:
    """The content of a JSON file; raises `DataError` where it cannot be decoded."""
    try:
        return decode_json(read_text(path))
    except JsonError as error:
        raise DataError(f"{path} is not JSON: {error}.") from error


def _literal(value: Json) -> Json:
    return Literal(value) if isinstance(value, bool) else value


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    entries = dict(pairs)
    if True in entries.values() or False in entries.values():
        entries = {key: _literal(value) for key, value in pairs}
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise JsonError(f"the key {twice!r} stands twice in one object")
    return entries


def _constant(name: str) -> None:
    if name != "NaN":
        raise JsonError(f"{name} is not a number that JSON has")


_DECODER = json.JSONDecoder(parse_int=Literal, parse_float=Literal, parse_constant=_constant, object_pairs_hook=_object)
