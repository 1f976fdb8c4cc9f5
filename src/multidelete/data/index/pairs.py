"""Pairs of an index: read from disk when they are asked for, and asked about without being read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from multidelete.data.index.file import SPLIT_BITS, IndexFile, Value
from multidelete.data.location import Location, location_of
from multidelete.data.pairs import Pair, text_source
from multidelete.data.readers.archive import ArchivedImage
from multidelete.data.readers.parquet import ParquetImage

_COLUMNS = (
    "p.at, p.id, p.subject, p.kind, p.label, p.text, q.source, q.file, q.start, q.size, s.path "
    "FROM pairs p JOIN pictures q ON q.key = p.image LEFT JOIN shards s ON s.number = q.shard"
)
_SAID = "p.id, q.written, p.text, p.label, p.subject, p.kind FROM pairs p JOIN pictures q ON q.key = p.image"


@dataclass(frozen=True)
class IndexedPairs(Sequence[Pair]):
    """The pairs of a split, but for some that are left out.

    Attributes:
        file: The index that knows them.
        code: The number of the split.
        rows: How many pairs the split has in the index.
        repeats: Positions of exact repeats of others, which are none of the pairs, ascending.
        gone: Positions of those that are left out, repeats among them, ascending.
        labels: The position of each label as it is written.
        image_column: The column of pictures that lie in parquet files.
    """

    file: IndexFile
    code: int
    rows: int
    repeats: NDArray[np.int64]
    gone: NDArray[np.int64]
    labels: Mapping[str, int | None] = field(default_factory=dict)
    image_column: str = "image"

    def __len__(self) -> int:
        return self.rows - len(self.gone)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @overload
    def __getitem__(self, position: int) -> Pair: ...
    @overload
    def __getitem__(self, position: slice) -> list[Pair]: ...
    def __getitem__(self, position: int | slice) -> Pair | list[Pair]:
        if isinstance(position, slice):
            return self.many(range(*position.indices(len(self))))
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        return self.many([position % len(self)])[0]

    def __iter__(self) -> Iterator[Pair]:
        first, end = self.span
        gone = iter([*(self.gone + first).tolist(), None])
        leaving = next(gone)
        for row in self.file.rows(f"SELECT {_COLUMNS} WHERE p.at >= ? AND p.at < ? ORDER BY p.at", (first, end)):
            if row[0] == leaving:
                leaving = next(gone)
            else:
                yield self._pair(row)

    @property
    def span(self) -> tuple[int, int]:
        """Between which places in the index the pairs stand."""
        return self.code << SPLIT_BITS, (self.code << SPLIT_BITS) + self.rows

    def many(self, positions: Sequence[int]) -> list[Pair]:
        """The pairs at some positions, in their order."""
        at = np.asarray(positions, dtype=np.int64)
        # Before the k-th pair that is left out there are its position less k others.
        places = at + np.searchsorted(self.gone - np.arange(len(self.gone)), at, side="right") + self.span[0]
        wanted: list[int] = places.tolist()
        known = dict(self.at(wanted))
        return [known[place] for place in wanted]

    def at(self, places: Iterable[Value]) -> Iterator[tuple[int, Pair]]:
        """The pairs at some places of the index, each with its place."""
        for row in self.file.rows_of(f"SELECT {_COLUMNS} WHERE p.at IN (*)", places):
            yield int(row[0] or 0), self._pair(row)

    def _pair(self, row: Sequence[Value]) -> Pair:
        _, pair_id, subject, kind, label, text, source, file, start, size, shard = row
        told = str(text)
        return Pair(
            id=str(pair_id),
            inputs={"image": self._picture(file, start, size, shard), "text": told},
            sources={"image": str(source), "text": text_source(told)},
            label=None if label is None else self.labels[str(label)],
            subject=None if subject is None else str(subject),
            kind=None if kind is None else str(kind),
        )

    def _picture(self, file: Value, start: Value, size: Value, shard: Value) -> Location | ArchivedImage | ParquetImage:
        if file is not None:
            return location_of(str(file))
        if isinstance(size, int):
            return ArchivedImage(location_of(str(shard)), int(start or 0), size)
        return ParquetImage(location_of(str(shard)), int(start or 0), self.image_column)

    def is_here(self, place: Value) -> bool:
        """Whether a place of the index is that of a pair that is not left out."""
        first, end = self.span
        if not isinstance(place, int) or not first <= place < end:
            return False
        found = int(np.searchsorted(self.gone, place - first))
        return found == len(self.gone) or int(self.gone[found]) != place - first

    def position(self, place: int) -> int:
        """The position of the pair at a place of the index."""
        return place - self.span[0] - int(np.searchsorted(self.gone, place - self.span[0]))

    def left_out(self) -> Iterator[tuple[str | None, ...]]:
        """What is said of pairs that are left out, but for repeats: id, picture, text, label, subject and kind."""
        first = self.span[0]
        places = (np.setdiff1d(self.gone, self.repeats, assume_unique=True) + first).tolist()
        for row in self.file.rows_of(f"SELECT {_SAID} WHERE p.at IN (*)", places):
            yield tuple(None if value is None else str(value) for value in row)

    def without(self, places: Iterable[int]) -> "IndexedPairs":
        """The pairs without those at some places."""
        leaving = np.array([place - self.span[0] for place in places], dtype=np.int64)
        return replace(self, gone=np.union1d(self.gone, leaving))
