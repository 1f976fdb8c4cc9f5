"""The rows of a parquet file one after the other, and single pictures from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features
from PIL import Image

from multidelete.core.errors import DataError, short
from multidelete.data.decode import ImageError, open_encoded
from multidelete.data.kept import read_once
from multidelete.data.location import THROUGH, Location, arrow_source
from multidelete.data.readers.typed import Types, as_name, as_text, types_of

_ROWS, _ROWS_WITH_BYTES = 8192, 64  # in memory at once
_BROKEN = (OSError, pa.ArrowException)


@dataclass(frozen=True)
class ParquetImage:
    """A picture in a parquet file: read from its row when called."""

    file: Location
    row: int
    column: str

    def content(self) -> bytes:
        """Its bytes; raises `ImageError` with the file where that is gone or cut meanwhile."""
        try:
            opened, before = _opened(self.file), 0
            for group in range(opened.num_row_groups):
                rows = opened.metadata.row_group(group).num_rows
                if self.row < before + rows:
                    value = _column_of_group(self.file, group, self.column)[self.row - before].as_py()
                    return bytes(value["bytes"] if isinstance(value, dict) else value)
                before += rows
        except _BROKEN as error:
            raise ImageError(f"{self.file}: {short(str(error))}") from error
        raise ImageError(f"{self.file} has no row {self.row + 1} any more")

    def __call__(self) -> Image.Image:
        return open_encoded(read_once(self, self.file, self.content))


# Without threads, which a forked process that prepares batches does not have.
@lru_cache(maxsize=8)
def _opened(file: Location) -> pq.ParquetFile:
    return pq.ParquetFile(arrow_source(file), pre_buffer=False)


@lru_cache(maxsize=2)
def _column_of_group(file: Location, group: int, column: str) -> pa.ChunkedArray:
    return _opened(file).read_row_group(group, columns=[column], use_threads=False)[column]


def parquet_columns(path: Location) -> list[str]:
    """Names of the columns; raises `DataError` where the file is none, or cut."""
    try:
        return list(pq.read_schema(arrow_source(path)).names)
    except _BROKEN as error:
        raise _damaged(path, error) from error


def parquet_types(path: Location, columns: Sequence[str]) -> Types:
    """What the types of the columns say of their values."""
    file = pq.ParquetFile(arrow_source(path))
    features = Features.from_arrow_schema(file.schema_arrow)

    def values(column: str) -> Iterator[object]:
        for batch in file.iter_batches(_ROWS, columns=[column]):
            yield from batch.column(0).to_pylist()

    return types_of({name: features[name] for name in columns}, values)


def is_read_as_written(path: Location, column: str) -> bool:
    """Whether the ids that are read from a column are the column's own values, as text."""
    schema = pq.read_schema(arrow_source(path))
    kind, feature = schema.field(column).type, Features.from_arrow_schema(schema)[column]
    is_plain = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    return is_plain and not isinstance(feature, ClassLabel)


def parquet_rows(path: Location, columns: Sequence[str], types: Types) -> Iterator[Mapping[str, object]]:
    """The rows with these columns, numbers and dates as text.

    Raises:
        DataError: The file is damaged.
    """
    try:
        file = pq.ParquetFile(arrow_source(path, THROUGH))
        heavy = any(_holds_bytes(file.schema_arrow.field(name).type) for name in columns)
        for batch in file.iter_batches(_ROWS_WITH_BYTES if heavy else _ROWS, columns=list(columns)):
            for row in batch.to_pylist():
                yield {
                    name: as_name(value, types.names[name])
                    if name in types.names
                    else as_text(value, whole=name in types.whole)
                    for name, value in row.items()
                }
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _holds_bytes(kind: pa.DataType) -> bool:
    fields = [kind.field(at).type for at in range(kind.num_fields)] if pa.types.is_struct(kind) else [kind]
    return any(pa.types.is_binary(one) or pa.types.is_large_binary(one) for one in fields)


def _damaged(path: Location, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{path} cannot be read: {error.strerror}.")
    reason = short(str(error).split("\n")[0])
    return DataError(f"{path} cannot be loaded as a data set: it is no whole parquet file ({reason}).")
