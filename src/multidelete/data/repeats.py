"""What stays of pairs that are to be forgotten: the same pairs under other ids, and copies in a cache."""

import shlex
from collections.abc import Collection

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.identity import same_pictures
from multidelete.data.pairs import Pair, PairData, PairDataset


def kept_repeats(train: PairDataset, ids: Collection[str]) -> list[str]:
    """Ids of the kept training pairs that have the text and the picture (or the nodes) of a pair to forget.

    Texts are compared without regard to capital letters and blanks, pictures by their bytes. Only files of the size
    of a forgotten picture whose caption is the same are read.
    """
    wanted = set(ids)
    by_text: dict[str | None, list[Pair]] = {}
    for pair in (gone := train.only(wanted, "forget")):
        by_text.setdefault(pair.sources.get("text"), []).append(pair)
    return [
        pair.id
        for pair in train.repeats_of(gone.pairs)
        if pair.id not in wanted
        and any(same_pictures(pair, gone) for gone in by_text.get(pair.sources.get("text"), ()))
    ]


def cached_note(data: PairData) -> str | None:
    """Where captions of deleted pairs stay in the cache of `datasets`, and how to delete them; None where none do."""
    if not data.cached:
        return None
    folders = " ".join(shlex.quote(str(folder)) for folder in data.cached)
    return (
        "the cache of the datasets library holds a copy of the data, the captions of deleted pairs included. When they "
        f"are gone from {data.name}, delete it: rm -r {folders}"
    )


def repeats_note(repeats: Collection[str]) -> str:
    """What to tell somebody whose request leaves such pairs."""
    verb = "is the same pair as one to forget" if len(repeats) == 1 else "are the same pairs as some to forget"
    return (
        f"{counted(len(repeats), 'pairs')} to keep {verb}, under other ids: {first_few(list(repeats))}. The request is "
        "not done while they stay: they go on teaching the model what is to go. Name them too, or remove them."
    )
