"""How alike two representations of the same items are, whatever their rotation and scale.

Shape suffixes: N items, D and E features.
"""

import numpy as np
from numpy.typing import NDArray

from multidelete.audits.stats import Array, Floats

_BLOCK = 2_000_000  # entries held at once, so that memory stays flat


def linear_cka(x_ND: Array, y_NE: Array) -> float:
    """Linear centred kernel alignment of two representations of the same N items, in [0, 1].

    Kornblith, Norouzi, Lee, Hinton: "Similarity of Neural Network Representations Revisited",
    ICML 2019, arXiv:1905.00414. Unchanged by rotation, shift and scale of either side.

    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(linear_cka(x, 2 * x[:, ::-1] + 1), 6)
    1.0

    Raises:
        ValueError: Fewer than two items, or all items of a side are the same.
    """
    if len(x_ND) != len(y_NE) or len(x_ND) < 2:
        raise ValueError(f"need the same items on both sides, at least 2; got {len(x_ND)} and {len(y_NE)}")
    if is_constant(x_ND) or is_constant(y_NE):
        raise ValueError("all items of one side are the same: alignment is undefined")
    x, y = _centred(x_ND), _centred(y_NE)
    if len(x) < max(x.shape[1], y.shape[1]):  # the smaller of the two equal forms
        return float(((x @ x.T) * (y @ y.T)).sum() / (np.linalg.norm(x @ x.T) * np.linalg.norm(y @ y.T)))
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def knn_overlap(x_ND: Array, y_NE: Array, k: int) -> Floats:
    """For each of N items, the share of its k nearest neighbours (by cosine) that x and y agree on, (N,).

    Ties are broken by position, alike on both sides. Two unrelated representations agree on about
    k / (N - 1).

    >>> knn_overlap(np.eye(4), np.eye(4), k=2).tolist()
    [1.0, 1.0, 1.0, 1.0]

    Raises:
        ValueError: ``k`` is not in 1 ... N - 1, or the sides differ in N.
    """
    if len(x_ND) != len(y_NE) or not 1 <= k < len(x_ND):
        raise ValueError(f"k is {k} for {len(x_ND)} and {len(y_NE)} items; it must be at least 1 and below N")
    shared = []
    block = max(1, _BLOCK // len(x_ND))
    for start in range(0, len(x_ND), block):
        rows = np.arange(start, min(start + block, len(x_ND)))
        near_x, near_y = _neighbours(x_ND, rows, k), _neighbours(y_NE, rows, k)
        shared.append((near_x & near_y).sum(axis=1) / k)
    return np.concatenate(shared)


def is_constant(x_ND: Array) -> bool:
    """Whether all items are the same up to float32 noise."""
    return bool(np.ptp(x_ND, axis=0).max(initial=0.0) <= 1e-6 * max(1.0, float(np.abs(x_ND).max(initial=0.0))))


def _centred(x_ND: Array) -> Floats:
    """Float64, zero mean, unit norm over all: products neither over- nor underflow."""
    centred = x_ND.astype(np.float64) - x_ND.mean(axis=0, dtype=np.float64)
    return np.asarray(centred / np.linalg.norm(centred))


def _neighbours(x_ND: Array, rows: NDArray[np.intp], k: int) -> NDArray[np.bool_]:
    """Which items are among the k nearest of each row, never itself."""
    unit = x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)
    similarity = np.round(unit[rows].astype(np.float64) @ unit.T.astype(np.float64), 6)
    similarity[np.arange(len(rows)), rows] = -np.inf
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    chosen = np.zeros(similarity.shape, dtype=bool)
    np.put_along_axis(chosen, near, True, axis=1)
    return chosen
