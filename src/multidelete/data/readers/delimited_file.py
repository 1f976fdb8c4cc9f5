"""CSV and TSV files row by row, by the rules of all text tables, for files that are larger than memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from itertools import islice

from multidelete.core.errors import DataError
from multidelete.data.hub import HubPath
from multidelete.data.location import THROUGH, Location, open_shard, size_at
from multidelete.data.tables.delimited import Reading, reading_of
from multidelete.data.tables.source import text_lines
from multidelete.data.tables.table import by_column, header_of

ENDINGS = (".csv", ".tsv")
_HELD = 256 << 20  # bytes of a file on the hub that are held while it is looked through
Opened = Callable[[], BufferedReader | BytesIO]


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
        rows = self.reading.rows(_lines(self.path, lambda: open_shard(self.path, THROUGH)))
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
    with _unreadable_told(place):
        opened = _opened_often(place)
    reading = reading_of(path, lambda: _lines(place, opened))
    others = islice(reading.rows(_lines(place, opened)), 1, None)
    columns, notes = header_of(path, reading.header, others, reading.notes)
    return DelimitedFile(path, reading, columns, notes)


def _opened_often(place: Location) -> Opened:
    """What opens a file some times in a row: one on the hub is fetched once for it, where it is not too large."""
    if isinstance(place, HubPath) and size_at(place) <= _HELD:
        content = place.content()
        return lambda: BytesIO(content)
    return lambda: open_shard(place, THROUGH)


def _lines(place: Location, opened: Opened) -> Iterator[str]:
    with _unreadable_told(place), opened() as file:
        yield from text_lines(place, file)


@contextmanager
def _unreadable_told(place: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error.strerror}.") from error
