"""Which pictures a request means by the names it gives them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.data.pairs import PairData
from multidelete.data.picture_digests import file_digest
from multidelete.data.tables.source import is_file


def image_sources(data: PairData, images: Sequence[str], problems: list[str]) -> dict[str, str | None]:
    """For each name of a picture its source; the name where it cannot be found, None where it is ambiguous.

    A picture is named as the data writes it, by the end of that or of its file's path where that is unambiguous, or by
    any file that holds the same bytes. The path of another file that is here never means a picture of the data, however
    it ends; a longer path that is not here means the picture in the folder that it ends with.

    Args:
        data: The pairs of all splits.
        images: The names.
        problems: Names that several pictures could mean are added here.
    """
    if not images:
        return {}
    by_end: dict[str, dict[str, str]] = {}  # by the last part of a name, each name and the source that it means
    files: dict[str, str] = {}
    sources = set()
    for pairs in data.splits.values():
        for whole, source, picture in pairs.pictures(images):
            sources |= {whole, source}
            by_end.setdefault(_last(whole), {})[whole] = whole
            by_end.setdefault(_last(source), {})[source] = source
            if isinstance(picture, str | Path):
                file = Path(picture).absolute().as_posix()
                by_end.setdefault(_last(file), {})[file] = source
                files[file] = source
    return {image: image if image in sources else _meant(image, by_end, files, problems) for image in images}


def each_once(images: Sequence[str], meant: Mapping[str, str | None]) -> list[str]:
    """The sources that names stand for, two names of one picture once; a name that stands there twice stays so."""
    first = {meant[image]: image for image in reversed(images)}
    return [source for image in images if (source := meant[image]) is not None and first[source] == image]


def _meant(
    image: str, by_end: Mapping[str, Mapping[str, str]], files: Mapping[str, str], problems: list[str]
) -> str | None:
    for spelt in dict.fromkeys((image, image.replace("\\", "/"))):
        names = by_end.get(_last(spelt), {})
        is_here = is_file(Path(spelt))
        alike = {
            source: None
            for name, source in names.items()
            if f"/{name}".endswith(f"/{spelt}") or (not is_here and "/" in name and f"/{spelt}".endswith(f"/{name}"))
        }
        if len(alike) > 1:
            problems.append(f"The image name {image} is ambiguous: {first_few(sorted(alike))}. Write the whole path.")
            return None
        if alike:
            return next(iter(alike))
    return _of_same_bytes(image, files) or image


def _of_same_bytes(wanted: str, files: Mapping[str, str]) -> str | None:
    """The source of a picture of the data that holds what a file holds."""
    if not is_file(Path(wanted)):
        return None
    size = os.path.getsize(wanted)
    alike = [file for file in files if os.path.isfile(file) and os.path.getsize(file) == size]
    return next((files[file] for file in alike if file_digest(file) == file_digest(wanted)), None)


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
