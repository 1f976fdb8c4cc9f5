"""Pictures that show the same: encoded anew, resized, cropped by a little or mirrored.

Perceptual hashes of each picture and of slightly smaller cut-outs of it, made once, tell which are worth a closer
look. Those are laid over the deleted picture and compared by colour.

Shape suffixes: H hashes of one cut-out, N pictures, V cut-outs.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from multidelete.data.decode import ImageError, ImageInput, open_image

Box = tuple[float, float, float, float]  # left, top, right and bottom edge, as shares of the sides
Close = dict[tuple[str, str], float]  # by a deleted and another source, their distance

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
CUTS: tuple[Box, ...] = (
    WHOLE,
    (0.05, 0.05, 0.95, 0.95),
    *((x, y, x + 0.9, y + 0.9) for x in (0.0, 0.1) for y in (0.0, 0.1)),
    *((0.0, 0.0, 0.9, 1.0), (0.1, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.9), (0.0, 0.1, 1.0, 1.0)),
)
NEAR_HASH = 10  # bits of 64
NEAR = 0.2  # of the full range of a colour, in the cell that differs most
NEAR_OF_NEIGHBOURS = 0.25
_HASHED_FROM = 64  # pixels of a side
_LAID_OVER = 128  # at most
_CELLS = 8  # in a row: what an encoding changes is noise, and goes in the mean of a cell
_MOST_CUT = 0.2  # of a side
_STEPS = (0.05, 0.025, 0.0125, 0.00625)
_TOGETHER = ((0,), (1,), (2,), (3,), (0, 2), (1, 3))  # edges that move together: of a side, or of the whole part
_BLOCK = 4_000_000  # comparisons held at once


@dataclass(frozen=True)
class Hashed:
    """Perceptual hashes of pictures and of their cut-outs, by two rules: (H, N, V)."""

    sources: tuple[str, ...]
    hashes: NDArray[np.uint64]


def near_pictures(
    deleted: Mapping[str, object], others: Mapping[str, object], neighbours: Collection[tuple[str, str]] = ()
) -> Close:
    """Other pictures that show what a deleted one shows, by the two sources, with their distance.

    Args:
        deleted: Deleted pictures by source.
        others: Pictures that stay, by source.
        neighbours: Sources of deleted pictures and of others that a model finds alike: these may differ more.
    """
    mirrors: dict[tuple[str, str], set[bool]] = defaultdict(set)
    there = hashed(others)
    for is_mirrored in (False, True):
        here = hashed(deleted, mirrored=is_mirrored)
        for at, other_at in alike(here, there):
            mirrors[here.sources[at], there.sources[other_at]].add(is_mirrored)
    for pair in neighbours:
        mirrors[pair] |= {False, True}
    close: Close = {}
    by_deleted: dict[str, list[str]] = defaultdict(list)
    for ours, theirs in mirrors:
        by_deleted[ours].append(theirs)
    for ours, found in by_deleted.items():
        if (one := _small(deleted[ours])) is None:
            continue
        for theirs in found:
            if (other := _small(others[theirs])) is None:
                continue
            distance = min(
                picture_distance(ImageOps.mirror(one) if is_mirrored else one, other)
                for is_mirrored in mirrors[ours, theirs]
            )
            if distance <= (NEAR_OF_NEIGHBOURS if (ours, theirs) in neighbours else NEAR):
                close[ours, theirs] = distance
    return close


def hashed(pictures: Mapping[str, object], *, mirrored: bool = False) -> Hashed:
    """Hashes of pictures by source; those that cannot be read are left out."""
    rows, sources = [], []
    for source, picture in pictures.items():
        if (opened := _opened(picture)) is None:
            continue
        rows.append(_hashes(ImageOps.mirror(opened) if mirrored else opened))
        sources.append(source)
    by_picture = np.array(rows, dtype=np.uint64).reshape(len(rows), len(CUTS), 2)
    return Hashed(tuple(sources), np.ascontiguousarray(by_picture.transpose(2, 0, 1)))


def _hashes(picture: Image.Image) -> list[tuple[int, int]]:
    grey = picture.convert("L").resize((_HASHED_FROM, _HASHED_FROM), Image.Resampling.BOX)
    cuts = [grey.crop(_pixels(box, grey.size)) for box in CUTS]
    return [(int(str(imagehash.phash(cut)), 16), int(str(imagehash.dhash(cut)), 16)) for cut in cuts]


def _pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    (left, top, right, bottom), (width, height) = box, size
    return round(left * width), round(top * height), round(right * width), round(bottom * height)


def alike(deleted: Hashed, others: Hashed) -> Iterator[tuple[int, int]]:
    """Positions of a deleted picture and of another, where the hash of one is near that of a cut-out of the other."""
    rows = max(1, _BLOCK // (len(CUTS) * max(1, len(deleted.sources))))
    for start in range(0, len(others.sources), rows):
        near = np.zeros((len(deleted.sources), len(others.sources[start : start + rows])), dtype=bool)
        for ours_NV, theirs_NV in zip(deleted.hashes, others.hashes[:, start : start + rows], strict=True):
            cut_here = np.bitwise_count(ours_NV[:, None, :] ^ theirs_NV[None, :, :1])
            cut_there = np.bitwise_count(ours_NV[:, None, :1] ^ theirs_NV[None, :, :])
            near |= np.minimum(cut_here, cut_there).min(axis=2) <= NEAR_HASH
        for ours, theirs in np.argwhere(near):
            yield int(ours), start + int(theirs)


def _opened(picture: object) -> Image.Image | None:
    """None where it cannot be read."""
    try:
        return open_image(cast(ImageInput, picture))
    except ImageError:
        return None


def _small(picture: object) -> Image.Image | None:
    """A picture to lay over others; None where it cannot be read."""
    if (opened := _opened(picture)) is None:
        return None
    size = min(_LAID_OVER, opened.width), min(_LAID_OVER, opened.height)
    return opened.resize(size, Image.Resampling.BOX)


def picture_distance(one: Image.Image, other: Image.Image) -> float:
    """How much two pictures differ where they differ most, in [0, 1], however one may be cut out of the other."""
    return min(_laid_over(one, other), _laid_over(other, one))


def _laid_over(whole: Image.Image, cut: Image.Image) -> float:
    """The distance of ``cut`` and that part of ``whole`` which it is most like: its edges are moved step by step."""
    goal = _cells(cut, WHOLE)
    best, edges = min((_farthest(goal, _cells(whole, edges)), edges) for edges in CUTS)
    for step in _STEPS:
        is_better = True
        while is_better:
            is_better = False
            for moved in _moved(edges, step):
                distance = _farthest(goal, _cells(whole, moved))
                if distance < best:
                    best, edges, is_better = distance, moved, True
    return best


def _moved(edges: Box, step: float) -> Iterator[Box]:
    for sides, sign in ((sides, sign) for sides in _TOGETHER for sign in (1, -1)):
        left, top, right, bottom = (edge + sign * step * (at in sides) for at, edge in enumerate(edges))
        if min(left, top) >= 0 and max(left, top) <= _MOST_CUT and min(right, bottom) >= 1 - _MOST_CUT:
            yield left, top, min(1.0, right), min(1.0, bottom)


def _cells(picture: Image.Image, edges: Box) -> NDArray[np.float32]:
    (left, top, right, bottom), (width, height) = edges, picture.size
    box = left * width, top * height, right * width, bottom * height
    return np.asarray(picture.resize((_CELLS, _CELLS), Image.Resampling.BOX, box=box)).astype(np.float32) / np.float32(
        255
    )


def _farthest(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())
