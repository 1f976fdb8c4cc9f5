"""What tells one picture from another: a hash of its bytes, computed once for each file."""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path

from PIL import Image

_JUST_NOW_NS = 10**9
"""A file that changed this lately may change again without another time of change."""

Stamp = tuple[int, int, int]  # size, time of change of the content, and of the file's entry, in ns

_known: dict[str, tuple[Stamp, str]] = {}


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; remembered while its size and times of change stay the same.

    Reading costs about a second for each GB, once in a process.

    Raises:
        OSError: It cannot be read.
    """
    name = os.path.abspath(path)
    stamp = _stamp(name)
    known = _known.get(name)
    if known is not None and known[0] == stamp:
        return known[1]
    with open(name, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - max(stamp[1:]) > _JUST_NOW_NS:
        _known[name] = (stamp, digest)
    return digest


def input_digest(value: object, modality: str) -> str:
    """What tells one input from another wherever it lies: of pictures a hash of their bytes, of texts the text.

    Of a function that makes a picture nothing is known; its source has to do. A missing file is ``missing``.
    """
    if isinstance(value, Path) or (isinstance(value, str) and modality == "image"):
        try:
            return file_digest(value)
        except (OSError, ValueError):
            return "missing"  # whoever opens it says so
    match value:
        case tuple():
            return repr([input_digest(one, modality) for one in value])
        case bytes():
            return hashlib.sha256(value).hexdigest()
        case Image.Image():
            return hashlib.sha256(repr((value.mode, value.size)).encode() + value.tobytes()).hexdigest()
        case str():
            return repr(value)
    if is_dataclass(value):  # portraits that are drawn when asked for
        return repr(value)
    return type(value).__name__


def known_digests() -> dict[str, list[object]]:
    """All that is remembered, by file name, as JSON holds it."""
    return {name: [*stamp, digest] for name, (stamp, digest) in sorted(_known.items())}


def take_digests(known: Mapping[str, list[object]]) -> None:
    """Remember what `known_digests` of another process gave; each counts only while its file is unchanged."""
    for name, entry in known.items():
        match entry:
            case [int(size), int(changed), int(entered), str(digest)]:
                _known.setdefault(name, ((size, changed, entered), digest))


def _stamp(name: str) -> Stamp:
    status = os.stat(name)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
