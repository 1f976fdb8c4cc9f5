"""NLVR2: is the sentence true of the two pictures? ``train.json``, ``dev.json``, ``test.json`` or ``test1.json``.

Suhr, Zhou, Zhang, Zhang, Bai, Artzi: "A Corpus for Reasoning About Natural Language Grounded in Photographs",
ACL 2019, arXiv:1811.00491.
"""

import re
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairData, text_source
from multidelete.data.readers.layouts import Pictures, Row, checked_splits, read_json_lines
from multidelete.data.tables.strict_json import JsonError, decode_json

CLASSES = ("False", "True")
FILES = {"train": ("train.json",), "val": ("dev.json",), "test": ("test.json", "test1.json")}
_COLUMNS = ("identifier", "sentence", "label")
_IDENTIFIER = re.compile(r"([^|]+)-\d+-\d+")  # | joins the names of two pictures


def looks_like_nlvr2(path: Path) -> bool:
    """Whether a folder's ``train.json``, or a file, begins with an NLVR2 row."""
    file = path / FILES["train"][0] if path.is_dir() else path
    if not file.is_file() or file.suffix != ".json":
        return False
    with file.open("rb") as lines:
        first = lines.readline(1 << 16)
    try:
        row = decode_json(first.decode("utf-8-sig", "replace"))
    except JsonError:
        return False
    return isinstance(row, dict) and set(_COLUMNS) <= row.keys()


def read_nlvr2(path: Path, *, image_root: Path | None = None) -> PairData:
    """Read one pair for each row: two pictures (left, right), a sentence, and whether it is true of them.

    The pictures of ``dev-850-0-1`` are ``dev-850-0-img0.png`` and ``dev-850-0-img1.png``; the two are one
    member of the pair, so that a request by image deletes the two with every sentence about them. A pair's id is its
    identifier; its subject is the identifier without the last two numbers (``dev-850``), the set of
    pictures that was shown to the writer: rows with the same subject share pictures or drawings.
    Labels are positions in ``("False", "True")``. ``dev`` is called ``val``, and ``test1`` ``test``.

    Args:
        path: The folder of the files, or one of them; then the others beside it are read too.
        image_root: Folder of the pictures. Without it they are looked for in ``images/`` beside the
            files, beside them, in ``images/`` one folder above, and there. In each of these they may lie in
            folders by split and by the ``directory`` of a row (``train/12/train-10171-0-img0.png``).

    Raises:
        DataError: With all problems at once: no training file, broken lines, missing columns, unknown
            labels or identifiers, repeated ids, missing pictures (all are counted, ten are named).
    """
    folder = path.parent if path.is_file() else path
    beside = [folder / "images", folder, folder.parent / "images", folder.parent]
    pictures = Pictures([image_root] if image_root is not None else beside)
    problems: list[str] = []
    pairs: dict[str, list[Pair]] = {}
    for split, names in FILES.items():
        files = [folder / name for name in names if (folder / name).is_file()]
        if len(files) > 1:
            problems.append(f"{folder} holds {' and '.join(names)}, which would both be {split}; remove one.")
        for file in files[:1]:
            rows = _usable(file, read_json_lines(file, _COLUMNS, "sentence", problems), problems)
            pairs[split] = [_pair(row, pictures, file.stem) for row in rows]
    splits = checked_splits("nlvr2", folder, pairs, train_file=FILES["train"][0], pictures=pictures, problems=problems)
    return PairData("nlvr2", splits, classes=CLASSES)


def _usable(file: Path, rows: list[Row], problems: list[str]) -> list[Row]:
    """The rows with a known label and identifier; the others go to ``problems``."""
    labels = sorted({str(row["label"]) for row in rows} - set(CLASSES))
    if labels:
        problems.append(f"{file}: some labels are not True or False: {first_few(labels)}.")
    names = [str(row["identifier"]) for row in rows if not _IDENTIFIER.fullmatch(str(row["identifier"]))]
    if names:
        problems.append(
            f"{file}: {counted(len(names), 'identifiers do')} not end in two numbers, such as "
            f"dev-850-0-1: {first_few(names)}."
        )
    return [row for row in rows if str(row["label"]) in CLASSES and _IDENTIFIER.fullmatch(str(row["identifier"]))]


def _pair(row: Row, pictures: Pictures, stem: str) -> Pair:
    identifier, text = str(row["identifier"]), str(row["sentence"]).strip()
    names = [f"{identifier.rpartition('-')[0]}-img{side}.png" for side in (0, 1)]
    directory = row.get("directory")
    places = (stem, f"{stem}/{directory}", directory) if isinstance(directory, str) else (stem,)
    images = [pictures.find(name, *(f"{place}/{name}" for place in places)) for name in names]
    return Pair(
        id=identifier,
        inputs={"image": tuple(images), "text": text},
        sources={"image": "|".join(names), "text": text_source(text)},
        label=CLASSES.index(str(row["label"])),
        subject=identifier.rsplit("-", 2)[0],
    )
