"""Cells that are probably not what they seem: lists, missing values in words, whole numbers with a point."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.tables.strict_json import Json, JsonError, decode_json

_LIST = re.compile(r"""\[\s*["'].*["']\s*,?\s*\]|\(\s*["'].*["']\s*,.*\)|\{\s*["'].*["']\s*[:,].*\}""", re.DOTALL)
_MISSING = {
    *("nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "NaT", "\\N", "#N/A", "n/a", "N/A"),
    *("#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!"),
}
_DECIMAL = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]*))?")
_WITH_POINT = re.compile(r"(-?\d+)\.0*")


def looks_like_list(cell: str) -> bool:
    """Whether a cell is written as a list, a tuple, a set or a mapping of texts.

    >>> looks_like_list('["a dog", "the dog"]'), looks_like_list("['a dog']"), looks_like_list("[a dog]")
    (True, True, False)
    """
    return not cell[:1].isalnum() and _LIST.fullmatch(cell.strip()) is not None


def is_text(cell: Json) -> bool:
    """Whether a cell is one text of a pair: a string, no number or list, and not written as a list.

    >>> is_text("a dog"), is_text("['a dog']"), is_text(" ")
    (True, False, False)
    """
    return type(cell) is str and bool(cell.strip()) and not looks_like_list(cell)


def listed_texts(cell: str) -> list[str] | None:
    """The texts of a cell that is a JSON list of texts; None where it is none."""
    if not cell.lstrip().startswith("["):
        return None
    try:
        listed = decode_json(cell)
    except JsonError:
        return None
    texts = listed if isinstance(listed, list) else []
    return [text for text in texts if isinstance(text, str)] if all(type(text) is str for text in texts) else None


def spells_missing(cell: str) -> bool:
    """Whether a cell is the word that some program writes for a missing value.

    >>> spells_missing("nan"), spells_missing("Nan")
    (True, False)
    """
    return cell in _MISSING


def visible(name: str) -> str:
    """A name without signs that are not seen, such as blanks of no width and byte order marks."""
    return name if name.isascii() else "".join(sign for sign in name if unicodedata.category(sign) != "Cf")


def begins_with_blank(cell: str) -> bool:
    return cell[:1] == " " and not cell.isspace()


def whole(name: str) -> str | None:
    """The whole number that a name writes with a point and zeros; None where it is not written so.

    >>> whole("12.0"), whole("12"), whole("12.5")
    ('12', None, None)
    """
    match = _WITH_POINT.fullmatch(name) if name.endswith(("0", ".")) else None
    return None if match is None else match[1]


def number_form(name: str) -> str | None:
    """A decimal number in its shortest spelling; None for what is none.

    >>> number_form("007"), number_form("+1.50"), number_form("-0.0"), number_form("1e3")
    ('7', '1.5', '0', None)
    """
    bare = name.strip()
    is_likely = bare[-1:] in "0123456789." and bare[:1] in "+-0123456789"
    match = _DECIMAL.fullmatch(bare) if is_likely else None
    if match is None:
        return None
    digits = match[2].lstrip("0") or "0"
    digits += f".{part}" if (part := (match[3] or "").rstrip("0")) else ""
    return f"-{digits}" if match[1] == "-" and digits != "0" else digits


def two_spellings(data: object, sorts: Mapping[str, Iterable[str]]) -> list[str]:
    """A problem for each sort of names in which a whole number stands in two spellings, which would be two names."""
    return [
        f"{data}: {counted(len(twice), f'{what} stand')} there with and without a point: {first_few(twice)}. Write "
        "each in one way."
        for what, names in sorts.items()
        if (twice := written_twice(names))
    ]


def written_twice(names: Iterable[str]) -> list[str]:
    """Whole numbers that stand among names in two spellings, ``1`` and ``1.0``.

    >>> written_twice(["1", "2", "1.0", "3.0"])
    ['1 and 1.0']
    """
    every = dict.fromkeys(names)
    return [f"{number} and {name}" for name in every if (number := whole(name)) is not None and number in every]
