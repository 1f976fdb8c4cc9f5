"""Who writes where: an output has one writer at a time, and a running job is told from a dead one."""

import errno
import logging
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from multidelete.core.errors import CheckpointError

logger = logging.getLogger(__name__)

_CHILDREN_S = 15.0  # the processes that prepare batches look every 5 s whether the one that started them is there
_NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)


def lock_file(target: Path) -> Path:
    """What a process holds that writes a target."""
    return target.parent / f".{target.name}.lock"


@contextmanager
def sole_writer(target: Path, called: str | None = None) -> Iterator[None]:
    """Be the one process that writes ``target``; the lock lies beside it, and goes with its process.

    Args:
        target: What is written.
        called: What messages call it, where that is not its path.

    Raises:
        CheckpointError: A process that runs now writes it.
        OSError: Nothing can be written beside it.
    """
    file = lock_file(target)
    writer = _noted(file)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0 if writer is None or _runs(writer) else _CHILDREN_S)
    except Timeout as error:
        _refuse_unwritable(file)
        who = f"process {writer[0]} on {writer[1]}" if writer else "another process"
        raise CheckpointError(
            f"{called or target} is being written by {who}, which is still running. Wait until it has ended, or "
            "stop it, or give another place."
        ) from error
    try:
        with suppress(OSError):  # a full disk: then the note of who writes is all that is lost
            file.write_text(f"{os.getpid()} {platform.node()}", encoding="utf-8")
        yield
    finally:
        _leave(lock, file)


@contextmanager
def in_turn(file: Path) -> Iterator[None]:
    """Alone among the processes that name the same file; waits until it is free. The file goes when nobody holds it.

    Raises:
        OSError: No file can be made there.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _refuse_unwritable(file)
        logger.info("waiting for another process, which holds %s", file)
        lock.acquire()
    try:
        yield
    finally:
        _leave(lock, file)


def clear(file: Path) -> None:
    """Remove a lock that a killed process left, where the work that it guarded is done."""
    if file.exists():
        lock = FileLock(file)
        with suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            _leave(lock, file)


def _refuse_unwritable(file: Path) -> None:
    """Raise where a lock cannot be made: some folders, such as /proc, deny new files as if they were not there.

    Raises:
        OSError: No file can be made there.
    """
    if file.exists():
        return
    try:  # under a name of its own: the lock's may be another process's by now
        with tempfile.TemporaryFile(dir=file.parent):
            return
    except FileNotFoundError as error:
        if file.parent.is_dir():
            raise OSError(errno.EPERM, "its folder takes no new files", str(file)) from error
        raise


def _leave(lock: FileLock, file: Path) -> None:
    """Remove the file first: whoever got hold of it meanwhile sees that it has no name, and makes another."""
    with suppress(OSError):
        file.unlink(missing_ok=True)
    lock.release()


def _noted(file: Path) -> tuple[int, str] | None:
    """Process and machine that a lock names; None where it names none."""
    try:
        number, _, machine = file.read_text(encoding="utf-8").partition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return (int(number), machine) if number.isdecimal() and machine else None


def _runs(writer: tuple[int, str]) -> bool:
    """Whether a process is there; of one on another machine nobody can tell, so it counts as running.

    On Windows it cannot be asked without being stopped, so it counts as running too: the lock itself tells.
    """
    if writer[1] != platform.node() or os.name == "nt":
        return True
    try:
        os.kill(writer[0], 0)
    except ProcessLookupError:
        return False
    except OSError as error:
        return error.errno in _NO_WRITING
    return True
