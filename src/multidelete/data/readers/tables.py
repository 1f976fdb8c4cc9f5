"""Opening what lies on disk or on the hub as tables: rows with named columns, by split."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
from datasets import ClassLabel, Dataset, DatasetDict
from datasets.exceptions import DatasetsError
from PIL import Image

from multidelete.core.errors import DataError, short
from multidelete.core.paths import lies_there, user_path
from multidelete.core.words import counted, indefinite
from multidelete.data.decode import open_encoded
from multidelete.data.readers.archive import read_archive
from multidelete.data.readers.found import ENDINGS, SPLIT_NAMES, WORKBOOKS, find_files
from multidelete.data.readers.literal import literal
from multidelete.data.readers.typed import text_rows
from multidelete.data.tables import read_text_table
from multidelete.data.tables.columns import columns_of
from multidelete.data.tables.source import is_file

_TYPED = {".parquet": "parquet", ".arrow": "arrow"}
# What a damaged folder of `save_to_disk` raises, by what is broken in it; errors of arrow are among these.
_DAMAGED = (
    DatasetsError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with named columns.

    Attributes:
        split: The split as its source names it; None where a text file holds everything.
        file: The file as messages name it, where there are several for a split; else empty.
        columns: Names of the columns.
        rows: One mapping per row; images are paths, bytes, or ``{"path", "bytes"}``.
        dataset: Where images inside the table are fetched from again later, by row.
        class_names: For columns of numbered classes, their names.
        notes: What a reader of the data should know.
        column_notes: The same of single columns, where they are used.
        column_problems: Why single columns cannot be used.
        cached: Folders in the cache of `datasets` that hold the rows too.
    """

    split: str | None
    file: str = ""
    columns: list[str]
    rows: Iterable[Mapping[str, object]]
    dataset: Dataset | None = None
    class_names: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    column_notes: Mapping[str, str] = field(default_factory=dict)
    column_problems: Mapping[str, str] = field(default_factory=dict)
    cached: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return f"Table({counted(len(self.columns), 'columns')})"

    def row_name(self, number: int) -> str:
        """What messages call a row, counted from 0."""
        return f"{self.file or self.split or ''} row {number + 1}".strip()


@dataclass(frozen=True)
class StoredImage:
    """An image inside a table (parquet, WebDataset): fetched from the memory-mapped file when called."""

    dataset: Dataset
    position: int
    column: str

    def __call__(self) -> Image.Image:
        value = self.dataset[self.position][self.column]
        return open_encoded(value if isinstance(value, bytes) else value["bytes"])


def open_tables(spec: str, *, split_column: str, image_column: str | None) -> tuple[list[Table], Path | None]:
    """Open a file, a folder or a hub id.

    Text tables and archives are read directly, wherever they lie; parquet, arrow and the hub through `datasets`.
    Only the hub is ever asked over the network.

    Args:
        spec: The file, folder or hub id.
        split_column: The column of splits.
        image_column: The column of images, where it is not called ``image`` or ``file_name``.

    Returns:
        The tables, and the folder that relative image paths start from (None for a hub id).

    Raises:
        DataError: Nothing there can be read.
    """
    path = user_path(spec)
    if is_file(path):
        if path.suffix.lower() not in ENDINGS:
            hint = " Save the sheet as CSV in UTF-8." if path.suffix.lower() in WORKBOOKS else ""
            raise DataError(
                f"{path} is not a table of pairs; files can be {', '.join(ENDINGS)}, or give its folder.{hint}"
            )
        return _open_file(path, None), path.parent
    if not lies_there(path):
        return _load(spec, spec, None), None
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path), path
    listing = find_files(path)
    tables: list[Table] = []
    for file, split in listing.files:
        opened = _open_file(path / file, split)
        if listing.metadata:
            below = file.parent
            opened = [_within(below, table, image_column) for table in opened]
            if split is None and below == Path():
                opened = [_split_by_folder(table, split_column, image_column) for table in opened]
        tables += opened
    several = len(listing.files) > len({split for _, split in listing.files})
    names = [str(file) for file, _ in listing.files]
    if several and len(names) == len(tables):
        tables = [replace(table, file=name) for table, name in zip(tables, names, strict=True)]
    return [replace(table, notes=(*table.notes, *listing.notes)) for table in tables], path


def _open_file(path: Path, split: str | None) -> list[Table]:
    if path.suffix.lower() in _TYPED:
        tables = _load(str(path), _TYPED[path.suffix.lower()], path)
        return [replace(table, split=split or table.split) for table in tables]
    if path.suffix.lower() == ".tar":
        columns, rows = read_archive(path)
        return [Table(split=split, columns=columns, rows=rows)]
    read = read_text_table(path)
    return [Table(split=split, columns=list(read.columns), rows=read.rows, notes=tuple(read.notes))]


def _within(folder: Path, table: Table, image_column: str | None) -> Table:
    """The table with relative paths of images that start one or more folders above."""
    columns = _image_columns(table, image_column)
    if folder == Path() or table.dataset is not None:
        return table
    rows = [
        {**row, **{c: str(folder / name) for c in columns if isinstance(name := row.get(c), str)}} for row in table.rows
    ]
    return replace(table, rows=rows)


def _image_columns(table: Table, mapped: str | None) -> list[str]:
    return [mapped] if mapped is not None else columns_of("image", table.columns)


def _saved(path: Path) -> list[Table]:
    """What `datasets` saved with ``save_to_disk``."""
    try:
        return tables_of_dataset(str(path), datasets.load_from_disk(literal(path, is_pattern=False)))
    except DataError:
        raise
    except _DAMAGED as error:
        reason = short(str(error).split("\n")[0])
        raise DataError(
            f"{path} cannot be loaded as a data set: what save_to_disk wrote is damaged ({type(error).__name__}: "
            f"{reason}). Save it again."
        ) from error


def _split_by_folder(table: Table, split_column: str, image_column: str | None) -> Table:
    """The table with a split column, where it has none and all its files lie in folders named after splits."""
    images = _image_columns(table, image_column)
    folders = [str(row.get(images[0])).partition("/")[0] for row in table.rows if images]
    splits = (
        columns_of("split", table.columns) if split_column == "split" else {split_column}.intersection(table.columns)
    )
    if splits or not folders or not all(folder in SPLIT_NAMES for folder in folders):
        return table
    rows = [{**row, split_column: folder} for row, folder in zip(table.rows, folders, strict=True)]
    return replace(table, columns=[*table.columns, split_column], rows=rows)


def _load(spec: str, builder: str, file: Path | None) -> list[Table]:
    try:
        with _quiet():
            loaded = datasets.load_dataset(builder, data_files=None if file is None else literal(file, is_pattern=True))
    except (DatasetsError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        reason = short(str(cause).split("\n")[0])
        what = spec if lies_there(spec) else f"there is no file or folder {spec} here, and as an id on the hub it"
        raise DataError(f"{what} cannot be loaded as a data set: {type(cause).__name__}: {reason}") from error
    return tables_of_dataset(spec, loaded)


def tables_of_dataset(spec: str, loaded: object) -> list[Table]:
    """A table for each split of what `datasets` loaded; raises `DataError` for a stream."""
    if isinstance(loaded, Dataset):
        loaded = DatasetDict({"train": loaded})
    if not isinstance(loaded, DatasetDict):
        raise DataError(
            f"{spec} is {indefinite(type(loaded).__name__)}; pairs are read from finished data sets, not from streams."
        )
    return [_table(spec, str(split), dataset) for split, dataset in loaded.items()]


def _table(spec: str, split: str, dataset: Dataset) -> Table:
    try:
        dataset.data.table.validate(full=True)
    except ValueError as error:
        raise DataError(f"{spec} is damaged: {short(str(error))}. Write it again.") from error
    files = [Path(str(file["filename"])) for file in dataset.cache_files]
    cached = dict.fromkeys(f.parent for f in files if f.is_relative_to(datasets.config.HF_DATASETS_CACHE))
    class_names = {}
    for column, feature in dict(dataset.features).items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        if isinstance(feature, ClassLabel):
            class_names[column] = list(feature.names)
    rows, types = text_rows(dataset)
    typed = dataset.info.builder_name in ("csv", "json")
    guessed = (
        f"{split} was {indefinite(f'{dataset.info.builder_name} file')} that the datasets library "
        f"typed: zeros in front, long "
    )
    return Table(
        split=split,
        columns=list(dataset.column_names),
        rows=rows,
        dataset=dataset,
        class_names=class_names,
        notes=(f"{guessed}numbers, dates and words such as null may not be as they were written",) if typed else (),
        column_notes=types.notes,
        column_problems=types.problems,
        cached=tuple(cached),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of `datasets`."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
