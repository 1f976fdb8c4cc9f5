"""Likeness of representations against naive twins."""

import numpy as np
import pytest

from multidelete.audits.representations import knn_overlap, linear_cka


def test_linear_cka_equals_the_kernel_definition() -> None:
    rng = np.random.default_rng(9)
    for items, features in ((30, 4), (5, 12)):
        x, y = rng.normal(size=(items, features)) + 3, rng.normal(size=(items, 6))
        centre = np.eye(items) - 1 / items
        k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
        expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
        assert linear_cka(x, y) == pytest.approx(expected)
        turned = np.linalg.qr(rng.normal(size=(features, features)))[0]
        assert linear_cka(x, 5 * x @ turned - 2) == pytest.approx(1)


def test_linear_cka_refuses_a_collapsed_side() -> None:
    with pytest.raises(ValueError, match="undefined"):
        linear_cka(np.ones((4, 2)), np.eye(4))


def test_knn_overlap_equals_comparing_sets() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 5))

    def nearest(z: np.ndarray, i: int, k: int) -> set[int]:
        cosine = {j: z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j]) for j in range(12) if j != i}
        return set(sorted(cosine, key=lambda j: -cosine[j])[:k])

    for k in (1, 4, 11):
        expected = [len(nearest(x, i, k) & nearest(y, i, k)) / k for i in range(12)]
        assert knn_overlap(x, y, k) == pytest.approx(expected)
    with pytest.raises(ValueError, match="below N"):
        knn_overlap(x, y, 12)
