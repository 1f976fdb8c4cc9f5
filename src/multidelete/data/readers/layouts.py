"""What the readers of published layouts share: JSON lines, pictures that may lie in several places, a last check."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted, indefinite, share
from multidelete.data.pairs import Pair, PairDataset
from multidelete.data.readers.labels import names_of_pairs
from multidelete.data.tables.json_rows import read_objects
from multidelete.data.tables.source import is_file, read_text
from multidelete.data.tables.strict_json import Json
from multidelete.data.tables.suspicion import is_text, two_spellings

Row = Mapping[str, Json]


def read_json_lines(path: Path, columns: Sequence[str], text: str, problems: list[str]) -> list[Row]:
    """The objects of a file of JSON lines that have all ``columns``; what is wrong goes to ``problems``.

    Args:
        path: The file.
        columns: The columns that every row needs.
        text: The one of them that holds the text of the pair.
        problems: Gets what is wrong.
    """
    try:
        objects, broken = read_objects(path.with_suffix(".jsonl"), read_text(path))
    except DataError as error:
        problems += error.problems
        return []
    rows = complete(path, objects, columns, text, problems, where="line")
    if broken:
        lines = first_few([f"line {number} ({reason})" for number, reason in broken])
        problems.append(f"{path}: {counted(len(broken), 'lines are')} not JSON objects: {lines}. Correct them.")
    if not (objects or broken):
        problems.append(f"{path} is empty; it needs one JSON object on each line.")
    return rows


def complete(
    path: Path,
    rows: Sequence[tuple[int, Row]],
    columns: Sequence[str],
    text: str | None,
    problems: list[str],
    *,
    where: str,
) -> list[Row]:
    """The rows that have a text or number in each of ``columns``, and a text of a pair in the one called ``text``.

    What is wrong with others goes to ``problems``.
    """
    whole, unfit = [], []
    lacking: dict[str, list[str]] = {}
    for number, row in rows:
        absent = [column for column in columns if not isinstance(row.get(column), str) or not str(row[column]).strip()]
        for column in absent:
            nested = " (a list or an object)" if isinstance(row.get(column), list | dict) else ""
            lacking.setdefault(column, []).append(f"{where} {number}{nested}")
        if not absent and text is not None and not is_text(row[text]):
            unfit.append(f"{where} {number}")
        elif not absent:
            whole.append(row)
    for column, numbers in lacking.items():
        problems.append(
            f"{path}: {counted(len(numbers), 'rows have')} no {column!r}: {first_few(numbers)}. Every row needs one."
        )
    if unfit:
        problems.append(
            f"{path}: {counted(len(unfit), 'rows have')} {indefinite(repr(text))} that is a number or looks like a "
            f"list: {first_few(unfit)}. Write one text."
        )
    return whole


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
                if is_file(file):
                    self._found[name] = file
                    return file
            self._missing[name] = candidates[0]
        return self._missing[name]

    def problems(self, path: Path) -> list[str]:
        """One line about the pictures that were looked for and not found; none where all were."""
        if not self._missing:
            return []
        return [
            f"{share(len(self._missing), len(self._missing) + len(self._found), f'images of {path} are')} missing: "
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
    every_problem = list(problems)
    if not pairs.get("train") and not problems:
        others = ", ".join(split for split in pairs if pairs[split]) or "nothing"
        every_problem.append(f"{path} has no training pairs (found: {others}); they are read from {train_file}.")
    for split, every in pairs.items():
        twice = sorted(one for one, times in Counter(pair.id for pair in every).items() if times > 1)
        if twice:
            every_problem.append(
                f"{path}: {counted(len(twice), 'ids occur')} more than once in {split}: "
                f"{first_few(twice)}. Remove repeats."
            )
    every_problem += two_spellings(path, names_of_pairs(pair for one in pairs.values() for pair in one))
    every_problem += pictures.problems(path)
    if every_problem:
        raise DataError(every_problem)
    return {split: PairDataset(every, f"{name} {split}") for split, every in pairs.items()}
