"""Texts and names that something seems to have happened to on the way: pointed out, never changed."""

import re
from collections.abc import Iterator

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairData

_DAMAGED = {
    "the sign for a character that was lost": re.compile("\ufffd"),
    "signs as of text that was read in another encoding": re.compile("[\u00c2\u00c3][\u0080-\u00bf]"),
    "bytes as Python writes them": re.compile(r"^b(['\"]).*\1$", re.DOTALL),
    "a formula of a spreadsheet": re.compile(r'^="'),
}
_NAMES = {
    "a sign or word as for what is missing": re.compile(r"NA|none|--?|\?|\.|[Uu]nknown|missing"),
    "a number in powers of ten, as spreadsheets shorten long ones": re.compile(r"[+-]?\d(?:\.\d+)?[eE]\+?\d{2,}"),
}
_TEXTS_BEGIN, _NAMES_BEGIN = "b=", "b=NnUum-?.+0123456789"  # a glance tells that most are not odd


def oddity_notes(data: PairData) -> list[str]:
    """One note for each sort of oddity, with the rows, counted in their splits."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for split, pairs in data.splits.items():
        for number, pair in enumerate(pairs, start=1):
            for what, cell in _cells(data, pair):
                for why in oddities(what, cell):
                    by_reason.setdefault((what, why), []).append(f"{split} row {number} ({cell!a})")
    return [
        f"{counted(len(rows), 'rows have')} {why} in the {what}: {first_few(rows, 3)}"
        for (what, why), rows in by_reason.items()
    ]


def oddities(what: str, cell: str) -> list[str]:
    """What is odd about a cell.

    Args:
        what: What it holds: ``text``, or a name of some sort.
        cell: The cell.
    """
    if cell.isascii() and cell[:1] not in (_TEXTS_BEGIN if what == "text" else _NAMES_BEGIN):
        return []
    odd = [why for why, pattern in _DAMAGED.items() if pattern.search(cell)]
    return odd + [why for why, pattern in _NAMES.items() if what != "text" and pattern.fullmatch(cell)]


def _cells(data: PairData, pair: Pair) -> Iterator[tuple[str, str]]:
    text, label = pair.inputs.get("text"), pair.label
    yield "id", pair.id
    if isinstance(text, str):
        yield "text", text
    if pair.subject is not None:
        yield "subject", pair.subject
    if pair.kind is not None:
        yield "kind", pair.kind
    if label is not None and label < len(data.classes):
        yield "label", data.classes[label]
