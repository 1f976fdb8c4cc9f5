"""Digests of pictures, kept in a folder of models or answers, so that each picture is read for them once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from multidelete.artifacts.locks import clear, in_turn
from multidelete.artifacts.room import write_whole
from multidelete.data.picture_digests import known_digests, take_digests

FILE = "pictures.json"


@contextmanager
def kept_digests(folder: Path) -> Iterator[None]:
    """Within the block, digests that the folder keeps are known; new ones are added to it where it exists.

    The file names pictures: delete it with them. A damaged one is made anew.
    """
    file, turn = folder / FILE, folder / f".{FILE}.turn"
    clear(turn)
    _read(file)
    before = known_digests()
    yield
    if known_digests() != before and folder.is_dir():
        with in_turn(turn):
            _read(file)  # what another process has added
            write_whole(file, json.dumps(known_digests()))


def _read(file: Path) -> None:
    with suppress(OSError, ValueError, AttributeError):
        take_digests(json.loads(file.read_text(encoding="utf-8")))
