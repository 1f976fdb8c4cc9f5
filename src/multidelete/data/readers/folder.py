"""Pairs from tables: image folders with metadata, JSONL, CSV, parquet, WebDataset, the hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from multidelete.core.errors import ConfigError, DataError, first_few, rule_lines, short
from multidelete.core.paths import user_path
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.readers.found import SPLIT_NAMES
from multidelete.data.readers.labels import Labelled, names_of_pairs, number_labels
from multidelete.data.readers.rows import RowReader
from multidelete.data.readers.tables import Table, open_tables
from multidelete.data.tables.columns import find_columns, read_as
from multidelete.data.tables.suspicion import two_spellings

T = TypeVar("T")
COLUMNS = ("image", "text", "id", "subject", "label", "kind", "split")


def read_folder(
    spec: str,
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    image_root: Path | None = None,
) -> PairData:
    """Read pairs from tables, folders of them, archives or the hub. Images are not decoded.

    Without an id column, ids are made from the content (image bytes, text and label), so they are
    the same on every machine and in any order; exact repeats are then dropped and counted
    in the notes. A row with a list of texts becomes one pair for each, with ids ``id#0``,
    ``id#1``, ... Labels are names, or numbers whose names are not told; see `number_labels`.

    Args:
        spec: A folder, a file (JSONL, CSV, TSV, parquet, arrow, JSON, tar) or a hub id.
        columns: Our name to the data's name, for the names in `COLUMNS`. Without it, columns are
            found by these names (and ``file_name`` for the image).
        splits: Our name (train, val, test) to the data's name; splits not named are left out.
        image_root: Folder that relative image paths start from.

    Raises:
        ConfigError: ``columns`` or ``splits`` has an unknown key.
        DataError: Columns, splits, texts or images are missing or contradict each other.
    """
    columns, splits = columns or {}, splits or {}
    check_names(columns, splits)
    tables, root = open_tables(spec, split_column=columns.get("split", "split"), image_column=columns.get("image"))
    name = spec if root is None else user_path(spec).resolve().name
    return pairs_of_tables(spec, tables, name=name, columns=columns, splits=splits, root=root, image_root=image_root)


def check_names(columns: Mapping[str, str], splits: Mapping[str, str]) -> None:
    """Refuse roles of columns, and splits, that there are not."""
    _check_keys("columns", columns, COLUMNS)
    _check_keys("splits", splits, ("train", "val", "test"))


def pairs_of_tables(
    spec: str,
    tables: Sequence[Table],
    *,
    name: str,
    columns: Mapping[str, str],
    splits: Mapping[str, str],
    root: Path | None,
    image_root: Path | None,
) -> PairData:
    """The pairs of opened tables.

    Args:
        spec: What messages call the tables.
        tables: One for each file or split.
        name: What the data is called.
        columns: Our name to the data's name.
        splits: Our name to the data's name.
        root: Folder of the data, which sources are relative to; None for the hub.
        image_root: Folder that relative image paths start from, ``root`` by default.

    Raises:
        DataError: Columns, splits, texts or images are missing or contradict each other.
    """
    every_column = list(dict.fromkeys(column for table in tables for column in table.columns))
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    at = find_our_columns(spec, tables, every_column, columns, notes)
    for table in tables:
        notes += [note for column, note in table.column_notes.items() if column in at.values()]
    check_tables(spec, tables, at)
    reader = RowReader(at, root, image_root)
    by_split: dict[str, list[Labelled]] = {}
    for table in tables:
        for number, row in enumerate(table.rows):
            split = split_of_row(table, row, at.get("split"), alone=len(tables) == 1)
            by_split.setdefault(split, []).extend(reader.pairs_of(table, number, row))
    left_out, by_split = rename_splits(name, by_split, splits)
    if reader.cells.problems:
        raise DataError(rule_lines(name, reader.cells.problems))
    notes += reader.cells.note_lines()
    notes += [f"splits left out: {first_few(left_out)}"] if left_out else []
    known = [named for table in tables for named in table.class_names.get(at.get("label", ""), ())]
    classes, finished = number_labels(name, by_split, known, notes)
    problems = two_spellings(name, names_of_pairs(pair for pairs in finished.values() for pair in pairs))
    if problems:
        raise DataError(problems)
    if "id" not in at:
        finished = {split: _without_repeats(split, pairs, notes) for split, pairs in finished.items()}
    order = [split for split in ("train", "val", "test") if split in finished]
    cached = tuple(dict.fromkeys(folder for table in tables for folder in table.cached))
    parts: dict[str, PairDataset] = {s: PairDataset(finished[s], f"{name} {s}") for s in order}
    notes += _notes_on_folders(parts)
    return PairData(name, parts, tuple(notes), classes, cached=cached, columns=read_as(every_column, at, columns))


def _notes_on_folders(parts: Mapping[str, PairDataset]) -> list[str]:
    """A note where pictures lie in folders that are called after several splits, and all pairs are one split."""
    sources = parts["train"].sources("image") if list(parts) == ["train"] else set()
    folders = {part for source in sources for part in source.lower().split("/")[:-1] if part in SPLIT_NAMES}
    if len({SPLIT_NAMES[folder] for folder in folders}) < 2:
        return []
    return [
        f"pictures lie in folders called {' and '.join(sorted(folders))}, and all pairs are read as train: give the "
        "table a column split where these tell it"
    ]


def check_tables(spec: str, tables: Sequence[Table], at: Mapping[str, str]) -> None:
    """Refuse tables that are no parts of one, and columns that have lost what they held."""
    problems = [f"{spec}: {why}." for table in tables for column, why in table.column_problems.items()
                if column in at.values()]  # fmt: skip
    named = [table for table in tables if table.columns]  # JSON lines of which every row was taken out name none
    for column in dict.fromkeys(at.values()):
        without = [table.file or table.split or "a table" for table in named if column not in table.columns]
        if without and column != at.get("split"):
            problems.append(f"{spec}: {first_few(without)} has no column {column!r}, and others have. Give it to all.")
    if problems:
        raise DataError(list(dict.fromkeys(problems)))


def _check_keys(option: str, entries: Mapping[str, str], known: Sequence[str]) -> None:
    unknown = [key for key in entries if key not in known]
    if unknown:
        raise ConfigError(
            f"Unknown {option}: {', '.join(unknown)}. Known are {', '.join(known)}; write --{option} {known[0]}=NAME."
        )


def find_our_columns(
    spec: str, tables: Sequence[Table], every_column: Sequence[str], columns: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Our names to the data's, for the columns that are there, exactly so or in other letter case."""
    rows = ((table.row_name(number), row) for table in tables for number, row in enumerate(table.rows))
    twice: list[str] = []
    at = find_columns(COLUMNS, every_column, columns, rows, notes, twice)
    if twice:
        raise DataError(
            [f"{spec}: {one}. Say which is meant, as in --columns image=NAME, or remove one." for one in twice]
        )
    problems = [
        f"{spec} has no column {at.get(name, name)!r} for the {name}."
        for name in dict.fromkeys(("image", "text", *at))
        if at.get(name) not in every_column
    ]
    if problems:
        has = first_few(every_column, limit=20) or "none"
        raise DataError([f"{p} Its columns: {has}. Map them with --columns image=...,text=..." for p in problems])
    return at


def split_of_row(table: Table, row: Mapping[str, object], column: str | None, *, alone: bool) -> str:
    """The split as the data names it: its column, else the table's."""
    if column is None or column not in table.columns:
        return table.split or "train"
    stated = str(row.get(column) or "(empty)")
    if alone or table.split is None or SPLIT_NAMES.get(stated, stated) == SPLIT_NAMES.get(table.split, table.split):
        return table.split if table.split is not None and not alone else stated
    return f"{stated} inside {table.split}"  # a contradiction: never a known name


def rename_splits(name: str, by_split: Mapping[str, T], splits: Mapping[str, str]) -> tuple[list[str], dict[str, T]]:
    """Splits under our names, and the names of those left out."""
    has = first_few(list(by_split)) or "none"
    renamed: dict[str, T] = {}
    left_out, unknown, problems = [], [], []
    theirs = {their: our for our, their in splits.items()} if splits else SPLIT_NAMES
    absent = [their for their in splits.values() if their not in by_split]
    if absent:
        problems.append(f"{name} has no split {first_few(absent)}; it has {has}.")
    for their, pairs in by_split.items():
        our = theirs.get(their if splits else their.lower())
        if our is None and splits:
            left_out.append(their)
        elif our is None:
            unknown.append(their)
        elif our in renamed:
            problems.append(
                f"{name} has two splits that mean {our} (found: {has}). Say which is meant with --splits {our}=..."
            )
        else:
            renamed[our] = pairs
    if unknown:
        problems.append(
            f"{name} has a split {short(unknown[0])!r} (found: {has}). Known are train, val and test; say which is "
            "which with --splits train=...,test=..."
        )
    if "train" not in renamed and not problems:
        problems.append(f"{name} has no train split (found: {has}). Name it with --splits train=...")
    if problems:
        raise DataError(problems)
    return left_out, renamed


def _without_repeats(split: str, pairs: Sequence[Pair], notes: list[str]) -> list[Pair]:
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.id, pair)
    unique = list(first.values())
    if len(unique) < len(pairs):
        notes.append(f"{counted(len(pairs) - len(unique), 'exact repeats')} dropped from {split}")
    return unique
