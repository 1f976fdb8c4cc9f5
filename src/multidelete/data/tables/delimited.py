"""CSV and TSV: rows of cells, where every row has the cells of its header."""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted
from multidelete.data.tables.suspicion import begins_with_blank
from multidelete.data.tables.swallowed import is_of_several_lines, rows_with_others

if TYPE_CHECKING:
    from multidelete.data.location import Location

Row = tuple[int, list[str]]
"""The cells of a row, and the line that it begins on."""
Rows = list[Row]
Lines = Callable[[], Iterable[str]]
"""The lines of a file with their ends, from its beginning whenever it is called."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "vertical bars"}
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the cells of a file are told apart, once it is known that there is one way.

    Attributes:
        path: The file.
        delimiter: What stands between cells.
        quoting: Whether quotation marks stand around cells, or are part of them.
        spaced: Whether a blank after a delimiter is style.
        prose: Whether cells may honestly hold several lines with commas, as captions do.
        header: The cells of the first row.
        notes: What a reader of the rows should know.
    """

    path: "Location"
    delimiter: str
    quoting: bool = True
    spaced: bool = False
    prose: bool = True
    header: Sequence[str] = ()
    notes: Sequence[str] = ()

    def rows(self, lines: Iterable[str]) -> Iterator[Row]:
        """The rows of lines, the header among them, each as soon as its last line is taken; blank lines are none.

        Raises:
            DataError: A quotation mark opens and never closes, or closes within a cell.
        """
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
            skipinitialspace=self.spaced,
            strict=True,
        )
        line = 1
        try:
            while (cells := _next(reader)) is not None:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{self.path}: the row on line {line} has quotation marks that do not fit ({_reason(error)}). A cell "
                "that holds a comma, a line end or a quotation mark stands in double quotation marks, and each one "
                "inside is written twice; a backslash before it does not help."
            ) from error


def read_rows(path: Path, text: str, *, prose: bool = True) -> tuple[Rows, Sequence[str]]:
    """The rows of a text, the header among them, and notes on how it was read: see `reading_of`."""
    reading = reading_of(path, lambda: StringIO(text, newline=""), prose=prose)
    return list(reading.rows(StringIO(text, newline=""))), reading.notes


def reading_of(path: "Location", lines: Lines, *, prose: bool = True) -> Reading:
    """How a file is read, which is gone through once for it, or some times where cells hold line ends.

    In CSV a cell in double quotation marks may hold commas and line ends, and a quotation mark written twice. Exports
    to TSV mostly do not quote, so there quotation marks are read as they stand, unless all of them are such quoting.

    Raises:
        DataError: A quotation mark opens and never closes, or closes within a cell; rows differ in their
            number of cells; a cell seems to hold rows.
    """
    beginning = iter(lines())
    line = next(beginning, "")
    first = line.strip()
    if first.lower().startswith("sep="):
        raise DataError(f"{path}: its first line is {first!r}, a sign for Excel. Remove it, and separate by commas.")
    if path.suffix.lower() == ".tsv":
        return _tab_separated(path, lines, prose)
    reading = Reading(path=path, delimiter=",", prose=prose)
    _, header = next(reading.rows(chain([line], beginning)), (1, list[str]()))
    return _checked(replace(reading, spaced=_is_spaced(header)), lines)


def read_unquoted(path: Path, text: str) -> Rows:
    """The rows of a file of tab-separated cells in which quotation marks mean nothing; rows of unequal length raise."""
    reading = Reading(path=path, delimiter="\t", quoting=False)
    _Look.at(reading, lambda: StringIO(text, newline="")).check_widths(reading)
    return list(reading.rows(StringIO(text, newline="")))


def other_separator(header: Sequence[str], delimiter: str) -> str | None:
    """What separates the cells, by its name, where the header is one cell that holds another separator."""
    others = [
        name for sign, name in _SEPARATORS.items() if sign != delimiter and len(header) == 1 and sign in header[0]
    ]
    return others[0] if others else None


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row, whose cells may be of any length."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(before)


def _reason(error: csv.Error) -> str:
    if "end of data" in str(error):
        return "one opens a cell and none closes it"
    return "a cell goes on after the one that closes it"


def _is_spaced(header: Sequence[str]) -> bool:
    """Whether a blank follows every comma of the header, as a style."""
    return len(header) > 1 and all(cell.startswith(" ") for cell in header[1:])


@dataclass
class _Look:
    """What is seen of all rows in one pass.

    Attributes:
        header: The cells of the first row.
        wrong: Rows with more or fewer cells, and how many.
        several: Lines of rows that have cells of several lines.
        escaped: Lines of rows with quotation marks after backslashes.
        blank: Lines of rows with cells that begin with a blank.
        around: Lines of cells in quotation marks.
        within: Whether quotation marks stand elsewhere than around cells.
        begun: Whether cells begin with one.
        doubled: Whether cells in quotation marks hold doubled ones.
    """

    header: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    several: list[int] = field(default_factory=list)
    escaped: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    around: list[int] = field(default_factory=list)
    within: bool = False
    begun: bool = False
    doubled: bool = False

    @classmethod
    def at(cls, reading: Reading, lines: Lines) -> "_Look":
        look = cls()
        for number, (line, cells) in enumerate(reading.rows(lines())):
            if number == 0:
                look.header = cells
            if len(cells) != len(look.header):
                look.wrong.append(f"line {line} ({len(cells)})")
            joined = "\0".join(cells)
            if is_of_several_lines(cells):
                look.several.append(line)
            if '\\"' in joined:
                look.escaped.append(line)
            if "\0 " in joined and any(map(begins_with_blank, cells[1:])):
                look.blank.append(line)
            if '"' in joined:
                look._marks(line, cells)
        return look

    def _marks(self, line: int, cells: Sequence[str]) -> None:
        for cell in cells:
            if '"' in cell:
                is_around = _QUOTED.fullmatch(cell) is not None
                self.around += [line] if is_around else []
                self.within |= not is_around
                self.begun |= cell.startswith('"')
                self.doubled |= is_around and '""' in cell[1:-1]

    def check_widths(self, reading: Reading) -> None:
        """Raise `DataError` where rows have more or fewer cells than the header."""
        if not self.wrong:
            return
        separator = other_separator(self.header, reading.delimiter)
        if separator is not None:
            raise DataError(
                f"{reading.path}: its cells seem to be separated by {separator}. A .csv is separated by commas, a "
                ".tsv by tabs."
            )
        is_csv = reading.delimiter == ","
        remedy = "Put a cell that holds a comma in double quotation marks" if is_csv else "Cells hold no tabs"
        raise DataError(
            f"{reading.path}: {counted(len(self.wrong), 'rows have')} more or fewer cells than the first row, which "
            f"has {len(self.header)}: {first_few(self.wrong)}. {remedy}; write an empty cell where there is nothing."
        )

    def notes(self) -> list[str]:
        odd = {
            "rows have cells of several lines": self.several,
            'rows hold \\" and keep the backslash, which is no escape': self.escaped,
            "rows have a cell that begins with a blank, as what follows a comma in a text does": self.blank,
        }
        return [f"{counted(len(lines), what)}: lines {first_few(lines)}" for what, lines in odd.items() if lines]


def _checked(reading: Reading, lines: Lines) -> Reading:
    """The reading with its notes; raises `DataError` where rows do not fit it."""
    look = _Look.at(reading, lines)
    look.check_widths(reading)
    if look.several and len(look.header) > 1:
        _check_swallowed(reading, lines)
    return replace(reading, header=look.header, notes=(*reading.notes, *look.notes()))


def _check_swallowed(reading: Reading, lines: Lines) -> None:
    """Refuse cells of several lines where a line looks like another row: a quotation mark that was never meant."""
    swallowing = rows_with_others(
        lambda: reading.rows(lines()), reading.delimiter, spaced=reading.spaced, prose=reading.prose
    )
    if swallowing:
        raise DataError(
            f"{reading.path}: {counted(len(swallowing), 'cells hold')} lines that look like rows of their own: rows "
            f"on lines {first_few(swallowing)}. A quotation mark that opens a cell and is part of its text is written "
            "twice, inside two more. Where the lines are one cell, put it on one line."
        )


def _tab_separated(path: "Location", lines: Lines, prose: bool) -> Reading:
    literal = Reading(path=path, delimiter="\t", quoting=False, prose=prose)
    look = _Look.at(literal, lines)
    quoted_header = bool(look.header) and all(_QUOTED.fullmatch(cell) for cell in look.header)
    if look.wrong or quoted_header or (look.doubled and not look.within):
        if look.wrong and not look.begun:
            look.check_widths(literal)
        reading = _checked(replace(literal, quoting=True), lines)
        taken_off = f"{path.name} quotes its cells; the marks around them were taken off"
        return replace(reading, notes=(*reading.notes, taken_off))
    around = look.around
    kept = [f"{counted(len(around), 'cells stand')} in quotation marks, which were kept: lines {first_few(around)}"]
    return replace(literal, header=look.header, notes=(*look.notes(), *(kept if around else ())))
