"""CSV and TSV files row by row, by the rules of all text tables, for files that are larger than memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from multidelete.core.errors import DataError
from multidelete.data.location import THROUGH, Location, open_shard
from multidelete.data.tables.delimited import Reading, reading_of
from multidelete.data.tables.source import text_lines
from multidelete.data.tables.table import by_column, header_of

ENDINGS = (".csv", ".tsv")


@dataclass(frozen=True)
class DelimitedFile:
    """A file of which it is known how it is read.

    Attributes:
        path: Where it lies.
        reading: How its cells are told apart.
        columns: Names of its columns.
        notes: What a reader of it should know.
    """

    path: Location
    reading: Reading
    columns: Sequence[str]
    notes: Sequence[str]

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Its rows, each by its columns.

        Raises:
            DataError: The file cannot be read any more.
        """
        rows = self.reading.rows(_lines(self.path))
        next(rows, None)
        for _, cells in rows:
            yield by_column(self.columns, cells)


def delimited_file(path: Location, at: Location | None = None) -> DelimitedFile:
    """Go through a file, which tells how it is read.

    Args:
        path: What the file is called.
        at: Where it lies, if under another name.

    Raises:
        DataError: It cannot be read, or not in one way alone; lines are named.
    """
    place = at or path
    reading = reading_of(path, lambda: _lines(place))
    others = islice(reading.rows(_lines(place)), 1, None)
    columns, notes = header_of(path, reading.header, others, reading.notes)
    return DelimitedFile(path, reading, columns, notes)


def _lines(path: Location) -> Iterator[str]:
    try:
        with open_shard(path, THROUGH) as file:
            yield from text_lines(path, file)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
