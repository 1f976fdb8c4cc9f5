"""The file of an index: an SQLite database that is written once, and read by any number of processes."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from multidelete.core.errors import DataError

FOLDER = ".multidelete-index"
"""What the folder of an index is called beside the data."""
FILE = "index.sqlite"
VERSION = 1
SPLIT_BITS = 40
"""Place of a pair: the number of its split, and below these bits its position in it."""
_AT_ONCE = 500  # values in one question
Value = str | int | bytes | None

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, content TEXT);
CREATE TABLE shards (number INTEGER PRIMARY KEY, name TEXT, path TEXT, split TEXT, size INTEGER, changed INTEGER,
                     digest TEXT, told TEXT);
CREATE TABLE splits (code INTEGER PRIMARY KEY, theirs TEXT, ours TEXT);
CREATE TABLE runs (shard INTEGER, split INTEGER, first INTEGER, pairs INTEGER, total TEXT, labels TEXT, kinds TEXT);
CREATE TABLE pairs (at INTEGER PRIMARY KEY, id TEXT, subject TEXT, kind TEXT, label TEXT, text TEXT, text_key INTEGER,
                    image INTEGER, shard INTEGER, row INTEGER, row_key TEXT);
CREATE TABLE pictures (key INTEGER PRIMARY KEY, written TEXT, source TEXT, file TEXT, shard INTEGER, start INTEGER,
                       size INTEGER, last TEXT);
CREATE TABLE names (what TEXT, form TEXT, name TEXT, UNIQUE (what, form, name));
CREATE TABLE repeats (at INTEGER PRIMARY KEY);
"""
INDICES = """
CREATE INDEX pairs_by_id ON pairs (id);
CREATE INDEX pairs_by_subject ON pairs (subject) WHERE subject IS NOT NULL;
CREATE INDEX pairs_by_text ON pairs (text_key, image);
CREATE INDEX pairs_by_image ON pairs (image);
CREATE INDEX pictures_by_source ON pictures (source);
CREATE INDEX pictures_by_last ON pictures (last);
CREATE INDEX pictures_by_size ON pictures (size);
"""

_local = threading.local()


@dataclass(frozen=True)
class SplitMeta:
    """What is said of all pairs of a split, but for repeats.

    Attributes:
        code: Its number.
        rows: How many pairs it has, repeats among them.
        total: Sum of the digests of its pairs.
        labels: How many pairs have each label, as it is marked.
        kinds: How many pairs are of each kind.
    """

    code: int
    rows: int
    total: str
    labels: Sequence[tuple[str | None, int]]
    kinds: Sequence[tuple[str | None, int]]


@dataclass(frozen=True)
class Meta:
    """What is said of all pairs.

    Attributes:
        name: What the data is called.
        spec: How its shards were named.
        root: The folder that holds them.
        columns: Our names of columns to the data's.
        read_as: For each column what it was read as; not known of older indexes.
        classes: Names of the classes.
        labels: The position of each label, as it is marked.
        notes: What is odd.
        places: Source and file of one picture of each folder.
        splits: What is said of each split.
    """

    name: str
    spec: str
    root: str
    columns: Mapping[str, str]
    read_as: Mapping[str, Sequence[str]]
    classes: tuple[str, ...]
    labels: Mapping[str, int | None]
    notes: tuple[str, ...]
    places: Sequence[tuple[str, str]]
    splits: Mapping[str, SplitMeta]


@dataclass(frozen=True)
class IndexFile:
    """An index that is whole.

    Attributes:
        path: The file.
        made: What tells this index from one that takes its place later.
    """

    path: Path
    made: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return "IndexFile()"

    @cached_property
    def meta(self) -> "Meta":
        """What it says of all of its pairs."""
        told = {str(name): json.loads(str(content)) for name, content in self.rows("SELECT name, content FROM meta")}
        splits = {name: SplitMeta(**one) for name, one in told["splits"].items()}
        return Meta(
            name=told["name"], spec=told["spec"], root=told["root"], columns=told["columns"],
            read_as=told.get("meanings", {}), classes=tuple(told["classes"]),
            labels=told["labels"], notes=tuple(told["notes"]),
            places=told["places"], splits=splits,
        )  # fmt: skip

    def rows(self, question: str, values: Sequence[Value] = ()) -> Iterator[tuple[Value, ...]]:
        """The answers to a question, one after the other."""
        try:
            yield from self._connection.execute(question, values)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path} is damaged ({error}). Make the index again: multidelete data --index."
            ) from error

    def rows_of(self, question: str, values: Iterable[Value]) -> Iterator[tuple[Value, ...]]:
        """The answers to a question about some values, which stand in the place of ``(*)``."""
        every = list(dict.fromkeys(values))
        for start in range(0, len(every), _AT_ONCE):
            some = every[start : start + _AT_ONCE]
            yield from self.rows(question.replace("(*)", f"({','.join('?' * len(some))})"), some)

    def number(self, question: str, values: Sequence[Value] = ()) -> int:
        """The one number that answers a question."""
        (answer,) = next(self.rows(question, values))
        return answer if isinstance(answer, int) else 0

    @property
    def _connection(self) -> sqlite3.Connection:
        """Of this process and thread: a connection must not be shared, not even with a forked child."""
        known: dict[tuple[int, Path, str], sqlite3.Connection] = _local.__dict__.setdefault("connections", {})
        key = (os.getpid(), self.path, self.made)
        if key not in known:
            known[key] = opened(self.path)
            told = known[key].execute("SELECT content FROM meta WHERE name = 'made'").fetchone()
            if self.made and json.loads(told[0]) != self.made:
                del known[key]
                raise DataError(f"{self.path} was made anew while it was in use. Start again.")
        return known[key]


def opened(path: Path) -> sqlite3.Connection:
    """A connection to an index that is never changed in its place.

    Raises:
        DataError: It is not there, or cannot be opened.
    """
    try:
        return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be opened: {error}. Make it with: multidelete data DATA --index.") from error


def open_index(path: Path) -> IndexFile:
    """The index in a file.

    Raises:
        DataError: It is none, or one of another version.
    """
    if not path.is_file():
        raise DataError(f"There is no index {path}. Make it with: multidelete data DATA --index.")
    with closing(opened(path)) as connection:
        try:
            told = dict(connection.execute("SELECT name, content FROM meta").fetchall())
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is no index ({error}). Make it again: multidelete data DATA --index.") from error
    if json.loads(told.get("version", "0")) != VERSION:
        raise DataError(f"{path} is an index of another version. Make it again: multidelete data DATA --index.")
    return IndexFile(path, json.loads(told["made"]))
