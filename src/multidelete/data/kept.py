"""Pictures that came over the network, kept for the next time that they are read."""

from collections.abc import Callable, Hashable
from pathlib import Path

MOST = 512 << 20  # bytes in a process


class Kept:
    """Contents in memory, the first that fit."""

    def __init__(self, free: int = MOST) -> None:
        self.free = free
        self._contents: dict[Hashable, bytes] = {}

    def of(self, picture: Hashable, read: Callable[[], bytes]) -> bytes:
        """The content of a picture, which is read where it is not kept."""
        if picture in self._contents:
            return self._contents[picture]
        content = read()
        if len(content) <= self.free:
            self._contents[picture] = content
            self.free -= len(content)
        return content

    def forget(self) -> None:
        """Keep nothing of what there is."""
        self.free += sum(map(len, self._contents.values()))
        self._contents.clear()


KEPT = Kept()
"""What was fetched for the data that was read last."""


def read_once(picture: Hashable, file: object, read: Callable[[], bytes]) -> bytes:
    """The content of a picture, kept where its file does not lie here.

    Args:
        picture: What tells it from others.
        file: The file that it lies in.
        read: Reads it.
    """
    return read() if isinstance(file, Path) else KEPT.of(picture, read)
