"""Shards without some of their rows: each is as it was, or new and whole, whatever happens meanwhile."""

import os
import shutil
import tarfile
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from multidelete.artifacts.room import make_whole
from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted
from multidelete.data.index.places import ShardRows
from multidelete.data.readers.archive import name_of_row
from multidelete.data.readers.delimited_file import ENDINGS as DELIMITED
from multidelete.data.readers.delimited_file import delimited_file
from multidelete.data.tables.source import text_lines

_AT_ONCE = 1 << 20


def rewrite(shard: ShardRows, target: Path) -> None:
    """Write a shard without its rows that are named to a file, which may be the shard itself.

    What stays is copied as it is: of archives and texts byte by byte, of parquet in the same groups of rows, with the
    same types and the same compression.

    Raises:
        DataError: The shard does not hold the rows any more, or kept files of an archive are links to others of them.
        CheckpointError: The file cannot be written; it is as it was.
    """
    ways = {".tar": _archive, ".parquet": _parquet, ".jsonl": _lines, **dict.fromkeys(DELIMITED, _delimited)}
    write = ways[shard.here.suffix.lower()]

    def written(unfinished: Path) -> None:
        write(shard, unfinished)
        shutil.copymode(shard.here, unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())

    make_whole(target.resolve() if target.exists() else target, written)


def is_rewritten(shard: ShardRows) -> bool:
    """Whether a shard is without the rows already: it has changed, and has as many less.

    Raises:
        DataError: It has changed in another way, or is gone.
    """
    try:
        status = shard.here.stat()
    except OSError as error:
        raise DataError(f"{shard.here} is gone: {error.strerror}. Bring it back, and run the command again.") from error
    if (status.st_size, status.st_mtime_ns) == (shard.size, shard.changed):
        return False
    if _rows_in(shard.here) != shard.rows - len(shard.at):
        raise DataError(f"{shard.here} has changed since the lists were written. Make them again, without --resume.")
    return True


def _rows_in(path: Path) -> int:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    if path.suffix.lower() == ".tar":
        return len({key for key, _ in _members(path) if key is not None})
    if path.suffix.lower() in DELIMITED:
        return sum(1 for _ in delimited_file(path).rows())
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _members(path: Path) -> Iterator[tuple[str | None, tarfile.TarInfo]]:
    """The files of an archive, each with the key of its row."""
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            named = name_of_row(member)
            yield None if named is None else named[0], member


def _archive(shard: ShardRows, target: Path) -> None:
    gone = set(shard.keys)
    found: set[str] = set()
    names: set[str] = set()
    with shard.here.open("rb") as source, target.open("wb") as file:
        start = 0
        for key, member in _members(shard.here):
            if member.islnk() and member.linkname in names:
                raise DataError(f"{shard.here}: {member.name} is a link to a file that is to go. Write it as a file.")
            if key not in gone:
                continue
            found.add(key)
            names.add(member.name)
            _copy(source, file, start, member.offset)
            start = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        _copy(source, file, start, os.fstat(source.fileno()).st_size)
    _refuse_missing(shard, gone - found)


def _copy(source: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    while start < end and (some := source.read(min(_AT_ONCE, end - start))):
        target.write(some)
        start += len(some)


def _lines(shard: ShardRows, target: Path) -> None:
    gone, number = set(shard.at), 0
    with shard.here.open("rb") as source, target.open("wb") as file:
        for line in source:
            if line.strip():
                number += 1
                if number - 1 in gone:
                    continue
            file.write(line)
    _refuse_missing(shard, {row for row in gone if row >= number})


def _delimited(shard: ShardRows, target: Path) -> None:
    gone, number = set(shard.at), -1  # the header
    reading = delimited_file(shard.here).reading
    pending: list[str] = []  # lines of the next row, and blank ones before it

    def lines(source: Iterable[bytes]) -> Iterator[str]:
        for line in text_lines(shard.here, source):
            pending.append(line)
            yield line

    with shard.here.open("rb") as source, target.open("wb") as file:
        if source.read(len(BOM_UTF8)) == BOM_UTF8:
            file.write(BOM_UTF8)
        else:
            source.seek(0)
        for number, _ in enumerate(reading.rows(lines(source)), start=-1):
            kept = takewhile(lambda line: not line.strip("\r\n"), pending) if number in gone else pending
            file.write("".join(kept).encode())
            pending.clear()
        file.write("".join(pending).encode())
    _refuse_missing(shard, {row for row in gone if row > number})
    if replace(delimited_file(shard.here, target).reading, notes=()) != replace(reading, notes=()):
        raise DataError(
            f"{shard.here}: without these rows, quotation marks around other cells would be read as part of them. "
            "Write the table anew as CSV, without these rows."
        )


def _parquet(shard: ShardRows, target: Path) -> None:
    import numpy as np
    import pyarrow.parquet as pq

    source = pq.ParquetFile(shard.here)
    gone, before = np.array(shard.at, dtype=np.int64), 0
    groups = source.metadata.num_row_groups
    codec = source.metadata.row_group(0).column(0).compression if groups else "SNAPPY"
    with pq.ParquetWriter(target, source.schema_arrow, compression=codec.replace("UNCOMPRESSED", "NONE")) as writer:
        for group in range(groups):
            table = source.read_row_group(group)
            stays = ~np.isin(np.arange(before, before + len(table)), gone)
            before += len(table)
            if stays.any():
                writer.write_table(table.filter(stays), row_group_size=len(table))
    _refuse_missing(shard, {row for row in shard.at if row >= before})


def _refuse_missing(shard: ShardRows, missing: Collection[object]) -> None:
    if missing:
        raise DataError(
            f"{shard.here} lacks {counted(len(missing), 'rows')} that it had when it was read: "
            f"{first_few(sorted(map(str, missing)))}. It has changed meanwhile: run the command again."
        )
