"""Making an index: one pass over the shards that are new or have changed."""

import hashlib
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from multidelete.core.errors import DataError
from multidelete.core.paths import lies_there, user_path
from multidelete.core.progress import progress_bar
from multidelete.data.index.file import INDICES, SCHEMA, SPLIT_BITS, VERSION, Value
from multidelete.data.index.finish import finish
from multidelete.data.index.rows import PARTS, Entry, ShardReader, Told, used_columns
from multidelete.data.index.shards import Shard, Shards, find_shards
from multidelete.data.readers.folder import COLUMNS, check_names, check_tables, find_our_columns
from multidelete.data.readers.tables import Table
from multidelete.data.tables.columns import columns_of

_AT_ONCE = 5000  # pairs in one insertion


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How the rows of shards are read; as in `load_data`."""

    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    image_root: Path | None = None


@dataclass(frozen=True)
class Built:
    """What the making of an index came to.

    Attributes:
        shards: How many there are.
        read: How many of them were read; the others had not changed.
        pairs: Pairs in the index, of all splits.
        notes: What is odd about them.
    """

    shards: int
    read: int
    pairs: int
    notes: Sequence[str]


def build_index(spec: str, file: Path, options: IndexOptions, *, before: Path | None = None) -> Built:
    """Make the index of shards; nothing of it is kept in memory.

    Args:
        spec: A file, a folder, or a pattern such as ``shards/{0000..0999}.tar``.
        file: The file to write, which is not there yet.
        options: How rows are read.
        before: An index of the same shards; what has not changed since is taken from it.

    Raises:
        DataError: There are no shards, some are damaged, or their rows cannot be read as pairs.
    """
    check_names(options.columns, options.splits)
    shards = find_shards(spec)
    notes = list(shards.notes)
    at = _columns(spec, shards, options, notes)
    read_as = [at, dict(options.splits), str(options.image_root), [len(shards.files) == 1, str(shards.root)]]
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")
        connection.executescript(SCHEMA)
        writer = _Writer(connection, ShardReader(at, shards.root, options.image_root, alone=len(shards.files) == 1))
        known = _Before(connection, before, read_as)
        with progress_bar("reading shards", len(shards.files)) as bar:
            for number, shard in enumerate(shards.files):
                if not known.take(number, shard, writer):
                    writer.read(number, shard)
                bar.to(number + 1)
        writer.told.refuse(spec)
        connection.executescript(INDICES)
        name = (user_path(spec) if lies_there(user_path(spec)) else shards.root).resolve().name
        meta = {"version": VERSION, "made": secrets.token_hex(8), "read_as": read_as, "root": str(shards.root)}
        meta |= {"name": name, "spec": spec, "columns": at}
        finish(connection, meta, notes + writer.told.lines(), options.splits, has_ids="id" in at)
        connection.commit()
        pairs = connection.execute("SELECT COUNT(*) FROM pairs").fetchone()[0]
        told = json.loads(connection.execute("SELECT content FROM meta WHERE name = 'notes'").fetchone()[0])
    with open(file, "rb") as written:
        os.fsync(written.fileno())
    return Built(len(shards.files), writer.number, pairs, told)


def _columns(spec: str, shards: Shards, options: IndexOptions, notes: list[str]) -> dict[str, str]:
    """Our names of columns to the data's."""
    several = len(shards.files) > 1
    tables = [
        Table(split=shard.split, file=shard.name if several else "", columns=shard.columns(), rows=())
        for shard in shards.files
    ]
    every = list(dict.fromkeys(column for table in tables for column in table.columns))
    at = find_our_columns(spec, tables, every, options.columns, notes)
    for name in COLUMNS:
        alike = [one for one in columns_of(name, every) if one == at.get(name) or one not in at.values()]
        if name in at and name not in options.columns and len(alike) > 1:
            raise DataError(
                f"{spec}: columns {alike[0]!r} and {alike[1]!r} both mean the {name}. Say which is meant, as in "
                f"--columns {name}={alike[0]}."
            )
    told = [shard.types(used_columns(at, table.columns)) for shard, table in zip(shards.files, tables, strict=True)]
    types = [one for one in told if one is not None]
    check_tables(spec, [*tables, *(Table(columns=list(at.values()), rows=(), split=None, column_problems=one.problems)
                                   for one in types)], at)  # fmt: skip
    notes += dict.fromkeys(note for one in types for note in one.notes.values())
    return at


class _Writer:
    """Writes the entries of shards."""

    def __init__(self, connection: sqlite3.Connection, reader: ShardReader) -> None:
        self.connection, self.reader = connection, reader
        self.told: Told = reader.told
        self.splits: dict[str, int] = {}
        self.next: Counter[int] = Counter()  # position by split
        self.number = 0

    def code(self, split: str) -> int:
        """The number of a split."""
        if split not in self.splits:
            self.splits[split] = len(self.splits)
            self.connection.execute("INSERT INTO splits VALUES (?, ?, NULL)", (self.splits[split], split))
        return self.splits[split]

    def place(self, code: int) -> int:
        """Where the next pair of a split goes."""
        return (code << SPLIT_BITS) + self.next[code]

    def read(self, number: int, shard: Shard) -> None:
        """Read a shard."""
        self.number += 1
        status = os.stat(shard.path)
        runs: dict[int, _Run] = {}
        some: list[Entry] = []
        for entry in self.reader.entries(shard):
            some.append(entry)
            if len(some) == _AT_ONCE:
                self._insert(number, some, runs)
                some = []
        self._insert(number, some, runs)
        for code, run in runs.items():
            self.connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", (number, code, *run.row()))
        self.shard(number, shard, status.st_size, status.st_mtime_ns, digest_of_file(shard.path))

    def shard(self, number: int, shard: Shard, size: int, changed: int, digest: str) -> None:
        row = (number, shard.name, str(shard.path), shard.split, size, changed, digest, str(shard.below))
        self.connection.execute("INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _insert(self, number: int, entries: Sequence[Entry], runs: dict[int, "_Run"]) -> None:
        pairs: list[tuple[Value, ...]] = []
        pictures: dict[Value, tuple[Value, ...]] = {}
        for entry in entries:
            code = self.code(entry.split)
            place = self.place(code)
            run = runs.setdefault(code, _Run(place))
            run.add(entry)
            self.next[code] += 1
            pairs.append((place, *entry.pair[:7], number, *entry.pair[7:]))
            key, source, file, is_here, *rest = entry.picture
            pictures.setdefault(key, (key, source, None, file, number if is_here else None, *rest))
        self.connection.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", pairs)
        self.connection.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", pictures.values())
        self.connection.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", sorted(self.reader.names))
        self.reader.names.clear()


@dataclass
class _Run:
    """The pairs of one split in one shard, which stand together."""

    first: int
    pairs: int = 0
    total: int = 0
    labels: Counter[str | None] = field(default_factory=Counter)
    kinds: Counter[str | None] = field(default_factory=Counter)

    def add(self, entry: Entry) -> None:
        self.pairs += 1
        self.total = (self.total + entry.digest) % PARTS
        self.labels[entry.label] += 1
        self.kinds[str(entry.pair[2]) if entry.pair[2] is not None else None] += 1

    def row(self) -> tuple[int, int, str, str, str]:
        labels, kinds = (json.dumps(list(counts.items())) for counts in (self.labels, self.kinds))
        return self.first, self.pairs, f"{self.total:064x}", labels, kinds


class _Before:
    """The index before, of which shards that have not changed are taken over."""

    def __init__(self, connection: sqlite3.Connection, before: Path | None, read_as: object) -> None:
        self.connection = connection
        self.known: dict[str, tuple[int, str, str, int, int, str]] = {}
        if before is None or not before.is_file():
            return
        connection.execute("ATTACH ? AS old", (str(before.absolute()),))
        try:
            told = dict(connection.execute("SELECT name, content FROM old.meta").fetchall())
            if json.loads(told["version"]) != VERSION or json.loads(told["read_as"]) != json.loads(json.dumps(read_as)):
                return
            rows = connection.execute("SELECT path, number, split, told, size, changed, digest FROM old.shards")
            self.known = {path: tuple(rest) for path, *rest in rows.fetchall()}
            connection.execute("INSERT OR IGNORE INTO names SELECT * FROM old.names")
        except (sqlite3.DatabaseError, KeyError, ValueError):
            self.known = {}

    def take(self, number: int, shard: Shard, writer: _Writer) -> bool:
        """Take over what is known of a shard; False where it has to be read."""
        if str(shard.path) not in self.known:
            return False
        old, split, below, size, changed, digest = self.known[str(shard.path)]
        status = os.stat(shard.path)
        if status.st_size != size or (split, below) != (shard.split, str(shard.below)):
            return False
        if status.st_mtime_ns != changed and digest_of_file(shard.path) != digest:
            return False
        if self._needs_another(old):
            return False
        self._copy(old, number, writer)
        writer.shard(number, shard, status.st_size, status.st_mtime_ns, digest)
        return True

    def _needs_another(self, old: int) -> bool:
        """Whether pictures of the shard's pairs are taken from another shard, where the same bytes lie."""
        question = """
            SELECT 1 FROM old.runs r JOIN old.pairs p ON p.at >= r.first AND p.at < r.first + r.pairs
            JOIN old.pictures q ON q.key = p.image
            WHERE r.shard = ? AND q.shard IS NOT NULL AND q.shard != r.shard LIMIT 1"""
        return self.connection.execute(question, (old,)).fetchone() is not None

    def _copy(self, old: int, number: int, writer: _Writer) -> None:
        runs = self.connection.execute(
            "SELECT s.theirs, r.first, r.pairs, r.total, r.labels, r.kinds FROM old.runs r JOIN old.splits s "
            "ON s.code = r.split WHERE r.shard = ? ORDER BY r.first", (old,)
        ).fetchall()  # fmt: skip
        for theirs, first, pairs, total, labels, kinds in runs:
            code = writer.code(theirs)
            place = writer.place(code)
            span = (first, first + pairs)
            self.connection.execute(
                "INSERT INTO pairs SELECT at + ?, id, subject, kind, label, text, text_key, image, ?, row, row_key "
                "FROM old.pairs WHERE at >= ? AND at < ?", (place - first, number, *span)
            )  # fmt: skip
            self.connection.execute(
                "INSERT OR IGNORE INTO pictures SELECT key, written, NULL, file, CASE WHEN shard IS NULL THEN NULL "
                "ELSE ? END, start, size, last FROM old.pictures WHERE key IN "
                "(SELECT image FROM old.pairs WHERE at >= ? AND at < ?)", (number, *span)
            )  # fmt: skip
            writer.next[code] += pairs
            row = (number, code, place, pairs, total, labels, kinds)
            self.connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def digest_of_file(path: Path) -> str:
    """SHA-256 of a shard."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
