"""A table of text: named columns, and rows whose cells are text as it is written."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted
from multidelete.data.tables.delimited import Row as Cells
from multidelete.data.tables.delimited import Rows, other_separator, read_rows
from multidelete.data.tables.json_rows import read_objects
from multidelete.data.tables.source import read_text
from multidelete.data.tables.strict_json import Json

if TYPE_CHECKING:
    from multidelete.data.location import Location

Row = Mapping[str, Json]
_INDEX = re.compile(r"|unnamed: ?\d+|level_\d+|index|\.\.\.1|rownames|row\.names", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Rows with named columns.

    Attributes:
        columns: Names of the columns; a nameless one of a CSV is called ``""``.
        rows: For each row its cells: text, or None where the cell is missing, empty or blank. JSON lines may
            also hold lists and objects.
        lines: The line of the file that each row begins on; in a JSON array, its position.
        notes: What a reader of the table should know.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    lines: Sequence[int]
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"TextTable({counted(len(self.rows), 'rows')} of {counted(len(self.columns), 'columns')})"


def read_text_table(path: Path) -> TextTable:
    """Read CSV, TSV, JSON lines or an array of JSON objects.

    Raises:
        DataError: The file is no such table, or can be read in more ways than one; lines are named.
    """
    text = read_text(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        rows, notes = read_rows(path, text)
        return with_header(path, rows, notes)
    objects, broken = read_objects(path, text)
    if broken:
        raise DataError(
            f"{path}: {counted(len(broken), 'lines are')} not JSON objects: lines "
            f"{first_few([line for line, _ in broken])}. The first: {broken[0][1]}. Correct them."
        )
    columns = list(dict.fromkeys(key for _, row in objects for key in row))
    return TextTable(columns=columns, rows=[row for _, row in objects], lines=[line for line, _ in objects])


def with_header(path: Path, rows: Rows, notes: Sequence[str] = ()) -> TextTable:
    """A table whose first row names the columns."""
    columns, notes = header_of(path, rows[0][1] if rows else (), rows[1:], notes)
    return TextTable(
        columns=columns,
        rows=[by_column(columns, cells) for _, cells in rows[1:]],
        lines=[line for line, _ in rows[1:]],
        notes=notes,
    )


def by_column(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
    """The cells of a row by their columns, blank ones as None."""
    return {name: None if not cell or cell.isspace() else cell for name, cell in zip(columns, cells, strict=True)}


def header_of(
    path: "Location", first: Sequence[str], others: Iterable[Cells], notes: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The columns that the first row names, and the notes with what is odd about these.

    Args:
        path: The file.
        first: The cells of the first row.
        others: All other rows, which are gone through where a column has no name.
        notes: What is known already.

    Raises:
        DataError: Columns have one name, or none while rows have something there, or are separated in another way.
    """
    header = [cell.strip() for cell in first]
    twice = [name for name, times in Counter(header).items() if times > 1 and name]
    if twice:
        raise DataError(
            f"{path}: {counted(len(twice), 'columns stand')} twice in its header: {first_few(twice)}. "
            "Rename or remove them."
        )
    if header.count("") > 1:
        raise DataError(f"{path}: {counted(header.count(''), 'columns have')} no name; give each one.")
    nameless = header.index("") if "" in header[1:] and header[0] else 0
    cut = [line for line, cells in others if cells[nameless].strip()] if nameless else []
    if cut:
        raise DataError(
            f"{path}: {counted(len(cut), 'rows have')} a cell in column {nameless + 1}, which has no name: lines "
            f"{first_few(cut)}. Name the column, or put a cell that holds a comma in double quotation marks."
        )
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = other_separator(header, delimiter)
    if separator is not None:
        raise DataError(
            f"{path}: its cells seem to be separated by {separator}. A .csv is separated by commas, a .tsv by tabs."
        )
    notes = list(notes)
    if header and len(header) > 1 and is_index(header[0]):
        notes.append(f"the first column of {path.name} {named(header[0])} and is read as no more than that")
    return header, notes


def is_index(column: str) -> bool:
    """Whether a column is called as programs call the numbers of the rows of a data frame."""
    return _INDEX.fullmatch(column) is not None


def named(column: str) -> str:
    return f"is called {column!r}, as data frames call their row numbers," if column else "has no name"
