"""Indices on disk: the folder of one appears whole, beside the data or where it is named, or is taken anew."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.core.errors import CheckpointError, DataError
from multidelete.data.index.build import Built, IndexOptions, build_index
from multidelete.data.index.dataset import index_of
from multidelete.data.index.file import FILE, open_index
from multidelete.data.index.shards import beside


def write_index(spec: str, folder: Path | None, options: IndexOptions) -> tuple[Path, Built]:
    """Make the index of data, or bring that which is there up to date: what has not changed is not read again.

    Processes that read the old one go on with it.

    Args:
        spec: A file, a folder, or a pattern such as ``shards/{0000..0999}.tar``.
        folder: The folder of the index; None is the folder ``.multidelete-index`` beside the data.
        options: How rows are read.

    Raises:
        DataError: The data cannot be read.
        CheckpointError: The folder cannot be written, or holds something else.
    """
    target = beside(spec) if folder is None else folder
    before = target / FILE
    known = _spec_of(before)
    if known not in (None, spec):
        raise CheckpointError(
            f"{target} is the index of {known}. Name another folder for that of {spec}: --index-folder FOLDER."
        )
    with whole_or_nothing(target, overwrite=True) as unfinished:
        built = build_index(spec, unfinished / FILE, options, before=before)
    return target, built


def _spec_of(file: Path) -> str | None:
    """The data that an index is of; None where there is none, or one that is damaged and is made anew."""
    try:
        return open_index(file).meta.spec
    except DataError:
        return None


@contextmanager
def index_for(spec: str, options: IndexOptions) -> Iterator[Path]:
    """The file of an index that a text names (``index:...``), or of one that is made for the time being."""
    name, colon, rest = spec.partition(":")
    if name == "index" and colon:
        yield index_of(rest)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        build_index(spec, file, options)
        yield file
