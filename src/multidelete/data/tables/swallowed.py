"""Rows that became part of a cell, since a quotation mark before them was never meant to open one."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from multidelete.data.tables.suspicion import begins_with_blank

_LINE_END = re.compile(r"\r\n?|\n")


def is_of_several_lines(cells: Iterable[str]) -> bool:
    return any("\n" in cell or "\r" in cell for cell in cells)


def rows_with_others(
    rows: Callable[[], Iterable[tuple[int, list[str]]]], delimiter: str, *, spaced: bool, prose: bool
) -> list[int]:
    """The lines of rows that seem to hold other rows in a cell.

    Where cells may be prose, a comma before a blank is no end of a cell, nor is in two columns one at the end of a line
    of several words, unless rows of one line have such. Without these nothing says how rows are written: each line with
    as many cells as the header is one.

    Args:
        rows: The rows, the header among them, whenever it is called; each with the line that it begins on.
        delimiter: What stands between cells.
        spaced: Whether a blank after a delimiter is style.
        prose: Whether cells may honestly hold several lines with delimiters, as captions do.
    """
    shapes: list[set[str]] = []
    blank = spaced
    for _, cells in islice(rows(), 1, None):
        if not is_of_several_lines(cells):
            shapes = shapes or [set() for _ in cells]
            for known, cell in zip(shapes, cells, strict=True):
                known.add(_shape(cell))
            blank = blank or any(map(begins_with_blank, cells[1:]))
    clean = _Clean(shapes, delimiter, blank=blank, prose=prose and bool(shapes))
    return [
        line
        for line, cells in rows()
        if is_of_several_lines(cells) and (clean.is_like_rows(cells) or clean.fits_rows(cells))
    ]


@dataclass(frozen=True)
class _Clean:
    """What rows of one line look like.

    Attributes:
        shapes: The shapes of their cells, by column; none where there are no such rows.
        delimiter: What stands between cells.
        blank: Whether cells of theirs begin with a blank.
        prose: Whether what is unlike them may be prose.
    """

    shapes: Sequence[set[str]]
    delimiter: str
    blank: bool
    prose: bool

    def is_like_rows(self, cells: Sequence[str]) -> bool:
        """Whether a line after the first has as many cells as a row, what stands after its last cell counted too."""
        first, *others = self._lines(self.delimiter.join(cells))
        if self.prose and not self._is_row(first, len(cells)):
            others = [parts for cell in cells for parts in self._lines(cell)[1:]]
        return any(self._is_row(parts, len(cells)) for parts in others)

    def fits_rows(self, cells: Sequence[str]) -> bool:
        """Whether a cell holds the end of its own row, or the beginning of another, by their shapes."""
        for at, cell in enumerate(cells if self.shapes else ()):
            first, *others = self._lines(cell)
            after = len(cells) - 1 - at
            ends = after > 0 and len(first) > after and all(map(_fits, first[-after:], self.shapes[-after:]))
            begins = any(
                len(parts) > 1 and len(parts) >= len(cells) - 1 and _fits(parts[0], self.shapes[0]) for parts in others
            )
            if others and (ends or begins):
                return True
        return False

    def _lines(self, text: str) -> list[list[str]]:
        return [line.split(self.delimiter) for line in _LINE_END.split(text)]

    def _is_row(self, parts: Sequence[str], width: int) -> bool:
        return len(parts) >= width and not (self.prose and self._is_prose(parts))

    def _is_prose(self, parts: Sequence[str]) -> bool:
        if not self.blank and any(map(begins_with_blank, parts[1:])):
            return True
        has_words = " " in parts[0].strip() and not any(" " in shape for shape in self.shapes[0])
        return len(parts) == 2 and has_words and not parts[1].strip() and "" not in self.shapes[1]


def _fits(cell: str, shapes: set[str]) -> bool:
    return _shape(cell) in shapes


def _shape(cell: str) -> str:
    """A cell with its words and numbers made alike: ``img/12.png`` and ``img/7.png`` have one shape."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", cell.strip()))
