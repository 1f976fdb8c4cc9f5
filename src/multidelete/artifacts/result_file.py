"""A result that is one file, such as ``unlearned.pt``. What is told of it lies beside it: ``unlearned.pt.multidelete``.

That folder appears whole, with the file in it; then the file moves to its place. So the folder has the lock, the mark
and what a killed run can be resumed from, as folders of models have, and the file is old or new, never half.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from multidelete.artifacts.folders import refuse_existing, whole_or_nothing
from multidelete.artifacts.marks import MARK, beside, is_marked_file
from multidelete.artifacts.overlap import refuse_overlap
from multidelete.artifacts.result_folder import result_folder
from multidelete.core.errors import CheckpointError
from multidelete.core.runtime import is_main_process, start_processes, wait_for_everyone


def refuse_existing_model(out: Path, *, is_file: bool, overwrite: bool) -> None:
    """Refuse to write where something is that must stay; see `refuse_existing`.

    Raises:
        CheckpointError: It is there.
    """
    refuse_name(out)
    if is_file:
        refuse_existing(out, overwrite=overwrite, is_ours=is_marked_file)
    refuse_existing(beside(out) if is_file else out, overwrite=overwrite)


def refuse_name(out: Path) -> None:
    """Refuse an output that is called as what lies beside a file: it would tell of that file.

    Raises:
        CheckpointError: It is.
    """
    if out.suffix == MARK:
        raise CheckpointError(
            f"{out} is called as what lies beside a model that is a file, and would be read as what is told of "
            f"{out.with_suffix('').name}. Give another name."
        )


@contextmanager
def result_of_run(
    out: Path, inputs: Sequence[Path], *, is_file: bool, overwrite: bool, resume: bool, digest: str
) -> Iterator[Path]:
    """`result_folder`; for a model that is a file, the folder beside it, in which the file is made by its name."""
    start_processes()
    refuse_name(out)
    if is_file:
        refuse_overlap(out, inputs)
        if is_main_process():
            _put(out)
            refuse_existing(out, overwrite=overwrite, is_ours=is_marked_file)
        wait_for_everyone()
    target = beside(out) if is_file else out
    with result_folder(target, inputs, overwrite=overwrite, resume=resume, digest=digest) as folder:
        yield folder
    if is_file and is_main_process():
        _put(out)


@contextmanager
def whole_file(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """`whole_or_nothing` for a model that is a file: the folder beside it, in which the file is made by its name."""
    _put(out)
    refuse_existing(out, overwrite=overwrite, is_ours=is_marked_file)
    with whole_or_nothing(beside(out), overwrite=overwrite) as folder:
        yield folder
    _put(out)


def _put(out: Path) -> None:
    """Move a finished file to its place; of a run that was killed in that moment too."""
    made = beside(out) / out.name
    if made.is_file():
        os.replace(made, out)
