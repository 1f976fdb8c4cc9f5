"""Writing the rows of an index: those that are read, and those that are taken over from the index before."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multidelete.data.hub import HUB
from multidelete.data.index.file import SPLIT_BITS, VERSION, Value
from multidelete.data.index.rows import PARTS, Entry, ShardReader, Told
from multidelete.data.index.shards import Shard, Shards
from multidelete.data.index.stamps import digest_of_shard, stamp

_AT_ONCE = 5000  # pairs in one insertion


class Writer:
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
        size, changed = stamp(shard.path)
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
        self.shard(number, shard, size, changed, digest_of_shard(shard.path))

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


class Before:
    """The index before, of which shards that have not changed are taken over."""

    def __init__(self, connection: sqlite3.Connection, before: Path | None, read_as: object, shards: Shards) -> None:
        self.connection = connection
        self.commit = "" if isinstance(shards.root, Path) else f"{replace(shards.root, path='')}/"
        self.same: dict[int, _Same] = {}  # by new number
        connection.execute("CREATE TEMP TABLE moved (old INTEGER PRIMARY KEY, new INTEGER)")
        if before is None or not before.is_file():
            return
        try:
            connection.execute("ATTACH ? AS old", (str(before.absolute()),))
            told = dict(connection.execute("SELECT name, content FROM old.meta").fetchall())
            if json.loads(told["version"]) != VERSION or json.loads(told["read_as"]) != json.loads(json.dumps(read_as)):
                return
            rows = connection.execute("SELECT name, number, split, told, size, changed, digest FROM old.shards")
            known = {name: tuple(rest) for name, *rest in rows.fetchall()}
            connection.execute("INSERT OR IGNORE INTO names SELECT * FROM old.names")
        except (sqlite3.DatabaseError, KeyError, ValueError):
            return
        for number, shard in enumerate(shards.files):
            if (one := _unchanged(shard, known.get(shard.name))) is not None:
                self.same[number] = one
        connection.executemany("INSERT INTO moved VALUES (?, ?)", [(s.old, new) for new, s in self.same.items()])

    def take(self, number: int, shard: Shard, writer: Writer) -> bool:
        """Take over what is known of a shard; False where it has to be read."""
        same = self.same.get(number)
        if same is None or self._needs_another(same.old):
            return False
        self._copy(same.old, number, writer)
        writer.shard(number, shard, same.size, same.changed, same.digest)
        return True

    def _needs_another(self, old: int) -> bool:
        """Whether its pictures lie in a shard that has changed, where the same bytes lay, or in another commit."""
        question = f"""
            SELECT 1 FROM old.runs r JOIN old.pairs p ON p.at >= r.first AND p.at < r.first + r.pairs
            JOIN old.pictures q ON q.key = p.image
            WHERE r.shard = ? AND (q.shard IS NOT NULL AND q.shard NOT IN (SELECT old FROM moved)
            OR q.file LIKE '{HUB}%' AND substr(q.file, 1, length(?)) != ?) LIMIT 1"""
        return self.connection.execute(question, (old, self.commit, self.commit)).fetchone() is not None

    def _copy(self, old: int, number: int, writer: Writer) -> None:
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
                "INSERT OR IGNORE INTO pictures SELECT q.key, q.written, NULL, q.file, m.new, q.start, q.size, q.last "
                "FROM old.pictures q LEFT JOIN moved m ON m.old = q.shard WHERE q.key IN "
                "(SELECT image FROM old.pairs WHERE at >= ? AND at < ?)", span
            )  # fmt: skip
            writer.next[code] += pairs
            row = (number, code, place, pairs, total, labels, kinds)
            self.connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", row)


@dataclass(frozen=True)
class _Same:
    """A shard that has not changed since the index before was made."""

    old: int
    size: int
    changed: int
    digest: str


def _unchanged(shard: Shard, known: tuple[int, str | None, str, int, int, str] | None) -> _Same | None:
    """What is known of a shard, where it is read in the same way and its content is the same."""
    if known is None:
        return None
    old, split, below, size, changed, digest = known
    is_so_long, changed_now = stamp(shard.path)
    is_same = is_so_long == size and (split, below) == (shard.split, str(shard.below))
    says_so = isinstance(shard.path, Path) and changed_now == changed
    if not is_same or not (says_so or digest_of_shard(shard.path) == digest):
        return None
    return _Same(old, size, changed_now, digest)
