"""Which files an index is of, and their rows, one after the other."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.paths import lies_there, user_path
from multidelete.core.words import counted
from multidelete.data.hub import HubPath, files_below, files_like, is_on_hub, pinned, text_at
from multidelete.data.index.file import FOLDER
from multidelete.data.location import BEGINNING, Location
from multidelete.data.readers.archive import archive_rows
from multidelete.data.readers.delimited_file import ENDINGS as DELIMITED
from multidelete.data.readers.delimited_file import DelimitedFile, delimited_file
from multidelete.data.readers.found import SPLIT_NAMES, Found, files_among, find_files, splits_of
from multidelete.data.readers.json_lines import json_line_rows
from multidelete.data.readers.parquet import parquet_columns, parquet_rows, parquet_types
from multidelete.data.readers.typed import Types

ENDINGS = (".tar", ".parquet", ".jsonl", ".csv", ".tsv")
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_PEEK, _PEEK_OF_ARCHIVE = 1000, 10  # rows that tell which columns a file without a header has; on the hub of archives


@dataclass(frozen=True)
class Shard:
    """One file of pairs.

    Attributes:
        path: Where it lies.
        name: What lists and messages call it: its path below the folder of all shards.
        split: The split that its name or folder tells, or None.
        below: Folder that its pictures' paths start from, seen from that of all shards.
    """

    path: Location
    name: str
    split: str | None
    below: Path = Path()

    @property
    def kind(self) -> str:
        return self.path.suffix.lower()

    @cached_property
    def columns(self) -> list[str]:
        """Names of its columns: of JSONL and tar, those of its first rows.

        Raises:
            DataError: The file is damaged.
        """
        if self.kind == ".parquet":
            return parquet_columns(self.path)
        if self.kind in DELIMITED:
            return list(self._delimited.columns)
        is_far = isinstance(self.path, HubPath) and self.kind == ".tar"
        return list(dict.fromkeys(name for row in self._first(_PEEK_OF_ARCHIVE if is_far else _PEEK) for name in row))

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of it should know."""
        return self._delimited.notes if self.kind in DELIMITED else ()

    @cached_property
    def _delimited(self) -> DelimitedFile:
        return delimited_file(self.path)

    def _first(self, count: int) -> Iterator[Mapping[str, object]]:
        """Its first rows, pictures unread."""
        if self.kind == ".tar":
            return islice(archive_rows(self.path, {}, digests=False), count)
        return islice(json_line_rows(self.path, {}, BEGINNING), count)

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
        if self.kind in DELIMITED:
            return self._delimited.rows()
        return (archive_rows if self.kind == ".tar" else json_line_rows)(self.path, problems)


@dataclass(frozen=True)
class Shards:
    """The files that an index is of.

    Attributes:
        root: The folder that holds all of them.
        files: They, in order.
        notes: What is odd about them.
    """

    root: Location
    files: Sequence[Shard]
    notes: Sequence[str] = field(default_factory=tuple)


def find_shards(spec: str) -> Shards:
    """The files that a text names: a file, a folder, or a pattern such as ``shards/{0000..0999}.tar``.

    On the hub it is ``hf://datasets/owner/name``, with ``@revision`` and a path or pattern behind it; there ``*`` and
    ``**`` have their meaning too.

    Raises:
        DataError: There are none, some of a pattern are missing, or some are of a kind that no index reads.
    """
    path = user_path(spec)
    if is_on_hub(spec):
        found = _on_hub(spec)
    elif lies_there(path):
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
            raise DataError(
                f"{what}: {first_few(missing)}. Name files that are here, or a data set of the hub: "
                "hf://datasets/OWNER/NAME."
            )
        found = Shards(Path(os.path.commonpath([one.absolute().parent for one in paths])), _named(paths))
    other = [shard.name for shard in found.files if shard.kind not in ENDINGS]
    if other:
        raise DataError(
            f"{spec}: an index is made of {', '.join(ENDINGS)}, and not of {first_few(other)}. Without an index "
            "('--data FOLDER') these are read too, into memory."
        )
    return found


def beside(spec: str) -> Path:
    """The folder of the index of data, where none is named: in the folder that holds it.

    Raises:
        DataError: The data lies on the hub.
    """
    if is_on_hub(spec):
        raise DataError(f"Nothing can be written beside {spec}. Name a folder here: --index-folder FOLDER.")
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
    return _listed(folder.absolute(), find_files(folder, in_shards=True))


def _listed(root: Location, listing: Found) -> Shards:
    files = [
        Shard(root / file, file.as_posix(), split, file.parent if listing.metadata else Path())
        for file, split in listing.files
    ]
    if listing.metadata:
        for shard in files:
            _refuse_splits_by_folder(shard)
    return Shards(root, files, listing.notes)


def _on_hub(spec: str) -> Shards:
    """The same of a data set on the hub, at the commit that its revision stands for now."""
    repository, pattern = pinned(spec)
    folder = repository / pattern
    if below := [] if any(sign in pattern for sign in "*?{") else files_below(folder):
        readme = folder / "README.md"
        text = text_at(readme) if "README.md" in below else ""
        return _listed(folder, files_among(spec, map(Path, below), text, in_shards=True))
    missing, files = [], []
    for one in expanded(pattern):
        is_pattern = any(sign in one for sign in "*?")
        matching = files_like(repository, one) if is_pattern else [one] * ((repository / one).told() is not None)
        files += matching
        missing += [] if matching else [one]
    if missing:
        raise DataError(f"{spec}: there is no file {first_few(missing)} in {repository}. Name files that are there.")
    names = list(dict.fromkeys(map(Path, files)))
    below_root = os.path.commonpath([name.parent for name in names])
    return _in_folder(repository / below_root, [name.relative_to(below_root) for name in names])


def _named(paths: Sequence[Path]) -> list[Shard]:
    whole = [path.absolute() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in whole]))
    return list(_in_folder(root, [path.relative_to(root) for path in whole]).files)


def _in_folder(root: Location, names: Sequence[Path]) -> Shards:
    """Files by their paths below a folder."""
    shards = [Shard(root / name, name.as_posix(), split) for name, split in zip(names, splits_of(names), strict=True)]
    return Shards(root, shards)


def _refuse_splits_by_folder(shard: Shard) -> None:
    """Refuse metadata whose pictures' folders tell the splits: an index takes them from a column alone."""
    columns = shard.columns
    if shard.split is not None or "split" in map(str.lower, columns) or shard.kind == ".parquet":
        return
    row = next(iter(shard.rows((), None, {})), {})
    folder = str(row.get("file_name") or row.get("image") or "").partition("/")[0]
    if folder in SPLIT_NAMES:
        raise DataError(
            f"{shard.path} has no column split, and its pictures lie in folders such as {folder}. An index takes "
            "splits from a column, or from the names of the files: give the table a column split."
        )
