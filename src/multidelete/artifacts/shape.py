"""The types of what ``multidelete.json`` holds, checked when it is read: a file may come from anywhere."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multidelete.core.config import shown
from multidelete.core.errors import CheckpointError

_WORDS: dict[type, str] = {str: "a text", int: "a whole number", float: "a finite number", dict: "an object",
                           bool: "true or false", list: "a list"}  # fmt: skip


@dataclass(frozen=True)
class Each:
    """A list, each of whose items is of one shape."""

    item: "Shape"


@dataclass(frozen=True)
class Values:
    """An object, each of whose values is of one type."""

    value: type


Shape = type | Each | Values | Mapping[str, "Shape"]

_COST: Shape = dict.fromkeys(
    ("wall_s", "reading_s", "reference_s", "pairs_forward", "pairs_backward", "peak_bytes"), float
)

MANIFEST_SHAPE: Mapping[str, Shape] = {
    "command": str,
    "task": str,
    "date": str,
    "seed": int,
    "data": {"name": str, "pairs": int, "digest": str, "content": str, "retained": str, "notes": Each(str)},
    "truncated_captions": int,
    "cost": _COST,
    "versions": dict,
    "method": {"name": str},
    "loop": dict,
    "trainable": {"chosen": str, "parameters": int},
    "request": {"pairs": int, "unit": str, "digest": str},
    "original": {"weights": str},
    "scales": dict,
    "decisions": dict,
    "history": Each(dict),
    "lora": {"r": int, "alpha": float, "merged": bool},
    "model": dict,
    "holdout": {"fraction": float, "seed": int},
    "search": {"wall_s": float, "trials": int},
    "shadow": {"index": int, "pairs": int},
    "deletions": Each({"key": str, "unit": str, "pairs": int, "request": str, "ids": Each(str), "contents": Each(str)}),
    "training": {"model": dict, "loop": dict, "seed": int},
    "earlier_pairs_removed": bool,
    "tokenizer": {"tokens_of_deleted_texts_alone": int},
}
NULLABLE = ("holdout", "search")
COMPLETE = {  # parts that tell nothing without these
    "holdout": ("fraction", "seed"),
    "request": ("pairs", "digest"),
    "original": ("weights",),
    "search": ("wall_s", "trials"),
    "shadow": ("index",),
}
TOGETHER = {"loop": "command", "model": "seed"}


def check_shape(content: Mapping[str, object], where: str, remedy: str) -> None:
    """Refuse values of the wrong type; keys that are not known are nobody's business here.

    Raises:
        CheckpointError: One line for each, with its place in the file.
    """
    known = {name: value for name, value in content.items() if not (value is None and name in NULLABLE)}
    wrong = [*mismatches(known, MANIFEST_SHAPE, ""), *_missing(known)]
    if not wrong and _overflows(content):
        wrong = ["a number in it is larger than any that is written there."]
    problems = [f"{where}: {problem} {remedy}" for problem in wrong]
    if problems:
        raise CheckpointError(problems)


def _missing(content: Mapping[str, object]) -> Iterator[str]:
    for name, parts in COMPLETE.items():
        inner = content.get(name)
        lacks = [part for part in parts if isinstance(inner, Mapping) and part not in inner]
        if lacks:
            yield f"{name} lacks {' and '.join(lacks)}, without which it tells nothing."
    for name, other in TOGETHER.items():
        if name in content and other not in content:
            yield f"{name} stands there without {other}, which belongs to it."
    for place, seed in (("seed", content.get("seed")), ("holdout.seed", _inside(content, "holdout", "seed"))):
        if isinstance(seed, int) and seed < 0:
            yield f"{place} is {seed}; it must be 0 or more."


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


def _inside(content: Mapping[str, object], name: str, key: str) -> object:
    inner = content.get(name)
    return inner.get(key) if isinstance(inner, Mapping) else None


def mismatches(value: object, shape: Shape, place: str) -> Iterator[str]:
    """What in a value is of another type than its shape says, each with its place below ``place``."""
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            yield _said(place, value, dict)
            return
        for name, inner in shape.items():
            if name in value:
                yield from mismatches(value[name], inner, f"{place}.{name}" if place else name)
    elif isinstance(shape, Values):
        if not isinstance(value, Mapping):
            yield _said(place, value, dict)
            return
        wrong_ones = {name: one for name, one in value.items() if not _is_a(one, shape.value)}
        yield from (_said(f"{place}.{name}", one, shape.value) for name, one in wrong_ones.items())
    elif isinstance(shape, Each):
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield _said(place, value, list)
            return
        wrong = [item for item in value if next(mismatches(item, shape.item, place), None) is not None]
        if wrong and isinstance(shape.item, type):
            yield f"{place} holds {shown(wrong[0])}; each must be {_WORDS[shape.item]}."
    elif not _is_a(value, shape):
        yield _said(place, value, shape)


def _said(place: str, value: object, wanted: type) -> str:
    return f"{place} is {shown(value)}; it must be {_WORDS[wanted]}."


def _is_a(value: object, wanted: type) -> bool:
    """A truth value is no number, a whole number is a number, and numbers are finite."""
    if isinstance(value, bool):
        return wanted is bool
    if wanted is float:
        return isinstance(value, int | float) and abs(value) < _LARGEST and math.isfinite(value)
    if wanted is int:
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, wanted)


_LARGEST = 2.0**1000  # whole numbers beyond overflow where they meet a float
