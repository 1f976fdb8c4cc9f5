"""What an index keeps of each pair, from the rows of shards by the rules of all tables."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multidelete.core.errors import DataError, rule_lines
from multidelete.core.words import counted
from multidelete.data.index.file import Value
from multidelete.data.index.shards import Shard
from multidelete.data.location import Location
from multidelete.data.lookalikes import loose_form, parts_of
from multidelete.data.oddities import oddities
from multidelete.data.pairs import Pair, source_key
from multidelete.data.readers.archive import ArchivedImage
from multidelete.data.readers.folder import split_of_row
from multidelete.data.readers.rows import RowReader
from multidelete.data.readers.tables import Table
from multidelete.data.tables.columns import bare, columns_of
from multidelete.data.tables.strict_json import Literal
from multidelete.data.tables.suspicion import whole

_MOST_FILES = 100_000  # whose presence is remembered
_MOST_PROBLEMS = 10_000
PARTS = 2**256
"""Sums of digests are taken modulo this number."""


@dataclass
class Told:
    """What is said of all rows together.

    Attributes:
        notes: For each thing that is worth a look, how often it is there and the first few places.
        problems: For each rule that rows break, where.
        of_files: What is said of single files.
    """

    notes: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    of_files: list[str] = field(default_factory=list)

    def take(self, reader: RowReader) -> None:
        """Take over what a reader of rows has collected."""
        for what, where in reader.cells.notes.items():
            count, first = self.notes.get(what, (0, []))
            self.notes[what] = (count + len(where), (first + where)[:10])
        for rule, where in reader.cells.problems.items():
            self.problems.setdefault(rule, []).extend(where)
        reader.cells.notes.clear()
        reader.cells.problems.clear()

    def refuse(self, name: str) -> None:
        """Raise `DataError` with all problems, if there are any."""
        if self.problems:
            raise DataError(rule_lines(name, self.problems))

    def lines(self) -> list[str]:
        return self.of_files + [
            f"{counted(count, f'rows {what}')}: {', '.join(first)}" + (f", and {count - 10} more" if count > 10 else "")
            for what, (count, first) in self.notes.items()
        ]


@dataclass(frozen=True)
class Entry:
    """A pair as an index keeps it.

    Attributes:
        split: As the data calls it.
        pair: The columns of the table ``pairs`` from id to row_key, without the shard.
        picture: The columns of the table ``pictures``, the shard of a stored picture as True.
        digest: Of the pair, a number.
        label: As the data writes it, marked as a text or a number.
    """

    split: str
    pair: tuple[Value, ...]
    picture: tuple[Value, ...]
    digest: int
    label: str | None


def used_columns(at: Mapping[str, str], has: Sequence[str]) -> list[str]:
    """Those of the data's columns that are read."""
    return [column for column in dict.fromkeys(at.values()) if column in has]


class ShardReader:
    """Reads the rows of shards as entries.

    Args:
        at: Our column names to the data's.
        root: Folder of all shards.
        image_root: Folder that relative image paths start from, ``root`` by default.
        alone: Whether there is one shard only.
    """

    def __init__(self, at: Mapping[str, str], root: Location, image_root: Path | None, *, alone: bool) -> None:
        self.at, self.alone = at, alone
        self.told = Told()
        self.names: set[tuple[str, str, str]] = set()
        self._last_subject = ""
        self._reader = RowReader(at, root, image_root)

    def entries(self, shard: Shard) -> Iterator[Entry]:
        """The pairs of a shard.

        Raises:
            DataError: It is damaged, or too much is wrong with its rows.
        """
        reader, at = self._reader, self.at
        used = used_columns(at, shard.columns)
        types = shard.types(used)
        names = {} if types is None else {name: list(known) for name, known in types.names.items()}
        table = Table(split=shard.split, file="" if self.alone else shard.name, columns=used, rows=(),
                      class_names=names)  # fmt: skip
        image, below = at["image"], shard.below
        self.told.of_files += [note if self.alone else f"{shard.name}: {note}" for note in shard.notes]
        late: dict[str, int] = {}
        for number, row in enumerate(shard.rows(used, types, self.told.problems)):
            for column in row.keys() - late.keys():
                late[column] = number
            if below != Path() and isinstance(name := row.get(image), str):
                row = {**row, image: str(below / name)}
            split = split_of_row(table, row, at.get("split"), alone=self.alone)
            key = row.get("__key__")
            place = number, table.row_name(number), key if isinstance(key, str) else None
            for pair, label in reader.pairs_of(table, number, row):
                yield self._entry(split, pair, label, place)
            if number % 1000 == 0:
                self._tidy(shard.name)
        self._tidy(shard.name)
        self._refuse_late(shard, late)

    def _tidy(self, name: str) -> None:
        self.told.take(self._reader)
        if len(self._reader.files) > _MOST_FILES:
            self._reader.files.clear()
        if sum(map(len, self.told.problems.values())) > _MOST_PROBLEMS:
            self.told.refuse(f"{name} and those before it")

    def _refuse_late(self, shard: Shard, late: Mapping[str, int]) -> None:
        """Refuse columns of ours that the first rows of a file did not have: it was not known what they hold."""
        ours = set(self.at.values())
        for name in ("id", "subject", "label", "kind", "split"):
            for column in columns_of(name, late):
                if column not in ours and name not in self.at and bare(column) == name:
                    self.told.problems.setdefault(
                        f"columns come late, and are read where --columns names them ({name}={column})", []
                    ).append(f"{shard.name} row {late[column] + 1}")

    def _entry(self, split: str, pair: Pair, label: str | None, place: tuple[int, str, str | None]) -> Entry:
        row, where, key = place
        text, image = pair.text, pair.sources["image"]
        marked = None if label is None else f"{'n' if isinstance(label, Literal) else 't'}{label}"
        cells = ("id", pair.id), ("text", text), ("subject", pair.subject), ("kind", pair.kind), ("label", label)
        for what, cell in cells:
            for why in oddities(what, cell) if cell else ():
                self._reader.cells.note(f"have {why} in the {what}", f"{where} ({cell!a})")
        self._name("id", pair.id)
        if pair.subject is not None and pair.subject != self._last_subject:
            self._name("subject", pair.subject)
            self._last_subject = pair.subject
        columns = (pair.id, pair.subject, pair.kind, marked, text, source_key(pair.sources["text"]), source_key(image))
        return Entry(
            split=split,
            pair=(*columns, row, None if key == pair.id else key),
            picture=_picture(pair, row),
            digest=digest_of_pair(pair.id, image, text, marked, pair.subject, pair.kind),
            label=marked,
        )

    def _name(self, what: str, name: str) -> None:
        """Keep in what other forms a name may be looked for."""
        form = loose_form(name)
        if form != name:
            self.names.add((what, form, name))
        if (number := whole(name)) is not None:
            self.names.add((f"{what} with a point", number, name))
        if what == "subject":
            self.names.update(("part of a subject", part, name) for part in parts_of(name))


def digest_of_pair(*told: str | None) -> int:
    """What tells a pair from others, by id, picture, text, label, subject and kind: a number that sums are made of."""
    digest = hashlib.blake2b(repr(told).encode(errors="surrogatepass"), digest_size=32).digest()
    return int.from_bytes(digest, "big")


def _picture(pair: Pair, row: int) -> tuple[Value, ...]:
    """Key, source, file, whether it lies in the shard, where in it, size, and the last part of its name."""
    source, picture = pair.sources["image"], pair.inputs["image"]
    key, last = source_key(source), source.rsplit("/", 1)[-1]
    if isinstance(picture, ArchivedImage):
        return key, source, None, True, picture.start, picture.size, last
    if isinstance(picture, bytes):
        return key, source, None, True, row, None, last
    return key, source, str(picture), None, None, None, last
