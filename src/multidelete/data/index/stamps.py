"""What tells whether a shard is the one that an index was made of."""

import hashlib
import os
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.hub import HubPath, check_again
from multidelete.data.index.file import IndexFile
from multidelete.data.location import Location, location_of


def stamp(location: Location) -> tuple[int, int]:
    """The size of a shard in bytes, and when its content changed, in ns; on the hub 0, where the digest is known.

    Raises:
        OSError: It is gone.
    """
    if isinstance(location, Path):
        status = os.stat(location)
        return status.st_size, status.st_mtime_ns
    return _told(location)[0], 0


def digest_of_shard(location: Location) -> str:
    """SHA-256 of a shard; of one on the hub what that says of its content."""
    if isinstance(location, HubPath):
        return _told(location)[1]
    with location.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(location: HubPath) -> tuple[int, str]:
    told = location.told()
    if told is None:
        raise FileNotFoundError(str(location))
    return told.size, told.digest


def shard_problems(index: IndexFile) -> list[str]:
    """What is wrong with shards since the index was made: one line for each sort, with their names.

    Raises:
        DataError: They lie on the hub, and that cannot be asked.
    """
    wrong: dict[str, list[str]] = {}
    check_again()
    for name, path, size, changed, digest in index.rows(
        "SELECT name, path, size, changed, digest FROM shards ORDER BY number"
    ):
        location = location_of(str(path))
        try:
            now = stamp(location)
        except OSError:
            wrong.setdefault("are gone", []).append(str(name))
            continue
        is_far = isinstance(location, HubPath)
        if isinstance(size, int) and now[0] < size:
            wrong.setdefault("are shorter than when the index was made: cut, or written anew", []).append(str(name))
        elif now != (size, changed) or (is_far and digest_of_shard(location) != digest):
            wrong.setdefault("have changed since the index was made", []).append(str(name))
    return [
        f"{counted(len(names), f'shards {what}')}: {first_few(names)}. Bring them back, or make the index again: "
        "multidelete data DATA --index reads what changed."
        for what, names in wrong.items()
    ]
