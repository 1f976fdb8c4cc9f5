"""Pairs from what Python holds: rows, and data sets of `datasets`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict

from multidelete.core.arguments import text
from multidelete.core.errors import DataError, rule_lines
from multidelete.core.words import indefinite
from multidelete.data.pairs import PairData
from multidelete.data.readers.checked import check_options, checked
from multidelete.data.readers.folder import check_names, pairs_of_tables
from multidelete.data.readers.tables import Table, tables_of_dataset
from multidelete.data.readers.typed import as_text


def read_rows(
    rows: Iterable[Mapping[str, object]],
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    classes: Sequence[str] = (),
    name: str = "rows",
) -> PairData:
    """Read pairs from rows in memory, by the same rules and names as those of a JSONL file.

    Args:
        rows: A mapping for each row, such as ``{"image": "tom.png", "text": "a cat", "subject": "tom"}``. An image is
            a path, encoded bytes or a PIL image; a text is a text or a list of them.
        columns: Which column holds what, where names differ: ``{"text": "caption"}``.
        splits: Which split is what, where names differ: ``{"train": "part_a"}``.
        image_root: Folder that relative image paths start from; without it, the working directory.
        classes: Names of the classes, as in `load_data`.
        name: What the data is called in results and messages.

    Raises:
        ConfigError: An argument is of the wrong type, or names something unknown.
        DataError: The rows cannot be read as pairs; all problems of one kind at once.
    """
    started = time.perf_counter()
    image_root = check_options(columns, splits, image_root, classes, name=text(name))
    check_names(columns or {}, splits or {})
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise DataError(f"{name} are {indefinite(type(rows).__name__)}; they must be a list of rows, each a mapping.")
    table = _table(name, list(rows))
    root = image_root or Path.cwd()
    data = pairs_of_tables(
        name, [table], name=name, columns=columns or {}, splits=splits or {}, root=root, image_root=None
    )
    return checked(data, places=[] if image_root is None else [image_root], classes=classes, started=started)


def read_dataset(
    dataset: Dataset | DatasetDict,
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    classes: Sequence[str] = (),
    name: str = "dataset",
) -> PairData:
    """Read pairs from a data set of `datasets`, by the same rules and names as those of the hub.

    Formats and transforms that were set on it (``set_format``, ``with_transform``) are not applied. A `Dataset` is the
    split that it was loaded as, ``train`` where it was loaded as none. Pictures are fetched from it when they are used.

    Args:
        dataset: One split, or several by name.
        columns: As in `read_rows`.
        splits: As in `read_rows`.
        image_root: As in `read_rows`.
        classes: Names of the classes, as in `load_data`.
        name: What the data is called in results and messages.

    Raises:
        ConfigError: An argument is of the wrong type, or names something unknown.
        DataError: It is no finished data set (a stream), or cannot be read as pairs.
    """
    started = time.perf_counter()
    image_root = check_options(columns, splits, image_root, classes, name=text(name))
    check_names(columns or {}, splits or {})
    tables = tables_of_dataset(name, _by_split(dataset))
    data = pairs_of_tables(
        name, tables, name=name, columns=columns or {}, splits=splits or {}, root=None, image_root=image_root
    )
    return checked(data, places=[] if image_root is None else [image_root], classes=classes, started=started)


def _by_split(dataset: object) -> object:
    """The data set by split, without formats; anything else as it is."""
    if isinstance(dataset, Dataset):
        split = str(dataset.split or "train").partition("[")[0]
        dataset = DatasetDict({"train" if "+" in split else split: dataset})
    return dataset.with_format(None) if isinstance(dataset, DatasetDict) else dataset


def _table(name: str, rows: Sequence[object]) -> Table:
    """The rows with every number and date as text, as a table.

    Raises:
        DataError: Rows are no mappings, their columns have no names, or texts hold half of a character.
    """
    problems: dict[str, list[str]] = {}
    read: list[dict[str, object]] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            problems.setdefault("rows are no mapping of columns to values", []).append(f"row {number}")
        elif not all(isinstance(column, str) for column in row):
            problems.setdefault("rows have columns whose names are not texts", []).append(f"row {number}")
        else:
            read.append({column: _cell(value) for column, value in row.items()})
            if any(map(_is_cut, read[-1].values())):
                problems.setdefault("rows hold half of a character, a lone surrogate", []).append(f"row {number}")
    if problems:
        raise DataError(rule_lines(name, problems))
    return Table(split=None, columns=list(dict.fromkeys(column for row in read for column in row)), rows=read)


def _cell(value: object) -> object:
    """A value as tables hold it: of NumPy's kinds Python's, and numbers and dates as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, datetime) and value != value:  # NaT, which pandas writes for a missing time
        return None
    if isinstance(value, list | tuple):
        return [_cell(member) for member in value]
    return as_text(value)


def _is_cut(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_is_cut, value))
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)
