"""Names that only look alike, and pairs that stand in the data twice: pointed out, never merged."""

import unicodedata
from collections.abc import Collection, Iterable

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairData, PairDataset, members
from multidelete.data.request_file import Named


def plain_form(name: str) -> str:
    """A name in one Unicode form, without blanks around it and with single ones inside.

    >>> plain_form("Jose\u0301  Doe ") == plain_form("Jos\u00e9 Doe")
    True
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """Names that differ only in Unicode form or blanks, together."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(plain_form(name), {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]


def lookalike_notes(data: PairData) -> list[str]:
    """One note for each sort of names of which some differ only in Unicode form or blanks."""
    every = [pair for pairs in data.splits.values() for pair in pairs]
    names = {
        "ids": [pair.id for pair in every],
        "subjects": [pair.subject for pair in every if pair.subject is not None],
        "kinds": [pair.kind for pair in every if pair.kind is not None],
        "images": [source for pair in every if "image" in pair.inputs for source, _ in members(pair, "image")],
        "nodes": [source for pair in every if "graph" in pair.inputs for source, _ in members(pair, "graph")],
        "classes": list(data.classes),
    }
    return [
        f"{sum(map(len, groups))} {what} differ only in blanks or the Unicode form of a character, and count as "
        f"different: {first_few([' and '.join(map(ascii, group)) for group in groups], 3)}"
        for what, values in names.items()
        if (groups := lookalikes(values))
    ]


def overlooked(train: PairDataset, chosen: Collection[str], named: Named) -> list[str]:
    """Kept pairs whose id, subject or node looks like one that is named, and is another: one note for each sort."""
    kept = [pair for pair in train if pair.id not in chosen]
    nodes = [source for pair in kept if "graph" in pair.inputs for source, _ in members(pair, "graph")]
    names = {
        "ids": (named.ids, [pair.id for pair in kept]),
        "subjects": (named.subjects, [pair.subject for pair in kept if pair.subject is not None]),
        "nodes": (named.nodes, nodes),
    }
    notes = []
    for what, (asked, others) in names.items():
        forms = set(map(plain_form, asked))
        alike = sorted({name for name in others if plain_form(name) in forms} - set(asked)) if forms else []
        if alike:
            notes.append(
                f"kept pairs have {counted(len(alike), what)} that the request does not name, different from named "
                f"ones only in blanks or the Unicode form of a character: {first_few(list(map(ascii, alike)))}. "
                "Name them too if they are meant."
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
        counts = [f"{same} {'is a training pair' if same == 1 else 'are training pairs'} too"] if same else []
        counts += [f"{shown} {'has' if shown == 1 else 'have'} a picture that is trained on"] if shown else []
        if counts:
            notes.append(
                f"of {counted(len(pairs), 'pairs')} of {name}, {' and '.join(counts)}: they do not "
                "stand for unseen pairs"
            )
    return notes


def _sources(pair: Pair) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pair.sources.items()))
