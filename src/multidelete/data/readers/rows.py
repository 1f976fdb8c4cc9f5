"""From the rows of a table to pairs: where the image is, what the id is, what is missing."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from PIL import Image

from multidelete.core.words import counted
from multidelete.data.decode import ImageError
from multidelete.data.location import Location, digest_at, lies_at
from multidelete.data.member_sources import picture_digest, stored_source
from multidelete.data.pairs import ImageInput, Pair, text_source
from multidelete.data.readers.archive import ArchivedImage
from multidelete.data.readers.cells import CellReader
from multidelete.data.readers.labels import Labelled
from multidelete.data.readers.tables import StoredImage, Table

_ENCODED = re.compile(r"[A-Za-z0-9+/=\s]{200,}")


def content_id(digest: str, text: str, label: str | None, subject: str | None, kind: str | None) -> str:
    """The id of a pair from its content: the same on every machine, and in any order of rows."""
    parts = [digest, text, label or ""]
    if subject is not None or kind is not None:
        parts.append(json.dumps([subject, kind]))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


class RowReader:
    """Makes pairs of rows and collects what is wrong with them.

    Args:
        at: Our column names to the data's.
        root: Folder of the data, which sources are relative to; None for a hub id.
        image_root: Folder that relative image paths start from, ``root`` by default.

    Attributes:
        cells: What reads single cells, with all problems and notes.
        files: What is known of the picture files that were named.
    """

    def __init__(self, at: Mapping[str, str], root: Location | None, image_root: Path | None) -> None:
        self.at = at
        self.root = root.resolve() if isinstance(root, Path) else root
        self.image_root = image_root or root
        self.cells = CellReader()
        self.files: dict[str, tuple[ImageInput, str, str] | None] = {}

    def pairs_of(self, table: Table, number: int, row: Mapping[str, object]) -> Iterator[Labelled]:
        """The pairs of one row: one, or one for each of its texts."""
        where = table.row_name(number)
        picture = self._image(table, number, row.get(self.at["image"]), where)
        texts = self.cells.texts(row.get(self.at["text"]), where)
        if texts and picture is not None:
            yield from self._pairs(row, picture, texts, self._label(table, row, where), where)

    def _label(self, table: Table, row: Mapping[str, object], where: str) -> str | None:
        """The label as the data writes it; of a column of numbered classes the name."""
        label = self.cells.optional(row, self.at.get("label"), "label", where)
        names = table.class_names.get(self.at.get("label", ""))
        if names is not None and label is not None and label not in names:
            self.cells.problem(f"rows have a label beyond the {counted(len(names), 'classes')} of its column", where)
        return label

    def _pairs(
        self,
        row: Mapping[str, object],
        picture: tuple[ImageInput, str, str],
        texts: list[str],
        label: str | None,
        where: str,
    ) -> Iterator[Labelled]:
        image, source, digest = picture
        subject, kind, stem = (
            self.cells.optional(row, self.at.get(name), name, where) for name in ("subject", "kind", "id")
        )
        for number, text in enumerate(texts):
            if "id" in self.at:
                if stem is None:
                    self.cells.problem(f"rows have no {self.at['id']}; leave the column out to have ids made", where)
                    return
                pair_id = stem if len(texts) == 1 else f"{stem}#{number}"
            else:
                pair_id = content_id(digest, text, label, subject, kind)
            pair = Pair(
                id=pair_id,
                inputs={"image": image, "text": text},
                sources={"image": source, "text": text_source(text)},
                subject=subject,
                kind=kind,
            )
            yield pair, label

    def _image(self, table: Table, number: int, value: object, where: str) -> tuple[ImageInput, str, str] | None:
        """What to decode, its source, and the digest of its bytes where ids are made from them."""
        stored = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(stored, bytes | Image.Image):
            return self._stored(table, number, stored, where)
        if isinstance(value, ArchivedImage):
            digest = value.digest or picture_digest(value.content())
            return value, stored_source(digest), digest
        path = value.get("path") if isinstance(value, dict) else value
        path = str(path) if isinstance(path, Path) else path
        if not isinstance(path, str) or not path:
            self.cells.problem("rows have no image", where)
            return None
        if path not in self.files:
            self.files[path] = self._file(path, where)
        return self.files[path]

    def _file(self, path: str, where: str) -> tuple[ImageInput, str, str] | None:
        """The same of a picture that is a file."""
        file = Path(path) if self.image_root is None else self.image_root / path
        if not lies_at(file):
            if path.startswith("data:") or _ENCODED.fullmatch(path):
                self.cells.problem("rows hold encoded pictures where file names are read; write them as files", where)
            else:
                self.cells.problem("image files are missing (relative paths start from --image-root)", str(file))
            return None
        content = self._digest(file) if "id" not in self.at or self.root is None else ""
        if content is None:
            return None
        return file, stored_source(content) if self.root is None else self._source(path, self.root), content

    def _stored(
        self, table: Table, number: int, stored: bytes | Image.Image, where: str
    ) -> tuple[ImageInput, str, str] | None:
        """The same of a picture that the row itself holds; that of a data set is fetched from there when it is used."""
        try:
            digest = picture_digest(stored)
        except ImageError as error:
            self.cells.problem(f"rows have a picture that cannot be read ({error})", where)
            return None
        image = stored if table.dataset is None else StoredImage(table.dataset, number, self.at["image"])
        return image, stored_source(digest), digest

    def _source(self, path: str, root: Location) -> str:
        """The path as the data writes it, relative to its folder where it lies there."""
        written = PurePosixPath(path)
        if isinstance(root, Path) and written.is_absolute() and written.is_relative_to(root.as_posix()):
            written = written.relative_to(root.as_posix())
        return str(written)

    def _digest(self, file: Location) -> str | None:
        try:
            return digest_at(file)
        except OSError as error:
            self.cells.problem(f"image files cannot be read ({error.strerror})", str(file))
            return None
