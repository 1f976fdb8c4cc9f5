"""Are all pictures readable? Asked before hours of training, not after."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

from PIL import Image, UnidentifiedImageError

from multidelete.data.pairs import ImageInput, PairDataset, members, open_image
from multidelete.errors import DataError, first_few

# What Pillow raises on files that are not images, truncated, or broken inside.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def check_images(dataset: PairDataset, progress: Callable[[int, int], None] | None = None) -> None:
    """Decode every distinct picture of a data set once.

    Args:
        dataset: Pairs with an ``image`` modality, one picture or several each; pairs with the same image
            source share a picture.
        progress: Called after each picture with how many are done and how many there are.

    Raises:
        DataError: Pictures are missing, unreadable or truncated; all are counted, ten are named.
    """
    pictures = {source: cast(ImageInput, image) for pair in dataset for source, image in members(pair, "image")}
    broken = []
    for done, (source, image) in enumerate(pictures.items(), start=1):
        try:
            open_image(image)
        except _UNREADABLE as error:
            name = str(image) if isinstance(image, str | Path) else source
            broken.append(f"{name} ({_reason(error)})")
        if progress is not None:
            progress(done, len(pictures))
    if broken:
        raise DataError(
            f"{len(broken)} of {len(pictures)} images of {dataset.name} cannot be read: {first_few(broken)}. "
            "Every image must decode completely; replace these files or remove their pairs."
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__
