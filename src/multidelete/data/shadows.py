"""Which pairs each shadow model trains on, and what tells one training set from another."""

import hashlib

from multidelete.core.errors import DataError
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairData, PairDataset


def shadow_members(data: PairData, index: int) -> frozenset[str]:
    """Ids of the pairs that a shadow model trains on: those of half of the units of training and held-out pairs.

    Held-out pairs are those of ``test``, or else of ``val``. A unit is a subject, or else all pairs of one first
    member (an image); it is in or out as a whole. Shadows 2k and 2k + 1 share the units between them, so that of an
    even number of shadows every pair is a member of exactly half.

    Args:
        data: The pairs.
        index: Number of the shadow model, >= 0.
    """
    pool = shadow_pool(data)
    names = sorted({_unit(pair) for pair in pool})
    order = stream(index // 2, Stream.SHADOW_UNITS).permutation(len(names))
    half = len(names) // 2
    drawn = {names[i] for i in (order[:half] if index % 2 == 0 else order[half:])}
    return frozenset(pair.id for pair in pool if _unit(pair) in drawn)


def shadow_pool(data: PairData) -> PairDataset:
    if data.train.is_indexed:
        raise DataError(f"{data.name} is read by an index, and shadow models are of data in memory. Leave index: out.")
    held = data.splits.get("test") or data.splits.get("val") or ()
    return PairDataset([*data.train, *held], f"{data.name}, training and held-out pairs together")


def _unit(pair: Pair) -> tuple[str, str]:
    if pair.subject is not None:
        return "subject", pair.subject
    return "member", next(iter(pair.sources.values()))


def data_digest(data: PairData, *splits: str) -> str:
    """Of all that a model is shown, pictures included, and of the graph."""
    sha = hashlib.sha256(repr((list(data.classes), data.graph and data.graph.digest)).encode())
    for pairs in (data.splits[split] for split in splits if split in data.splits):
        sha.update(pairs.content.encode())
    return sha.hexdigest()
