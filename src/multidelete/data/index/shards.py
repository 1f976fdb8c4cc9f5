"""Which files an index is of, and their rows, one after the other."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.paths import lies_there, user_path
from multidelete.core.words import counted
from multidelete.data.index.file import FOLDER
from multidelete.data.readers.archive import archive_rows
from multidelete.data.readers.found import SPLIT_NAMES, find_files, splits_of
from multidelete.data.readers.json_lines import json_line_rows
from multidelete.data.readers.parquet import parquet_columns, parquet_rows, parquet_types
from multidelete.data.readers.typed import Types

ENDINGS = (".tar", ".parquet", ".jsonl")
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_PEEK = 1000  # rows that tell which columns a file without a header has


@dataclass(frozen=True)
class Shard:
    """One file of pairs.

    Attributes:
        path: Where it lies.
        name: What lists and messages call it: its path below the folder of all shards.
        split: The split that its name or folder tells, or None.
        below: Folder that its pictures' paths start from, seen from that of all shards.
    """

    path: Path
    name: str
    split: str | None
    below: Path = Path()

    @property
    def kind(self) -> str:
        return self.path.suffix.lower()

    def columns(self) -> list[str]:
        """Names of its columns: of JSONL and tar, those of its first rows.

        Raises:
            DataError: The file is damaged.
        """
        if self.kind == ".parquet":
            return parquet_columns(self.path)
        return list(dict.fromkeys(name for row in islice(self.rows((), None, {}), _PEEK) for name in row))

    def types(self, columns: Sequence[str]) -> Types | None:
        """What the types of its columns say of their values, where they have any."""
        return parquet_types(self.path, columns) if self.kind == ".parquet" else None

    def rows(
        self, columns: Sequence[str], types: Types | None, problems: dict[str, list[str]]
    ) -> Iterator[Mapping[str, object]]:
        """Its rows, of parquet only these columns; what is wrong with them goes to ``problems``.

        Raises:
            DataError: The file is damaged.
        """
        if types is not None:
            return parquet_rows(self.path, columns, types)
        return (archive_rows if self.kind == ".tar" else json_line_rows)(self.path, problems)


@dataclass(frozen=True)
class Shards:
    """The files that an index is of.

    Attributes:
        root: The folder that holds all of them.
        files: They, in order.
        notes: What is odd about them.
    """

    root: Path
    files: Sequence[Shard]
    notes: Sequence[str] = field(default_factory=tuple)


def find_shards(spec: str) -> Shards:
    """The files that a text names: a file, a folder, or a pattern such as ``shards/{0000..0999}.tar``.

    Raises:
        DataError: There are none, some of a pattern are missing, or some are of a kind that no index reads.
    """
    path = user_path(spec)
    if lies_there(path):
        found = _of_folder(path) if path.is_dir() else Shards(path.absolute().parent, _named([path.absolute()]))
    else:
        paths = [user_path(one) for one in expanded(spec)]
        missing = [str(one) for one in paths if not one.is_file()]
        if missing:
            what = (
                f"{spec}: {counted(len(missing), 'shards are')} missing"
                if len(paths) > 1
                else "There is no file or folder"
            )
            raise DataError(f"{what}: {first_few(missing)}. Name files that are here.")
        found = Shards(Path(os.path.commonpath([one.absolute().parent for one in paths])), _named(paths))
    other = [shard.name for shard in found.files if shard.kind not in ENDINGS]
    if other:
        raise DataError(
            f"{spec}: an index is made of {', '.join(ENDINGS)}, and not of {first_few(other)}. Without an index "
            "('--data FOLDER') these are read too, into memory."
        )
    return found


def beside(spec: str) -> Path:
    """The folder of the index of data, where none is named: in the folder that holds it."""
    path = user_path(spec)
    if path.is_dir():
        return path / FOLDER
    return (path if lies_there(path) else user_path(spec.partition("{")[0] + "x")).parent / FOLDER


def expanded(pattern: str) -> list[str]:
    """What a pattern with braces stands for.

    >>> expanded("s/{08..10}.tar"), expanded("{train,val}.tar"), expanded("one.tar")
    (['s/08.tar', 's/09.tar', 's/10.tar'], ['train.tar', 'val.tar'], ['one.tar'])
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    first, last, listed = match.groups()
    width = len(first or "")
    inner = listed.split(",") if listed else [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    return [whole for one in inner for whole in expanded(pattern[: match.start()] + one + pattern[match.end() :])]


def _of_folder(folder: Path) -> Shards:
    listing, root = find_files(folder, in_shards=True), folder.absolute()
    files = [
        Shard(
            file.absolute(),
            file.relative_to(folder).as_posix(),
            split,
            file.parent.relative_to(folder) if listing.metadata else Path(),
        )
        for file, split in listing.files
    ]
    if listing.metadata:
        for shard in files:
            _refuse_splits_by_folder(shard)
    return Shards(root, files, listing.notes)


def _named(paths: Sequence[Path]) -> list[Shard]:
    whole = [path.absolute() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in whole]))
    names = [path.relative_to(root) for path in whole]
    return [Shard(p, n.as_posix(), s) for p, n, s in zip(whole, names, splits_of(names), strict=True)]


def _refuse_splits_by_folder(shard: Shard) -> None:
    """Refuse metadata whose pictures' folders tell the splits: an index takes them from a column alone."""
    columns = shard.columns()
    if shard.split is not None or "split" in map(str.lower, columns) or shard.kind == ".parquet":
        return
    row = next(iter(shard.rows((), None, {})), {})
    folder = str(row.get("file_name") or row.get("image") or "").partition("/")[0]
    if folder in SPLIT_NAMES:
        raise DataError(
            f"{shard.path} has no column split, and its pictures lie in folders such as {folder}. An index takes "
            "splits from a column, or from the names of the files: give the table a column split."
        )
