"""Names that only look alike, and pairs that stand in the data twice: pointed out, never merged."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairData, PairDataset, members
from multidelete.data.request_file import Named
from multidelete.data.tables.suspicion import number_form, visible

_POWER_OF_TEN = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?[eE][+-]?[0-9]{1,2}")


def plain_form(name: str) -> str:
    """A name in one Unicode form, without blanks around it, with single ones inside, and without invisible signs.

    >>> plain_form("Jose\u0301  Doe ") == plain_form("Jos\u00e9 Doe")
    True
    """
    if not name.isascii():
        name = unicodedata.normalize("NFKC", visible(name))
    return " ".join(name.split())


def loose_form(name: str) -> str:
    """The same without capital letters, and of a number its shortest spelling.

    >>> loose_form("Ann") == loose_form("ann"), loose_form("007") == loose_form("7"), loose_form("1e3")
    (True, True, '1000')
    """
    plain = plain_form(name)
    if plain[-1:].isdecimal() and _POWER_OF_TEN.fullmatch(plain):
        plain = f"{Decimal(plain):f}"
    return number_form(plain) or plain.casefold()


def lookalikes(names: Iterable[str], form: Callable[[str], str]) -> list[list[str]]:
    """Different names of one form, together."""
    groups: dict[str, dict[str, None]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(form(name), {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]


def lookalike_notes(data: PairData) -> list[str]:
    """One note for each sort of names of which some only look different, with the first row of each.

    Names of images may differ in capital letters and zeros, as files do.
    """
    notes = []
    for what, names_of in _SORTS.items():
        form = plain_form if what == "images" else loose_form
        names = [n for pairs in data.splits.values() for p in pairs for n in names_of(data, p)]
        groups = lookalikes([*names, *(data.graph.nodes if what == "nodes" and data.graph else ())], form)
        shown = [
            " and ".join(f"{name!a} ({_first_row(data, names_of, name)})" for name in group) for group in groups[:3]
        ]
        if groups:
            notes.append(
                f"{sum(map(len, groups))} {what} {_DIFFER}, and count as different: {first_few(shown)}"
                + (f", and {len(groups) - 3} more" if len(groups) > 3 else "")
            )
    named = dict.fromkeys(pair.subject for pairs in data.splits.values() for pair in pairs)
    subjects = {loose_form(name): name for name in named if name}
    several = {name: one for name in subjects.values() for part in parts_of(name) if (one := subjects.get(part))}
    if several:
        shown = [f"{name!a} beside {one!a}" for name, one in several.items()]
        notes.append(
            f"{counted(len(several), 'subjects')} may name several, of whom one is a subject too: "
            f"{first_few(shown, 3)}. Each counts as one of its own, and a request for one does not take the other along"
        )
    return notes


def parts_of(name: str) -> list[str]:
    """Forms of the names that a name seems to join; none where it is one.

    >>> parts_of("Ann; Bob"), parts_of("Ann")
    (['ann', 'bob'], [])
    """
    parts = re.split(r"\s*[;|,/&+]\s*|\s+and\s+", name.strip())
    return [loose_form(part) for part in parts if part] if len(parts) > 1 else []


_DIFFER = "differ only in blanks, capital letters, the Unicode form of a character or the spelling of a number"


def _class_of(data: PairData, pair: Pair) -> list[str]:
    return [] if pair.label is None or pair.label >= len(data.classes) else [data.classes[pair.label]]


_SORTS: dict[str, Callable[[PairData, Pair], Sequence[str]]] = {
    "ids": lambda data, pair: [pair.id],
    "subjects": lambda data, pair: [] if pair.subject is None else [pair.subject],
    "kinds": lambda data, pair: [] if pair.kind is None else [pair.kind],
    "images": lambda data, pair: [s for s, _ in members(pair, "image")] if "image" in pair.inputs else [],
    "nodes": lambda data, pair: [s for s, _ in members(pair, "graph")] if "graph" in pair.inputs else [],
    "classes": _class_of,
}


def _first_row(data: PairData, names_of: Callable[[PairData, Pair], Sequence[str]], name: str) -> str:
    rows = (
        f"{split} row {number}"
        for split, pairs in data.splits.items()
        for number, pair in enumerate(pairs, start=1)
        if name in names_of(data, pair)
    )
    return next(rows, "the graph")


def overlooked(train: PairDataset, chosen: Collection[str], named: Named) -> list[str]:
    """Kept pairs whose id, subject or node looks like one that is named, and is another: one note for each sort."""

    def kept(what: str, asked: Collection[str]) -> list[Pair]:
        pairs = train.alike(what, set(map(loose_form, asked))) if asked else ()
        return [pair for pair in pairs if pair.id not in chosen]

    subjects, nodes = kept("subject", named.subjects), kept("node", named.nodes)
    names = {
        "ids": (named.ids, [pair.id for pair in kept("id", named.ids)]),
        "subjects": (named.subjects, [pair.subject for pair in subjects if pair.subject is not None]),
        "nodes": (named.nodes, [s for pair in nodes if "graph" in pair.inputs for s, _ in members(pair, "graph")]),
    }
    notes = []
    for what, (asked, others) in names.items():
        forms = set(map(loose_form, asked))
        others = list(dict.fromkeys(others)) if forms else []
        alike = sorted({name for name in others if loose_form(name) in forms} - set(asked))
        joined = [name for name in others if what == "subjects" and forms.intersection(parts_of(name))]
        if joined:
            notes.append(
                f"kept pairs have {counted(len(joined), what)} that may name several, a named one among them: "
                f"{first_few(list(map(ascii, joined)))}. Name them too if they are meant."
            )
        if alike:
            notes.append(
                f"kept pairs have {counted(len(alike), what)} that the request does not name and that {_DIFFER} from "
                f"named ones: {first_few(list(map(ascii, alike)))}. Name them too if they are meant."
            )
    return notes


def repeat_notes(data: PairData) -> list[str]:
    """How many held-out pairs are training pairs too, and how many have a picture of theirs."""
    trained = {_sources(pair) for pair in data.train}
    seen = data.train.sources("image")
    notes = []
    for name, pairs in data.splits.items():
        if name == "train":
            continue
        same = sum(_sources(pair) in trained for pair in pairs)
        shown = sum(any(one in seen for one, _ in members(pair, "image")) for pair in pairs if "image" in pair.inputs)
        notes += repeat_note(name, len(pairs), same, shown)
    return notes


def repeat_note(split: str, pairs: int, same: int, shown: int) -> list[str]:
    """The note on a held-out split, of whose pairs some are training pairs too, or have a picture of theirs."""
    counts = [f"{same} {'is a training pair' if same == 1 else 'are training pairs'} too"] if same else []
    counts += [f"{shown} {'has' if shown == 1 else 'have'} a picture that is trained on"] if shown else []
    told = f"of {counted(pairs, 'pairs')} of {split}, {' and '.join(counts)}: they do not stand for unseen pairs"
    return [told] if counts else []


def _sources(pair: Pair) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pair.sources.items()))
