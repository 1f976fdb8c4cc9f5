"""Making an index: one pass over the shards that are new or have changed."""

import json
import os
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from multidelete.core.errors import DataError
from multidelete.core.paths import lies_there, user_path
from multidelete.core.progress import progress_bar
from multidelete.data.hub import HubPath
from multidelete.data.index.file import INDICES, SCHEMA, VERSION
from multidelete.data.index.finish import finish
from multidelete.data.index.rows import ShardReader, used_columns
from multidelete.data.index.shards import Shards, find_shards
from multidelete.data.index.writing import Before, Writer
from multidelete.data.location import Location
from multidelete.data.readers.folder import COLUMNS, check_names, check_tables, find_our_columns
from multidelete.data.readers.tables import Table
from multidelete.data.tables.columns import columns_of, read_as


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
        DataError: There are no shards, some are damaged, their rows cannot be read as pairs, or there is no room.
    """
    check_names(options.columns, options.splits)
    try:
        return _built(spec, file, options, before)
    except OSError as error:
        raise DataError(f"The index of {spec} cannot be made: {error}.") from error
    except sqlite3.OperationalError as error:
        raise DataError(
            f"The index of {spec} cannot be written: {error}. Make room, or name another folder: --index-folder FOLDER."
        ) from error


def _built(spec: str, file: Path, options: IndexOptions, before: Path | None) -> Built:
    shards = find_shards(spec)
    notes = list(shards.notes)
    at, meant = _columns(spec, shards, options, notes)
    root = shards.root if isinstance(shards.root, Path) else replace(shards.root, commit="")
    origin = [at, dict(options.splits), str(options.image_root), [len(shards.files) == 1, str(root)]]
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")
        connection.executescript(SCHEMA)
        writer = Writer(connection, ShardReader(at, shards.root, options.image_root, alone=len(shards.files) == 1))
        known = Before(connection, before, origin, shards)
        with progress_bar("reading shards", len(shards.files)) as bar:
            for number, shard in enumerate(shards.files):
                if not known.take(number, shard, writer):
                    writer.read(number, shard)
                bar.to(number + 1)
        writer.told.refuse(spec)
        connection.executescript(INDICES)
        meta = {"version": VERSION, "made": secrets.token_hex(8), "read_as": origin, "root": str(shards.root)}
        meta |= {"name": _name(spec, shards.root), "spec": spec, "columns": at, "meanings": meant}
        meta |= {"image_root": None if options.image_root is None else str(options.image_root)}
        finish(connection, meta, notes + writer.told.lines(), options.splits, has_ids="id" in at)
        connection.commit()
        pairs = connection.execute("SELECT COUNT(*) FROM pairs").fetchone()[0]
        told = json.loads(connection.execute("SELECT content FROM meta WHERE name = 'notes'").fetchone()[0])
    with open(file, "rb") as written:
        os.fsync(written.fileno())
    return Built(len(shards.files), writer.number, pairs, told)


def _name(spec: str, root: Location) -> str:
    """What data is called: as its folder, on the hub with its repository."""
    if isinstance(root, HubPath):
        return f"{root.repository}/{root.path}".removesuffix("/")
    return (user_path(spec) if lies_there(user_path(spec)) else root).resolve().name


def _columns(
    spec: str, shards: Shards, options: IndexOptions, notes: list[str]
) -> tuple[dict[str, str], Mapping[str, Sequence[str]]]:
    """Our names of columns to the data's, and what each of these was read as."""
    several = len(shards.files) > 1
    tables = [
        Table(split=shard.split, file=shard.name if several else "", columns=shard.columns, rows=())
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
    return at, read_as(every, at, options.columns)
