"""WebDataset: a tar archive in which files that differ in their endings alone are one row."""

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from multidelete.core.errors import DataError, rule_lines
from multidelete.data.decode import ImageError, open_encoded
from multidelete.data.kept import read_once
from multidelete.data.location import BEGINNING, THROUGH, Location, open_shard
from multidelete.data.member_sources import picture_digest
from multidelete.data.tables.strict_json import JsonError, decode_json

_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]+)")
_PICTURES = set("png jpg jpeg jfif webp gif bmp tif tiff ppm pgm pbm avif heic jp2 ico".split())
_TEXTS = set("txt text caption transcript cls id subject label kind".split())


@dataclass(frozen=True)
class ArchivedImage:
    """A picture in an archive: read from its place there when called.

    Attributes:
        archive: The file.
        start: Where in it the picture begins.
        size: How many bytes it has.
        digest: SHA-256 of these, where they have been read.
    """

    archive: Location
    start: int
    size: int
    digest: str | None = field(default=None, compare=False)

    def __call__(self) -> Image.Image:
        return open_encoded(read_once(self, self.archive, self.content))

    def content(self) -> bytes:
        """Its bytes; raises `ImageError` with the archive where that is gone or cut meanwhile."""
        try:
            with open_shard(self.archive) as file:
                file.seek(self.start)
                content = file.read(self.size)
        except OSError as error:
            raise ImageError(f"{self.archive}: {error.strerror}") from error
        if len(content) < self.size:
            raise ImageError(f"{self.archive} is cut")
        return content


def read_archive(path: Path) -> tuple[list[str], list[Mapping[str, object]]]:
    """The columns and rows of an archive, each field as text, a picture, or what JSON holds.

    A row's columns are the endings of its files (``jpg``, ``txt``), and ``__key__`` is what they have in common.
    Fields of a JSON object are columns too, where no file has their name.

    Raises:
        DataError: It is no archive, is truncated, has an ending twice for one key, or texts that are not UTF-8.
    """
    problems: dict[str, list[str]] = {}
    rows = list(archive_rows(path, problems))
    if problems:
        raise DataError(rule_lines(path, problems))
    return list(dict.fromkeys(column for row in rows for column in row)), rows


def archive_rows(
    path: Location, problems: dict[str, list[str]], *, digests: bool = True
) -> Iterator[Mapping[str, object]]:
    """The rows of an archive one after the other; what is wrong with them goes to ``problems``.

    Args:
        path: The archive.
        problems: For each rule that is broken, where.
        digests: Whether pictures are read for their digests, or passed over.

    Raises:
        DataError: It is no archive, or truncated.
    """
    row: dict[str, object] = {}
    keys: set[str] = set()
    try:
        with (
            open_shard(path, THROUGH if digests else BEGINNING) as file,
            tarfile.open(fileobj=file, mode="r:") as archive,
        ):
            for member in archive:
                vars(archive)["members"] = []  # which it would keep, of millions of files
                name = name_of_row(member)
                if name is None:
                    continue
                key, ending = name
                if row.get("__key__") != key:
                    if row:
                        yield row
                    if key in keys:
                        problems.setdefault("keys come again after others", []).append(key)
                    keys.add(key)
                    row = {"__key__": key}
                if ending in row:
                    problems.setdefault("names occur twice", []).append(member.name)
                if ending.rsplit(".", 1)[-1] in _PICTURES:
                    digest = picture_digest(_content(archive, member)) if digests else None
                    row[ending] = ArchivedImage(path, member.offset_data, member.size, digest)
                else:
                    row |= dict(_fields(archive, member, ending, row, problems))
            _refuse_cut(path, file, archive.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        raise DataError(f"{path} cannot be loaded as a data set: it is no whole tar archive ({error}).") from error
    if row:
        yield row


def _refuse_cut(path: Location, file: BinaryIO, end: int) -> None:
    """Raise `DataError` where an archive ends between two files, without the empty block that ends it."""
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{path} cannot be loaded as a data set: it is cut, or was never closed. Write it again.")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    return b"" if opened is None else opened.read()


def name_of_row(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """The key of the row of a file, and its ending in small letters; None of a file that belongs to no row."""
    match = _NAME.fullmatch(member.name) if member.isfile() else None
    return None if match is None else (match[1], match[2].lower())


def _fields(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    ending: str,
    row: Mapping[str, object],
    problems: dict[str, list[str]],
) -> Iterator[tuple[str, object]]:
    """What one file that is no picture adds to its row."""
    kind = ending.rsplit(".", 1)[-1]
    if kind not in _TEXTS and kind != "json":
        yield ending, None
        return
    try:
        text = _content(archive, member).decode("utf-8-sig")
        value = decode_json(text) if kind == "json" else text.strip() or None
    except UnicodeDecodeError:
        problems.setdefault("files are no UTF-8 text", []).append(member.name)
        return
    except JsonError as error:
        problems.setdefault("files are no JSON", []).append(f"{member.name} ({error})")
        return
    yield ending, value
    if isinstance(value, dict):
        yield from ((name, cell) for name, cell in value.items() if name not in row)
