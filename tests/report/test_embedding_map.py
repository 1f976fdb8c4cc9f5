import numpy as np
import pytest

from multidelete.report.embedding_map import Embeddings, evenly, map_points, map_projection, turn_onto


def rotation(dimensions: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimensions, dimensions)))[0]


def random_embeddings(seed: int = 0, retain: int = 40, forget: int = 9, dimensions: int = 6) -> Embeddings:
    rng = np.random.default_rng(seed)
    spread = np.linspace(3, 0.3, dimensions)
    sizes = (forget, forget, retain, retain)
    return Embeddings(
        *[], **dict(zip(names(), (rng.normal(size=(n, dimensions)) * spread for n in sizes), strict=True))
    )


def names() -> tuple[str, ...]:
    return ("forget_image", "forget_text", "retain_image", "retain_text")


def test_projection_does_not_depend_on_signs_of_the_decomposition() -> None:
    points = np.random.default_rng(2).normal(size=(30, 5))
    axes = map_projection(points).components_
    assert (axes[np.arange(2), np.abs(axes).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("points", [np.ones((4, 3)), np.zeros((1, 3)), np.zeros((4, 1))])
def test_projection_refuses_what_has_no_map(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"all points are equal|two points and two dimensions"):
        map_projection(points)


def test_turning_undoes_a_rotation() -> None:
    points = np.random.default_rng(3).normal(size=(40, 6))
    turn = turn_onto(points @ rotation(6, 4), points)
    np.testing.assert_allclose(turn @ turn.T, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(points @ rotation(6, 4) @ turn, points, atol=1e-4)


def test_turning_leaves_directions_alone_that_no_point_spans() -> None:
    points = np.zeros((5, 4))
    points[:, :2] = np.random.default_rng(5).normal(size=(5, 2))
    np.testing.assert_allclose(turn_onto(points, points), np.eye(4), atol=1e-6)


def test_rotated_model_has_the_same_map() -> None:
    original = random_embeddings()
    turned = Embeddings(**{name: getattr(original, name) @ rotation(6, 8) for name in names()})
    placed, _ = map_points({"original": original, "retrained": turned})
    for name in names():
        np.testing.assert_allclose(getattr(placed["retrained"], name), getattr(placed["original"], name), atol=1e-3)


def test_moved_forget_pairs_move_on_the_map_and_retain_pairs_stay() -> None:
    original = random_embeddings()
    moved = Embeddings(
        forget_image=original.forget_image,
        forget_text=original.forget_text + np.array([5.0, 0, 0, 0, 0, 0]),
        retain_image=original.retain_image,
        retain_text=original.retain_text,
    )
    placed, _ = map_points({"original": original, "unlearned": moved})
    np.testing.assert_allclose(placed["unlearned"].retain_text, placed["original"].retain_text, atol=1e-3)
    gap = placed["unlearned"].forget_text - placed["original"].forget_text
    assert np.linalg.norm(gap, axis=1).min() > 3


def test_map_is_fitted_on_the_original_wherever_it_stands() -> None:
    original, other = random_embeddings(0), random_embeddings(1)
    first, _ = map_points({"original": original})
    last, _ = map_points({"unlearned": other, "original": original})
    np.testing.assert_allclose(first["original"].forget_image, last["original"].forget_image)


def test_thinning_keeps_first_and_last_rows() -> None:
    rows = np.arange(200.0)[:, None]
    assert evenly(rows, 5)[:, 0].tolist() == [0, 49, 99, 149, 199]
    assert evenly(rows, 200) is rows
