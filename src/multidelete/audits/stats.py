"""Statistics of the audits: pure functions of arrays, with their edges written down.

Shape suffixes: Q queries, C candidates, N items, P positives, M negatives, G groups, R resamples.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from multidelete.core.streams import Stream, stream

Floats = NDArray[np.float64]
Array = NDArray[np.floating]
RESAMPLES = 1000
_BLOCK = 2_000_000  # entries held at once, so that memory stays flat
_FEW = 250_000  # entries of draws that are kept: hundreds of figures of an audit are resampled by the same ones


def recalls(similarity_QC: Array, relevant_QC: NDArray[np.bool_], ks: Sequence[int]) -> dict[int, Floats]:
    """For each k the probability of each query that one of its relevant candidates is among its k most similar, (Q,).

    Ties are broken at random, in expectation: with t candidates tied at the best relevant score, r of
    them relevant, and m places left for them, it is 1 - C(t - r, m) / C(t, m). A collapsed encoder
    therefore scores k / C. Only the order of the similarities matters. A candidate at -inf is not in
    the gallery of that query.

    >>> recalls(np.full((1, 100), -0.3), np.arange(100)[None] == 7, ks=(1,))[1].round(6).tolist()
    [0.01]

    Args:
        similarity_QC: Similarities, higher is closer; NaN is refused.
        relevant_QC: Which candidates are right; at least one per query, none of them at -inf.
        ks: At least 1 each; from the gallery's size on the recall is 1.

    Raises:
        ValueError: One of these rules is broken.
    """
    if similarity_QC.ndim != 2 or similarity_QC.shape != relevant_QC.shape:
        raise ValueError(f"similarities {similarity_QC.shape} and relevance {relevant_QC.shape} must be (Q, C) both")
    if min(ks) < 1:
        raise ValueError(f"k is {min(ks)}; it must be at least 1")
    if not relevant_QC.any(axis=1).all():
        raise ValueError("a query has no relevant candidate; leave it out")
    if np.isnan(similarity_QC).any():
        raise ValueError("a similarity is NaN")
    best_Q1 = np.where(relevant_QC, similarity_QC, -np.inf).max(axis=1, keepdims=True)
    if np.isneginf(best_Q1).any():
        raise ValueError("a relevant candidate is at -inf")
    above_Q = (similarity_QC > best_Q1).sum(axis=1)  # none of them is relevant
    tied_QC = similarity_QC == best_Q1
    tied_Q, right_Q = tied_QC.sum(axis=1), (tied_QC & relevant_QC).sum(axis=1)
    return {k: drawn_recall(tied_Q, right_Q, k - above_Q) for k in ks}


def drawn_recall(size_Q: NDArray[np.int_], right_Q: NDArray[np.int_], drawn_Q: NDArray[np.int_]) -> Floats:
    """Probability that at least one of the right candidates is among some that are drawn at random.

    >>> drawn_recall(np.array([10, 10]), np.array([1, 2]), np.array([5, 5])).round(6).tolist()
    [0.5, 0.777778]
    """
    missed_Q = np.ones(len(size_Q))
    for place in range(min(int(drawn_Q.max(initial=0)), int(size_Q.max(initial=0)))):  # one after the other
        chance_Q = np.maximum(size_Q - right_Q - place, 0) / np.maximum(size_Q - place, 1)
        missed_Q *= np.where(place < drawn_Q, chance_Q, 1.0)
    return 1.0 - missed_Q


def auc(positives: Array, negatives: Array) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney).

    >>> auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875

    Raises:
        ValueError: One side is empty, or a score is NaN.
    """
    _check_scores(positives, negatives)
    # counted in ranks, not added up as an area: equal counts must give equal numbers, since signals are ranked by them
    wins = mannwhitneyu(positives.astype(np.float64), negatives.astype(np.float64), method="asymptotic").statistic
    return float(wins / len(positives) / len(negatives))


def tpr_at_fpr(positives: Array, negatives: Array, fpr: float) -> float:
    """Share of positives above the lowest threshold whose false positive rate is at most ``fpr``.

    Conservative with ties: negatives tied at the threshold are refused together, with the positives
    tied to them. With fewer than 1 / fpr negatives no false positive is allowed.

    >>> tpr_at_fpr(np.array([1.0, 2.0, 3.0, 3.0]), np.array([0.0, 1.0, 2.0, 2.0]), fpr=0.25)
    0.5

    Raises:
        ValueError: One side is empty, a score is NaN, or ``fpr`` is not in [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr is {fpr}; it must be in [0, 1]")
    _check_scores(positives, negatives)
    allowed = int(np.floor(fpr * len(negatives) + 1e-9))
    if allowed == len(negatives):
        return 1.0
    return float((positives > np.sort(negatives)[::-1][allowed]).mean())


def percentiles(resampled_R: Floats | None) -> tuple[float, float] | None:
    """The middle 95 % of resampled values, or None where there are none.

    >>> percentiles(mean_resamples(np.full(10, 0.5)))
    (0.5, 0.5)
    """
    if resampled_R is None:
        return None
    low, high = np.percentile(resampled_R, [2.5, 97.5])
    return float(low), float(high)


def mean_resamples(
    values: Array, groups: Sequence[str] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Floats | None:
    """Means of (R,) group resamples; None with fewer than two groups: one group says nothing about others.

    Whole groups are resampled (a person's pairs, a picture's captions), because their values hang together. The same
    groups and seed give the same draws: differences of two models' resamples are paired.
    """
    index_N, count = _group_index(len(values), groups)
    if count < 2:
        return None
    sum_G = np.bincount(index_N, weights=values, minlength=count)
    size_G = np.bincount(index_N, minlength=count)
    draws = _draws(seed, Stream.BOOTSTRAP, count, resamples, count)
    if (size_G == size_G[0]).all():
        return np.concatenate([sum_G[draw_RG].sum(axis=1) / (count * size_G[0]) for draw_RG in draws])
    return np.concatenate([sum_G[draw_RG].sum(axis=1) / size_G[draw_RG].sum(axis=1) for draw_RG in draws])


def auc_resamples(
    positives: Array,
    negatives: Array,
    positive_groups: Sequence[str] | None = None,
    negative_groups: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Floats | None:
    """AUCs of (R,) group resamples of both sides; None where a side has fewer than two groups."""
    low_P, high_P = _beaten(positives, negatives)
    order_M = np.argsort(negatives, kind="stable")
    index_P, count_P = _group_index(len(positives), positive_groups)
    index_M, count_M = _group_index(len(negatives), negative_groups)
    if min(count_P, count_M) < 2:
        return None
    draws = _draws_of_both(seed, (count_P, count_M), resamples, len(positives) + len(negatives))
    blocks = []
    # A resample changes only how often each score counts: sorted once, a positive wins against the weight of the
    # negatives below it. Below and at-or-below, averaged, count ties half, and no resample is sorted anew.
    for drawn_P, drawn_M in draws:
        weight_RP = _times_drawn(drawn_P, count_P)[:, index_P]
        weight_RM = _times_drawn(drawn_M, count_M)[:, index_M[order_M]]
        below_RM = np.concatenate([np.zeros((len(weight_RM), 1)), np.cumsum(weight_RM, axis=1)], axis=1)
        wins_R = (weight_RP * (below_RM[:, low_P] + below_RM[:, high_P])).sum(axis=1) / 2
        blocks.append(wins_R / (weight_RP.sum(axis=1) * below_RM[:, -1]))
    return np.concatenate(blocks)


def tpr_resamples(
    positives: Array,
    negatives: Array,
    fpr: float,
    positive_groups: Sequence[str] | None = None,
    negative_groups: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Floats | None:
    """`tpr_at_fpr` of (R,) group resamples of both sides; None where a side has fewer than two groups."""
    _check_scores(positives, negatives)
    index_P, count_P = _group_index(len(positives), positive_groups)
    index_M, count_M = _group_index(len(negatives), negative_groups)
    if min(count_P, count_M) < 2:
        return None
    order_P, order_M = np.argsort(positives, kind="stable"), np.argsort(-negatives, kind="stable")
    draws = _draws_of_both(seed, (count_P, count_M), resamples, len(positives) + len(negatives))
    blocks = []
    for drawn_P, drawn_M in draws:
        above_RM = np.cumsum(_times_drawn(drawn_M, count_M)[:, index_M[order_M]], axis=1)  # of the highest
        allowed_R = np.floor(fpr * above_RM[:, -1] + 1e-9)
        refused_R = np.minimum((above_RM <= allowed_R[:, None]).sum(axis=1), len(negatives) - 1)
        caught_RP = np.cumsum(_times_drawn(drawn_P, count_P)[:, index_P[order_P]], axis=1)
        below_R = np.searchsorted(positives[order_P], negatives[order_M][refused_R], side="right")
        missed_R = np.where(below_R > 0, caught_RP[np.arange(len(below_R)), below_R - 1], 0)
        blocks.append(np.where(allowed_R >= above_RM[:, -1], 1.0, 1 - missed_R / caught_RP[:, -1]))
    return np.concatenate(blocks)


def _check_scores(positives: Array, negatives: Array) -> None:
    if not len(positives) or not len(negatives):
        raise ValueError(f"{len(positives)} positives against {len(negatives)} negatives; both need at least one")
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise ValueError("a score is NaN")


def _beaten(positives: Array, negatives: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each positive, how many negatives lie below it, and how many below or level."""
    _check_scores(positives, negatives)
    ranked = np.sort(negatives)
    return np.searchsorted(ranked, positives, side="left"), np.searchsorted(ranked, positives, side="right")


def _group_index(length: int, groups: Sequence[str] | None) -> tuple[NDArray[np.intp], int]:
    """Each item's group as a number, and how many groups there are; without groups, one per item."""
    if groups is None:
        return np.arange(length), length
    if len(groups) != length:
        raise ValueError(f"{len(groups)} groups for {length} values")
    names, index_N = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return index_N, len(names)


def _draws(seed: int, of: Stream, groups: int, resamples: int, width: int) -> Iterable[NDArray[np.int64]]:
    """Group resamples in blocks of rows; ``width`` is what one row costs."""
    block = max(1, min(resamples, _BLOCK // max(groups, width)))
    draw = _kept_draws if groups * resamples <= _FEW else _blocks
    return draw(seed, of, groups, resamples, block)


def _draws_of_both(
    seed: int, counts: tuple[int, int], resamples: int, width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Blocks of the positives' groups and the negatives', as many of each."""
    both = zip((Stream.POSITIVE_BOOTSTRAP, Stream.NEGATIVE_BOOTSTRAP), counts, strict=True)
    return zip(*(_draws(seed, of, count, resamples, width) for of, count in both), strict=True)


def _blocks(seed: int, of: Stream, groups: int, resamples: int, block: int) -> Iterator[NDArray[np.int64]]:
    rng = stream(seed, of)
    for start in range(0, resamples, block):
        yield rng.integers(groups, size=(min(block, resamples - start), groups))


@lru_cache(maxsize=16)
def _kept_draws(seed: int, of: Stream, groups: int, resamples: int, block: int) -> tuple[NDArray[np.int64], ...]:
    return tuple(_blocks(seed, of, groups, resamples, block))  # nobody changes them


def _times_drawn(draw_RG: NDArray[np.int64], groups: int) -> NDArray[np.intp]:
    """How often each resample drew each group, (R, G)."""
    offset_RG = draw_RG + np.arange(len(draw_RG))[:, None] * groups
    return np.bincount(offset_RG.ravel(), minlength=draw_RG.size).reshape(len(draw_RG), groups)
