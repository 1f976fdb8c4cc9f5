"""Pictures that lie elsewhere than the data that names them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from multidelete.core.words import counted
from multidelete.data.pairs import PairData


def outside_notes(data: PairData, places: Sequence[Path]) -> list[str]:
    """How many picture files lie in none of the places, links followed; nothing where no place is known.

    Args:
        data: The pairs.
        places: Folders that pictures are expected in: that of the data, and ``image_root``.
    """
    files = (
        str(picture)
        for pairs in data.splits.values()
        for _, _, picture in pairs.pictures()
        if isinstance(picture, str | Path)
    )
    return outside_of(files, places)


def outside_of(files: Iterable[str], places: Sequence[Path]) -> list[str]:
    """The same note of files."""
    if not places:
        return []
    roots = [os.path.realpath(place) for place in places]
    inside: dict[str, bool] = {}
    outside = {file for one in files if not _lies_in(file := os.path.abspath(one), roots, inside)}
    if not outside:
        return []
    return [
        f"{counted(len(outside), 'pictures lie')} outside the folder of the data: name their folder with "
        "--image-root where that is meant"
    ]


def _lies_in(file: str, roots: Sequence[str], inside: dict[str, bool]) -> bool:
    folder = os.path.realpath(file) if os.path.islink(file) else os.path.dirname(file)
    if folder not in inside:
        true = os.path.realpath(folder)
        inside[folder] = any(os.path.commonpath([true, root]) == root for root in roots)
    return inside[folder]
