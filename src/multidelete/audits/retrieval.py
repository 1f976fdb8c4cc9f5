"""Retrieval within a stated gallery: members are matched by source, never by row.

Shape suffixes: N pairs, Q queries, C candidates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidelete.audits import stats
from multidelete.audits.inputs import groups
from multidelete.audits.signals import Signals

KS = (1, 5, 10)
NO_EMBEDDINGS = "this family has no joint embedding space, and there is no gallery of members scored with each other"
NOT_DRAWN = "none of these pairs was drawn; this family scores pairs one by one, so that only some can be searched"
_BLOCK = 4_000_000  # similarities held at once


@dataclass(frozen=True)
class Search:
    """Result of searching a gallery with each distinct query.

    Attributes:
        recall: For each k the probability that an own candidate is among the k best, (Q,).
        chance: For each k what a random order would give, (Q,).
        groups: Which queries are resampled together.
        query_of_pair: Position of each own pair's query, (pairs that own,).
        gallery: Number of distinct candidates.
    """

    recall: Mapping[int, stats.Floats]
    chance: Mapping[int, stats.Floats]
    groups: Sequence[str]
    query_of_pair: NDArray[np.intp]
    gallery: int


def search(
    signals: Signals,
    own: NDArray[np.bool_],
    gallery: NDArray[np.bool_],
    *,
    query: str,
    candidate: str,
    ks: Sequence[int] = KS,
) -> Search:
    """Search the distinct candidates of the gallery pairs with each distinct query of the own pairs.

    A candidate is right if an own pair joins it to the query, by source: five captions of an image,
    or several views with one caption, are all right. A candidate that only another gallery pair
    joins to the query is neither right nor wrong, and is left out for that query. Similarities
    that agree to six decimals (scores of a gallery: to four) count as tied: below that float32 noise would decide.

    Args:
        signals: One model's signals, with embeddings or a gallery.
        own: Mask (N,) of the pairs whose associations are sought, at least one; all ``in_gallery``.
        gallery: Mask (N,) of the pairs whose candidates are searched; contains ``own``.
        query: Modality that asks.
        candidate: Modality that is searched.
        ks: Cut-offs, each at least 1.

    Raises:
        ValueError: Neither embeddings nor a gallery, nothing to search, or own pairs outside the gallery.
    """
    if not signals.can_be_searched:
        raise ValueError(NO_EMBEDDINGS)
    if not own.any() or (own & ~gallery).any():
        raise ValueError(f"{int(own.sum())} own pairs, {int((own & ~gallery).sum())} of them outside the gallery")
    own_at, gallery_at = np.flatnonzero(own), np.flatnonzero(gallery)
    query_keys = np.asarray(signals.sources[query], dtype=object)
    candidate_keys = np.asarray(signals.sources[candidate], dtype=object)
    query_code, first_query = _codes(query_keys[own_at])
    candidate_code, first_candidate = _codes(candidate_keys[gallery_at])
    group_of = groups(signals)

    joined = np.array([query_code.get(query_keys[i], -1) for i in gallery_at])
    asked = joined >= 0
    edge_query, edge_own = joined[asked], own[gallery_at][asked]
    edge_candidate = np.array([candidate_code[candidate_keys[i]] for i in gallery_at[asked]])

    queries, candidates = own_at[first_query], gallery_at[first_candidate]
    parts: dict[int, list[stats.Floats]] = {k: [] for k in ks}
    chance: dict[int, list[stats.Floats]] = {k: [] for k in ks}
    block = max(1, _BLOCK // len(candidates))
    for start in range(0, len(queries), block):
        similarity_QC = signals.similarity(query, candidate, queries[start : start + block], candidates)
        here = (edge_query >= start) & (edge_query < start + block)
        row, column, is_own = edge_query[here] - start, edge_candidate[here], edge_own[here]
        right_QC = np.zeros(similarity_QC.shape, dtype=bool)
        right_QC[row[is_own], column[is_own]] = True
        other = ~right_QC[row, column]
        similarity_QC[row[other], column[other]] = -np.inf
        for k, found_Q in stats.recalls(similarity_QC, right_QC, ks).items():
            parts[k].append(found_Q)
        size_Q, right_Q = (similarity_QC > -np.inf).sum(axis=1), right_QC.sum(axis=1)
        for k in ks:
            chance[k].append(stats.drawn_recall(size_Q, right_Q, np.full(len(size_Q), k)))
    return Search(
        recall={k: np.concatenate(recall_Q) for k, recall_Q in parts.items()},
        chance={k: np.concatenate(chance_Q) for k, chance_Q in chance.items()},
        groups=[group_of[own_at[i]] for i in first_query],
        query_of_pair=np.array([query_code[query_keys[i]] for i in own_at]),
        gallery=len(candidates),
    )


def directions(signals: Signals) -> list[tuple[str, str]]:
    """Both ways to search: first to second modality, and back."""
    first, second = signals.modalities
    return [(first, second), (second, first)]


def drawn(signals: Signals) -> str:
    """What to add to the size of a gallery whose members were drawn."""
    return "" if signals.gallery is None else ", drawn: this family scores pairs one by one"


def _codes(keys: Iterable[object]) -> tuple[dict[object, int], list[int]]:
    """A number for each distinct key in order of appearance, and where each appears first."""
    code: dict[object, int] = {}
    first = []
    for position, key in enumerate(keys):
        if key not in code:
            code[key] = len(code)
            first.append(position)
    return code, first
