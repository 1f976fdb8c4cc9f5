"""Which pictures a request means by the names it gives them."""

from collections.abc import Sequence
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.data.pairs import PairData, members


def image_sources(data: PairData, images: Sequence[str], problems: list[str]) -> list[str]:
    """The sources of pictures that are named, two names of one picture once; what cannot be found as it came.

    A picture is named as the data writes it, by any file that holds it, or by the end of either where that is
    unambiguous.

    Args:
        data: The pairs of all splits.
        images: The names.
        problems: Names that several pictures could mean are added here.
    """
    if not images:
        return []
    by_end: dict[str, dict[str, str]] = {}  # by the last part of a name, each name and the source that it means
    sources = set()
    for pairs in data.splits.values():
        for pair in pairs:
            if "image" not in pair.inputs:
                continue
            whole = pair.sources["image"]
            sources.add(whole)
            by_end.setdefault(_last(whole), {})[whole] = whole
            for source, given in members(pair, "image"):
                sources.add(source)
                by_end.setdefault(_last(source), {})[source] = source
                if isinstance(given, str | Path):
                    file = Path(given).absolute().as_posix()
                    by_end.setdefault(_last(file), {})[file] = source
    meant = {image: image if image in sources else _meant(image, by_end, problems) for image in images}
    first = {source: image for image, source in reversed(meant.items())}
    found = [(image, meant[image]) for image in images]
    return [source for image, source in found if source is not None and first[source] == image]


def _meant(image: str, by_end: dict[str, dict[str, str]], problems: list[str]) -> str | None:
    for spelt in dict.fromkeys((image, image.replace("\\", "/"))):
        names = by_end.get(_last(spelt), {})
        alike = {
            source: None
            for name, source in names.items()
            if f"/{spelt}".endswith(f"/{name}") or f"/{name}".endswith(f"/{spelt}")
        }
        if len(alike) > 1:
            problems.append(f"The image name {image} is ambiguous: {first_few(sorted(alike))}. Write the whole path.")
            return None
        if alike:
            return next(iter(alike))
    return image


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
