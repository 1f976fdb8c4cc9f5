"""The folder that a training run writes: it appears whole; until then what is needed to resume lies beside it."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.overlap import refuse_overlap
from multidelete.artifacts.room import UNFINISHED, write_whole
from multidelete.artifacts.sealed import NOTE, run_of
from multidelete.core.errors import CodeError, ConfigError, UnsupportedError
from multidelete.core.runtime import is_main_process, start_processes, wait_for_everyone

LOGS = "logs"  # of the trackers, in the work folder
RUN_KEY = "key"
"""In the work folder: the key of the deletion that the run makes, so that a resumed run has the same one."""
_NOTHING_TO_RESUME = {NOTE, NOTE + UNFINISHED, RUN_KEY, RUN_KEY + UNFINISHED}


@contextmanager
def result_folder(out: Path, inputs: Sequence[Path], *, overwrite: bool, resume: bool, digest: str) -> Iterator[Path]:
    """A folder that appears at ``out`` whole; its ``work`` is kept for ``resume`` when the run is cut off.

    What trackers wrote stays in ``logs``. The digest tells the run from those with another model, data or settings.
    """
    start_processes()
    refuse_overlap(out, inputs)
    with whole_or_nothing(
        out, overwrite=overwrite, keep_partial=True, tidy=_keep_work, resume=resume, main=is_main_process()
    ) as folder:
        wait_for_everyone()
        if is_main_process():
            _same_run(work_folder(folder), digest)
        wait_for_everyone()
        try:
            yield folder
        except (CodeError, UnsupportedError):  # code that is mended, or other settings, make another run
            if is_main_process():
                shutil.rmtree(work_folder(folder))
            raise
        wait_for_everyone()
        if is_main_process():
            if (work_folder(folder) / LOGS).is_dir():
                (work_folder(folder) / LOGS).rename(folder / LOGS)
            shutil.rmtree(work_folder(folder))
    wait_for_everyone()


def _keep_work(folder: Path) -> None:
    """Remove a half-written result, and the work folder too where it holds nothing to resume from."""
    work = work_folder(folder)
    for path in folder.iterdir():
        if path.is_dir() and (path != work or {inside.name for inside in path.iterdir()} <= _NOTHING_TO_RESUME):
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _same_run(work: Path, wanted: str) -> None:
    """Note which run a work folder belongs to, or refuse to go on with another one."""
    note = work / NOTE
    if note.is_file() and run_of(work) != wanted:
        raise ConfigError(
            f"{work.parent} belongs to a run with another model, data, request or settings. "
            "Resume with the same ones, or give --overwrite to start afresh."
        )
    write_whole(note, wanted)  # a process killed here leaves no half note, which would be of no run


def work_folder(folder: Path) -> Path:
    """Where checkpoints, caches and logs of an unfinished run lie."""
    return folder / "work"
