"""Are all pictures readable? Asked before hours of training, not after."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from PIL import Image

from multidelete.core.errors import DataError, first_few
from multidelete.core.progress import progress_bar
from multidelete.core.words import counted, share
from multidelete.data.decode import FORMATS, ImageError, ImageInput, open_image
from multidelete.data.pairs import PairDataset, members

Prepare = Callable[[str, Image.Image], object]
Shapes = Mapping[str, tuple[int, int]]  # width and height in pixels of each picture, by its source


def check_images(
    dataset: PairDataset,
    progress: Callable[[int, int], None] | None = None,
    *,
    prepare: Prepare | None = None,
) -> Shapes:
    """Decode every distinct picture of a data set once.

    Args:
        dataset: Pairs with an ``image`` modality, one picture or several each; pairs with the same image
            source share a picture.
        progress: Called after each picture with how many are done and how many there are.
        prepare: What a model does with each picture, by its source; raises `DataError` where it cannot.

    Returns:
        The pictures' shapes.

    Raises:
        DataError: Pictures are missing, unreadable, truncated or cannot be prepared; all are counted, ten are named.
    """
    pictures = {source: cast(ImageInput, image) for pair in dataset for source, image in members(pair, "image")}
    shapes: dict[str, tuple[int, int]] = {}
    broken, unfit = [], []
    for done, (source, image) in enumerate(pictures.items(), start=1):
        name = str(image) if isinstance(image, str | Path) else source
        try:
            opened = open_image(image)
            shapes[source] = opened.size
            if prepare is not None:
                prepare(source, opened)
        except ImageError as error:
            broken.append(f"{name} ({error})")
        except DataError as error:
            unfit.append(f"{name} ({error})")
        if progress is not None:
            progress(done, len(pictures))
    problems = []
    if broken:
        problems.append(
            f"{len(broken)} of {counted(len(pictures), 'images')} of {dataset.name} cannot be read: "
            f"{first_few(broken)}. Every image must decode completely, as {', '.join(FORMATS[:6])} or the like; "
            "replace these files or remove their pairs."
        )
    if unfit:
        problems.append(
            f"{share(len(unfit), len(pictures), f'images of {dataset.name} do')} not fit the model: "
            f"{first_few(unfit)}. Replace these files, remove their pairs, or give another model."
        )
    if problems:
        raise DataError(problems)
    return shapes


def check_pictures(parts: Mapping[str, PairDataset], prepare: Prepare | None = None) -> Shapes:
    """Decode every picture of several parts, with a progress bar, and report the broken ones of all of them together.

    Returns:
        The pictures' shapes.

    Raises:
        DataError: One problem or two for each part with pictures that cannot be read or prepared.
    """
    counts = {name: len(pairs.sources("image")) for name, pairs in parts.items()}
    shapes: dict[str, tuple[int, int]] = {}
    problems: list[str] = []
    before = 0
    if not any(counts.values()):
        return shapes
    with progress_bar("checking images", sum(counts.values())) as bar:
        for name, pairs in parts.items():
            if not counts[name]:
                continue

            def show(done: int, _: int, before: int = before) -> None:
                bar.to(before + done)

            try:
                shapes |= check_images(pairs, show, prepare=prepare)
            except DataError as error:
                problems += error.problems
            before += counts[name]
    if problems:
        raise DataError(problems)
    return shapes
