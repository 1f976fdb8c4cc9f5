"""Files of data sets on the Hugging Face hub, read where they lie: some bytes of them, at one commit, never stored."""

import hashlib
import io
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from PIL import Image

from multidelete.core.errors import DataError
from multidelete.core.foreign import explained
from multidelete.data.decode import ImageError, open_encoded
from multidelete.data.kept import KEPT, read_once
from multidelete.data.ranges import Ranges, as_os_errors, offline_told

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

HUB = "hf://"
"""What a place on the hub begins with."""
_DATASETS = f"{HUB}datasets/"
_HANDED_ON = 1 << 20  # bytes
_SPEC = re.compile(rf"{_DATASETS}([\w.-]+/[\w.-]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?(?:/(.*))?")
_LOGIN = "Check its name, and log in ('hf auth login') where it is not public."
_REMEDY = f"{_LOGIN} Without a network, name a folder with its files ('hf download')."


@dataclass(frozen=True)
class HubFile:
    """What the hub says of a file.

    Attributes:
        size: Its size in bytes.
        digest: What tells its content: ``sha256:`` of large files, ``git:`` (the blob's id) of others.
    """

    size: int
    digest: str


@dataclass(frozen=True)
class HubPath:
    """A file or folder of a data set on the hub, at one commit. Called, it is a picture.

    Attributes:
        repository: ``owner/name``.
        commit: The commit, which nothing can change.
        path: Where it lies in the repository; empty for all of it.
    """

    repository: str
    commit: str
    path: str = ""

    def __str__(self) -> str:
        return f"{_DATASETS}{self.repository}@{self.commit}" + (f"/{self.path}" if self.path else "")

    def __truediv__(self, name: str | PurePath) -> "HubPath":
        joined = posixpath.normpath(posixpath.join(self.path, PurePath(name).as_posix()))
        return replace(self, path="" if joined == "." else joined)

    def __call__(self) -> Image.Image:
        try:
            content = read_once(self, self, self.content)
        except OSError as error:
            raise ImageError(f"{self}: {error.strerror}") from error
        return open_encoded(content)

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.path)[1]

    @property
    def parent(self) -> "HubPath":
        return replace(self, path=posixpath.dirname(self.path))

    def told(self) -> HubFile | None:
        """What the hub says of it; None where there is no such file.

        Raises:
            DataError: The hub cannot be asked.
        """
        return _files_in(self.parent).get(self.name)

    def open(self, ahead: int = 0) -> io.BufferedReader:
        """The file, of which those bytes are fetched that are read, and ``ahead`` more of what follows.

        Raises:
            OSError: The hub cannot be asked, now or while it is read.
        """
        with as_os_errors():
            cache = {"block_size": ahead, "cache_type": "readahead"} if ahead else {"cache_type": "none"}
            raw = _file_system().open(str(self), "rb", **cache)
        return io.BufferedReader(Ranges(raw), min(ahead, _HANDED_ON) or 1)  # 1: nothing but what is asked for

    def content(self) -> bytes:
        """All of it.

        Raises:
            OSError: It cannot be fetched.
        """
        with self.open() as file:
            return file.read()

    def sha256(self) -> str:
        """SHA-256 of its content, which is fetched where the hub does not say it.

        Raises:
            OSError: It cannot be fetched.
        """
        told = self.told()
        known = "" if told is None else told.digest
        return (
            known.removeprefix("sha256:") if known.startswith("sha256:") else hashlib.sha256(self.content()).hexdigest()
        )


def is_on_hub(spec: str) -> bool:
    """Whether a text names a place on the hub.

    >>> is_on_hub("hf://datasets/owner/name"), is_on_hub("owner/name")
    (True, False)
    """
    return spec.startswith(HUB)


def place_on_hub(text: str) -> HubPath:
    """The place that `HubPath` writes as a text.

    >>> place_on_hub("hf://datasets/owner/name@0a1b/data/0.tar")
    HubPath(repository='owner/name', commit='0a1b', path='data/0.tar')
    """
    repository, _, rest = text.removeprefix(_DATASETS).partition("@")
    commit, _, path = rest.partition("/")
    return HubPath(repository, commit, path)


def pinned(spec: str) -> tuple[HubPath, str]:
    """A data set at the commit that a revision stands for now, and the path or pattern behind it.

    Args:
        spec: ``hf://datasets/owner/name``, with ``@revision`` and a path or pattern behind it where these are given.

    Raises:
        DataError: There is no such data set or revision, or the hub cannot be asked.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise DataError(
            f"{spec!r} names no data set on the hub. Write {_DATASETS}OWNER/NAME, or behind it @REVISION/PATH."
        )
    repository, revision, path = match.groups()
    check_again()
    from huggingface_hub import HfApi

    with _explained(spec):
        try:
            commit = HfApi().dataset_info(repository, revision=None if revision is None else unquote(revision)).sha
        except RevisionNotFoundError as error:
            raise DataError(
                f"{_DATASETS}{repository} has no revision {revision!r}. Name a branch, tag or commit."
            ) from error
        except RepositoryNotFoundError as error:
            raise DataError(f"{_DATASETS}{repository} is not on the hub, or not public. {_LOGIN}") from error
    return HubPath(repository, str(commit)), path or ""


def files_below(folder: HubPath) -> list[str]:
    """The paths of all files below a folder, seen from it; of a file itself none.

    Raises:
        DataError: The hub cannot be asked.
    """
    with _explained(folder):
        below = f"{str(folder).removeprefix(HUB)}/"
        return [name.removeprefix(below) for name in _file_system().find(str(folder)) if name.startswith(below)]


def text_at(place: HubPath) -> str:
    """The text of a file.

    Raises:
        DataError: The hub cannot be asked.
    """
    with _explained(place):
        return place.content().decode(errors="replace")


def files_like(folder: HubPath, pattern: str) -> list[str]:
    """The paths of files below a folder that a pattern with ``*``, ``**`` or ``?`` means, seen from it.

    Raises:
        DataError: The hub cannot be asked.
    """
    with _explained(folder / pattern):
        below = f"{str(folder).removeprefix(HUB)}/"
        names = [str(name).removeprefix(below) for name in _file_system().glob(f"{folder}/{pattern}")]
        return sorted(name for name in names if (folder / name).told() is not None)


def check_again() -> None:
    """Ask the hub anew from here on, whatever it said and gave before."""
    KEPT.forget()
    _files_in.cache_clear()
    _file_system.cache_clear()


@lru_cache(maxsize=1000)
def _files_in(folder: HubPath) -> Mapping[str, HubFile]:
    """The files in a folder by their names; none where there is no such folder."""
    with _explained(folder):
        try:
            listed = _file_system().ls(str(folder), detail=True)
        except FileNotFoundError:
            _file_system().resolve_path(str(folder))  # which raises where the repository or commit is not there
            return {}
        return {
            posixpath.basename(one["name"]): HubFile(int(one["size"]), _digest(one))
            for one in listed
            if isinstance(one, dict) and one["type"] == "file"
        }


def _digest(told: Mapping[str, object]) -> str:
    stored = told.get("lfs")
    sha256 = stored.get("sha256") if isinstance(stored, Mapping) else getattr(stored, "sha256", None)
    return f"sha256:{sha256}" if sha256 else f"git:{told.get('blob_id')}"


@lru_cache(maxsize=1)
def _file_system() -> "HfFileSystem":
    from huggingface_hub import HfFileSystem

    return HfFileSystem(skip_instance_cache=True)


@contextmanager
def _explained(what: object) -> Iterator[None]:
    with explained(f"{what} cannot be read", _REMEDY, DataError), offline_told():
        yield
