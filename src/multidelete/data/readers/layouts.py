"""What the readers of published layouts share: JSON lines, pictures that may lie in several places, a last check."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.data.pairs import Pair, PairDataset
from multidelete.errors import DataError, first_few

Row = dict[str, object]


def read_json_lines(path: Path, columns: Sequence[str], problems: list[str]) -> list[Row]:
    """The objects of a file of JSON lines that have all ``columns``; what is wrong goes to ``problems``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read as UTF-8 text: {error}.")
        return []
    rows: list[Row] = []
    broken: list[str] = []
    lacking: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            broken.append(f"line {number} ({error.msg})")
            continue
        if not isinstance(row, dict):
            broken.append(f"line {number} (not an object)")
            continue
        absent = [column for column in columns if row.get(column) in (None, "")]
        for column in absent:
            lacking.setdefault(column, []).append(f"line {number}")
        if not absent:
            rows.append(row)
    if broken:
        problems.append(f"{path}: {len(broken)} lines are not JSON objects: {first_few(broken)}. Correct them.")
    for column, where in lacking.items():
        problems.append(f"{path}: {len(where)} rows have no {column!r}: {first_few(where)}. Every row needs one.")
    if not (rows or broken or lacking):
        problems.append(f"{path} is empty; it needs one JSON object on each line.")
    return rows


class Pictures:
    """Finds pictures below the folders where a data set usually keeps them, and notes those that are nowhere.

    Args:
        folders: Where to look, the likeliest first.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._found: dict[str, Path] = {}
        self._missing: dict[str, Path] = {}

    def find(self, name: str, *others: str) -> Path:
        """The picture called ``name``, which may also be kept under one of the other relative names."""
        if name in self._found:
            return self._found[name]
        if name not in self._missing:
            candidates = [folder / relative for folder in self.folders for relative in (name, *others)]
            for file in candidates:
                if os.path.isfile(file):  # Path.is_file raises on names that are too long
                    self._found[name] = file
                    return file
            self._missing[name] = candidates[0]
        return self._missing[name]

    def problems(self, path: Path) -> list[str]:
        """One line about the pictures that were looked for and not found; none where all were."""
        if not self._missing:
            return []
        return [
            f"{len(self._missing)} of {len(self._missing) + len(self._found)} images of {path} are missing: "
            f"{first_few(list(self._missing))}. Looked in {first_few(self.folders)}. Name their folder with "
            "--image-root, or remove the rows of images that cannot be had."
        ]


def checked_splits(
    name: str,
    path: Path,
    pairs: Mapping[str, Sequence[Pair]],
    *,
    train_file: str,
    pictures: Pictures,
    problems: Sequence[str],
) -> dict[str, PairDataset]:
    """The splits, where nothing is wrong with them.

    Args:
        name: What the data is called.
        path: Where it lies.
        pairs: Pairs of each split.
        train_file: Name of the file that training pairs come from.
        pictures: What looked for their pictures.
        problems: What else is wrong.

    Raises:
        DataError: With all problems: those given, no training pairs, repeated ids, missing pictures.
    """
    found = list(problems)
    if not pairs.get("train") and not problems:
        others = ", ".join(split for split in pairs if pairs[split]) or "nothing"
        found.append(f"{path} has no training pairs (found: {others}); they are read from {train_file}.")
    for split, every in pairs.items():
        twice = sorted(one for one, times in Counter(pair.id for pair in every).items() if times > 1)
        if twice:
            found.append(
                f"{path}: {len(twice)} ids occur more than once in {split}: {first_few(twice)}. Remove repeats."
            )
    found += pictures.problems(path)
    if found:
        raise DataError(found)
    return {split: PairDataset(every, f"{name} {split}") for split, every in pairs.items()}
