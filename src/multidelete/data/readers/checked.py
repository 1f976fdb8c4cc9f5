"""What is done with pairs once they are read, from wherever: true sources, notes, names of classes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.data.classes import with_classes
from multidelete.data.identity import with_true_sources
from multidelete.data.lookalikes import lookalike_notes, repeat_notes
from multidelete.data.oddities import oddity_notes
from multidelete.data.outside import outside_notes
from multidelete.data.pairs import PairData


def checked(data: PairData, *, places: Sequence[Path], classes: Sequence[str], started: float) -> PairData:
    """The data with true sources, notes on what is odd, and its classes as the user calls them.

    Args:
        data: Pairs as they were read.
        places: Folders that pictures are expected in; none where no place is known.
        classes: Names of the classes, or none.
        started: When reading began, by `time.perf_counter`.
    """
    data = with_true_sources(data)
    notes = [*outside_notes(data, places), *repeat_notes(data), *lookalike_notes(data), *oddity_notes(data)]
    data = replace(data, notes=(*data.notes, *notes))
    data = with_classes(data, classes) if classes else data
    if data.classes:
        told = first_few([f"{number} {label}" for number, label in enumerate(data.classes)])
        data = replace(data, notes=(*data.notes, f"label classes: {told}"))
    return replace(data, reading_s=time.perf_counter() - started)
