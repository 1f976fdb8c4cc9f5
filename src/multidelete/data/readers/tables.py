"""Opening what lies on disk or on the hub as tables: rows with named columns, by split."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
from datasets import ClassLabel, Dataset, DatasetDict
from datasets.exceptions import DatasetsError
from PIL import Image

from multidelete.data.decode import open_encoded
from multidelete.errors import DataError, first_few

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".tar": "webdataset"}
_TEXT_TABLES = (".jsonl", ".csv", ".tsv")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with named columns.

    Attributes:
        split: The split as its source names it; None where a text file holds everything.
        columns: Names of the columns.
        rows: One mapping per row; images are paths, bytes, or ``{"path", "bytes"}``.
        dataset: Where images inside the table are fetched from again later, by row.
        class_names: For columns of numbered classes, their names.
    """

    split: str | None
    columns: list[str]
    rows: Iterable[Mapping[str, object]]
    dataset: Dataset | None = None
    class_names: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredImage:
    """An image inside a table (parquet, WebDataset): fetched from the memory-mapped file when called."""

    dataset: Dataset
    position: int
    column: str

    def __call__(self) -> Image.Image:
        value = self.dataset[self.position][self.column]
        return open_encoded(value if isinstance(value, bytes) else value["bytes"])


def open_tables(spec: str, *, split_column: str) -> tuple[list[Table], Path | None]:
    """Open a file, a folder or a hub id.

    JSONL, CSV and TSV files, and image folders with one ``metadata.jsonl`` or ``metadata.csv`` at
    their top, are read directly, which is several times faster than letting `datasets` list and
    copy them; everything else goes through `datasets.load_dataset`.

    Returns:
        The tables, and the folder that relative image paths start from (None for a hub id).

    Raises:
        DataError: Nothing there can be read.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        if path.suffix in _TEXT_TABLES:
            return [read_text_table(path)], path.parent
        if path.suffix not in _BUILDERS:
            known = ", ".join((*_TEXT_TABLES, *_BUILDERS))
            raise DataError(f"{path} is not a table of pairs; files can be {known}, or give its folder.")
        return _load(spec, _BUILDERS[path.suffix], str(path)), path.parent
    if not path.is_dir():
        return _load(spec, spec, None), None
    metadata = [*path.glob("metadata.jsonl"), *path.glob("metadata.csv")]
    if len(metadata) == 1 and not any(path.glob("*/metadata.*")):
        table = read_text_table(metadata[0])
        return [table if split_column in table.columns else _split_by_folder(table, split_column)], path
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _from_datasets(spec, datasets.load_from_disk(str(path))), path
    return _load(spec, str(path), None), path


def read_text_table(path: Path) -> Table:
    """Read JSONL, CSV or TSV; raises `DataError` naming the lines that are broken."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    rows: list[dict[str, object]] = []
    if path.suffix == ".jsonl":
        broken = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                broken.append(number)
        if broken:
            raise DataError(f"{path}: {len(broken)} lines are not JSON objects: lines {first_few(broken)}.")
    else:
        reader = csv.DictReader(text.splitlines(keepends=True), delimiter="\t" if path.suffix == ".tsv" else ",")
        rows = [{key: value for key, value in row.items() if key is not None} for row in reader]
    return Table(split=None, columns=list(dict.fromkeys(key for row in rows for key in row)), rows=rows)


def _split_by_folder(table: Table, split_column: str) -> Table:
    """The table with a split column, where all its files lie in folders named after splits."""
    folders = [str(row.get("file_name")).partition("/")[0] for row in table.rows]
    if not all(folder in SPLIT_NAMES for folder in folders):
        return table
    rows = [{**row, split_column: folder} for row, folder in zip(table.rows, folders, strict=True)]
    return replace(table, columns=[*table.columns, split_column], rows=rows)


def _load(spec: str, builder: str, file: str | None) -> list[Table]:
    try:
        with _quiet():
            loaded = datasets.load_dataset(builder, data_files=file)
    except (DatasetsError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{spec} cannot be loaded as a data set: {type(cause).__name__}: {cause}") from error
    return _from_datasets(spec, loaded)


def _from_datasets(spec: str, loaded: object) -> list[Table]:
    if isinstance(loaded, Dataset):
        loaded = DatasetDict({"train": loaded})
    if not isinstance(loaded, DatasetDict):
        raise DataError(
            f"{spec} is a {type(loaded).__name__}; pairs are read from finished data sets, not from streams."
        )
    return [_table(str(split), dataset) for split, dataset in loaded.items()]


def _table(split: str, dataset: Dataset) -> Table:
    class_names = {}
    for column, feature in dict(dataset.features).items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        if isinstance(feature, ClassLabel):
            class_names[column] = list(feature.names)
    return Table(
        split=split, columns=list(dataset.column_names), rows=dataset, dataset=dataset, class_names=class_names
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
