"""Where a file lies: here, or on the hub. The one place that opens what an index is of."""

import io
import os
from pathlib import Path

from multidelete.core.errors import DataError
from multidelete.core.paths import lies_there
from multidelete.data.hub import HubPath, is_on_hub, place_on_hub
from multidelete.data.picture_digests import file_digest

Location = Path | HubPath
THROUGH, BEGINNING = 8 << 20, 1 << 20
"""How many bytes are fetched ahead where a file is read from end to end, and where only its beginning is."""


def location_of(text: str) -> Location:
    """The location that is written as a text.

    >>> str(location_of("a/b.tar")), str(location_of("hf://datasets/owner/name@0a1b/b.tar"))
    ('a/b.tar', 'hf://datasets/owner/name@0a1b/b.tar')
    """
    return place_on_hub(text) if is_on_hub(text) else Path(text)


def open_shard(location: Location, ahead: int = 0) -> io.BufferedReader:
    """A file to read.

    Args:
        location: Where it lies.
        ahead: Bytes to fetch of what follows where some are read, of a file on the hub: `THROUGH` where it is read
            from end to end.

    Raises:
        OSError: It cannot be read.
    """
    return location.open("rb") if isinstance(location, Path) else location.open(ahead)


def arrow_source(location: Location, ahead: int = 0) -> Path | io.BufferedReader:
    """The same as pyarrow takes it, which opens files that lie here by itself."""
    return location if isinstance(location, Path) else location.open(ahead)


def only_here(spec: str) -> Path:
    """The path of a file that is to be rewritten.

    Raises:
        DataError: It lies on the hub.
    """
    if is_on_hub(spec):
        raise DataError(
            f"{spec} lies on the hub, where no shards are rewritten. Fetch them ('hf download OWNER/NAME --repo-type "
            "dataset --local-dir FOLDER'), and give that folder as --data; or use the lists alone."
        )
    return Path(spec)


def lies_at(location: Location) -> bool:
    """Whether there is such a file."""
    if isinstance(location, Path):
        return lies_there(location) and location.is_file()
    return location.told() is not None


def size_at(location: Location) -> int:
    """The size of a file in bytes; raises `OSError` where it is gone."""
    if isinstance(location, Path):
        return os.stat(location).st_size
    told = location.told()
    if told is None:
        raise FileNotFoundError(str(location))
    return told.size


def digest_at(location: Location) -> str:
    """SHA-256 of a file, in hexadecimal; raises `OSError` where it cannot be read."""
    return file_digest(location) if isinstance(location, Path) else location.sha256()
