"""WebDataset: a tar archive in which files that differ in their endings alone are one row."""

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from multidelete.core.errors import DataError, rule_lines
from multidelete.data.decode import ImageError, open_encoded
from multidelete.data.tables.strict_json import JsonError, decode_json

_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]+)")
_PICTURES = set("png jpg jpeg jfif webp gif bmp tif tiff ppm pgm pbm avif heic jp2 ico".split())
_TEXTS = set("txt text caption transcript cls id subject label kind".split())


@dataclass(frozen=True)
class ArchivedImage:
    """A picture in an archive: read from its place there when called."""

    archive: Path
    start: int
    size: int

    def content(self) -> bytes:
        """Its bytes; raises `ImageError` with the archive where that is gone or cut meanwhile."""
        try:
            with self.archive.open("rb") as file:
                file.seek(self.start)
                content = file.read(self.size)
        except OSError as error:
            raise ImageError(f"{self.archive}: {error.strerror}") from error
        if len(content) < self.size:
            raise ImageError(f"{self.archive} is cut")
        return content

    def __call__(self) -> Image.Image:
        return open_encoded(self.content())


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


def archive_rows(path: Path, problems: dict[str, list[str]]) -> Iterator[Mapping[str, object]]:
    """The rows of an archive one after the other; what is wrong with them goes to ``problems``.

    Raises:
        DataError: It is no archive, or truncated.
    """
    row: dict[str, object] = {}
    keys: set[str] = set()
    try:
        with tarfile.open(path, "r:") as archive:
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
                row |= dict(_fields(path, archive, member, ending, row, problems))
            _refuse_cut(path, archive.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be loaded as a data set: it is no whole tar archive ({error}).") from error
    if row:
        yield row


def _refuse_cut(path: Path, end: int) -> None:
    """Raise `DataError` where an archive ends between two files, without the empty block that ends it."""
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{path} cannot be loaded as a data set: it is cut, or was never closed. Write it again.")


def name_of_row(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """The key of the row that a file belongs to, and its ending; None of a file that belongs to none."""
    match = _NAME.fullmatch(member.name) if member.isfile() else None
    return None if match is None else (match[1], match[2])


def _fields(
    path: Path,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    ending: str,
    row: Mapping[str, object],
    problems: dict[str, list[str]],
) -> Iterator[tuple[str, object]]:
    """What one file adds to its row."""
    kind = ending.rsplit(".", 1)[-1].lower()
    if kind in _PICTURES:
        yield ending, ArchivedImage(path, member.offset_data, member.size)
        return
    if kind not in _TEXTS and kind != "json":
        yield ending, None
        return
    opened = archive.extractfile(member)
    try:
        text = opened.read().decode("utf-8-sig") if opened is not None else ""
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
