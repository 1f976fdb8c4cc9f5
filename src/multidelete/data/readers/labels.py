"""Labels as tables write them: names, or numbers whose meaning is not told."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted
from multidelete.data.lookalikes import loose_form
from multidelete.data.pairs import Pair
from multidelete.data.tables.strict_json import Literal
from multidelete.data.tables.suspicion import number_form, whole

Labelled = tuple[Pair, str | None]
"""A pair without its label, and the label as the data writes it."""

_FEW = 10_000  # classes without pairs
_TRUTH = {"true": "1", "yes": "1", "false": "0", "no": "0"}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,8})", re.ASCII)
_LITERAL = re.compile(rf"{_NUMBER.pattern}|True|False", re.ASCII)


def names_of_pairs(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """What pairs are called, and their subjects."""
    every = list(pairs)
    return {"ids": [pair.id for pair in every], "subjects": [pair.subject for pair in every if pair.subject]}


def number_labels(
    name: str, by_split: Mapping[str, Sequence[Labelled]], known: Sequence[str], notes: list[str]
) -> tuple[tuple[str, ...], dict[str, list[Pair]]]:
    """Names of the classes, and the pairs with their labels as positions among them.

    Labels that are all whole numbers are numbers, and there are no names then; a negative one is the hub's sign for
    "unlabelled". Where some are written with a point (``1.0``, as data frames with gaps do), this is noted. All others
    are names. True and false are the names True and False. Numbers among names are noted.

    Args:
        name: What the data is called.
        by_split: The pairs, and their labels as the data writes them.
        known: Names that the data lists itself (`datasets.ClassLabel`), in its order; labels are then names.
        notes: What is to be said of them is added here.

    Raises:
        DataError: Labels are neither text nor whole numbers, or of both kinds, or one number or truth value is
            written in two ways.
    """
    raw = [label for pairs in by_split.values() for _, label in pairs if label is not None]
    texts = dict.fromkeys(raw)
    numbers = {text: whole(text) or text for text in texts}
    are_numbers = not known and all(_NUMBER.fullmatch(number) for number in numbers.values())
    decimal = [text for text in texts if number_form(text) is not None]
    all_decimal = not known and len(decimal) == len(texts)
    strange: list[str] = []
    if not are_numbers:
        strange += [one for one in raw if isinstance(one, Literal) and not _LITERAL.fullmatch(one)]
        strange += [one for one in raw if all_decimal and "." in (number_form(one) or "") and one not in strange]
    if strange:
        raise DataError(
            f"{name}: {counted(len(strange), 'labels are')} neither names nor whole numbers: {first_few(strange)}. "
            "Write the name of the class, or its number."
        )
    kinds = sorted({"numbers" if isinstance(label, Literal) else "texts" for label in raw})
    if len(kinds) > 1:
        raise DataError(
            f"{name} has labels of several kinds ({', '.join(kinds)}); labels must be all numbers or all names."
        )
    if are_numbers:
        if any(number != text for text, number in numbers.items()):
            notes.append("labels are written with a point, such as 1.0; they are read as whole numbers")
        at = {text: int(number) if int(number) >= 0 else None for text, number in numbers.items()}
        used = {number for number in at.values() if number is not None}
        without = 1 + max(used, default=-1) - len(used)
        if without > max(_FEW, 10 * len(used)):
            raise DataError(
                f"{name}: labels are numbers up to {max(used)}, each number from 0 is a class, and {without} of these "
                f"have no pair. Write names, or number the {counted(len(used), 'classes')} from 0."
            )
        if without:
            notes.append(f"labels are numbers up to {max(used)}, and {counted(without, 'numbers have')} no pair")
        return (), _placed(by_split, at)
    negative = [text for text in texts if text.startswith("-") and _NUMBER.fullmatch(text) and text not in known]
    if negative:
        raise DataError(
            f"{name} has labels that are names, and {first_few(negative)} among them. Leave the label of pairs without "
            "one empty."
        )
    if not known:
        _refuse_two_spellings(name, by_split, list(texts))
        if all_decimal and decimal:
            notes.append(f"labels are numbers that are no plain ones, and are read as names: {first_few(decimal, 3)}")
        elif decimal:
            beside = next(text for text in texts if text not in decimal)
            notes.append(
                f"labels are names, and {len(decimal)} of {len(texts)} of them numbers, such as "
                f"{_with_rows(by_split, [decimal[0], beside])}"
            )
    classes = tuple(dict.fromkeys([*known, *sorted(texts)]))
    return classes, _placed(by_split, {text: at for at, text in enumerate(classes)})


def _refuse_two_spellings(name: str, by_split: Mapping[str, Sequence[Labelled]], labels: Sequence[str]) -> None:
    """Refuse a number or a truth value that is two classes, since it is written in two ways.

    Where all labels are words for true and false, or 1 and 0, these are of one meaning; among others they are words.
    """
    forms = {label: loose_form(label) for label in labels}
    are_truths = {_TRUTH.get(form, form) for form in forms.values()} <= {"1", "0"}
    groups: dict[str, list[str]] = {}
    for label, form in forms.items():
        value = _TRUTH.get(form, form) if are_truths else form
        groups.setdefault(value if form in _TRUTH or number_form(form) is not None else label, []).append(label)
    twice = [_with_rows(by_split, group) for group in groups.values() if len(group) > 1]
    if twice:
        raise DataError(
            f"{name}: {counted(len(twice), 'labels are')} written in several ways: {first_few(twice)}. They would be "
            "classes of their own. Write each in one way."
        )


def _with_rows(by_split: Mapping[str, Sequence[Labelled]], labels: Sequence[str]) -> str:
    """The labels, each with the first row that has it."""
    first: dict[str, str] = {}
    for split, pairs in by_split.items():
        for number, (_, label) in enumerate(pairs, start=1):
            if label is not None and label in labels and label not in first:
                first[label] = f"{label!r} ({split} row {number})"
    return " and ".join(first[label] for label in labels)


def _placed(by_split: Mapping[str, Sequence[Labelled]], at: Mapping[str, int | None]) -> dict[str, list[Pair]]:
    return {
        split: [replace(pair, label=None if raw is None else at[raw]) for pair, raw in pairs]
        for split, pairs in by_split.items()
    }
