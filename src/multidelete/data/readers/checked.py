"""What is done with pairs once they are read, from wherever: true sources, notes, names of classes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from multidelete.core.arguments import Wanted, check_arguments, names_by_name, place
from multidelete.core.errors import first_few
from multidelete.data.classes import with_classes
from multidelete.data.identity import with_true_sources
from multidelete.data.lookalikes import lookalike_notes, repeat_notes
from multidelete.data.oddities import oddity_notes
from multidelete.data.outside import outside_notes
from multidelete.data.pairs import PairData


def check_options(
    columns: Mapping[str, str] | None,
    splits: Mapping[str, str] | None,
    image_root: Path | None,
    classes: Sequence[str],
    **others: Wanted,
) -> Path | None:
    """The folder of pictures as a path; raises `ConfigError` where an argument of a reader is of the wrong type."""
    check_arguments(
        {
            "columns": Wanted(columns, (Mapping,), "names by name, such as {'text': 'caption'}", optional=True),
            "splits": Wanted(splits, (Mapping,), "names by name, such as {'train': 'part_a'}", optional=True),
            "image_root": place(image_root, optional=True),
            "classes": Wanted(classes, (list, tuple), "a list of names"),
            **others,
        }
    )
    check_arguments({"columns": names_by_name(columns), "splits": names_by_name(splits)})
    return None if image_root is None else Path(image_root)


def checked(data: PairData, *, places: Sequence[Path], classes: Sequence[str], started: float) -> PairData:
    """The data with true sources, notes on what is odd, and its classes as the user calls them.

    Args:
        data: Pairs as they were read.
        places: Folders that pictures are expected in; none where no place is known.
        classes: Names of the classes, or none.
        started: When reading began, by `time.perf_counter`.
    """
    data = with_true_sources(data)
    if not data.train.is_indexed:  # whose notes were made with it
        notes = [*outside_notes(data, places), *repeat_notes(data), *lookalike_notes(data), *oddity_notes(data)]
        data = replace(data, notes=(*data.notes, *notes))
    data = with_classes(data, classes) if classes else data
    if data.classes:
        told = first_few([f"{number} {label}" for number, label in enumerate(data.classes)])
        data = replace(data, notes=(*data.notes, f"label classes: {told}"))
    return replace(data, reading_s=time.perf_counter() - started)
