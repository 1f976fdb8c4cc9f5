"""Files that a library fetches by ranges, as plain ones; what goes wrong on the way is an `OSError` of one line."""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from huggingface_hub.errors import OfflineModeIsEnabled

from multidelete.core.errors import short
from multidelete.core.foreign import HTTPError


@contextmanager
def offline_told() -> Iterator[None]:
    """Within it, that the library must not ask the network is an `OSError` with the reason."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise OSError(errno.ENETUNREACH, "it lies on the hub, and HF_HUB_OFFLINE is set") from error


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Within it, what goes wrong with the network is an `OSError` with one line that says so."""
    try:
        with offline_told():
            yield
    except (HTTPError, OSError) as error:
        raise OSError(errno.EIO, short(str(error).strip().split("\n")[0])) from error


class Ranges(io.RawIOBase):
    """A file of the hub's library, which fetches what is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readall(self) -> bytes:
        with as_os_errors():
            return self._file.read()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer may come, and io gives this one
        with as_os_errors():
            some = self._file.read(len(buffer))
            if len(some) > len(buffer):
                raise OSError("more came than was asked for: something between here and there knows no ranges")
        buffer[: len(some)] = some
        return len(some)
