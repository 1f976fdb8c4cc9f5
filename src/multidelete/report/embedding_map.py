"""A flat map of joint embeddings that several models can share.

Shape suffixes: N points, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

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


def map_projection(points_ND: Array) -> PCA:
    """Principal component analysis to two dimensions; each axis has its largest entry positive.

    Raises:
        ValueError: Fewer than two points or dimensions, or all points equal.
    """
    if min(points_ND.shape) < 2:
        raise ValueError(f"a map needs two points and two dimensions; the array is {points_ND.shape}")
    if not np.ptp(points_ND, axis=0).any():
        raise ValueError("all points are equal")
    return PCA(2, svd_solver="full").fit(points_ND.astype(np.float64))


def turn_onto(points_ND: Array, target_ND: Array) -> Array:
    """The rotation (D, D) that brings points closest to their targets: ``points @ rotation``.

    Orthogonal Procrustes: similarities within a model do not change under it. Directions that the
    points do not span are left as they are, thanks to a small multiple of the identity.
    """
    points, target = points_ND.astype(np.float64), target_ND.astype(np.float64)
    largest = float(np.linalg.norm(points.T @ target, 2)) or 1.0
    held_DD = np.sqrt(1e-6 * largest) * np.eye(points.shape[1])
    rotation: Array
    rotation, _ = orthogonal_procrustes(np.concatenate([points, held_DD]), np.concatenate([target, held_DD]))
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
    fitted = map_projection(np.concatenate(all_points(first)))
    placed = {}
    for model, e in centred.items():
        retain, target = (np.concatenate([x.retain_image, x.retain_text]) for x in (e, first))
        rotation_DD = np.eye(retain.shape[1]) if e is first else turn_onto(retain, target)
        placed[model] = Embeddings(
            forget_image=fitted.transform(e.forget_image @ rotation_DD),
            forget_text=fitted.transform(e.forget_text @ rotation_DD),
            retain_image=fitted.transform(e.retain_image @ rotation_DD),
            retain_text=fitted.transform(e.retain_text @ rotation_DD),
        )
    return placed, float(fitted.explained_variance_ratio_.sum())


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
