"""How a result folder comes to be: whole or not at all, by one process at a time, in the place of its like only."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from multidelete.artifacts.locks import clear, lock_file, sole_writer
from multidelete.artifacts.marks import mark, refuse_foreign
from multidelete.artifacts.overlap import place_of, refuse_inside_result
from multidelete.artifacts.room import no_room, told_where_full
from multidelete.core.errors import CheckpointError

logger = logging.getLogger(__name__)


def refuse_existing(target: Path, *, overwrite: bool, is_ours: Callable[[Path], bool] | None = None) -> None:
    """Refuse to write where something is that must stay.

    Args:
        target: Where to write.
        overwrite: What this tool wrote may be replaced.
        is_ours: Whether a file is one that this command writes, where the result is a file.

    Raises:
        CheckpointError: ``target`` exists and is not to be overwritten, or was not written by this tool, or holds the
            home or working folder.
    """
    if not os.path.lexists(target):
        return
    clear(lock_file(place_of(target)))  # of a process that was killed when all was done
    if not overwrite:
        what = "output folder" if is_ours is None else "output file"
        raise CheckpointError(f"{target} already exists. Give another {what}, or --overwrite to replace it.")
    here = target.resolve()
    for name, place in (("working", Path.cwd()), ("home", Path.home())):
        if place.resolve().is_relative_to(here):
            raise CheckpointError(f"{target} holds the {name} folder and is never overwritten. Give another folder.")
    if is_ours is None:
        refuse_foreign(target)
    elif target.exists() and not (target.is_file() and (target.stat().st_size == 0 or is_ours(target))):
        raise CheckpointError(
            f"{target} was not written by this command, and --overwrite replaces only what was. Give another name."
        )


def refuse_other(target: Path, file: str, *, overwrite: bool) -> None:
    """`refuse_existing`, of folders that all hold a file of the same name: others are not replaced, whoever wrote them.

    Raises:
        CheckpointError: As `refuse_existing`, or the target does not hold the file.
    """
    refuse_existing(target, overwrite=overwrite)
    if target.is_dir() and any(target.iterdir()) and not (target / file).is_file():
        raise CheckpointError(
            f"{target} was not written by this command: it holds no {file}. --overwrite replaces only what was. Give "
            "another folder."
        )


def make_folder(folder: Path) -> None:
    """Make a folder that files are added to over time, with its parents; one that is there is fine.

    Raises:
        CheckpointError: Something else is there, or nothing can be written to it; a result is, or lies around it.
    """
    refuse_inside_result(folder / "added")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be made: {error.strerror}. Give another folder.") from error
    if not os.access(folder, os.W_OK):
        raise CheckpointError(f"{folder} cannot be written to: no permission. Give another folder.")


def partial_folder(target: Path) -> Path:
    """Where a result is made before it moves to its target: beside it, on the same file system."""
    target = place_of(target)
    return target.parent / f".{target.name}.partial"


def _refused(target: Path, error: OSError) -> str:
    return f"{target} cannot be written: {error.strerror} ({error.filename}). Give another place."


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Be the one process that writes a target, whose missing parents are made; gives its absolute path.

    Raises:
        CheckpointError: A process that runs now writes it, or nothing can be written there, or it lies inside a result.
    """
    refuse_inside_result(target)
    whole = place_of(target)
    new_parents = [parent for parent in whole.parents if not parent.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, new_parents)
        try:
            with told_where_full(target, whole):
                if whole.parent.exists() and not whole.parent.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(whole.parent))
                whole.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(sole_writer(whole))
        except OSError as error:
            raise CheckpointError(_refused(target, error)) from error
        yield whole


@contextmanager
def whole_or_nothing(
    target: Path,
    *,
    overwrite: bool = False,
    keep_partial: bool = False,
    tidy: Callable[[Path], None] | None = None,
    resume: bool = False,
    main: bool = True,
    is_ours: Callable[[Path], bool] | None = None,
) -> Iterator[Path]:
    """Make a folder that appears at its target only when it is complete.

    Yields the folder to write to. It is renamed to ``target`` when the block ends, and removed when the block raises:
    then ``target`` is as it was. A killed process leaves the partial folder, which the next run resumes or replaces.
    While the block runs, no other process can make the same target.

    Args:
        target: The folder to make; missing parents are made too.
        overwrite: Replace an existing target that this tool wrote, once the result is complete.
        keep_partial: When the block raises, keep what it wrote, for a later run with ``resume``.
        tidy: Takes what such a run has no use for out of the kept folder.
        resume: Go on in the partial folder of an earlier run, if there is one.
        main: Whether this process makes and moves the folder. Others only get its path, and wait by themselves.
        is_ours: Where the block puts a file in the place of the folder: whether a file is one that may be replaced.

    Raises:
        CheckpointError: The target exists, or cannot be written, or a process that runs writes it, or an earlier run
            can be resumed and is not; before the block runs. The disk is full; when the block meets it.
    """
    partial = partial_folder(target)
    if not main:
        yield partial
        return
    aside = partial.with_suffix(".old")
    with writing(target) as whole:
        try:
            with told_where_full(target, partial):
                _mend(whole, aside)
                refuse_existing(target, overwrite=overwrite, is_ours=is_ours)
                if keep_partial and partial.exists() and not (resume or overwrite):
                    raise CheckpointError(
                        f"an earlier run to {target} did not end; what it wrote is in {partial}. "
                        "Give --resume to go on with it, or --overwrite to start afresh."
                    )
                if partial.exists() and not resume:
                    _remove(partial)
                elif partial.exists() and tidy is not None:  # a killed process could not
                    tidy(partial)
                partial.mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(_refused(target, error)) from error
        try:
            yield partial
            with told_where_full(target, partial):
                if partial.is_dir():
                    mark(partial)
        except BaseException as error:
            told = no_room(error, target, partial)  # before removing makes room
            if not keep_partial:
                _remove(partial)
            elif tidy is not None:
                tidy(partial)
            _remove_empty([partial])
            if told is None:
                raise
            raise CheckpointError(told) from error
        _move(partial, whole, aside, overwrite=overwrite)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty: there is something to keep
            if folder.is_dir():
                folder.rmdir()


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


def remove_whole(folder: Path) -> None:
    """Remove a folder such that a kill leaves no half of it under its name; what one left is removed too."""
    leaving = folder.parent / f".{folder.name}.leaving"
    if folder.is_dir():
        _remove(leaving)
        folder.rename(leaving)
    _remove(leaving)
