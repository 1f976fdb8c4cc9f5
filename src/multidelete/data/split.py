"""Parting pairs without leaks: held-out pairs, and requests drawn for experiments."""

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from multidelete.core.errors import ConfigError, DataError, RequestError
from multidelete.core.streams import Stream, stream
from multidelete.core.units import UNITS, Unit
from multidelete.core.words import counted
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import Pair, PairData, PairDataset, members
from multidelete.data.request import unit_keys

_DRAWN = "no held-out pairs were given"


def with_holdout(data: PairData, *, fraction: float = 0.1, seed: int = 0) -> PairData:
    """Set pairs aside as ``val`` and ``test`` where a data set has neither.

    Whole groups are set aside: pairs that are joined by a subject or by shared images, and those without a subject
    also by shared captions, so that no held-out image is trained on, and without subjects no caption. Byte-equal
    pictures are one image, whatever they are called. A graph loses the edges that only held-out pairs state. Data
    that has ``val`` or ``test`` is returned as it is.

    Args:
        data: The pairs. The same data, fraction and seed give the same splits.
        fraction: Share of the pairs for each of ``val`` and ``test``, in (0, 0.5).
        seed: Which groups are drawn.

    Raises:
        ConfigError: ``fraction`` is out of range.
        DataError: There are too few groups to set any aside.
    """
    if not 0 < fraction < 0.5:
        raise ConfigError(f"The held-out fraction is {fraction}; it must be above 0 and below 0.5.")
    if "val" in data.splits or "test" in data.splits:
        return data
    if data.train.is_indexed:
        raise DataError(
            f"{data.name} is read by an index and has neither val nor test, which are not drawn from so many "
            "pairs. Give it a column split, or shards that are named after their splits."
        )
    data = with_true_sources(data)
    groups = _groups(data.train)
    wanted = max(1, round(fraction * len(data.train)))
    held: dict[str, set[str]] = {"val": set(), "test": set()}
    kept = len(groups)
    for number in stream(seed, Stream.HELD_OUT_GROUPS).permutation(len(groups)):
        group = groups[int(number)]
        split = min(held, key=lambda name: len(held[name]))
        too_big = len(held[split]) + len(group) > wanted and (held[split] or len(group) > 2 * wanted)
        if not too_big and kept > 1:
            held[split] |= {pair.id for pair in group}
            kept -= 1
    if not all(held.values()):
        raise DataError(
            f"{data.name} has no held-out pairs, and its "
            f"{counted(len(data.train), 'training pairs form')} {counted(len(groups), 'groups')} "
            f"that share images, captions or a subject, the largest of {max(map(len, groups))}: too few or too large "
            f"to set {wanted} pairs aside twice. Give a val or test split."
        )
    splits = {name: data.train.only(ids, f"{data.name} {name}") for name, ids in held.items()}
    train = data.train.without(held["val"] | held["test"], data.train.name)
    by = "subjects" if data.train[0].subject is not None else "groups of shared images and captions"
    note = (
        f"{_DRAWN}: {counted(len(splits['val']), 'pairs were')} set aside as val "
        f"and {len(splits['test'])} as test, in whole {by} (seed {seed})"
    )
    set_aside = [pair for pairs in splits.values() for pair in pairs]
    graph = None if data.graph is None else data.graph.without_edges_of(set_aside, train)
    return replace(data, splits={"train": train, **splits}, notes=(*data.notes, note), graph=graph)


def was_drawn(data: PairData) -> bool:
    """Whether `with_holdout` set pairs of the data aside."""
    return any(note.startswith(_DRAWN) for note in data.notes)


def draw_request(train: PairDataset, *, fraction: float, unit: Unit, seed: int) -> list[str]:
    """Draw whole pairs, images, subjects or nodes at random, for experiments.

    Args:
        train: The training pairs.
        fraction: Share of the units, in (0, 1); at least one unit is drawn.
        unit: ``"pair"``, ``"image"`` (all pairs of an image, or of two images together), ``"subject"`` or
            ``"node"`` (all its pairs).
        seed: Which units are drawn.

    Returns:
        Ids of the drawn units' pairs, in the order of ``train``.

    Raises:
        ConfigError: ``fraction`` or ``unit`` is out of range.
        RequestError: No pair has such a unit.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"The forget fraction is {fraction}; it must be above 0 and below 1.")
    if unit not in UNITS:
        raise ConfigError(f"Unknown unit {unit!r}; it must be one of {', '.join(UNITS)}.")
    keys = [unit_keys(pair, unit) for pair in train]
    units = sorted({key for several in keys for key in several})
    if not units:
        raise RequestError(f"The pairs of {train.name} have no {unit}s to draw; use the unit pair.")
    count = max(1, round(fraction * len(units)))
    drawn = {units[int(i)] for i in stream(seed, Stream.REQUESTED_UNITS).permutation(len(units))[:count]}
    return [pair.id for pair, several in zip(train, keys, strict=True) if drawn.intersection(several)]


def _groups(train: PairDataset) -> list[list[Pair]]:
    """Pairs that must stay together, in the order of their first pair."""
    first: dict[tuple[str, str], int] = {}
    edges: list[tuple[int, int]] = []
    for position, pair in enumerate(train):
        shared = list(pair.sources.items()) if pair.subject is None else [("subject", pair.subject)]
        if "image" in pair.inputs:
            shared += [("image", source) for source, _ in members(pair, "image")]
        edges += [(first.setdefault(key, position), position) for key in shared]
    ends_2E = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    joined = coo_array((np.ones(len(edges)), ends_2E), shape=(len(train), len(train)))
    _, group_N = connected_components(joined, directed=False)
    groups: dict[int, list[Pair]] = {}
    for pair, group in zip(train, group_N.tolist(), strict=True):
        groups.setdefault(group, []).append(pair)
    return list(groups.values())
