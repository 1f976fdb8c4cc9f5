"""What a result folder says of itself (``multidelete.json``), and how such folders come to be: whole or not at all."""

import errno
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from multidelete.errors import CheckpointError, MultideleteError

logger = logging.getLogger(__name__)

MANIFEST = "multidelete.json"
_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than allowed here",
}
_NEARLY_NOTHING = 2**20  # bytes free after a failed write that left no error number


def write_manifest(folder: Path, content: Mapping[str, object]) -> None:
    """Write ``multidelete.json``; the content must be JSON without NaN."""
    (folder / MANIFEST).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, object] | None:
    """Read ``multidelete.json``, or None where the folder has none.

    Raises:
        CheckpointError: The file is there, but is not a JSON object.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}. Delete it, or write the folder anew.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; it must be a JSON object. Delete it.")
    return content


def versions() -> dict[str, str]:
    """What a result was made with: Python, platform, this package and the libraries that decide the numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("multidelete", "torch", "transformers", "accelerate"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "run without installation"
    return found


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; read in pieces.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def digest_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder, whatever their order on disk.

    ``multidelete.json`` does not count: it tells of a model, and is not part of it.

    Raises:
        CheckpointError: It is no folder, or a file cannot be read.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder.")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sha = hashlib.sha256()
    for name in names:
        if name != MANIFEST:
            sha.update(repr((name, digest_file(folder / name))).encode())
    return sha.hexdigest()


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Refuse to write where something is.

    Raises:
        CheckpointError: ``target`` exists and is not to be overwritten, or holds the home or working folder.
    """
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise CheckpointError(f"{target} already exists. Give another output folder, or --overwrite to replace it.")
    here = target.resolve()
    for name, place in (("working", Path.cwd()), ("home", Path.home())):
        if place.resolve().is_relative_to(here):
            raise CheckpointError(f"{target} holds the {name} folder and is never overwritten. Give another folder.")


def refuse_inside(target: Path, inputs: Iterable[Path]) -> None:
    """Refuse a target that would change an input.

    Args:
        target: Where to write.
        inputs: Files and folders that are read; those that do not exist (hub ids) are passed over.

    Raises:
        CheckpointError: ``target`` is an input, lies inside one, or holds one; one line for each.
    """
    out = target.resolve()
    problems = []
    for path, given in {given.resolve(): given for given in inputs}.items():
        if path.exists() and (out.is_relative_to(path) or path.is_relative_to(out)):
            relation = "is" if out == path else "lies inside" if out.is_relative_to(path) else "holds"
            problems.append(f"output {target} {relation} input {given}; inputs are never changed. Give another folder.")
    if problems:
        raise CheckpointError(problems)


def make_folder(folder: Path) -> None:
    """Make a folder that files are added to over time, with its parents; one that is there is fine.

    Raises:
        CheckpointError: Something else is there, or nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be made: {error.strerror}. Give another folder.") from error
    if not os.access(folder, os.W_OK):
        raise CheckpointError(f"{folder} cannot be written to: no permission. Give another folder.")


def partial_folder(target: Path) -> Path:
    """Where a result is made before it moves to its target: beside it, on the same file system."""
    target = Path(os.path.abspath(target))
    return target.parent / f".{target.name}.partial"


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is whole or not there at all, also when the process is killed; its folder is made.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror}. Give another place, or make room."
        ) from error


@contextmanager
def whole_or_nothing(
    target: Path,
    *,
    overwrite: bool = False,
    keep_partial: bool = False,
    tidy: Callable[[Path], None] | None = None,
    resume: bool = False,
    main: bool = True,
) -> Iterator[Path]:
    """Make a folder that appears at its target only when it is complete.

    Yields the folder to write to. It is renamed to ``target`` when the block ends, and removed when the block raises:
    then ``target`` is as it was. A killed process leaves the partial folder, which the next run resumes or replaces.

    Args:
        target: The folder to make; missing parents are made too.
        overwrite: Replace an existing target, once the result is complete.
        keep_partial: When the block raises, keep what it wrote, for a later run with ``resume``.
        tidy: Takes what such a run has no use for out of the kept folder.
        resume: Go on in the partial folder of an earlier run, if there is one.
        main: Whether this process makes and moves the folder. Others only get its path, and wait by themselves.

    Raises:
        CheckpointError: The target exists, or cannot be written, or an earlier run can be resumed and is not; before
            the block runs. The disk is full; when the block meets it.
    """
    partial = partial_folder(target)
    if not main:
        yield partial
        return
    aside = partial.with_suffix(".old")
    new_parents = [parent for parent in partial.parents if not parent.exists()]
    try:
        _mend(Path(os.path.abspath(target)), aside)
        refuse_existing(target, overwrite=overwrite)
        if keep_partial and partial.exists() and not (resume or overwrite):
            raise CheckpointError(
                f"an earlier run to {target} did not end; what it wrote is in {partial}. "
                "Give --resume to go on with it, or --overwrite to start afresh."
            )
        if partial.exists() and not resume:
            _remove(partial)
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error.strerror} ({error.filename}).") from error
    try:
        yield partial
    except BaseException as error:
        no_room = _no_room(error, target, partial)  # before removing makes room
        if not keep_partial:
            _remove(partial)
        elif tidy is not None:
            tidy(partial)
        with suppress(OSError):  # not empty: there is something to keep
            for folder in (partial, *new_parents):
                if folder.exists():
                    folder.rmdir()
        if no_room is None:
            raise
        raise CheckpointError(no_room) from error
    _move(partial, Path(os.path.abspath(target)), aside, overwrite=overwrite)


def _mend(target: Path, aside: Path) -> None:
    """Undo a replacement that was killed halfway: the old folder goes back, unless the new one is in place."""
    if os.path.lexists(aside):
        if os.path.lexists(target):
            _remove(aside)
        else:
            aside.rename(target)


def _move(partial: Path, target: Path, aside: Path, *, overwrite: bool) -> None:
    """Put the complete folder in place; the old one is removed after that, or put back if it fails."""
    replaced = os.path.lexists(target)
    try:
        if replaced and not overwrite:
            raise FileExistsError(errno.EEXIST, "it was made by something else meanwhile")
        if replaced:
            target.rename(aside)
        partial.rename(target)
    except OSError as error:
        if replaced and not os.path.lexists(target):
            aside.rename(target)
        raise CheckpointError(
            f"the result cannot be moved to {target}: {error.strerror}. It is complete: rename {partial} yourself."
        ) from error
    if replaced:
        try:
            _remove(aside)
        except OSError as error:
            logger.warning("%s was replaced; what it held could not be removed from %s: %s", target, aside, error)


def _remove(path: Path) -> None:
    """Remove a folder, file or link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _no_room(error: BaseException, target: Path, partial: Path) -> str | None:
    """What to tell the user if the error, or what caused it, is a full disk; else None.

    safetensors reports the system's error number in its text, and torch.save does not report it at all.
    """
    if isinstance(error, MultideleteError):  # it says already what it is
        return None
    free_bytes = shutil.disk_usage(partial.parent).free
    seen: BaseException | None = error
    while seen is not None:
        code = seen.errno if isinstance(seen, OSError) else None
        if told := re.search(r"\(os error (\d+)\)", str(seen)):
            code = int(told[1])
        if "inline_container" in str(seen) and free_bytes < _NEARLY_NOTHING:
            code = errno.ENOSPC
        if code in _NO_ROOM:
            return (
                f"{target} cannot be written: {_NO_ROOM[code]} ({free_bytes:,} bytes free at {partial.parent}). "
                "Make room there, or give an output folder on another disk."
            )
        seen = seen.__cause__ or seen.__context__
    return None
