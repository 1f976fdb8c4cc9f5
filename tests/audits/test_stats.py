"""Every statistic against a naive twin, and its edges."""

import time
from itertools import permutations

import numpy as np
import pytest

from multidelete.audits import stats


def naive_recall(similarity: np.ndarray, relevant: np.ndarray, k: int) -> float:
    """Mean over every order of the candidates in which ties could be listed."""
    hits = []
    for order in permutations(range(len(similarity))):
        ranked = sorted(order, key=lambda c: -similarity[c])  # stable: ties stay in this order
        hits.append(any(relevant[c] for c in ranked[:k]))
    return float(np.mean(hits))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_recall_equals_the_mean_over_all_tie_orders(k: int) -> None:
    rng = np.random.default_rng(0)
    similarity_QC = rng.integers(-2, 2, size=(20, 5)).astype(float)
    relevant_QC = rng.random((20, 5)) < 0.4
    relevant_QC[np.arange(20), rng.integers(5, size=20)] = True
    expected = [naive_recall(s, r, k) for s, r in zip(similarity_QC, relevant_QC, strict=True)]
    assert stats.recalls(similarity_QC, relevant_QC, (k,))[k] == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_of_a_collapsed_encoder_is_k_of_the_gallery(k: int) -> None:
    recall_Q = stats.recalls(np.full((100, 100), -0.3), np.eye(100, dtype=bool), (k,))[k]
    assert recall_Q == pytest.approx(np.full(100, k / 100))


def test_recall_is_unchanged_by_a_shift_to_negative_similarities() -> None:
    rng = np.random.default_rng(1)
    similarity_QC, relevant_QC = rng.integers(0, 9, size=(50, 50)).astype(float), np.eye(50, dtype=bool)
    for k in (1, 10):
        shifted = stats.recalls(similarity_QC - 100, relevant_QC, (k,))[k]
        assert shifted.tolist() == stats.recalls(similarity_QC, relevant_QC, (k,))[k].tolist()


def test_recall_leaves_out_candidates_at_minus_infinity() -> None:
    similarity_QC = np.array([[0.0, -np.inf, 0.0, 0.0]])
    assert stats.recalls(similarity_QC, np.array([[True, False, False, False]]), (1,))[1] == pytest.approx([1 / 3])


@pytest.mark.parametrize(
    ("similarity", "relevant", "k", "message"),
    [
        ([[0.0, 1.0]], [[False, False]], 1, "no relevant candidate"),
        ([[0.0, np.nan]], [[True, False]], 1, "NaN"),
        ([[0.0, 1.0]], [[True, False]], 0, "at least 1"),
        ([[0.0, 1.0]], [[True]], 1, r"must be \(Q, C\)"),
        ([[0.0, -np.inf]], [[False, True]], 1, "at -inf"),
    ],
)
def test_recall_refuses(similarity: list, relevant: list, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stats.recalls(np.array(similarity), np.array(relevant), (k,))[k]


def test_auc_equals_counting_all_pairs_with_ties_half() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        positives, negatives = rng.integers(-3, 3, size=7).astype(float), rng.integers(-3, 3, size=9).astype(float)
        wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
        assert stats.auc(positives, negatives) == pytest.approx(np.mean(wins))
        assert stats.auc(negatives, positives) == pytest.approx(1 - np.mean(wins))


def test_auc_of_as_many_wins_is_the_same_number_in_any_order_and_precision() -> None:
    rng = np.random.default_rng(8)
    for dtype in (np.float32, np.float64):
        positives, negatives = rng.normal(size=9).astype(dtype), rng.normal(size=700).astype(dtype)
        wins = int((positives[:, None] > negatives).sum())
        assert stats.auc(positives, negatives) == wins / 9 / 700
        assert stats.auc(positives, np.r_[negatives, np.inf, -np.inf].astype(dtype)) == (wins + 9) / 9 / 702


@pytest.mark.parametrize(("positives", "message"), [([], "at least one"), ([np.nan], "NaN")])
def test_auc_refuses(positives: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stats.auc(np.array(positives), np.array([1.0]))
    with pytest.raises(ValueError, match=message):
        stats.auc(np.array([1.0]), np.array(positives))


def test_tpr_at_fpr_equals_trying_every_threshold() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        positives, negatives = rng.integers(0, 6, size=15).astype(float), rng.integers(0, 6, size=20).astype(float)
        for fpr in (0.0, 0.05, 0.1, 0.5, 1.0):
            thresholds = [*np.unique(np.r_[positives, negatives]), np.inf]
            allowed = [t for t in thresholds if (negatives >= t).mean() <= fpr]
            assert stats.tpr_at_fpr(positives, negatives, fpr) == max((positives >= t).mean() for t in allowed)


def test_tpr_refuses_a_rate_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        stats.tpr_at_fpr(np.ones(1), np.ones(1), 1.5)


def test_mean_resamples_equal_a_loop_over_the_drawn_groups() -> None:
    values, groups = np.array([1.0, 2.0, 3.0, 10.0]), ["a", "a", "b", "c"]
    by_group = [[1.0, 2.0], [3.0], [10.0]]
    draws = np.random.default_rng(5).integers(3, size=(50, 3))
    naive = [np.mean([value for g in draw for value in by_group[g]]) for draw in draws]
    assert stats.mean_resamples(values, groups, seed=5, resamples=50) == pytest.approx(naive)


def test_auc_resamples_equal_a_loop_over_the_drawn_groups() -> None:
    positives, negatives = np.array([1.0, 3.0, 2.0]), np.array([2.0, 0.0, 2.0, 5.0])
    sides = ([[1.0, 2.0], [3.0]], [[2.0], [0.0, 5.0], [2.0]])
    draws = [np.random.default_rng([4, side]).integers(len(g), size=(40, len(g))) for side, g in enumerate(sides)]
    naive = []
    for drawn_p, drawn_n in zip(*draws, strict=True):
        drawn = [np.array([v for g in d for v in side[g]]) for side, d in zip(sides, (drawn_p, drawn_n), strict=True)]
        naive.append(stats.auc(*drawn))
    found = stats.auc_resamples(positives, negatives, ["a", "b", "a"], ["x", "y", "z", "y"], seed=4, resamples=40)
    assert found == pytest.approx(naive)


def test_interval_of_resamples_covers_the_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for trial in range(200):
        low, high = stats.percentiles(stats.mean_resamples(rng.normal(size=60), seed=trial, resamples=400)) or (
            0.0,
            0.0,
        )
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_grouped_interval_is_wider_where_pairs_hang_together() -> None:
    values = np.repeat(np.random.default_rng(7).integers(2, size=30).astype(float), 10)
    alone = stats.percentiles(stats.mean_resamples(values))
    together = stats.percentiles(stats.mean_resamples(values, groups=[str(i // 10) for i in range(300)]))
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_interval_needs_two_groups() -> None:
    assert stats.percentiles(stats.mean_resamples(np.arange(3.0), groups=["a"] * 3)) is None
    assert stats.percentiles(stats.auc_resamples(np.arange(3.0), np.arange(3.0), positive_groups=["a"] * 3)) is None
    with pytest.raises(ValueError, match="2 groups for 3 values"):
        stats.percentiles(stats.mean_resamples(np.arange(3.0), groups=["a", "b"]))


def test_auc_interval_of_a_thousand_against_a_thousand_is_quick() -> None:
    rng = np.random.default_rng(8)
    started = time.process_time()
    low, high = stats.percentiles(stats.auc_resamples(rng.normal(size=1000), rng.normal(size=1000))) or (0.0, 0.0)
    assert time.process_time() - started < 1.0  # 0.05 s on an idle core
    assert low < 0.5 < high
    assert high - low < 0.08


def test_tpr_resamples_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    positives, negatives = rng.integers(6, size=14).astype(float), rng.integers(5, size=30).astype(float)
    groups_P = [f"p{i // 2}" for i in range(14)]
    groups_M = [f"m{i // 3}" for i in range(30)]
    found = stats.tpr_resamples(positives, negatives, 0.1, groups_P, groups_M, seed=5, resamples=50)
    assert found is not None
    draws_P = np.random.default_rng([5, 0]).integers(7, size=(50, 7))
    draws_M = np.random.default_rng([5, 1]).integers(10, size=(50, 10))
    index_P = np.unique(groups_P, return_inverse=True)[1]
    index_M = np.unique(groups_M, return_inverse=True)[1]
    expected = []
    for drawn_P, drawn_M in zip(draws_P, draws_M, strict=True):
        ours = np.concatenate([positives[index_P == g] for g in drawn_P])
        theirs = np.concatenate([negatives[index_M == g] for g in drawn_M])
        expected.append(stats.tpr_at_fpr(ours, theirs, 0.1))
    assert found == pytest.approx(expected)
    assert stats.tpr_resamples(positives, negatives, 1.0, groups_P, groups_M, resamples=3) == pytest.approx([1, 1, 1])
    assert stats.tpr_resamples(positives, negatives, 0.1, ["one"] * 14, groups_M) is None
