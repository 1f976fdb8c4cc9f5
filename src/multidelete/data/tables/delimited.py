"""CSV and TSV: rows of cells, where every row has the cells of its header."""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted

Rows = list[tuple[int, list[str]]]
"""Rows with the line that each begins on."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "vertical bars"}
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)


def read_rows(path: Path, text: str) -> tuple[Rows, list[str]]:
    """The rows of a file, the header among them, and notes on how it was read.

    In CSV a cell in double quotation marks may hold commas and line ends, and a quotation mark written twice. Exports
    to TSV mostly do not quote, so there quotation marks are read as they stand, unless all of them are such quoting.

    Raises:
        DataError: A quotation mark opens and never closes, or closes within a cell; rows differ in their
            number of cells; a cell seems to hold rows.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    first = text[: text.find("\n")].strip() if "\n" in text else text.strip()
    if first.lower().startswith("sep="):
        raise DataError(f"{path}: its first line is {first!r}, a sign for Excel. Remove it, and separate by commas.")
    if delimiter == "\t":
        return _tab_separated(path, text)
    rows = _parse(path, text, delimiter)
    if rows and _is_spaced(rows[0][1]):
        rows = _parse(path, text, delimiter, spaced=True)
    _check_widths(path, rows, delimiter)
    _check_swallowed(path, text, rows, delimiter)
    return rows, _notes_on(text, rows)


def read_unquoted(path: Path, text: str) -> Rows:
    """The rows of a file of tab-separated cells in which quotation marks mean nothing; rows of unequal length raise."""
    rows = _parse(path, text, "\t", quoting=False)
    _check_widths(path, rows, "\t")
    return rows


def other_separator(header: Sequence[str], delimiter: str) -> str | None:
    """What separates the cells, by its name, where the header is one cell that holds another separator."""
    others = [
        name for sign, name in _SEPARATORS.items() if sign != delimiter and len(header) == 1 and sign in header[0]
    ]
    return others[0] if others else None


def _parse(path: Path, text: str, delimiter: str, *, quoting: bool = True, spaced: bool = False) -> Rows:
    rows: Rows = []
    reader = csv.reader(
        StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        skipinitialspace=spaced,
        strict=True,
    )
    line = 1
    with _cells_of_any_length():
        try:
            for cells in reader:
                if cells:
                    rows.append((line, cells))
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{path}: the row on line {line} has quotation marks that do not fit ({_reason(error)}). A cell that "
                "holds a comma, a line end or a quotation mark stands in double quotation marks, and each one "
                "inside is written twice; a backslash before it does not help."
            ) from error
    return rows


def _reason(error: csv.Error) -> str:
    if "end of data" in str(error):
        return "one opens a cell and none closes it"
    return "a cell goes on after the one that closes it"


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _is_spaced(header: Sequence[str]) -> bool:
    """Whether a blank follows every comma of the header, as a style."""
    return len(header) > 1 and all(cell.startswith(" ") for cell in header[1:])


def _check_widths(path: Path, rows: Rows, delimiter: str) -> None:
    width = len(rows[0][1]) if rows else 0
    wrong = [f"line {line} ({len(cells)})" for line, cells in rows if len(cells) != width]
    if not wrong:
        return
    separator = other_separator(rows[0][1], delimiter)
    if separator is not None:
        raise DataError(
            f"{path}: its cells seem to be separated by {separator}. A .csv is separated by commas, a .tsv by tabs."
        )
    remedy = "Put a cell that holds a comma in double quotation marks" if delimiter == "," else "Cells hold no tabs"
    raise DataError(
        f"{path}: {counted(len(wrong), 'rows have')} more or fewer cells than the first row, which has {width}: "
        f"{first_few(wrong)}. {remedy}; write an empty cell where there is nothing."
    )


def _check_swallowed(path: Path, text: str, rows: Rows, delimiter: str) -> None:
    """Refuse cells of several lines where a line looks like another row: a quotation mark that was never meant."""
    several = [(line, cells) for line, cells in rows if any("\n" in cell for cell in cells)] if '"' in text else []
    if not several or len(several[0][1]) < 2:
        return
    single = [cells for _, cells in rows[1:] if not any("\n" in cell for cell in cells)]
    shapes = [{_shape(cell) for cell in column} for column in zip(*single, strict=True)]
    swallowing = [line for line, cells in several if shapes and _holds_rows(cells, shapes, delimiter)]
    if swallowing:
        raise DataError(
            f"{path}: {counted(len(swallowing), 'cells hold')} lines that look like rows of their own: rows on lines "
            f"{first_few(swallowing)}. A quotation mark that opens a cell and is part of its text is written twice, "
            "inside two more."
        )


def _holds_rows(cells: Sequence[str], shapes: Sequence[set[str]], delimiter: str) -> bool:
    """Whether a cell of several lines holds the end of its own row, or the beginning of another."""
    for at, cell in enumerate(cells):
        first, *others = [line.split(delimiter) for line in cell.split("\n")]
        after = len(cells) - 1 - at
        ends = after > 0 and len(first) > after and all(map(_fits, first[-after:], shapes[-after:]))
        begins = any(len(parts) > 1 and len(parts) >= len(cells) - 1 and _fits(parts[0], shapes[0]) for parts in others)
        if others and (ends or begins):
            return True
    return False


def _fits(cell: str, shapes: set[str]) -> bool:
    return _shape(cell) in shapes


def _shape(cell: str) -> str:
    """A cell with its words and numbers made alike: ``img/12.png`` and ``img/7.png`` have one shape."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", cell.strip()))


def _notes_on(text: str, rows: Rows) -> list[str]:
    # What cannot be there is not looked for: most tables have none of it, and are long.
    several = [line for line, cells in rows if any("\n" in cell for cell in cells)] if '"' in text else []
    escaped = [line for line, cells in rows if any('\\"' in cell for cell in cells)] if '\\"' in text else []
    blank = [line for line, cells in rows if any(map(begins_with_blank, cells[1:]))]
    odd = {
        "rows have cells of several lines": several,
        'rows hold \\" and keep the backslash, which is no escape': escaped,
        "rows have a cell that begins with a blank, as what follows a comma in a text does": blank,
    }
    return [f"{counted(len(lines), what)}: lines {first_few(lines)}" for what, lines in odd.items() if lines]


def begins_with_blank(cell: str) -> bool:
    return cell[:1] == " " and not cell.isspace()


def _tab_separated(path: Path, text: str) -> tuple[Rows, list[str]]:
    literal = _parse(path, text, "\t", quoting=False)
    with_marks = [(line, cell) for line, cells in literal for cell in cells if '"' in cell]
    header = literal[0][1] if literal else []
    fits = all(len(cells) == len(header) for _, cells in literal)
    quoted_header = bool(header) and all(_QUOTED.fullmatch(cell) for cell in header)
    sure = [cell for _, cell in with_marks if _QUOTED.fullmatch(cell) and '""' in cell[1:-1]]
    if not fits or quoted_header or (sure and all(_QUOTED.fullmatch(cell) for _, cell in with_marks)):
        if not fits and not any(cell.startswith('"') for _, cell in with_marks):
            _check_widths(path, literal, "\t")
        rows = _parse(path, text, "\t")
        _check_widths(path, rows, "\t")
        _check_swallowed(path, text, rows, "\t")
        return rows, [*_notes_on(text, rows), f"{path.name} quotes its cells; the marks around them were taken off"]
    notes = _notes_on(text, literal)
    around = [line for line, cell in with_marks if _QUOTED.fullmatch(cell)]
    if around:
        notes.append(
            f"{counted(len(around), 'cells stand')} in quotation marks, which were kept: lines {first_few(around)}"
        )
    return literal, notes
