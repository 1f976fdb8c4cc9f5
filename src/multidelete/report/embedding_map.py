"""A flat map of joint embeddings that several models can share.

Shape suffixes: N points, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

MAX_FORGET = 60  # pairs in the map; more than this is a blot


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """One model's embeddings of the same forget pairs and the same sample of retain pairs.

    Row i of the image array and row i of the text array belong to one pair.
    """

    forget_image: Array
    forget_text: Array
    retain_image: Array
    retain_text: Array


@dataclass(frozen=True)
class Projection:
    """A flat map of an embedding space: ``(points - mean) @ axes.T``.

    Attributes:
        mean: (D,) mean of the fitted points.
        axes: (2, D) orthonormal directions of greatest variance; each one's largest entry is positive.
        explained: Share of the fitted points' variance that the map shows, [0, 1].
    """

    mean: Array
    axes: Array
    explained: float

    def __call__(self, points_ND: Array) -> Array:
        mapped: Array = (points_ND - self.mean) @ self.axes.T
        return mapped


def map_projection(points_ND: Array) -> Projection:
    """Principal component analysis to two dimensions.

    Raises:
        ValueError: Fewer than two points or dimensions, or all points equal.
    """
    if min(points_ND.shape) < 2:
        raise ValueError(f"a map needs two points and two dimensions; the array is {points_ND.shape}")
    mean_D = points_ND.mean(axis=0)
    _, spread, axes = np.linalg.svd(points_ND - mean_D, full_matrices=False)
    variance = spread**2
    if not variance[0] > 0:
        raise ValueError("all points are equal")
    axes_2D = axes[:2]
    signs = np.sign(axes_2D[np.arange(2), np.abs(axes_2D).argmax(axis=1)])
    return Projection(mean_D, axes_2D * signs[:, None], float(variance[:2].sum() / variance.sum()))


def turn_onto(points_ND: Array, target_ND: Array) -> Array:
    """The rotation (D, D) that brings points closest to their targets: ``points @ rotation``.

    Orthogonal Procrustes: similarities within a model do not change under it. Directions that the
    points do not span are left as they are, thanks to a small multiple of the identity.
    """
    cross_DD = points_ND.T @ target_ND
    left, spread, right = np.linalg.svd(cross_DD)
    left, _, right = np.linalg.svd(cross_DD + 1e-6 * (spread[0] or 1.0) * np.eye(len(cross_DD)))
    rotation: Array = left @ right
    return rotation


def map_points(embeddings: Mapping[str, Embeddings]) -> tuple[dict[str, Embeddings], float]:
    """Flat positions (N, 2) of every model's embeddings, and the share of variance they show.

    Images and texts lie in separate clouds of the joint space, so each is centred on its model's
    retain mean. Every model is turned onto the original's retain pairs, then all share the map
    fitted on the original (on the first model, where there is no original).

    Raises:
        ValueError: There are too few points for a map, or they are all equal.
    """
    centred = {model: _centre(e) for model, e in embeddings.items()}
    first = centred.get("original") or next(iter(centred.values()))
    project = map_projection(np.concatenate(all_points(first)))
    placed = {}
    for model, e in centred.items():
        retain, target = (np.concatenate([x.retain_image, x.retain_text]) for x in (e, first))
        rotation_DD = np.eye(retain.shape[1]) if e is first else turn_onto(retain, target)
        placed[model] = Embeddings(
            forget_image=project(e.forget_image @ rotation_DD),
            forget_text=project(e.forget_text @ rotation_DD),
            retain_image=project(e.retain_image @ rotation_DD),
            retain_text=project(e.retain_text @ rotation_DD),
        )
    return placed, project.explained


def _centre(e: Embeddings) -> Embeddings:
    image_D, text_D = e.retain_image.mean(axis=0), e.retain_text.mean(axis=0)
    return Embeddings(
        forget_image=evenly(e.forget_image, MAX_FORGET) - image_D,
        forget_text=evenly(e.forget_text, MAX_FORGET) - text_D,
        retain_image=e.retain_image - image_D,
        retain_text=e.retain_text - text_D,
    )


def evenly(rows: Array, limit: int) -> Array:
    """At most ``limit`` rows, evenly spaced: the same ones in every array of a length."""
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).astype(int)]


def all_points(e: Embeddings) -> list[Array]:
    return [e.forget_image, e.forget_text, e.retain_image, e.retain_text]
