"""From the rows of a table to pairs: where the image is, what the id is, what is missing."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from multidelete.data.pairs import ImageInput, Pair, text_source
from multidelete.data.readers.labels import Labelled
from multidelete.data.readers.tables import StoredImage, Table
from multidelete.errors import first_few


class RowReader:
    """Makes pairs of rows and collects what is wrong with them.

    Args:
        at: Our column names to the data's.
        root: Folder of the data, which sources are relative to; None for the hub.
        image_root: Folder that relative image paths start from, ``root`` by default.

    Attributes:
        problems: For each rule that rows break, where.
    """

    def __init__(self, at: Mapping[str, str], root: Path | None, image_root: Path | None) -> None:
        self.at = at
        self.root = None if root is None else root.resolve()
        self.image_root = image_root or root
        self.problems: dict[str, list[str]] = {}
        self._files: dict[Path, bool] = {}
        self._digests: dict[Path, str] = {}

    def problem_lines(self, name: str) -> list[str]:
        return [f"{name}: {len(where)} {rule}: {first_few(where)}." for rule, where in self.problems.items()]

    def pairs_of(self, table: Table, number: int, row: Mapping[str, object]) -> Iterator[Labelled]:
        """The pairs of one row: one, or one for each of its texts."""
        where = f"row {number + 1}" if table.split is None else f"{table.split} row {number + 1}"
        found = self._image(table, number, row.get(self.at["image"]), where)
        texts = row.get(self.at["text"])
        every = texts if isinstance(texts, list) else [texts]
        texts = [text for text in every if isinstance(text, str) and text.strip()]
        if not texts or len(texts) < len(every):
            self._problem("rows have no text, or one that is not a text", where)
        elif found is not None:
            yield from self._pairs(row, found, texts, self._label(table, row, where), where)

    def _label(self, table: Table, row: Mapping[str, object], where: str) -> object:
        """The label as the data writes it; of a column of numbered classes the name, None for -1."""
        label = self._optional(row, "label")
        names = table.class_names.get(self.at.get("label", ""))
        if names is None or not isinstance(label, int):
            return label
        if label >= len(names):
            self._problem(f"rows have a label beyond the {len(names)} classes of its column", where)
        return names[label] if 0 <= label < len(names) else None

    def _pairs(
        self, row: Mapping[str, object], found: tuple[ImageInput, str, str], texts: list[str], label: object, where: str
    ) -> Iterator[Labelled]:
        image, source, digest = found
        for number, text in enumerate(texts):
            if "id" in self.at:
                stem = self._optional(row, "id")
                if stem is None:
                    self._problem(f"rows have no {self.at['id']}; leave the column out to have ids made", where)
                    return
                pair_id = str(stem) if len(texts) == 1 else f"{stem}#{number}"
            else:
                content = "\0".join((digest, text, "" if label is None else str(label)))
                pair_id = hashlib.sha256(content.encode()).hexdigest()[:20]
            subject, kind = self._optional(row, "subject"), self._optional(row, "kind")
            pair = Pair(
                id=pair_id,
                inputs={"image": image, "text": text},
                sources={"image": source, "text": text_source(text)},
                subject=None if subject is None else str(subject),
                kind=None if kind is None else str(kind),
            )
            yield pair, label

    def _optional(self, row: Mapping[str, object], name: str) -> object:
        """The value of one of our columns, None where it is absent or empty."""
        value = row.get(self.at[name]) if name in self.at else None
        return None if value == "" else value

    def _image(self, table: Table, number: int, value: object, where: str) -> tuple[ImageInput, str, str] | None:
        """What to decode, its source, and the digest of its bytes where ids are made from them."""
        stored = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(stored, bytes) and table.dataset is not None:
            digest = hashlib.sha256(stored).hexdigest()
            return StoredImage(table.dataset, number, self.at["image"]), f"sha256:{digest[:32]}", digest
        path = value.get("path") if isinstance(value, dict) else value
        if not isinstance(path, str) or not path:
            self._problem("rows have no image", where)
            return None
        file = Path(path) if self.image_root is None else self.image_root / path
        if file not in self._files:
            self._files[file] = os.path.isfile(file)  # Path.is_file raises on names that are too long
            if not self._files[file]:
                self._problem("image files are missing (relative paths start from --image-root)", str(file))
        if not self._files[file]:
            return None
        digest = self._digest(file) if "id" not in self.at or self.root is None else ""
        return file, f"sha256:{digest[:32]}" if self.root is None else self._source(path, self.root), digest

    def _source(self, path: str, root: Path) -> str:
        """The path as the data writes it, relative to its folder where it lies there."""
        written = PurePosixPath(path)
        if written.is_absolute() and written.is_relative_to(root.as_posix()):
            written = written.relative_to(root.as_posix())
        return str(written)

    def _digest(self, file: Path) -> str:
        if file not in self._digests:
            self._digests[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        return self._digests[file]

    def _problem(self, rule: str, where: str) -> None:
        self.problems.setdefault(rule, []).append(where)
