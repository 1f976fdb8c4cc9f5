"""Writing where there may be no room: a file is whole or not there, and a full disk is told as one."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from multidelete.core.errors import CheckpointError, MultideleteError

UNFINISHED = ".new"  # what the name of a file ends in until the file is whole
_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than allowed here",
}
_NEARLY_NOTHING = 2**20  # bytes free after a failed write that left no error number


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is whole or not there at all, also when the process is killed; its folder is made.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    make_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def make_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file that is whole or not there at all, also when the process is killed.

    A killed process leaves one file at most, with a name that the next one takes again.

    Args:
        path: The file; its folder is made.
        write: Writes the file that it is given the path of.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    try:
        with told_where_full(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(unfinished)
            os.replace(unfinished, path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror}. Give another place, or make room."
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def told_where_full(target: Path, beside: Path | None = None) -> Iterator[None]:
    """Say of a full disk what cannot be written, and where room is needed; other errors pass.

    Args:
        target: What is written.
        beside: Where it is written to, if not there.

    Raises:
        CheckpointError: The disk is full.
    """
    try:
        yield
    except BaseException as error:
        told = no_room(error, target, beside or target)
        if told is None:
            raise
        raise CheckpointError(told) from error


def no_room(error: BaseException, target: Path, beside: Path) -> str | None:
    """What to tell the user if the error, or what caused it, is a full disk; else None.

    safetensors reports the system's error number in its text, and torch.save does not report it at all.
    """
    if isinstance(error, MultideleteError):  # it says already what it is
        return None
    place = next(folder for folder in beside.absolute().parents if folder.exists())
    free_bytes = shutil.disk_usage(place).free
    seen: BaseException | None = error
    while seen is not None:
        code = seen.errno if isinstance(seen, OSError) else None
        if told := re.search(r"\(os error (\d+)\)", str(seen)):
            code = int(told[1])
        if "inline_container" in str(seen) and free_bytes < _NEARLY_NOTHING:
            code = errno.ENOSPC
        if code in _NO_ROOM:
            return (
                f"{target} cannot be written: {_NO_ROOM[code]} ({free_bytes:,} bytes free at {place}). "
                "Make room there, or give an output folder on another disk."
            )
        seen = seen.__cause__ or seen.__context__
    return None
